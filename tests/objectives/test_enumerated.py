"""The bound of a model with a label: equal to sums written out, true to what a row's label says, and schedules of rows."""

import itertools
import math
import sys
from pathlib import Path

import pytest
import torch

from latelier.batch import Batch
from latelier.data.rows import order, with_labelled
from latelier.errors import BadInput
from latelier.objectives import OBJECTIVES, Enumerated
from latelier.objectives.base import below
from latelier.objectives.discrepancy import SCALES
from latelier.spec import ObjectiveSpec

sys.path.append(str(Path(__file__).parents[1] / "latents"))
from test_label import CLASSES, model


def enumerated(**options):
    return OBJECTIVES["enumerated"].make(ObjectiveSpec(name="enumerated", **options))


def test_rows_without_a_label_are_summed_and_rows_with_one_are_held():
    vae, _, batch = model()
    vae.requires_grad_(False)
    torch.manual_seed(5)
    found = enumerated(alpha=0.0).per_row(vae, batch)
    torch.manual_seed(5)
    terms = vae.enumerate(batch)
    log_q = vae.classify(vae.encoder(batch, None), None)
    joint = (terms.log_px - terms.draw.steps["z"].kl().sum(1)).view(CLASSES, 6).T - math.log(CLASSES)
    for i in range(6):
        k = int(batch.fields["label"][i])
        if batch.seen["label"][i]:
            truth = joint[i, k]
        else:
            truth = sum(log_q[i, j].exp() * (joint[i, j] - log_q[i, j]) for j in range(CLASSES))
        assert found[i].item() == pytest.approx(float(truth), abs=1e-4)


def test_alpha_adds_the_mean_log_probability_of_the_labels_that_are_seen():
    vae, _, batch = model()
    losses = []
    for alpha in (0.0, 3.0):
        torch.manual_seed(5)
        losses.append(enumerated(alpha=alpha)(vae, batch))
    log_q = vae.classify(vae.encoder(batch, None), None)
    seen = batch.seen["label"][:, 0]
    taught = log_q.gather(1, batch.fields["label"])[seen, 0].mean()
    assert (losses[0] - losses[1]).item() == pytest.approx(3.0 * taught.item(), abs=1e-4)


def test_a_code_under_the_mask_changes_nothing():
    vae, _, batch = model()
    losses = []
    for other in (0, 3):
        codes = torch.where(batch.seen["label"], batch.fields["label"], other)
        torch.manual_seed(5)
        losses.append(enumerated(alpha=2.0)(vae, Batch({**batch.fields, "label": codes}, batch.seen)))
    assert torch.equal(*losses)


def test_a_batch_without_any_label_and_one_with_all_are_both_bounds():
    vae, _, batch = model()
    for seen in (torch.zeros(6, 1, dtype=torch.bool), torch.ones(6, 1, dtype=torch.bool)):
        assert torch.isfinite(enumerated(alpha=2.0).per_row(vae, Batch(batch.fields, {"label": seen}))).all()
    bare = enumerated().per_row(vae, batch.only(["binary"]))
    assert bare.shape == (6,)


def test_smoothness_costs_nothing_where_classes_are_the_same_everywhere_and_something_elsewhere():
    vae, _, batch = model()
    read, objective = vae.encoder.read(batch), enumerated(smooth=1.0, reach=0.5)
    log_q = vae.classify(vae.encoder.net(read, None), None)
    near, far = (enumerated(smooth=1.0, reach=r).unrest(vae, read, None, log_q).mean().item() for r in (0.05, 1.0))
    assert 0 < near < far
    nothing = torch.randn(6, 3)
    with torch.no_grad():
        worst = objective.unrest(vae, read, None, log_q)
        moved = read + 0.5 * nothing / nothing.norm(dim=1, keepdim=True)
        other = vae.classify(vae.encoder.net(moved, None), None)
        usual = (log_q.exp() * (log_q - other)).sum(1)
    assert worst.mean() > usual.mean()  # the direction that is found is worse than one at random
    with torch.no_grad():
        vae.label.classifier.linear.weight.zero_()
    flat = vae.classify(vae.encoder.net(read, None), None)
    assert objective.unrest(vae, read, None, flat).abs().max() < 1e-6


