"""Gaussian, Laplace and Student-t against scipy, and the four places a scale can come from."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch

from latelier.errors import BadInput
from latelier.likelihoods.real import Gaussian, Laplace, LocationScaleHead, StudentT, positive


def columns(rows: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """(location, x), (rows, 3), with another spread in each column."""
    torch.manual_seed(0)
    location = torch.randn(rows, 3)
    return location, location + torch.randn(rows, 3) * torch.tensor([0.1, 1.0, 20.0])


@pytest.mark.parametrize("head, reference", [(Gaussian, scipy.stats.norm), (Laplace, scipy.stats.laplace)])
def test_predicted_scales_agree_with_scipy(head: type[LocationScaleHead], reference: scipy.stats.rv_continuous) -> None:
    location, x = columns()
    raw = torch.randn(64, 3)
    px = head((3,), floor=0.05)(torch.cat([location, raw], 1))
    truth = reference(location.double().numpy(), positive(raw, 0.05).double().numpy())
    torch.testing.assert_close(
        px.entry_log_prob(x).double(), torch.tensor(truth.logpdf(x.numpy())), atol=1e-3, rtol=1e-5
    )
    torch.testing.assert_close(px.quantile(0.1).double(), torch.tensor(truth.ppf(0.1)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(px.quantile(0.8).double(), torch.tensor(truth.ppf(0.8)), atol=1e-5, rtol=1e-5)


def test_student_t_agrees_with_scipy() -> None:
    location, x = columns()
    head = StudentT((3,))
    with torch.no_grad():
        head.raw_freedom.copy_(torch.tensor([-8.0, 1.0, 60.0]))
    freedom = head.freedom().detach().double().numpy()
    px = head(torch.cat([location, torch.zeros(64, 3)], 1))
    truth = scipy.stats.t(freedom, location.double().numpy(), 1.01)
    torch.testing.assert_close(
        px.entry_log_prob(x).double(), torch.tensor(truth.logpdf(x.numpy())), atol=2e-4, rtol=1e-5
    )
    torch.testing.assert_close(px.quantile(0.9).double(), torch.tensor(truth.ppf(0.9)), atol=1e-4, rtol=1e-5)


def test_student_t_always_has_a_variance() -> None:
    head = StudentT((2,))
    with torch.no_grad():
        head.raw_freedom.fill_(-1e4)
    assert bool((head.freedom() > 2).all())


def test_the_optimal_scale_is_the_most_likely_one_of_the_batch() -> None:
    location, x = columns()
    log_prob = Gaussian((3,), scale="optimal")(location).entry_log_prob(x).sum(0)
    best = (x - location).square().mean(0).sqrt()
    expected = -64 * (best.log() + 0.5 * math.log(2 * math.pi) + 0.5)
    torch.testing.assert_close(log_prob, expected, rtol=1e-5, atol=1e-2)
    for factor in (0.9, 1.1):
        assert bool((scipy_total(location, x, best * factor) < log_prob).all())


def scipy_total(location: torch.Tensor, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return torch.tensor(scipy.stats.norm.logpdf(x.numpy(), location.numpy(), scale.numpy())).sum(0)


def test_the_optimal_laplace_scale_is_the_mean_distance() -> None:
    location, x = columns()
    log_prob = Laplace((3,), scale="optimal")(location).entry_log_prob(x).sum(0)
    torch.testing.assert_close(log_prob, -64 * (1 + (2 * (x - location).abs().mean(0)).log()), rtol=1e-4, atol=1e-2)


def test_images_have_one_optimal_scale_in_all() -> None:
    torch.manual_seed(0)
    x = torch.randn(10, 3, 4, 4) * torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    head = Gaussian((3, 4, 4), scale="optimal")
    log_prob = head(torch.zeros_like(x)).log_prob(x).sum()
    scale = x.square().mean().sqrt()
    torch.testing.assert_close(
        log_prob, torch.tensor(scipy.stats.norm.logpdf(x.numpy(), 0, scale.item()).sum()).float()
    )


def test_the_optimal_scale_does_not_look_under_the_mask() -> None:
    location, x = columns()
    seen = torch.arange(64)[:, None] < torch.tensor([10, 64, 0])
    head = Gaussian((3,), scale="optimal")
    log_prob = head(location).log_prob(torch.where(seen, x, 1e6), seen).sum()
    expected = sum(
        -n * (x - location)[:n, d].square().mean().sqrt().log() - n * 1.4189385 for n, d in ((10, 0), (64, 1))
    )
    torch.testing.assert_close(log_prob, torch.as_tensor(expected), rtol=1e-4, atol=1e-3)
    assert head.running_scale()[2] == 1  # nothing was learned about a column that nobody saw


def test_evaluation_uses_the_running_average_of_the_optimal_scale() -> None:
    location, x = columns()
    head = Gaussian((3,), scale="optimal")
    for _ in range(3):
        head(location).log_prob(x)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    best = (x - location).square().mean(0).sqrt()
    torch.testing.assert_close(head.running_scale(), best)
    torch.testing.assert_close(head.eval()(location).entry_log_prob(x).sum(0), scipy_total(location, x, best).float())
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())


@pytest.mark.parametrize("head", [Gaussian, Laplace])
@pytest.mark.parametrize("scale", ["predicted", "shared", "optimal"])
def test_the_floor_bounds_the_density(head: type[LocationScaleHead], scale: str) -> None:
    one = head((3,), scale=scale, floor=0.1)
    if scale == "shared":
        with torch.no_grad():
            one.raw_scale.fill_(-1e3)
    h = torch.cat([torch.zeros(8, 3), torch.full((8, 3), -1e3)], 1)[:, : one.width]
    highest = math.log(1 / 0.2) if head is Laplace else -math.log(0.1 * math.sqrt(2 * math.pi))
    terms = one(h).entry_log_prob(torch.zeros(8, 3))
    torch.testing.assert_close(terms, torch.full_like(terms, highest))


def test_a_fixed_scale_is_the_one_that_was_given() -> None:
    location, x = columns()
    px = Gaussian((3,), scale=0.5)(location)
    torch.testing.assert_close(px.entry_log_prob(x).sum(0), scipy_total(location, x, torch.tensor(0.5)).float())


def test_a_shared_scale_is_learned_per_channel() -> None:
    torch.manual_seed(0)
    spread = torch.tensor([0.2, 1.0, 3.0]).view(3, 1, 1)
    head = Gaussian((3, 4, 4), scale="shared")
    x, optimiser = torch.randn(200, 3, 4, 4) * spread, torch.optim.Adam(head.parameters(), 0.1)
    for _ in range(150):
        optimiser.zero_grad()
        (-head(torch.zeros_like(x)).log_prob(x).mean()).backward()
        optimiser.step()
    torch.testing.assert_close(positive(head.raw_scale.detach(), 0.01), spread, rtol=0.05, atol=0)


@pytest.mark.parametrize(
    "scale, floor, words",
    [
        ("optimum", 0.01, "did you mean 'optimal'"),
        (0.001, 0.01, "at least floor"),
        (math.nan, 0.01, "nan"),
        (1.0, 0.0, "floor"),
    ],
)
def test_impossible_scales_are_refused(scale: str | float, floor: float, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Gaussian((2,), scale=scale, floor=floor)


def test_student_t_refuses_an_optimal_scale() -> None:
    with pytest.raises(BadInput, match="predicted, shared"):
        StudentT((2,), scale="optimal")
