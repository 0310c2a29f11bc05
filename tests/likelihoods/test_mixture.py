"""Mixtures of logistics against scipy, and what they learn of the data before training."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from latelier.errors import BadInput
from latelier.likelihoods.mixture import CountMixture, LogisticMixtureReal, RealMixture


def test_a_mixture_agrees_with_scipy() -> None:
    torch.manual_seed(0)
    head = RealMixture((3,), components=4)
    px, x = head(torch.randn(20, head.width)), 2 * torch.randn(20, 3)
    assert isinstance(px, LogisticMixtureReal)
    parts = scipy.stats.logistic(px.location.double().numpy(), px.scale.double().numpy())
    share = px.log_share.double().exp().numpy()
    truth = np.log((share * parts.pdf(x.double().numpy()[:, None])).sum(1))
    torch.testing.assert_close(px.entry_log_prob(x).double(), torch.tensor(truth), rtol=1e-5, atol=1e-5)
    for level in (0.01, 0.5, 0.98):
        below = (share * parts.cdf(px.quantile(level).double().numpy()[:, None])).sum(1)
        np.testing.assert_allclose(below, level, atol=1e-5)


def test_counts_agree_with_the_cumulative_distribution() -> None:
    """P(x) is the difference of what lies below x + 1/2 and below x - 1/2, for counts of any size."""
    torch.manual_seed(0)
    head = CountMixture((2,))
    head.begin(torch.tensor([[3.0, 4e5], [9.0, 9e5], [1.0, 2e5]]).repeat(50, 1), None)
    px = head(torch.randn(30, head.width).double())
    x = torch.tensor([[0.0, 0.0], [1.0, 1e3], [7.0, 4e5]]).repeat(10, 1).double()
    below = torch.where(x > 0, px.share_up_to((x - 1).clamp_min(0)), 0.0)
    torch.testing.assert_close(px.entry_log_prob(x).exp(), px.share_up_to(x) - below, rtol=1e-6, atol=1e-12)


def two_peaks(rows: int) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.where(torch.rand(rows, 1) < 0.7, torch.randn(rows, 1) * 0.1 - 3, torch.randn(rows, 1) + 4)


def test_zeros_from_the_network_mean_the_shape_of_the_data() -> None:
    head = RealMixture((2,))
    x = torch.cat([two_peaks(4000), torch.randn(4000, 1)], 1)
    seen = torch.rand(4000, 2) < 0.8
    head.begin(torch.where(seen, x, 1e6), seen)
    held = torch.cat([two_peaks(2000), torch.randn(2000, 1)], 1)
    found = head(torch.zeros(2000, head.width)).entry_log_prob(held).mean(0)
    truth = -0.7 * np.log(0.7) - 0.3 * np.log(0.3) + 0.5 * np.log(2 * np.pi * np.e) + 0.7 * np.log(0.1)
    assert -found[0].item() == pytest.approx(truth, abs=0.05)
    assert -found[1].item() == pytest.approx(0.5 * np.log(2 * np.pi * np.e), abs=0.03)


def test_a_value_that_is_often_repeated_gets_its_share_among_counts() -> None:
    torch.manual_seed(2)
    hours = torch.where(torch.rand(4000, 1) < 0.5, torch.tensor(40.0), torch.poisson(torch.full((4000, 1), 35.0)))
    head = CountMixture((1,))
    head.begin(hours, None)
    share = head(torch.zeros(1, head.width)).log_prob(torch.tensor([[40.0]])).exp()
    assert share.item() == pytest.approx((hours == 40).float().mean().item(), abs=0.08)


def test_counts_of_a_thousand_million_are_finite() -> None:
    head = CountMixture((1,))
    head.begin(torch.tensor([[0.0], [1e9], [2e9], [5.0]]), None)
    h = torch.zeros(3, head.width, requires_grad=True)
    log_prob = head(h).log_prob(torch.tensor([[0.0], [1e9], [3e9]]))
    log_prob.sum().backward()
    assert h.grad is not None
    assert bool(log_prob.isfinite().all() & h.grad.isfinite().all())
    assert bool(head(torch.full((50, head.width), 30.0)).sample().isfinite().all())


@pytest.mark.parametrize("options, reason", [({"components": 1}, "at least 2"), ({"floor": 0.0}, "above 0")])
def test_impossible_mixtures_are_refused(options: dict[str, float], reason: str) -> None:
    for head in (RealMixture, CountMixture):
        with pytest.raises(BadInput, match=reason):
            head.make((2,), (), options)
