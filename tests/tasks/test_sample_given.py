"""Rows that hold some of their entries, against the conditional distribution of a Gaussian table in closed form."""

import math

import pytest
import torch

from latelier.batch import Batch
from latelier.errors import BadInput
from latelier.tasks.sample import sample_given
from ppca import NOISE, D, exact_model, with_broken_posterior

ROWS = 4000
HELD = torch.tensor([True, False, True, False, False, True])


def wanted(x: torch.Tensor) -> Batch:
    return Batch({"x": x.expand(ROWS, -1).clone()}, {"x": HELD.expand(ROWS, -1)})


def closed_form(model, x):
    """Mean and covariance of the entries that are not held."""
    covariance = model.loadings @ model.loadings.T + NOISE * torch.eye(D)
    gain = covariance[~HELD][:, HELD] @ torch.linalg.inv(covariance[HELD][:, HELD])
    mean = model.mean[~HELD] + gain @ (x[HELD] - model.mean[HELD])
    return mean, covariance[~HELD][:, ~HELD] - gain @ covariance[HELD][:, ~HELD]


@pytest.mark.parametrize("make", [exact_model, with_broken_posterior])
def test_what_is_drawn_has_the_conditional_mean_and_covariance(make):
    model = make()
    x = model.mean + torch.tensor([1.5, 9.0, -1.0, 9.0, 9.0, 0.5])
    torch.manual_seed(0)
    drawn = torch.cat([b.fields["x"] for b in sample_given(model, [wanted(x)], lambda b: b, draws=128)])
    assert torch.equal(drawn[:, HELD], x[HELD].expand(ROWS, -1))
    mean, covariance = closed_form(model, x)
    free = drawn[:, ~HELD]
    error = (covariance.diagonal() / ROWS).sqrt()
    assert ((free.mean(0) - mean).abs() < 4 * error).all()
    # Of a sample covariance of Gaussians: (s_ii s_jj + s_ij^2) / n
    spread = ((covariance.diagonal()[:, None] * covariance.diagonal() + covariance.square()) / ROWS).sqrt()
    assert ((free.T.cov() - covariance).abs() < 4 * spread).all()


def test_a_range_gives_the_truncated_distribution():
    model = exact_model()
    nothing = Batch({"x": torch.zeros(ROWS, D)}, {"x": torch.zeros(ROWS, D, dtype=torch.bool)})
    scale = float((model.loadings[0].square().sum() + NOISE).sqrt())
    bound = float(model.mean[0]) + scale
    torch.manual_seed(0)
    parts = sample_given(model, [nothing], lambda b: b, lambda b: b.fields["x"][:, 0] >= bound, draws=16)
    first = torch.cat([b.fields["x"][:, 0] for b in parts])
    assert len(first) == ROWS
    assert first.min() >= bound
    # E[u | u >= 1] of a standard normal is phi(1) / (1 - Phi(1)) = 1.5251, its variance 1 + 1.5251 - 1.5251^2 = 0.1991
    assert float((first.mean() - model.mean[0]) / scale) == pytest.approx(1.5251, abs=4 * math.sqrt(0.1991 / ROWS))


def test_what_never_comes_is_said_in_one_line():
    nothing = Batch({"x": torch.zeros(5, D)}, {"x": torch.zeros(5, D, dtype=torch.bool)})
    with pytest.raises(BadInput, match="draws for a row found none in the ranges") as error:
        list(
            sample_given(
                exact_model(), [nothing], lambda b: b, lambda b: torch.zeros(len(b), dtype=torch.bool), draws=2
            )
        )
    assert "\n" not in str(error.value)
