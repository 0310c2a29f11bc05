"""Real values around a location. N = rows; location and scale are (N, *shape) or broadcast to it."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from scipy.special import stdtrit
from torch import Tensor, nn

from latelier.errors import BadInput, unknown
from latelier.likelihoods.base import Distribution, Likelihood, Ordered, seen_terms

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
LOG_2 = math.log(2)
RAW_ONE = math.log(math.e - 1)  # softplus of it is 1, the scale of standardised data
NEAR_FLOOR = 1.25  # times the floor, below which a scale is taken to be held up by it
DECAY = 0.99  # of the running average: it looks back about a hundred batches


class LocationScale(Ordered):
    """x = location + scale * noise, for a standard noise that the subclass names."""

    def __init__(self, location: Tensor, scale: Tensor):
        self.location, self.scale = location, scale

    @abstractmethod
    def standard_log_density(self, z: Tensor) -> Tensor:
        """(N, *shape) nats of the noise itself, a new tensor."""

    @abstractmethod
    def noise(self) -> Tensor:
        """(N, *shape)"""

    @abstractmethod
    def standard_quantile(self, level: float) -> Tensor:
        """Of the noise; broadcasts to (N, *shape)."""

    def entry_log_prob(self, x: Tensor) -> Tensor:
        return self.standard_log_density((x - self.location) / self.scale).sub_(self.scale.log())

    @torch.no_grad()
    def sample(self) -> Tensor:
        return self.location + self.scale * self.noise()

    def point_estimate(self) -> Tensor:
        return self.location

    def quantile(self, level: float) -> Tensor:
        return self.location + self.scale * self.standard_quantile(level)


class GaussianDistribution(LocationScale):
    """N(location, scale^2)."""

    def standard_log_density(self, z: Tensor) -> Tensor:
        return z.square().mul_(-0.5).sub_(HALF_LOG_2PI)

    def noise(self) -> Tensor:
        return torch.randn_like(self.location)

    def standard_quantile(self, level: float) -> Tensor:
        standard: Tensor = torch.special.ndtri(self.location.new_tensor(level))
        return standard


class LaplaceDistribution(LocationScale):
    """exp(-|x - location| / scale) / (2 scale)."""

    def standard_log_density(self, z: Tensor) -> Tensor:
        return z.abs().neg_().sub_(LOG_2)

    def noise(self) -> Tensor:
        one, other = torch.empty_like(self.location).exponential_(), torch.empty_like(self.location).exponential_()
        return one.sub_(other)

    def standard_quantile(self, level: float) -> Tensor:
        tail = math.log(2 * min(level, 1 - level))
        return self.location.new_tensor(tail if level < 0.5 else -tail)


class StudentTDistribution(LocationScale):
    """Student's t with ``freedom`` degrees of freedom, which broadcast to (N, *shape)."""

    def __init__(self, location: Tensor, scale: Tensor, freedom: Tensor):
        super().__init__(location, scale)
        self.freedom = freedom

    def standard_log_density(self, z: Tensor) -> Tensor:
        half = self.freedom / 2
        constant = torch.lgamma(half + 0.5) - torch.lgamma(half) - 0.5 * torch.log(math.pi * self.freedom)
        return constant - (half + 0.5) * torch.log1p(z.square() / self.freedom)

    def noise(self) -> Tensor:
        half = (self.freedom / 2).expand_as(self.location)
        return torch.randn_like(self.location) / torch.distributions.Gamma(half, half).sample().sqrt()

    def standard_quantile(self, level: float) -> Tensor:
        return self.location.new_tensor(stdtrit(self.freedom.detach().cpu().double().numpy(), level))


