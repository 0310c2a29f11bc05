"""Exact probabilities of 8-bit levels: sums to 1 in every tail, channel coupling, the mean and the grid."""

from __future__ import annotations

import pytest
import scipy.stats
import torch

from latelier.errors import BadInput
from latelier.likelihoods.pixels import (
    START,
    DiscretisedLogistic,
    DiscretisedLogisticDistribution,
    LogisticMixture,
    level_mean,
)

LEVELS = torch.arange(256.0) / 127.5 - 1


@pytest.mark.parametrize("location", [-3.0, -1.0, 0.2, 0.99, 5.0])
@pytest.mark.parametrize("log_scale", [-7.0, -4.0, -1.0, 3.0])
def test_the_256_levels_sum_to_one_wherever_the_logistic_lies(location: float, log_scale: float) -> None:
    px = DiscretisedLogisticDistribution(torch.full((256, 1), location), torch.full((256, 1), log_scale))
    assert px.log_prob(LEVELS[:, None]).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_a_level_has_the_mass_of_its_bin() -> None:
    location, scale = 0.1, 0.05
    px = DiscretisedLogistic((1,))(torch.tensor([[location, torch.tensor(scale).log().item() - START]]).repeat(256, 1))
    edges = (LEVELS[:-1] + LEVELS[1:]).double() / 2
    below = torch.tensor(scipy.stats.logistic.cdf(edges.numpy(), location, scale))
    mass = torch.diff(below, prepend=torch.zeros(1), append=torch.ones(1))
    torch.testing.assert_close(px.log_prob(LEVELS[:, None]).exp().double(), mass, atol=1e-6, rtol=1e-3)


def test_levels_far_in_the_tail_keep_an_exact_logarithm() -> None:
    """Where cdf differences are 0 in any precision: log p = -distance / scale + log(2 sinh(bin / 2 scale))."""
    px = DiscretisedLogisticDistribution(torch.full((1, 1), 0.9), torch.full((1, 1), -6.0))
    scale = torch.tensor(-6.0).exp()
    expected = -(0.9 - LEVELS[20]) / scale + torch.log(2 * torch.sinh(1 / 255 / scale))
    torch.testing.assert_close(px.log_prob(LEVELS[20].view(1, 1)), expected.view(1), rtol=1e-5, atol=0)


@pytest.mark.parametrize("log_scale", [-6.0, -2.0, 1.0])
def test_the_mean_is_that_of_the_levels(log_scale: float) -> None:
    location = torch.linspace(-1.5, 1.5, 13)[None]
    spread = torch.full_like(location, log_scale)
    px = DiscretisedLogisticDistribution(location.expand(256, -1), spread.expand(256, -1))
    p = px.entry_log_prob(LEVELS[:, None].expand(-1, 13)).exp()
    expected = (p * LEVELS[:, None]).sum(0, keepdim=True)
    torch.testing.assert_close(level_mean(location, spread), expected, atol=2e-3, rtol=0)


def coupled(rows: int, size: float = 1.0) -> tuple[LogisticMixture, torch.Tensor]:
    """A head for one pixel of three channels, with the same lively parameters in every row."""
    torch.manual_seed(2)
    head = LogisticMixture((3, 1, 1), components=4)
    return head, size * torch.randn(1, head.width, 1, 1).repeat(rows, 1, 1, 1)


