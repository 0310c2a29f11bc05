"""The critic and the distance of features, against values by hand; and what a run with a critic keeps."""

import math
import signal

import numpy as np
import pytest
import torch
from torch import nn

from latelier.batch import Batch
from latelier.build import build, make_objective
from latelier.data.schema import Field, Schema
from latelier.data.transforms import Binarise, Dequantise, Levels
from latelier.errors import BadInput
from latelier.fidelity.extractor import Extractor, Origin
from latelier.likelihoods import LIKELIHOODS
from latelier.log import read_log
from latelier.nets.critic import PatchCritic
from latelier.noise import FRESH
from latelier.objectives import Elbo, Sharpened
from latelier.objectives.sharpened import adaptive, feature_distance, hinge
from latelier.spec import ObjectiveSpec, Spec
from latelier.store import load_checkpoint
from latelier.train import Data, train

FORMS = {
    "bernoulli": ("binary", Binarise()),
    "continuous_bernoulli": ("unit", Dequantise()),
    "gaussian": ("real", Dequantise(loc=0.4, scale=0.2)),
    "laplace": ("real", Dequantise(loc=0.4, scale=0.2)),
    "mixture": ("real", Dequantise(loc=0.4, scale=0.2)),
    "logistic": ("levels", Levels()),
    "logistic_mixture": ("levels", Levels()),
}


def schema_of(likelihood="logistic", space=(8, 8), given=False):
    support, transform = FORMS[likelihood]
    shape = (1 if likelihood == "bernoulli" else 2, *space)
    fields = [Field(name="image", shape=shape, support=support, likelihood=likelihood, transform=transform)]
    if given:
        fields.append(Field(name="label", shape=(1,), support="category", sizes=(3,), role="condition"))
    return Schema(kind="images", fields=tuple(fields))


