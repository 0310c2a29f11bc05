"""Bernoulli and continuous Bernoulli against torch and against limits that are known."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import ContinuousBernoulli as Reference

from latelier.likelihoods.binary import Bernoulli, ContinuousBernoulli


def test_bernoulli_agrees_with_torch() -> None:
    logits, x = torch.linspace(-8, 8, 33)[None], (torch.arange(33) % 2)[None].float()
    expected = torch.distributions.Bernoulli(logits=logits).log_prob(x)
    torch.testing.assert_close(Bernoulli((33,))(logits).entry_log_prob(x), expected)


def test_certain_logits_cost_nothing_when_right_and_themselves_when_wrong() -> None:
    px = Bernoulli((2,))(torch.tensor([[1e4, -1e4]]))
    assert px.entry_log_prob(torch.tensor([[1.0, 0.0]])).tolist() == [[0.0, 0.0]]
    assert px.entry_log_prob(torch.tensor([[0.0, 1.0]])).tolist() == [[-1e4, -1e4]]


def test_continuous_bernoulli_agrees_with_torch_in_double_precision() -> None:
    logits = torch.tensor([[-12.0, -3.0, -1.0, -0.0501, -0.0499, 0.0499, 0.0501, 1.0, 3.0, 12.0]], dtype=torch.float64)
    reference = Reference(logits=logits)
    px = ContinuousBernoulli((10,))(logits)
    for value in (0.0, 0.2, 0.5, 0.9, 1.0):
        x = torch.full_like(logits, value)
        torch.testing.assert_close(px.entry_log_prob(x), reference.log_prob(x), atol=1e-8, rtol=0)
    torch.testing.assert_close(px.point_estimate(), reference.mean, atol=1e-8, rtol=0)
    torch.testing.assert_close(
        px.quantile(0.3), reference.icdf(torch.tensor(0.3, dtype=torch.float64)), atol=1e-8, rtol=0
    )


@pytest.mark.parametrize("tiny", [0.0, 1e-30, 1e-12, 1e-6, 1e-4, -1e-6])
def test_near_one_half_the_continuous_bernoulli_is_uniform_with_the_right_slope(tiny: float) -> None:
    h = torch.tensor([[tiny]], requires_grad=True)
    px = ContinuousBernoulli((1,))(h)
    log_prob = px.log_prob(torch.tensor([[0.8]]))
    log_prob.backward()
    assert log_prob.item() == pytest.approx(tiny * 0.3, abs=1e-7)
    assert h.grad is not None
    assert h.grad.item() == pytest.approx(0.3, abs=1e-4)
    assert px.point_estimate().item() == pytest.approx(0.5, abs=1e-4)
    assert px.quantile(0.3).item() == pytest.approx(0.3, abs=1e-4)


def test_the_continuous_bernoulli_has_no_step_where_its_series_ends() -> None:
    h = torch.linspace(0.04, 0.06, 2001)[:, None]
    terms = ContinuousBernoulli((1,))(h).log_prob(torch.full_like(h, 0.3))
    assert terms.diff().abs().max() < 1e-5 * 0.21 + 2e-7


def test_huge_logits_keep_the_density_at_its_own_end() -> None:
    px = ContinuousBernoulli((2,))(torch.tensor([[1e4, -1e4]]))
    expected = torch.log(torch.tensor(1e4)).expand(1, 2)
    torch.testing.assert_close(px.entry_log_prob(torch.tensor([[1.0, 0.0]])), expected)