def test_in_a_mixture_each_channel_given_those_before_sums_to_one() -> None:
    """The sum over the last channel must not depend on how coarse a grid the others are summed over: the chain rule."""
    head, h = coupled(256)
    red_green = torch.tensor([[0, 0], [13, 200], [255, 255], [90, 91]]) / 127.5 - 1

    def log_prob(red: torch.Tensor, green: torch.Tensor, blue: torch.Tensor) -> torch.Tensor:
        x = torch.stack([red.expand(256), green.expand(256), blue], 1).view(256, 3, 1, 1)
        return head(h).log_prob(x)

    def two_channels(red: torch.Tensor, green: torch.Tensor) -> torch.Tensor:
        """P(red, green), from a head that never heard of blue."""
        k, numbers = head.components, head.unpack(h[:1])
        pair = LogisticMixture((2, 1, 1), components=k)
        own = torch.cat([numbers[:, :, 0:3], numbers[:, :, 4:6], numbers[:, :, 7:8]], 2)
        return pair(own.reshape(1, -1, 1, 1)).log_prob(torch.stack([red, green]).view(1, 2, 1, 1))[0]

    for red, green in red_green:
        total = log_prob(red, green, LEVELS).logsumexp(0)
        torch.testing.assert_close(total, two_channels(red, green), atol=1e-4, rtol=1e-4)


def test_a_coupled_pair_sums_to_one_over_all_65536_values() -> None:
    torch.manual_seed(4)
    head = LogisticMixture((2, 1, 1), components=3)
    h = torch.randn(1, head.width, 1, 1).expand(65536, -1, 1, 1)
    x = torch.cartesian_prod(LEVELS, LEVELS).view(-1, 2, 1, 1)
    assert head(h).log_prob(x).exp().sum().item() == pytest.approx(1, abs=1e-4)


def test_samples_of_coupled_channels_move_together() -> None:
    head = LogisticMixture((3, 1, 1), components=1)
    h = torch.zeros(1, head.width, 1, 1)
    h[:, 7], h[:, 8], h[:, 9] = 9, 0, -9  # green follows red, blue runs against green
    torch.manual_seed(0)
    x = head(h.expand(4000, -1, 1, 1)).sample().view(-1, 3)
    red_green, green_blue = torch.corrcoef(x.T)[0, 1], torch.corrcoef(x.T)[1, 2]
    assert red_green > 0.6
    assert green_blue < -0.6


def test_the_mean_of_coupled_channels_is_within_two_levels_where_scales_are_small() -> None:
    head, h = coupled(20_000)
    for channel in range(3):
        head.unpack(h)[:, :, 4 + channel] -= 3
    x = head(h).sample()
    torch.testing.assert_close(x.mean(0), head(h).point_estimate()[0], atol=2.5 / 127.5, rtol=0)


def test_a_mixture_of_one_component_and_one_channel_is_the_plain_logistic() -> None:
    torch.manual_seed(0)
    h, x = torch.randn(7, 2, 4, 5), LEVELS[torch.randint(256, (7, 1, 4, 5))]
    mixture = LogisticMixture((1, 4, 5), components=1)
    h3 = torch.cat([torch.randn(7, 1, 4, 5), h], 1)
    torch.testing.assert_close(mixture(h3).entry_log_prob(x), DiscretisedLogistic((1, 4, 5))(h).entry_log_prob(x))


def test_a_vector_is_a_row_of_pixels_with_one_channel() -> None:
    head = LogisticMixture((6,), components=2)
    assert head.width == 2 * 3 * 6
    assert head(torch.zeros(4, 36)).entry_log_prob(torch.zeros(4, 6)).shape == (4, 6)


def test_a_mask_of_channels_counts_a_coupled_pixel_once_and_only_if_whole() -> None:
    torch.manual_seed(0)
    head = LogisticMixture((3, 2, 2), components=2)
    px = head(torch.randn(5, head.width, 2, 2))
    x = px.sample()
    seen = torch.rand(5, 3, 2, 2) < 0.8
    torch.testing.assert_close(px.log_prob(x, seen), px.log_prob(x, seen.all(1, keepdim=True)))


def test_impossible_options_are_refused() -> None:
    with pytest.raises(BadInput, match="at least 1"):
        LogisticMixture((3, 2, 2), components=0)
    with pytest.raises(BadInput, match="did you mean 'shared'"):
        DiscretisedLogistic((3,), scale="share")