def test_an_option_of_another_bound_is_refused():
    with pytest.raises(BadInput, match=r"objective\.mmd"):
        enumerated(mmd=0.5)


def by_hand(vae, batch, draws=1, seed=5):
    """(N, K) shares of the classes, log p(x | y, z) - log q where it is summed, KL of each dimension, and the terms."""
    torch.manual_seed(seed)
    terms = vae.enumerate(batch, draws)
    log_q = vae.classify(vae.encoder(batch, None), None)
    seen = batch.seen["label"]
    share = torch.where(seen, torch.nn.functional.one_hot(batch.fields["label"][:, 0], CLASSES), log_q.exp())
    entropy = -torch.where(seen[:, 0], 0.0, (log_q.exp() * log_q).sum(1))
    return share, entropy, terms


def found_by(name, vae, batch, seed=5, **options):
    spec = ObjectiveSpec(name=name, alpha=0.0, **options)
    objective = Enumerated.over(OBJECTIVES[name], spec)
    objective.rows = len(batch)
    torch.manual_seed(seed)
    return objective.per_row(vae, batch)


@pytest.mark.parametrize("by", ["dimension", "group"])
def test_free_nats_are_of_the_mean_over_rows_and_classes(by):
    vae, _, batch = model()
    vae.requires_grad_(False)
    share, entropy, terms = by_hand(vae, batch, 2)
    log_px = terms.log_px.view(CLASSES, 2, 6).mean(1)
    kl = terms.draw.steps["z"].kl().view(CLASSES, 2, 6, -1).mean(1)
    total = torch.zeros(kl.shape[2])
    for i in range(6):
        for k in range(CLASSES):
            total += share[i, k] * kl[k, i] / 6
    floor = float(total.mean()) if by == "dimension" else float(total.sum()) + 0.1
    cost = total.clamp_min(floor).sum() if by == "dimension" else max(float(total.sum()), floor)
    truth = (share * log_px.T).sum(1) + entropy - math.log(CLASSES) - cost
    found = found_by("elbo", vae, batch, draws=2, free_nats=floor, free_by=by)
    assert torch.allclose(found, truth, atol=1e-4)
    assert total.min() < floor  # so that there is something that costs nothing


def test_a_capacity_draws_the_mean_over_rows_and_classes():
    vae, _, batch = model()
    vae.requires_grad_(False)
    share, entropy, terms = by_hand(vae, batch)
    kl = (share * terms.draw.steps["z"].kl().sum(1).view(CLASSES, 6).T).sum(1).mean()
    explained = (share * terms.log_px.view(CLASSES, 6).T).sum(1) + entropy - math.log(CLASSES)
    found = found_by("elbo", vae, batch, capacity=9.0, beta=3.0)
    assert torch.allclose(found, explained - 3 * abs(kl - 9.0), atol=1e-4)


@pytest.mark.parametrize("name", ["iwae", "dreg"])
def test_importance_weights_are_of_each_class(name):
    vae, _, batch = model()
    vae.requires_grad_(False)
    share, entropy, terms = by_hand(vae, batch, 7)
    z = terms.draw.steps["z"]
    log_w = (terms.log_px - z.q.log_prob(z.value) + z.p.log_prob(z.value)).view(CLASSES, 7, 6)
    inside = torch.log(log_w.exp().mean(1))
    truth = (share * inside.T).sum(1) + entropy - math.log(CLASSES)
    assert torch.allclose(found_by(name, vae, batch, draws=7), truth, atol=1e-4)