class OptimalDistribution(Ordered):
    """In training: the scale is the most likely one for the batch being scored, under its mask."""

    def __init__(self, head: LocationScaleHead, location: Tensor):
        self.head, self.location = head, location

    def log_prob(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        return self.head.family(self.location, self.head.batch_scale(x - self.location, seen)).log_prob(x, seen)

    def entry_log_prob(self, x: Tensor) -> Tensor:
        return self.head.family(self.location, self.head.batch_scale(x - self.location, None)).entry_log_prob(x)

    def sample(self) -> Tensor:
        return self.head.family(self.location, self.head.running_scale()).sample()

    def point_estimate(self) -> Tensor:
        return self.location

    def quantile(self, level: float) -> Tensor:
        return self.head.family(self.location, self.head.running_scale()).quantile(level)


class LocationScaleHead(Likelihood):
    """Where the scale comes from, for every family with one; ``floor`` keeps it, and so the density, bounded.

    ``predicted``: by the network, per value. ``shared``: learned, one per column or channel (shape[0]).
    ``optimal``: sigma-VAE (Rybkin, Daniilidis & Levine 2021, section 4.2): the maximum-likelihood scale of the batch
    in training, one per column of a vector and one in all for images; its running average in evaluation.
    A number: that scale. Units are those of x as the model sees it, which are standard deviations for tables.
    """

    support = "real"
    family: ClassVar[type[LocationScale]]
    power: ClassVar[int]  # the most likely scale is (mean |x - location|^power)^(1 / power)
    sources: ClassVar[tuple[str, ...]] = ("predicted", "shared", "optimal")
    deviation: Tensor
    weight: Tensor
    fixed: Tensor

    def __init__(self, shape: tuple[int, ...], scale: str | float = "predicted", floor: float = 1e-2):
        super().__init__(shape)
        name = type(self).__name__
        if floor <= 0:
            raise BadInput(f"floor of {name} is {floor}; give a number above 0, such as 0.01")
        if isinstance(scale, str) and scale not in self.sources:
            raise unknown(f"scale of {name}", scale, self.sources)
        if not isinstance(scale, str) and (isinstance(scale, bool) or not floor <= scale < math.inf):
            raise BadInput(
                f"scale {scale} of {name} is not a number of at least floor = {floor}; lower the floor or raise it"
            )
        self.source, self.floor = scale, floor
        self.per_value = 2 if scale == "predicted" else 1
        per_channel = (shape[0],) + (1,) * (len(shape) - 1)
        if scale == "shared":
            self.raw_scale = nn.Parameter(torch.zeros(per_channel))
        elif scale == "optimal":
            per_estimate = per_channel if len(shape) == 1 else (1,) * len(shape)
            self.register_buffer("deviation", torch.zeros(per_estimate))
            self.register_buffer("weight", torch.zeros(per_estimate))
        elif not isinstance(scale, str):
            self.register_buffer("fixed", torch.tensor(float(scale)), persistent=False)

    def forward(self, h: Tensor) -> Distribution:
        location, *raw = self.unpack(h)
        if self.source == "predicted":
            return self.spread(location, positive(raw[0], self.floor))
        if self.source == "shared":
            return self.spread(location, positive(self.raw_scale, self.floor))
        if self.source == "optimal":
            return OptimalDistribution(self, location) if self.training else self.spread(location, self.running_scale())
        return self.spread(location, self.fixed)

    def spread(self, location: Tensor, scale: Tensor) -> Distribution:
        return self.family(location, scale)

    def at_floor(self, px: Distribution) -> Tensor | None:
        if not isinstance(px, LocationScale) or self.source not in ("predicted", "shared", "optimal"):
            return None  # a scale that was asked for is nobody's limit
        return (px.scale < NEAR_FLOOR * self.floor).expand(px.location.shape)

    def linear(self, mean: Tensor, loadings: Tensor, noise: Tensor) -> tuple[Tensor, Tensor] | None:
        raw = (noise.sqrt() - self.floor).clamp_min(1e-3).expm1().log() - RAW_ONE  # ``positive`` of it is the deviation
        if self.source == "shared":
            self.raw_scale.copy_(raw)
        if self.source != "predicted":
            return mean, loadings
        return torch.cat([mean, raw]), torch.cat([loadings, torch.zeros_like(loadings)])

    def batch_scale(self, residual: Tensor, seen: Tensor | None) -> Tensor:
        """(D,) or (1, 1, 1): the most likely for the seen residuals (N, *shape); the running average learns of it."""
        size = residual.abs().pow(self.power)
        among = [0] if len(self.shape) == 1 else list(range(size.ndim))
        counted = torch.ones_like(size) if seen is None else seen.expand_as(size).to(size.dtype)
        count = counted.sum(among).view_as(self.weight)
        size = size if seen is None else seen_terms(size, seen)
        mean = size.sum(among).view_as(self.deviation) / count.clamp_min(1)
        with torch.no_grad():  # in place and without branches, so that a captured graph replays it
            keep = torch.where(count > 0, DECAY, 1.0)
            self.deviation.mul_(keep).add_((1 - keep) * mean)
            self.weight.mul_(keep).add_(1 - keep)
        return mean.clamp_min(self.floor**self.power).pow(1 / self.power)

    def running_scale(self) -> Tensor:
        """(D,) or (1, 1, 1): from the running average, 1 before any batch was scored."""
        mean = torch.where(self.weight > 0, self.deviation / self.weight.clamp_min(1e-12), 1.0)
        return mean.clamp_min(self.floor**self.power).pow(1 / self.power)


class Gaussian(LocationScaleHead):
    """N(location, scale^2); see LocationScaleHead for ``scale`` and ``floor``.

    >>> Gaussian((2,), scale=1.0)(torch.zeros(1, 2)).log_prob(torch.zeros(1, 2))
    tensor([-1.8379])
    """

    family = GaussianDistribution
    power = 2


class Laplace(LocationScaleHead):
    """Laplace, for values with sharper peaks and heavier tails than a Gaussian's; ``scale`` as there.

    >>> Laplace((2,), scale=0.5)(torch.zeros(1, 2)).log_prob(torch.tensor([[0.0, 1.0]]))
    tensor([-2.])
    """

    family = LaplaceDistribution
    power = 1


class StudentT(LocationScaleHead):
    """Student's t with learned degrees of freedom per column or channel: outliers cost little.

    They stay above 2, so that mean and variance exist, and start at 5. There is no optimal scale in closed form.

    >>> StudentT((2,)).freedom()
    tensor([5., 5.], grad_fn=<AddBackward0>)
    """

    sources = ("predicted", "shared")

    def __init__(self, shape: tuple[int, ...], scale: str | float = "predicted", floor: float = 1e-2):
        super().__init__(shape, scale, floor)
        per_channel = (shape[0],) + (1,) * (len(shape) - 1)
        self.raw_freedom = nn.Parameter(torch.full(per_channel, math.log(math.expm1(2.9))))

    def freedom(self) -> Tensor:
        """(shape[0], 1, ...)"""
        return F.softplus(self.raw_freedom) + 2.1

    def spread(self, location: Tensor, scale: Tensor) -> Distribution:
        return StudentTDistribution(location, scale, self.freedom())


def positive(raw: Tensor, floor: float) -> Tensor:
    """A scale above ``floor``: 1 + floor at raw = 0, linear above and exponential below."""
    return F.softplus(raw + RAW_ONE) + floor
