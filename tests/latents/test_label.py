"""A label in a chain: its contract above every latent, its closed forms, and the sum over its classes."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from latelier.batch import Batch
from latelier.build import build
from latelier.data.schema import Field, Schema
from latelier.errors import BadInput
from latelier.latents import LATENTS
from latelier.latents.base import Level
from latelier.latents.label import Categorical, labelled
from latelier.latents.priors import PRIORS
from latelier.networks import Parts
from latelier.noise import Fresh, Keyed
from latelier.spec import LatentSpec, NetworkSpec, Spec

ROWS, FEATURES, CLASSES = 5, 12, 4


LEVELS = [Level(6, (2, 3)), Level(4, (4, 5))]  # of maps, coarse to fine
PARTS = Parts(NetworkSpec(hidden=(16,)), LEVELS)


@pytest.fixture(params=[(name, c) for name in LATENTS for c in (0, 3)], ids=lambda p: f"{p[0]}-c{p[1]}")
def case(request):
    name, width = request.param
    below = LATENTS[name](LatentSpec(dims=4, rungs=(2, 3)), FEATURES, width + CLASSES, PARTS)
    alone = below.shape
    latents = labelled(below, CLASSES, PARTS.head(FEATURES + width, CLASSES)).eval()  # books of codes stay as they are
    assert latents.shape == alone  # a label joins the condition, not the state
    c = torch.randn(ROWS, width) if width else None
    root = torch.randn(ROWS, 4, 4).triu(1) * 0.3 + torch.diag_embed(torch.rand(ROWS, 4) + 0.3)
    maps = [torch.randn(ROWS, level.channels, *level.space) for level in reversed(LEVELS)]
    return latents, c, (torch.randn(ROWS, 4), root, torch.linalg.inv(root), *maps, torch.randn(ROWS, FEATURES))


def test_generation_and_inference_draw_one_class_a_row_and_the_decoder_reads_it(case):
    latents, c, features = case
    for draw in (latents(ROWS, c), latents(ROWS, c, features)):
        y = draw.steps["label"].value
        assert y.shape == (ROWS, CLASSES)
        assert (y.sum(1) == 1).all()
        assert ((y == 0) | (y == 1)).all()
        assert torch.equal(draw.read[:, -CLASSES:], y)
        assert draw.c is c
        assert draw.state.shape == (ROWS, *latents.shape)


def test_a_held_label_stays_held_and_costs_what_the_prior_says(case):
    latents, c, features = case
    y = F.one_hot(torch.tensor([3, 1, 0, 2, 2]), CLASSES).float()
    held = torch.tensor([True, False, True, False, True])
    draw = latents(ROWS, c, features, {"label": (y, held)})
    step = draw.steps["label"]
    assert torch.equal(step.value[held], y[held])
    assert torch.allclose(step.kl().sum(1)[held], torch.full((3,), math.log(CLASSES)))
    assert torch.allclose(step.log_ratio()[held], torch.full((3,), math.log(CLASSES)))


def test_what_stands_below_reads_the_label(case):
    latents, c, features = case
    for parameter in latents.parameters():
        parameter.data.add_(torch.randn_like(parameter))  # fresh heads differ by less than what codes are rounded to
    every = torch.ones(ROWS, dtype=torch.bool)
    below = []
    for k in (0, 1):
        y = F.one_hot(torch.full((ROWS,), k), CLASSES).float()
        draw = latents(ROWS, c, features, {"label": (y, every)}, noise=Keyed(torch.arange(ROWS)))
        below.append(list(draw.steps.values())[1].q.mean())
    assert not torch.allclose(*below)


def test_keyed_noise_repeats_and_rows_do_not_mix(case):
    latents, c, features = case
    keys, turned = torch.arange(ROWS), torch.tensor([3, 1, 4, 0, 2])
    whole = latents(ROWS, c, features, noise=Keyed(keys))
    part = latents(
        ROWS, None if c is None else c[turned], tuple(f[turned] for f in features), noise=Keyed(keys[turned])
    )
    assert torch.equal(whole.steps["label"].value[turned], part.steps["label"].value)
    assert torch.allclose(whole.state[turned], part.state, atol=1e-6)


def test_classes_are_drawn_as_often_as_they_are_likely():
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    draws = Categorical(p.log().expand(40_000, -1)).rsample(Fresh())
    assert torch.allclose(draws.mean(0), p, atol=0.01)


def test_its_divergence_is_that_of_torch_and_its_prior_is_uniform():
    latents = labelled(
        LATENTS["gaussian"](LatentSpec(dims=2), FEATURES, CLASSES, PARTS), CLASSES, PARTS.head(FEATURES, CLASSES)
    )
    step = latents(ROWS, None, (3 * torch.randn(ROWS, FEATURES),)).steps["label"]
    q, p = (torch.distributions.Categorical(logits=d.log_p) for d in (step.q, step.p))
    assert torch.allclose(step.kl().sum(1), torch.distributions.kl_divergence(q, p), atol=1e-6)
    assert torch.allclose(p.probs, torch.full((ROWS, CLASSES), 1 / CLASSES))


def test_temperature_below_one_makes_the_likely_class_likelier():
    p = Categorical(torch.tensor([[0.6, 0.4]]).log())
    assert p.temper(0.5).log_p.exp()[0, 0] == pytest.approx(0.36 / 0.52)


def model(latent: str = "gaussian", **settings) -> tuple:
    fields = (
        Field(name="binary", shape=(3,), support="binary", likelihood="bernoulli"),
        Field(name="label", shape=(1,), support="category", sizes=(CLASSES,), columns=("kind",), role="label"),
    )
    spec = Spec.of(
        {"network.hidden": (8,), "latent.name": latent, "latent.dims": 2, "latent.rungs": (2, 2)}
        | {"objective.name": "enumerated", "network.name": "factors" if latent == "factors" else "mlp"}
        | settings
    )
    torch.manual_seed(3)
    vae = build(spec, Schema(kind="tables", fields=fields))
    for parameter in vae.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))  # so that classes differ
    codes = torch.tensor([[3], [0], [2], [0], [1], [2]])
    seen = torch.tensor([[True], [False], [True], [False], [False], [True]])
    batch = Batch({"binary": (torch.rand(6, 3) < 0.5).float(), "label": codes}, {"label": seen})
    vae.begin(batch)
    return vae.eval(), spec, batch


OWN = [(latent, "standard") for latent in LATENTS if latent != "hierarchy"]  # that is of maps alone
OWN += [("gaussian", prior) for prior in PRIORS if prior not in ("standard", "transformer")]
OWN += [("ladder", "mixture"), ("codes", "transformer")]
SMALL = {"latent.components": 3, "latent.width": 8, "latent.transforms": 1, "latent.codes": 8, "latent.attention": 8}


@pytest.mark.parametrize(("latent", "prior"), OWN)
def test_enumeration_is_the_sum_over_classes_one_by_one(latent, prior):
    """Brute force: each class held by hand in a batch of its own, with the noise that the class had."""
    vae, _, batch = model(latent, **{"latent.prior": prior, **SMALL})
    noise = Keyed(torch.arange(CLASSES * 6))
    terms = vae.enumerate(batch, noise=noise)
    total = terms.log_weights().view(CLASSES, 6)
    for k in range(CLASSES):
        alone = Batch({**batch.fields, "label": torch.full((6, 1), k)})
        one = vae(alone, noise=Keyed(noise.keys.view(CLASSES, 6)[k]))
        assert torch.allclose(total[k], one.log_weights(), atol=1e-5)


@pytest.mark.parametrize(("latent", "prior"), [(latent, prior) for latent, prior in OWN if prior != "standard"])
def test_a_prior_below_a_label_is_one_for_each_class(latent, prior):
    vae, _, batch = model(latent, **{"latent.prior": prior, **SMALL})
    step = vae.latents.first.name
    with torch.no_grad():
        z = vae.infer(batch, noise=Keyed.of(batch)).steps[step].value
        read = torch.eye(CLASSES).repeat_interleave(6, 0)
        p = vae.latents.first.own(len(read), read).log_prob(z.repeat(CLASSES, *[1] * (z.ndim - 1)))
        alone = vae.latents.first.own(6, read[:6]).log_prob(z)
    nats = p.view(CLASSES, 6)
    assert torch.allclose(nats[0], alone, atol=1e-5)
    assert (nats.std(0) > 1e-3).all()


def test_the_walk_with_drawn_labels_has_the_enumerated_bound_as_its_mean():
    vae, _, batch = model()
    bare = batch.only(["binary"])
    draws = 20_000
    with torch.no_grad():
        terms = vae(bare, draws)
        drawn = (terms.log_px - terms.draw.kl()).view(draws, 6)
        log_q = vae.classify(vae.encoder(bare, None), None)
        every = vae.enumerate(bare, draws)
        below = (every.log_px - every.draw.steps["z"].kl().sum(1)).view(CLASSES, draws, 6)
        summed = (log_q.exp() * (below.transpose(0, 2) - math.log(CLASSES) - log_q[:, None]).transpose(0, 1)).sum(2)
    error = ((drawn.var(0) + summed.var(0)) / draws).sqrt()
    assert ((drawn.mean(0) - summed.mean(0)).abs() < 5 * error).all()
    assert error.max() < 0.1


def test_what_sums_over_a_label_is_refused_without_one_and_too_many_pairs_of_rows_and_classes_are():
    with pytest.raises(BadInput, match=r"train\.batch of 512 or fewer"):
        model(**{"objective.name": "beta_tc", "train.batch": 600})
    plain = Schema(kind="tables", fields=(Field(name="binary", shape=(3,), support="binary", likelihood="bernoulli"),))
    with pytest.raises(BadInput, match="--label COLUMN"):
        build(Spec.of({"objective.name": "enumerated"}), plain)


def test_a_learned_prior_finds_the_frequencies_of_held_labels():
    vae, _, _ = model(**{"latent.label_prior": "learned"})
    label = vae.label
    optimiser = torch.optim.Adam([label.frequencies], 0.05)
    held = torch.tensor([0] * 6 + [1] * 3 + [2])
    batch = Batch({"binary": torch.zeros(10, 3), "label": held[:, None]})
    for _ in itertools.repeat(None, 300):
        optimiser.zero_grad()
        vae(batch).draw.steps["label"].kl().sum(1).mean().backward()
        optimiser.step()
    p = label.prior(torch.zeros(1, 0), None).log_p.exp()[0]
    assert torch.allclose(p, torch.tensor([0.6, 0.3, 0.1, 0.0]), atol=0.02)
