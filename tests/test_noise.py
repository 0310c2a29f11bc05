"""Keyed noise: uniform, normal, and a function of the row alone."""

import torch
from scipy.stats import kstest

from latelier.batch import Batch
from latelier.noise import Keyed


def rows(n: int = 2000) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch({"x": torch.randn(n, 3, generator=generator), "code": torch.randint(5, (n, 2), generator=generator)})


def test_numbers_are_uniform_and_normal():
    noise = Keyed.of(rows())
    like = torch.empty(2000, 20)
    assert kstest(noise.uniform(like).flatten().numpy(), "uniform").pvalue > 1e-3
    assert kstest(noise.normal(like).flatten().numpy(), "norm").pvalue > 1e-3


def test_no_number_is_infinite_among_many():
    keys = torch.arange(200_000)
    u = Keyed(keys).uniform(torch.empty(200_000, 100))
    assert u.min() > 0 and u.max() < 1


def test_rows_calls_and_draws_are_uncorrelated():
    noise = Keyed.of(rows())
    like = torch.empty(2000, 4)
    drawn = torch.cat(
        [noise.normal(like), noise.normal(like), noise.repeat(2).normal(torch.empty(4000, 4)).view(2000, 8)], 1
    )
    correlation = torch.corrcoef(drawn.T) - torch.eye(drawn.shape[1])
    assert correlation.abs().max() < 0.1


def test_order_and_neighbours_do_not_matter():
    batch, like = rows(), torch.empty(2000, 4)
    turned = torch.randperm(2000, generator=torch.Generator().manual_seed(1))
    assert torch.equal(Keyed.of(batch).normal(like)[turned], Keyed.of(batch.take(turned)).normal(like))
    alone = Keyed.of(batch.take(torch.tensor([7]))).normal(torch.empty(1, 4))
    assert torch.equal(Keyed.of(batch).normal(like)[7:8], alone)


def test_draws_in_parts_are_the_draws_at_once():
    noise = Keyed.of(rows(10))
    at_once = noise.repeat(6).normal(torch.empty(60, 2)).view(6, 10, 2)
    parts = [noise.repeat(2, first).normal(torch.empty(20, 2)).view(2, 10, 2) for first in (0, 2, 4)]
    assert torch.equal(at_once, torch.cat(parts))


def test_placeholders_under_a_mask_do_not_change_the_noise():
    x, seen = torch.randn(50, 3), torch.rand(50, 3) > 0.5
    one = Keyed.of(Batch({"x": x}, {"x": seen}))
    other = Keyed.of(Batch({"x": torch.where(seen, x, 99.0)}, {"x": seen}))
    assert torch.equal(one.keys, other.keys)
