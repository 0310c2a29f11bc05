"""Counts against scipy, up to a thousand million, with and without a gate of zeros."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from latelier.likelihoods.base import Likelihood
from latelier.likelihoods.count import (
    CountDistribution,
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
    ZeroInflatedPoisson,
)

LOG_MEANS = torch.tensor([-3.0, 0.0, 2.0, 5.0, 9.0])
LOG_SIZES = torch.tensor([-2.0, 0.0, 1.0, 3.0, 8.0])
X = torch.tensor([[0.0] * 5, [1.0] * 5, [7.0] * 5, [150.0] * 5, [8100.0] * 5])


def raw(log_mean: torch.Tensor) -> torch.Tensor:
    """What the network must supply for that mean: softplus(h) / log 2 is the mean."""
    y = log_mean.double().exp() * np.log(2)
    return (y + torch.log(-torch.expm1(-y))).float()


def h(*parts: torch.Tensor) -> torch.Tensor:
    return torch.cat(parts)[None].expand(len(X), -1)


def nbinom() -> scipy.stats.rv_discrete:
    size, mean = LOG_SIZES.double().exp().numpy(), LOG_MEANS.double().exp().numpy()
    return scipy.stats.nbinom(size, size / (size + mean))


def inflate(log_prob: np.ndarray, gate: torch.Tensor) -> np.ndarray:
    empty = gate.double().sigmoid().numpy()
    return np.where(X.numpy() == 0, np.log(empty + (1 - empty) * np.exp(log_prob)), np.log1p(-empty) + log_prob)


def same(terms: torch.Tensor, truth: np.ndarray) -> None:
    torch.testing.assert_close(terms.double(), torch.tensor(truth), rtol=1e-5, atol=1e-4)


def test_poisson_agrees_with_scipy() -> None:
    truth = scipy.stats.poisson(LOG_MEANS.double().exp().numpy()).logpmf(X.numpy())
    same(Poisson((5,))(h(raw(LOG_MEANS))).entry_log_prob(X), truth)


def test_negative_binomial_agrees_with_scipy() -> None:
    same(NegativeBinomial((5,))(h(raw(LOG_MEANS), LOG_SIZES)).entry_log_prob(X), nbinom().logpmf(X.numpy()))


def test_zero_inflated_counts_are_a_mixture_with_zero() -> None:
    gate = torch.tensor([-4.0, 0.0, 2.0, 9.0, -30.0])
    poisson = scipy.stats.poisson(LOG_MEANS.double().exp().numpy()).logpmf(X.numpy())
    same(ZeroInflatedPoisson((5,))(h(raw(LOG_MEANS), gate)).entry_log_prob(X), inflate(poisson, gate))
    inflated = ZeroInflatedNegativeBinomial((5,))(h(raw(LOG_MEANS), LOG_SIZES, gate))
    same(inflated.entry_log_prob(X), inflate(nbinom().logpmf(X.numpy()), gate))


@pytest.mark.parametrize("level", [0.001, 0.3, 0.5, 0.999])
def test_quantiles_agree_with_scipy(level: float) -> None:
    ours = NegativeBinomial((5,))(h(raw(LOG_MEANS), LOG_SIZES)).quantile(level)[0]
    np.testing.assert_array_equal(ours.numpy(), nbinom().ppf(level))
    truth = scipy.stats.poisson(LOG_MEANS.double().exp().numpy()).ppf(level)
    np.testing.assert_array_equal(Poisson((5,))(h(raw(LOG_MEANS))).quantile(level)[0].numpy(), truth)


def test_the_quantile_of_inflated_counts_is_zero_up_to_the_share_of_zeros() -> None:
    px = ZeroInflatedPoisson((1,))(
        torch.cat([raw(torch.tensor([[5.0]])), torch.zeros(1, 1)], 1)
    )  # half are 0, half around 148
    assert px.quantile(0.49).item() == 0
    assert 140 < px.quantile(0.75).item() < 155


def test_counts_of_a_thousand_million_cost_what_they_should() -> None:
    """At its mode a Poisson's mass is close to that of a Gaussian, 1 / sqrt(2 pi rate)."""
    rate = torch.tensor([[20.0]]).exp()
    log_prob = Poisson((1,))(raw(torch.tensor([[20.0]]))).log_prob(rate.round())
    assert log_prob.item() == pytest.approx(scipy.stats.poisson.logpmf(rate.round().item(), np.exp(20.0)), abs=1e-3)
    assert log_prob.item() == pytest.approx(-0.5 * np.log(2 * np.pi * np.exp(20.0)), abs=0.1)


@pytest.mark.parametrize("head", [Poisson, NegativeBinomial, ZeroInflatedPoisson, ZeroInflatedNegativeBinomial])
@pytest.mark.parametrize("size", [-20.0, 0.0, 20.0])
def test_any_count_under_any_parameters_is_finite(head: type[Likelihood], size: float) -> None:
    x = torch.tensor([[0.0], [1e5], [1e9]])
    parameters = torch.full((3, head((1,)).width), size, requires_grad=True)
    log_prob = head((1,))(parameters).log_prob(x)
    log_prob.sum().backward()
    assert bool(log_prob.isfinite().all())
    assert parameters.grad is not None
    assert bool(parameters.grad.isfinite().all())


def test_a_negative_binomial_varies_as_its_dispersion_says() -> None:
    torch.manual_seed(0)
    px = NegativeBinomial((1,))(torch.tensor([[raw(torch.tensor(2.0)).item(), 1.0]]).expand(40_000, -1))
    assert isinstance(px, CountDistribution)
    mean, size = np.exp(2.0), np.exp(1.0)
    x = px.sample()
    assert x.mean().item() == pytest.approx(mean, rel=0.03)
    assert x.var().item() == pytest.approx(mean + mean**2 / size, rel=0.05)


@pytest.mark.parametrize("head", [Poisson, NegativeBinomial, ZeroInflatedPoisson, ZeroInflatedNegativeBinomial])
def test_zeros_from_the_network_mean_what_is_usual_in_the_data(head: type[Likelihood]) -> None:
    x = torch.tensor([[90.0, 0.0], [110.0, 0.0], [7.0, 0.0]])
    likelihood = head((2,))
    likelihood.begin(x, torch.tensor([[True, True], [True, True], [False, True]]))
    mean = likelihood(torch.zeros(1, likelihood.width)).point_estimate() * (2 if likelihood.inflated else 1)
    assert mean[0].tolist() == pytest.approx([200.5 / 3, 0.5 / 4], rel=1e-5)


def test_no_number_from_the_network_makes_a_mean_explode() -> None:
    assert Poisson((1,))(torch.tensor([[30.0]])).point_estimate().item() < 50