def test_with_more_draws_it_rises_and_stays_below_log_p():
    vae, _, batch = model()
    vae.requires_grad_(False)
    bare = Batch(batch.fields, {"label": torch.zeros(6, 1, dtype=torch.bool)})
    few, many = (
        torch.stack([found_by("iwae", vae, bare, s, draws=draws) for s in range(60)]).mean(0) for draws in (2, 100)
    )
    torch.manual_seed(0)
    exact = vae(batch.only(["binary"]), 20_000).log_weights().view(20_000, 6).logsumexp(0) - math.log(20_000)
    assert (few < many).all()
    assert (many < exact + 0.02).all()


def test_doubly_reparameterised_gradients_of_all_classes_agree_with_the_plain_ones():
    """In the mean over seeds; those of the encoder differ from seed to seed, in what scatter they have."""
    vae, _, batch = model()
    weight = vae.latents.first.posterior_net.linear.weight
    grads = {}
    for name in ("iwae", "dreg"):
        each = []
        for seed in range(150):
            found = found_by(name, vae, batch, seed, draws=3).mean()
            each.append(torch.autograd.grad(found, weight)[0])
        grads[name] = torch.stack(each)
    apart = grads["iwae"].mean(0) - grads["dreg"].mean(0)
    error = ((grads["iwae"].var(0) + grads["dreg"].var(0)) / 150).sqrt()
    assert (apart.abs() < 5 * error + 1e-4).all()
    assert not torch.equal(*[grads[name][0] for name in grads])


def test_the_discrepancy_is_of_pairs_of_rows_and_their_classes():
    vae, _, batch = model()
    vae.requires_grad_(False)
    share, entropy, terms = by_hand(vae, batch)
    prior = below(vae, vae.latents(6))["z"].value  # drawn after the classes, as the objective does
    z = terms.draw.steps["z"].value.view(CLASSES, 6, -1)

    def k(a, b):
        width = [2 * len(a) * s for s in SCALES]
        return sum(w / (w + float((a - b).square().sum())) for w in width)

    own = across = 0.0
    for i, j in itertools.product(range(6), repeat=2):
        for a in range(CLASSES):
            across += float(share[i, a]) * k(z[a, i], prior[j]) / 36
            if i != j:
                own += sum(float(share[i, a] * share[j, b]) * k(z[a, i], z[b, j]) for b in range(CLASSES)) / 30
    theirs = sum(k(prior[i], prior[j]) for i in range(6) for j in range(6) if i != j) / 30
    kl = terms.draw.steps["z"].kl().sum(1)
    bound = (share * (terms.log_px - 0.5 * kl).view(CLASSES, 6).T).sum(1) + entropy - math.log(CLASSES)
    truth = bound - 2 * (own + theirs - 2 * across)
    assert torch.allclose(found_by("mmd", vae, batch, beta=0.5, mmd=2.0), truth, atol=1e-3)


def test_the_parts_of_the_kl_are_of_the_mean_over_rows_and_classes():
    """The batch is the whole, so that q(z) is the sum over its rows and their classes."""
    vae, _, batch = model()
    vae.requires_grad_(False)
    share, entropy, terms = by_hand(vae, batch)
    step = terms.draw.steps["z"]
    z = step.value.view(CLASSES, 6, -1)
    centre, scale = (t.view(CLASSES, 6, -1) for t in (step.q.centre, step.q.log_scale.exp()))
    log_p = step.p.log_prob(step.value).view(CLASSES, 6)
    cost = torch.zeros(6)
    for i in range(6):
        for a in range(CLASSES):
            each = torch.distributions.Normal(centre, scale).log_prob(z[a, i])  # (K, 6, Z)
            log_w = share.T.log() - math.log(6)
            whole = (each.sum(2) + log_w).flatten().logsumexp(0)
            single = (each + log_w[:, :, None]).flatten(0, 1).logsumexp(0).sum()
            parts = (each[a, i].sum() - whole, whole - single, single - log_p[a, i])
            cost[i] += share[i, a] * sum(w * part for w, part in zip((0.5, 3.0, 2.0), parts, strict=True))
    truth = (share * terms.log_px.view(CLASSES, 6).T).sum(1) + entropy - math.log(CLASSES) - cost
    found = found_by("beta_tc", vae, batch, mutual=0.5, beta=3.0, dimension=2.0)
    assert torch.allclose(found, truth, atol=1e-3)


