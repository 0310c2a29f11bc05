"""A joint of several fields: sums, masks, and one batch out."""

from __future__ import annotations

import torch

from latelier.batch import Batch
from latelier.likelihoods.base import Joint
from latelier.likelihoods.binary import Bernoulli
from latelier.likelihoods.category import Categorical
from latelier.likelihoods.real import Gaussian


def joint() -> Joint:
    torch.manual_seed(0)
    heads = {"age": Gaussian((2,)), "job": Categorical((3, 4)), "photo": Bernoulli((3, 2, 2))}
    return Joint({name: head(torch.randn(5, head.width, *head.shape[1:])) for name, head in heads.items()})


def test_a_joint_costs_the_sum_of_its_fields() -> None:
    px = joint()
    batch = px.sample()
    parts = [px[name].log_prob(batch.fields[name]) for name in ("age", "job", "photo")]
    torch.testing.assert_close(px.log_prob(batch), torch.stack(parts).sum(0))


def test_entries_of_a_joint_are_zero_where_not_seen_and_sum_to_the_row() -> None:
    px = joint()
    seen = {"job": torch.tensor([[True, False]]).expand(5, 2), "photo": torch.rand(5, 1, 2, 2) < 0.5}
    batch = Batch(px.sample().fields, seen)
    terms = px.entry_log_prob(batch)
    assert bool((terms["job"][:, 1] == 0).all())
    assert bool((terms["photo"][~seen["photo"].expand(-1, 3, -1, -1)] == 0).all())
    torch.testing.assert_close(sum(t.flatten(1).sum(1) for t in terms.values()), px.log_prob(batch))


def test_a_joint_draws_and_estimates_every_field() -> None:
    px = joint()
    for batch in (px.sample(), px.point_estimate()):
        assert {name: tuple(x.shape) for name, x in batch.fields.items()} == {
            "age": (5, 2),
            "job": (5, 2),
            "photo": (5, 3, 2, 2),
        }
