"""What is measured for a finding, where the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import ppca
from latelier.doctor.finding import Finding, NotLooked, ordered
from latelier.doctor.probes import (
    LEVELS,
    Mean,
    coverage,
    exchanged,
    foretold,
    modes,
    steepness,
    told_apart,
    weight_of_kl,
)
from latelier.latents.gaussian import DiagonalNormal
from latelier.likelihoods.real import GaussianDistribution

random = np.random.default_rng(0)


def test_exact_posteriors_have_the_weight_of_a_bound() -> None:
    torch.manual_seed(0)
    assert weight_of_kl(ppca.exact_model(), ppca.rows(2000)) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("weight", [0.1, 4.0])
def test_posteriors_of_another_weight_tell_it(weight) -> None:
    """Under E log p(x | z) - w KL the best posterior of a linear model has the precision I + W'W / (w noise)."""
    model = ppca.exact_model()
    block = model.latents.blocks[0]
    inner = model.loadings.T @ model.loadings / ppca.NOISE
    exact = block.posterior

    def weighed(state, features, c):
        q = exact(state, features, c)
        root = torch.linalg.cholesky(torch.linalg.inv(torch.eye(ppca.K) + inner / weight))
        return ppca.FullNormal(q.centre, root.expand(len(q.centre), -1, -1))

    block.posterior = weighed
    assert weight_of_kl(model, ppca.rows(2000)) == pytest.approx(weight, rel=0.1)


def test_codes_that_say_nothing_have_no_weight() -> None:
    model = ppca.exact_model()
    model.latents.blocks[0].posterior = lambda state, features, c: DiagonalNormal(
        torch.zeros(len(state), ppca.K), torch.zeros(len(state), ppca.K)
    )
    with pytest.raises(NotLooked):
        weight_of_kl(model, ppca.rows(500))


def test_exchanged_codes_of_a_linear_model_lose_what_the_formula_says() -> None:
    model = ppca.exact_model()
    loss = exchanged(model, ppca.rows(10_000), of_z=True)
    assert loss.value == pytest.approx(float(model.loadings.square().sum()) / ppca.NOISE, abs=4 * loss.error)


def test_trees_tell_apart_what_differs_and_nothing_else() -> None:
    one, two, far = (random.normal(size=(600, 3)) for _ in range(3))
    assert told_apart(one, two) == pytest.approx(0.5, abs=0.08)
    assert told_apart(one, far + 3) > 0.95
    assert told_apart(one, 0.2 * far) > 0.9  # within, and narrower


def test_values_of_the_predicted_distribution_lie_where_they_are_predicted() -> None:
    torch.manual_seed(0)
    px = GaussianDistribution(torch.zeros(4000, 2), torch.ones(4000, 2))
    x = torch.randn(4000, 2)
    seen = torch.rand(4000, 2) < 0.5
    below, up_to, count = coverage(px, torch.where(seen, x, 9.0), seen)
    levels = np.array(LEVELS)[:, None]
    assert np.abs(below - levels).max() < 0.03
    assert np.array_equal(below, up_to)
    assert np.array_equal(count, seen.sum(0).numpy())
    wide, _, _ = coverage(px, 0.3 * x, None)
    assert wide[2, 0] < 0.05 < 0.95 < wide[4, 0]


def test_clusters_that_samples_leave_out_are_counted() -> None:
    centres = 20 * random.normal(size=(5, 2))
    real = centres[random.integers(0, 5, 1000)] + random.normal(size=(1000, 2))
    made = centres[random.integers(0, 4, 1000)] + random.normal(size=(1000, 2))
    found = modes(real, made)
    share, bins = found.lost, found.dropped.sum()
    assert found.real.sum() == pytest.approx(1) and found.made.sum() == pytest.approx(1)
    assert share == pytest.approx(0.2, abs=0.05)
    assert bins >= 1
    assert modes(real, real[::-1]).lost == 0
    with pytest.raises(NotLooked):
        modes(real[:60], made)


def test_what_neighbours_foretell() -> None:
    x = random.normal(size=(500, 2))
    assert foretold(x, x[:, :1]) > 0.8
    assert abs(foretold(x, random.normal(size=(500, 1)))) < 0.1


def test_blur_takes_steepness() -> None:
    sharp = random.normal(size=(10, 1, 8, 8))
    blurred = (sharp + np.roll(sharp, 1, 3) + np.roll(sharp, 1, 2)) / 3
    assert steepness(blurred) < 0.5 * steepness(sharp)
    assert steepness(np.zeros((2, 1, 1, 1))) == 0


def test_a_mean_of_one_row_is_uncertain() -> None:
    assert Mean.of(torch.tensor([1.0])).error == math.inf
    assert Mean.of(torch.tensor([0.0, 2.0])) == Mean(1.0, 1.0)


def test_a_cause_that_has_a_cause_of_its_own_does_not_hide_what_it_brings() -> None:
    found = [Finding(name, "fair", "", "", "") for name in "cba"]
    told = ordered(found, {"a": ("b",), "b": ("c",)})
    assert [(f.name, f.with_it) for f in told] == [("c", ()), ("a", ("b",))]