def stored(schema, n=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = schema.modelled[0].shape
    smooth = torch.rand(n, shape[0], *[1] * (len(shape) - 1), generator=generator)
    x = (255 * (0.7 * smooth + 0.3 * torch.rand(n, *shape, generator=generator))).to(torch.uint8)
    fields = {"image": x}
    if schema.conditions:
        fields["label"] = torch.randint(0, 3, (n, 1), generator=generator)
    return Batch(fields)


def made(likelihood="logistic", given=False, spec=None, **objective):
    torch.manual_seed(0)
    schema = schema_of(likelihood, given=given)
    options = {"network.hidden": (16,), "latent.dims": 3, **(spec or {})}
    model = build(Spec.of({**options, "objective": objective}), schema)
    return model, make_objective(ObjectiveSpec(**objective), schema), schema.to_model(stored(schema), FRESH)


@pytest.mark.parametrize("likelihood", FORMS)
def test_a_picture_is_the_mean_or_a_draw_and_has_a_gradient(likelihood):
    support, _ = FORMS[likelihood]
    torch.manual_seed(0)
    head = LIKELIHOODS[likelihood]((1, 4, 4))
    h = torch.randn(500, head.width, 4, 4)[:1].repeat(500, 1, 1, 1).requires_grad_()
    px = head(h)
    picture, centre = px.relaxed(), px.point_estimate()
    (slope,) = torch.autograd.grad(picture.sum(), h)
    assert torch.isfinite(slope).all() and (slope != 0).any()
    if support == "binary":
        assert set(picture.unique().round(decimals=5).tolist()) <= {0.0, 1.0}
        assert (picture.mean(0) - centre[0]).abs().max() < 0.1
        (as_probability,) = torch.autograd.grad(centre.sum(), h)
        assert torch.equal(slope, as_probability)
    else:
        assert (picture - centre).abs().max() <= 1 / 255


@pytest.mark.parametrize("likelihood", FORMS)
def test_pictures_lie_in_the_unit_range_as_the_data_do(likelihood):
    model, objective, batch = made(likelihood, critic=0.1, critic_channels=(4,))
    real, _ = objective.pictures(model(batch), batch)
    levels = stored(schema_of(likelihood)).fields["image"].float() / 255
    assert (real >= 0).all() and (real <= 1).all()
    if likelihood == "bernoulli":
        levels = batch.fields["image"]
    assert (real - levels).abs().max() < 0.005


@pytest.mark.parametrize("dynamic", [True, False])
def test_greys_that_0_and_1_were_drawn_from_are_the_picture_and_so_is_the_probability(dynamic):
    schema = schema_of("bernoulli")
    schema = schema.with_fields((schema.fields[0].model_copy(update={"transform": Binarise(dynamic=dynamic)}),))
    model = build(Spec.of({"network.hidden": (16,), "latent.dims": 3}), schema)
    objective = make_objective(ObjectiveSpec(critic=0.1, critic_channels=(4,)), schema)
    rows = Batch(stored(schema).fields, {"image": torch.rand(12, 1, 8, 8) > 0.3})
    batch, objective.stored = schema.to_model(rows, FRESH), rows
    terms = model(batch, 2)
    real, shown = objective.pictures(terms, batch.repeat(2))
    wanted = (rows.fields["image"] / 255 if dynamic else batch.fields["image"]).repeat(2, 1, 1, 1)
    seen = rows.seen["image"].repeat(2, 1, 1, 1)
    assert torch.equal(real[seen], wanted[seen]) and torch.equal(real[~seen], shown[~seen])
    assert torch.equal(shown, terms.px["image"].point_estimate()) == dynamic
    dreamt = objective.dreamt(terms, model, 12)
    assert bool(((dreamt > 0.1) & (dreamt < 0.9)).any()) == dynamic


def test_a_run_shows_the_critic_what_is_stored(tmp_path, monkeypatch):
    shown = []
    judge = PatchCritic.forward
    monkeypatch.setattr(PatchCritic, "forward", lambda self, x: (shown.append(x.detach()), judge(self, x))[1])
    schema = schema_of("bernoulli")
    rows = stored(schema, 20)
    options = {"network.hidden": (8,), "latent.dims": 2, "train.epochs": 1, "train.batch": 10}
    how = Spec.of({**options, "objective.critic": 0.1, "objective.critic_channels": (4,), "objective.critic_from": 0.0})
    train(how, schema, Data(rows, torch.arange(16), rows.take(torch.arange(16, 20))), tmp_path)
    real = shown[1]  # after what the model made: the critic's own turn
    assert bool(((real > 0) & (real < 1)).float().mean() > 0.9)


def test_the_hinge_loss_and_the_adaptive_weight_by_hand():
    real, fake = torch.tensor([[1.5, 0.2]]), torch.tensor([[-2.0, 0.4]])
    assert hinge(real, fake).item() == pytest.approx((0 + 0.8) / 2 + (0 + 1.4) / 2)
    assert adaptive(torch.tensor([3.0, 4.0]), torch.tensor([0.6, 0.8])).item() == pytest.approx(5.0, rel=1e-4)


@pytest.mark.parametrize("draws", [1, 2])
def test_the_critic_pulls_the_last_layer_as_hard_as_it_is_told_to(draws):
    model, objective, batch = made(critic=0.25, critic_channels=(4,), draws=draws)
    last = model.decoder.last()
    assert last is model.decoder.net.last.weight

    def gradient(loss):
        model.zero_grad()
        torch.manual_seed(1)
        loss().backward()
        return last.grad.clone()

    whole = gradient(lambda: objective(model, batch))
    balance = objective.balance.item()
    bound = gradient(lambda: Elbo(draws=draws)(model, batch))

    def scores():
        terms = model(batch, draws)
        _, picture = objective.pictures(terms, batch.repeat(draws))
        return -objective.critic(torch.cat([picture, objective.dreamt(terms, model, len(batch))])).mean()

    pull = gradient(scores)
    assert torch.allclose(whole, bound + 0.25 * balance * pull, atol=1e-3 * whole.abs().max())
    wanted = gradient(lambda: -model(batch, draws).log_px.mean())
    assert (balance * pull).norm().item() == pytest.approx(wanted.norm().item(), rel=1e-2)


def test_the_critic_itself_learns_from_its_own_loss_alone():
    model, objective, batch = made(critic=0.25, critic_channels=(4,))
    objective(model, batch).backward()
    assert all(p.grad is None for p in objective.opposed())
    model.zero_grad()
    loss = objective.critic_loss()
    real, fake = objective.shown
    assert len(real) == 12 and len(fake) == 24  # reconstructions, and as many of z from the prior
    loss.backward()
    assert all(p.grad is not None for p in objective.opposed())
    assert all(p.grad is None for p in model.parameters())
    objective.eval()
    assert objective.critic_loss().item() == pytest.approx(
        hinge(objective.critic(real), objective.critic(fake)).item(), rel=1e-5
    )


def test_before_its_time_there_is_no_critic():
    model, objective, batch = made(critic=0.25, critic_from=0.5, critic_channels=(4,))
    objective.progress = 0.49
    torch.manual_seed(1)
    loss = objective(model, batch)
    torch.manual_seed(1)
    assert torch.equal(loss, Elbo()(model, batch))
    assert objective.critic_loss() is None and not objective.critic_at_work


def test_a_critic_learns_to_tell_noise_from_smooth_pictures():
    torch.manual_seed(0)
    critic = PatchCritic(1, (8, 8), (8,))
    optimiser = torch.optim.Adam(critic.parameters(), 1e-2)
    for _ in range(150):
        smooth = torch.rand(32, 1, 1, 1).expand(32, 1, 8, 8)
        optimiser.zero_grad()
        loss = hinge(critic(smooth), critic(torch.rand(32, 1, 8, 8)))
        loss.backward()
        optimiser.step()
    assert loss < 1.2  # 2 where nothing can be told


@pytest.mark.parametrize("space", [(16,), (8, 12), (4, 8, 4)])
def test_a_critic_judges_patches_of_pictures_of_one_two_or_three_dimensions(space):
    critic = PatchCritic(2, space, (4, 4))
    assert critic(torch.rand(3, 2, *space)).shape == (3, 1, *(-(-s // 4) for s in space))
    before = critic(torch.zeros(1, 2, *space))
    x = torch.zeros(1, 2, *space)
    x[..., 0] = 1
    changed = (critic(x) != before).flatten(2).any(1)
    assert changed.any()


class Two(nn.Module):
    """Edges at two sizes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 4, 3, 2, 1)

    def forward(self, x):
        h = torch.relu(self.first(x))
        return [h, torch.relu(self.second(h))]


def test_the_distance_of_features_by_hand():
    torch.manual_seed(0)
    features, real, fake = Two(), torch.rand(3, 2, 8, 8), torch.rand(3, 2, 8, 8)
    wanted = np.zeros(3)
    with torch.no_grad():
        maps = list(zip(features(real), features(fake), strict=True))
    for i in range(3):
        for a, b in maps:
            a, b = a[i].numpy(), b[i].numpy()
            places = [(u, v) for u in range(a.shape[1]) for v in range(a.shape[2])]
            for u, v in places:
                x, y = (m[:, u, v] / max(np.linalg.norm(m[:, u, v]), 1e-6) for m in (a, b))
                wanted[i] += ((x - y) ** 2).sum() / len(places)
    assert feature_distance(features, real, fake).tolist() == pytest.approx(wanted.tolist(), rel=1e-4)
    assert feature_distance(features, real, real).tolist() == [0, 0, 0]


def test_the_distance_is_taken_off_the_bound_by_its_weight_and_the_network_is_left_alone():
    network = Two()
    model, _, batch = made("gaussian")
    objective = make_objective(ObjectiveSpec(perceptual=5.0), schema_of("gaussian"), network)
    torch.manual_seed(1)
    own = objective.per_row(model, batch)
    torch.manual_seed(1)
    plain = Elbo().per_row(model, batch)
    torch.manual_seed(1)
    real, fake = objective.pictures(model(batch), batch)
    assert torch.allclose(plain - own, 5 * feature_distance(network, real, fake), atol=1e-3)
    own.sum().backward()
    assert all(p.grad is None and p.requires_grad for p in network.parameters()) and network.training
    assert list(objective.parameters()) == [] and set(objective.state_dict()) == {"balance"}


def test_what_is_not_seen_is_the_same_in_both_pictures():
    model, objective, batch = made(critic=0.25, critic_channels=(4,))
    seen = torch.rand(12, 1, 8, 8) > 0.5
    real, fake = objective.pictures(model(batch), Batch(batch.fields, {"image": seen}))
    wide = seen.expand_as(real)
    assert torch.equal(real[~wide], fake[~wide]) and not torch.equal(real[wide], fake[wide])


@pytest.mark.parametrize("likelihood", FORMS)
@pytest.mark.parametrize("name", ["elbo", "iwae", "beta_tc", "mmd"])
@pytest.mark.parametrize("given", [False, True])
def test_it_composes_with_bounds_likelihoods_and_conditions(likelihood, name, given):
    model, objective, batch = made(likelihood, given, name=name, critic=0.3, critic_channels=(4,), draws=2)
    objective.check(model.infer(batch))
    loss = objective(model, batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.numel() and p.grad is not None)
    assert torch.isfinite(objective.critic_loss())


@pytest.mark.parametrize("latent", ["gaussian", "point", "ladder", "hierarchy"])
def test_it_composes_with_latents_under_convolutions(latent):
    spec = {
        "network": {"name": "conv", "channels": (4, 6), "hidden": (8,)},
        "latent": {"name": latent, "rungs": (2, 1, 1)},
    }
    model, objective, batch = made(spec=spec, critic=0.3, critic_channels=(4,))
    loss = objective(model, batch)
    loss.backward()
    assert torch.isfinite(loss) and objective.balance > 0
    assert model.decoder.last().grad.shape == model.decoder.last().shape


@pytest.mark.parametrize(
    "schema,options,word",
    [
        (
            Schema(kind="tables", fields=(Field(name="x", shape=(5,), support="real", likelihood="gaussian"),)),
            {"critic": 0.1},
            "pictures",
        ),
        (schema_of(), {"critic": 0.1, "name": "dreg", "draws": 4}, "objective.name=elbo"),
        (schema_of(), {"critic": 0.1, "critic_channels": (4, 4, 4, 4)}, "critic_channels"),
        (schema_of(), {"perceptual": 1.0}, "perceptual_file"),
    ],
)
def test_what_does_not_go_together_is_one_line(schema, options, word):
    with pytest.raises(BadInput, match=word):
        make_objective(ObjectiveSpec(**options), schema)


def test_features_without_their_weight_are_refused():
    with pytest.raises(BadInput, match=r"objective\.perceptual"):
        make_objective(ObjectiveSpec(), schema_of(), Two())


def test_a_feature_network_in_a_file_is_read_and_one_that_is_not_there_is_named(tmp_path):
    torch.manual_seed(0)
    network = Extractor(Origin((2, 8, 8), "turns", 4, 10, 0.5, 0))
    (tmp_path / "own.safetensors").write_bytes(network.packed())
    asked = ObjectiveSpec(perceptual=3.0, perceptual_file=str(tmp_path / "own.safetensors"))
    objective = make_objective(asked, schema_of())
    picture = torch.rand(2, 2, 8, 8)
    maps = objective.features[0](picture)
    assert [tuple(m.shape[1:]) for m in maps] == [(32, 8, 8), (64, 4, 4), (64, 2, 2)]
    assert torch.allclose(network.neck(network.body[-2:](maps[-1])), network.raw(255 * picture), atol=1e-4)
    with pytest.raises(BadInput, match="no such file"):
        make_objective(asked.model_copy(update={"perceptual_file": str(tmp_path / "other")}), schema_of())


ROWS, HELD = 40, 8


def spec(**options) -> Spec:
    settings = {
        "network.hidden": (8,),
        "latent.dims": 2,
        "objective.critic": 0.2,
        "objective.critic_channels": (4,),
        "train": dict(epochs=6, batch=8, checkpoint=0, precision="float32", ema=0.9),
    }
    return Spec.of({**settings, **options})


def data(augment=None) -> Data:
    rows = stored(schema_of(), ROWS + HELD)
    return Data(rows, torch.arange(ROWS), rows.take(torch.arange(ROWS, ROWS + HELD)), augment=augment)


class Stop:
    def __init__(self, at):
        self.at, self.batches = at, 0

    def __call__(self, batch):
        self.batches += 1
        if self.batches == self.at:
            signal.raise_signal(signal.SIGINT)
        return batch


@pytest.mark.parametrize("stop_at", [7, 16, 23])
@pytest.mark.parametrize(
    "more",
    [{}, {"objective.perceptual": 2.0}, {"train.precision": "bfloat16", "likelihood": {}}],
    ids=["critic", "both", "bf16"],
)
def test_a_run_with_a_critic_resumes_bit_for_bit(tmp_path, stop_at, more):
    features = Two() if "objective.perceptual" in more else None
    asked = spec(**{k: v for k, v in more.items() if k != "train.precision"})
    if "train.precision" in more:
        asked = asked.model_copy(update={"train": asked.train.model_copy(update={"precision": "bfloat16"})})
    train(asked, schema_of(), data(), tmp_path / "straight", features=features)
    with pytest.raises(KeyboardInterrupt):
        train(asked, schema_of(), data(Stop(stop_at)), tmp_path / "broken", features=features)
    torch.manual_seed(999)
    train(asked, schema_of(), data(), tmp_path / "broken", resume=True, features=features)
    (one, _), (other, _) = load_checkpoint(tmp_path / "straight"), load_checkpoint(tmp_path / "broken")
    assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
    assert any(k.startswith("rival.") for k in one) and any(k.startswith("objective.critic.") for k in one)


def test_the_newest_weights_are_kept_once_the_critic_has_begun_and_the_bound_is_told(tmp_path):
    hard = spec(**{"objective.critic": 1e3, "objective.critic_rate": 1e-2, "train.rate": 2e-2})
    run = train(hard, schema_of(), data(), tmp_path / "any")
    log = read_log(tmp_path / "any")
    assert run.figures["epoch"] == 6 and run.best > run.figures["elbo"]  # it cost nats, and they are told
    assert all(math.isfinite(e["elbo"]) for e in log)
    assert ["critic_weight" in e for e in log] == [False, False, False, True, True, True]
    within = hard.model_copy(update={"objective": hard.objective.model_copy(update={"critic_nats": 0.0})})
    kept = train(within, schema_of(), data(), tmp_path / "within")
    assert kept.figures["elbo"] == kept.best == max(e["elbo"] for e in read_log(tmp_path / "within"))


def test_the_critic_takes_no_step_from_pictures_that_are_not_finite(tmp_path):
    count = [0]

    def spoil(batch):
        count[0] += 1
        if count[0] != 18:
            return batch
        return Batch({"image": torch.full(batch.fields["image"].shape, float("nan"))})

    events = []
    train(spec(), schema_of(), data(spoil), tmp_path, events.append)
    assert sum(e["event"] == "skipped" for e in events) == 1
    tensors, _ = load_checkpoint(tmp_path)
    assert all(torch.isfinite(t).all() for t in tensors.values() if t.is_floating_point())
    assert isinstance(make_objective(spec().objective, schema_of()), Sharpened)