@pytest.mark.parametrize("name", ["elbo", "iwae", "dreg", "beta_tc", "mmd"])
def test_any_bound_below_has_finite_gradients_whatever_labels_are_seen(name):
    vae, _, batch = model()
    objective = Enumerated.over(OBJECTIVES[name], ObjectiveSpec(name=name, draws=2, smooth=1.0))
    objective.rows = 60
    for seen in (batch.seen["label"], torch.zeros(6, 1, dtype=torch.bool), torch.ones(6, 1, dtype=torch.bool)):
        vae.zero_grad()
        objective(vae, Batch(batch.fields, {"label": seen})).backward()
        grads = {k: p.grad for k, p in vae.named_parameters() if p.grad is not None}
        assert all(torch.isfinite(g).all() for g in grads.values())
        for part in ("encoder", "latents.blocks.0", "latents.blocks.1", "decoder"):
            assert any((g != 0).any() for k, g in grads.items() if k.startswith(part)), part
    report = objective.report(vae.eval(), [batch])
    assert all(math.isfinite(v) for v in report.values())
    assert len(report) == {"beta_tc": 3, "mmd": 1}.get(name, 0)


def test_training_tells_classes_of_which_one_row_each_has_a_label():
    """Three clusters, one label in each: the rest follows from the bound alone."""
    torch.manual_seed(0)
    from latelier.build import build
    from latelier.data.schema import Field, Schema
    from latelier.spec import Spec

    fields = (
        Field(name="real", shape=(2,), support="real", likelihood="gaussian"),
        Field(name="label", shape=(1,), support="category", sizes=(3,), role="label"),
    )
    spec = Spec.of({"network.hidden": (32,), "latent.dims": 1, "objective.name": "enumerated"})
    vae, objective = build(spec, Schema(kind="tables", fields=fields)), enumerated(alpha=1.0)
    truth = torch.arange(150) % 3
    centres = torch.tensor([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
    x = centres[truth] + 0.35 * torch.randn(150, 2)
    batch = Batch({"real": x, "label": truth[:, None]}, {"label": (torch.arange(150) < 3)[:, None]})
    optimiser = torch.optim.Adam(vae.parameters(), 1e-2)
    for _ in range(250):
        optimiser.zero_grad()
        objective(vae, batch).backward()
        optimiser.step()
    with torch.no_grad():
        found = vae.classify(vae.encoder(batch, None), None).argmax(1)
    assert (found == truth).float().mean() > 0.97


def test_every_batch_has_labels_each_row_without_comes_once_and_an_epoch_repeats():
    labelled = torch.zeros(1000, dtype=torch.bool)
    labelled[::100] = True
    ids = order(1000, seed=3, epoch=2)
    found = with_labelled(ids, labelled, size=50, share=0.2, seed=3, epoch=2)
    assert torch.equal(found, with_labelled(ids, labelled, size=50, share=0.2, seed=3, epoch=2))
    assert not torch.equal(found, with_labelled(ids, labelled, size=50, share=0.2, seed=3, epoch=3))
    full = [part for part in torch.split(found, 50) if len(part) == 50]
    assert all(int(labelled[part].sum()) == 10 for part in full)
    others = found[~labelled[found]]
    assert torch.equal(others, ids[~labelled[ids]])
    counts = torch.bincount(found[labelled[found]], minlength=1000)[labelled]
    assert counts.max() - counts.min() <= 1  # none is preferred


def test_rows_stay_as_they_are_where_labels_are_not_few_or_there_are_none():
    ids = order(40, seed=0, epoch=0)
    for labelled in (torch.zeros(40, dtype=torch.bool), torch.ones(40, dtype=torch.bool)):
        assert torch.equal(with_labelled(ids, labelled, 8, 0.2, 0, 0), ids)
