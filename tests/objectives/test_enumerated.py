"""The bound of a model with a label: equal to sums written out, true to what a row's label says, and schedules of rows."""

import math
import sys
from pathlib import Path

import pytest
import torch

from latelier.batch import Batch
from latelier.data.rows import order, with_labelled
from latelier.errors import BadInput
from latelier.objectives import OBJECTIVES
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


def test_what_it_cannot_weigh_is_refused():
    with pytest.raises(BadInput, match=r"objective\.free_nats"):
        enumerated(free_nats=0.5)


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
