"""The model of independent values, against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

from latelier.batch import Batch
from latelier.data.schema import Field, Schema
from latelier.data.transforms import Standardise
from latelier.doctor.baseline import COLUMNS, independent
from latelier.likelihoods import LIKELIHOODS


def schema(support, sizes=(), shape=(3,), transform=None):
    more = {} if transform is None else {"transform": transform}
    return Schema(kind="tables", fields=(Field(name="x", shape=shape, support=support, sizes=sizes, **more),))


def test_numbers_are_normal_with_their_own_moments():
    x = torch.randn(500, 3) * torch.tensor([1.0, 0.3, 4.0]) + 2
    y = torch.randn(40, 3)
    truth = scipy.stats.norm(x.mean(0), x.std(0, correction=0)).logpdf(y).sum(1).mean()
    assert independent(schema("real"), Batch({"x": x}), Batch({"x": y})) == pytest.approx(truth, rel=1e-5)


def test_missing_entries_cost_nothing():
    x, y = torch.randn(500, 3), torch.randn(40, 3)
    seen = torch.rand(40, 3) < 0.6
    whole = scipy.stats.norm(x.mean(0), x.std(0, correction=0)).logpdf(y)
    found = independent(schema("real"), Batch({"x": x}), Batch({"x": y}, {"x": seen}))
    assert found == pytest.approx((whole * seen.numpy()).sum(1).mean(), rel=1e-5)


def test_another_unit_changes_nats_by_the_logarithm_of_the_factor():
    def nats(factor):
        stored = torch.linspace(-2, 5, 60, dtype=torch.float64).view(20, 3).sin() * factor
        change = Standardise(loc=(0.0,) * 3, scale=(factor,) * 3, bend=(0.0,) * 3)
        found = schema("real", transform=change)
        batch = found.to_model(Batch({"x": stored}))
        return independent(found, batch, batch)

    assert nats(1000.0) == pytest.approx(nats(1.0) - 3 * math.log(1000), rel=1e-6)


def test_counts_are_negative_binomial_and_nearly_poisson_where_they_do_not_spread():
    random = np.random.default_rng(0)
    x = torch.from_numpy(random.poisson([2.0, 9.0, 0.5], (4000, 3))).float()
    truth = scipy.stats.poisson(x.mean(0)).logpmf(x).sum(1).mean()
    assert independent(schema("count"), Batch({"x": x}), Batch({"x": x})) == pytest.approx(truth, abs=0.01)


def test_codes_have_their_shares():
    x = torch.tensor([[0, 0], [1, 0], [1, 0], [2, 0]]).repeat(1000, 1)
    found = independent(schema("category", (3, 2), (2,)), Batch({"x": x}), Batch({"x": x}))
    assert found == pytest.approx(0.5 * math.log(0.25) + 0.5 * math.log(0.5), abs=0.01)


def test_the_256_levels_share_one():
    x = (torch.randint(0, 256, (50, 1, 1, 1)) / 127.5) - 1
    levels = torch.arange(256).view(256, 1, 1, 1) / 127.5 - 1
    each = [
        independent(schema("levels", shape=(1, 1, 1)), Batch({"x": x}), Batch({"x": level[None]})) for level in levels
    ]
    assert np.exp(each).sum() == pytest.approx(1.0, abs=1e-3)


def test_every_support_has_a_yardstick():
    assert {head.support for head in LIKELIHOODS.values()} <= COLUMNS.keys()
