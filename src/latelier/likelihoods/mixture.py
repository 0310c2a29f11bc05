"""Mixtures of logistics for numbers of any shape: several peaks, skew, spikes. N = rows, K = components."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from latelier.errors import BadInput
from latelier.likelihoods.base import Distribution, Likelihood, Ordered
from latelier.likelihoods.count import LOG_MEAN_LIMIT, CountDistribution
from latelier.likelihoods.logistic import log_mass, standard_gumbel, standard_logistic
from latelier.likelihoods.real import NEAR_FLOOR, RAW_ONE

DEVIATION = math.pi / math.sqrt(3)  # of a logistic of scale 1
ROUNDS = 25  # of expectation and maximisation, from quantiles, when told of the data
VALUES = 1 << 21  # values of the data that those rounds look at, at most 4096 rows of them
WIDEST = 0.45  # of a component of counts: beyond 0.5, sinh of a logistic has no variance, and beyond 1 no mean
POINTS = 64  # equally likely values of a component whose mean is that of counts


class LogisticMixtureReal(Ordered):
    """sum_k share_k logistic(x; location_k, scale_k); log_share, location, scale (N, K, *shape)."""

    def __init__(self, log_share: Tensor, location: Tensor, scale: Tensor):
        self.log_share, self.location, self.scale = log_share, location, scale

    def entry_log_prob(self, x: Tensor) -> Tensor:
        z = ((x[:, None] - self.location) / self.scale).abs()
        return torch.logsumexp(self.log_share - z - 2 * F.softplus(-z) - self.scale.log(), 1)

    @torch.no_grad()
    def sample(self) -> Tensor:
        chosen = (self.log_share + standard_gumbel(self.log_share)).argmax(1, keepdim=True)
        location, scale = (part.gather(1, chosen)[:, 0] for part in (self.location, self.scale))
        return location + scale * standard_logistic(location)

    def point_estimate(self) -> Tensor:
        return (self.log_share.exp() * self.location).sum(1)

    def quantile(self, level: float) -> Tensor:
        """By bisection: it lies between the quantiles of the components."""
        ends = self.location + self.scale * math.log(level / (1 - level))
        low, high = ends.amin(1), ends.amax(1)
        for _ in range(60):
            middle = (low + high) / 2
            share = (self.log_share.exp() * torch.sigmoid((middle[:, None] - self.location) / self.scale)).sum(1)
            low, high = torch.where(share < level, middle, low), torch.where(share < level, high, middle)
        return high


class LogisticMixtureCount(CountDistribution):
    """P(x) = sum_k share_k P(t(x - 1/2) < L_k < t(x + 1/2)) for t(x) = arcsinh(x / unit); 0 has all that lies below too.

    Exact probabilities, so a value that is often repeated can have nearly all of the mass and never more. Parameters
    (N, K, *shape), unit (*shape).
    """

    def __init__(self, log_share: Tensor, location: Tensor, scale: Tensor, unit: Tensor):
        self.log_share, self.location, self.scale, self.unit = log_share, location, scale, unit

    def entry_log_prob(self, x: Tensor) -> Tensor:
        unit, wide = self.unit.double(), x.double()
        below, above = torch.asinh((wide - 0.5) / unit), torch.asinh((wide + 0.5) / unit)
        scale, location = self.scale.double(), self.location.double()
        length = (above - below)[:, None] / scale
        never = torch.zeros((), dtype=torch.bool, device=x.device)
        terms = log_mass((below[:, None] - location) / scale, length, (x == 0)[:, None], never)
        return torch.logsumexp(self.log_share.double() + terms, 1).to(self.location.dtype)

    @torch.no_grad()
    def sample(self) -> Tensor:
        chosen = (self.log_share + standard_gumbel(self.log_share)).argmax(1, keepdim=True)
        location, scale = (part.gather(1, chosen)[:, 0] for part in (self.location, self.scale))
        return self.whole(location + scale * standard_logistic(location))

    def whole(self, t: Tensor) -> Tensor:
        """The count whose interval holds t."""
        highest = torch.asinh(math.exp(LOG_MEAN_LIMIT) / self.unit)
        return (self.unit * torch.sinh(torch.minimum(t, highest)) + 0.5).floor().clamp_min(0)

    @torch.no_grad()
    def point_estimate(self) -> Tensor:
        levels = (torch.arange(POINTS, device=self.location.device) + 0.5) / POINTS
        mean = torch.zeros_like(self.location)
        for noise in torch.logit(levels).tolist():
            mean += self.whole(self.location + self.scale * noise) / POINTS
        return (self.log_share.exp() * mean).sum(1)

    def share_up_to(self, x: Tensor) -> Tensor:
        above = torch.asinh((x.double() + 0.5) / self.unit.double())[:, None]
        return (self.log_share.double().exp() * torch.sigmoid((above - self.location) / self.scale)).sum(1)


class Components(Likelihood):
    """A head that moves, stretches and weighs K components which, with zeros from the network, lie as the data do.

    The places are found once, when ``begin`` is told of some rows, by a few rounds of expectation and maximisation from
    quantiles: so a narrow component can stand where a value is often repeated and stay there, and wide ones move far.
    """

    centre: Tensor  # (K, *shape)
    spread: Tensor
    log_weight: Tensor

    def __init__(self, shape: tuple[int, ...], components: int, floor: float):
        super().__init__(shape)
        name = type(self).__name__
        if components < 2:
            raise BadInput(f"components of {name} is {components}; give at least 2")
        if floor <= 0:
            raise BadInput(f"floor of {name} is {floor}; give a number above 0, such as 0.01")
        self.components, self.floor, self.per_value = components, floor, 3 * components
        places = torch.linspace(-1.5, 1.5, components).view(-1, *[1] * len(shape)).repeat(1, *shape)
        self.register_buffer("centre", places)
        self.register_buffer("spread", torch.full_like(places, 1.5 / components))
        self.register_buffer("log_weight", torch.full_like(places, -math.log(components)))

    @abstractmethod
    def straight(self, x: Tensor) -> Tensor:
        """(N, *shape) values -> where components are logistics."""

    def begin(self, x: Tensor, seen: Tensor | None) -> None:
        rows = x[: max(512, min(4096, VALUES // math.prod(self.shape)))]
        there = torch.ones_like(rows, dtype=torch.bool) if seen is None else seen[: len(rows)].expand_as(rows)
        values = self.straight(rows).flatten(1).float()
        found = [
            placed(part, mask, self.components, self.floor)
            for part, mask in zip(torch.split(values, 256, 1), torch.split(there.flatten(1), 256, 1), strict=True)
        ]
        for buffer, parts in zip((self.centre, self.spread, self.log_weight), zip(*found, strict=True), strict=True):
            buffer.copy_(torch.cat(parts, 1).view_as(buffer))

    def at_floor(self, px: Distribution) -> Tensor | None:
        """Where the likeliest component is: narrow ones beside it may stand for values that are often repeated."""
        if not isinstance(px, LogisticMixtureReal):
            return None
        likeliest = px.log_share.argmax(1, keepdim=True)
        return px.scale.gather(1, likeliest)[:, 0] < NEAR_FLOOR * self.floor

    def mixed(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, width, *space) -> log shares, locations and scales, each (N, K, *shape)."""
        parts = self.unpack(h).reshape(3, self.components, len(h), *self.shape).movedim(2, 1)
        log_share = (parts[0] + self.log_weight).log_softmax(1)
        scale = self.spread * F.softplus(parts[2] + RAW_ONE) + self.floor
        return log_share, self.centre + self.spread * DEVIATION * parts[1], scale


class RealMixture(Components):
    """A mixture of ``components`` logistics per value; ``floor`` keeps the scales, and so the density, bounded.

    >>> px = RealMixture((1,), components=2)(torch.zeros(1, 6))
    >>> px.quantile(0.5), px.point_estimate()
    (tensor([[0.]]), tensor([[0.]]))
    """

    support = "real"

    def __init__(self, shape: tuple[int, ...], components: int = 5, floor: float = 1e-2):
        super().__init__(shape, components, floor)

    def straight(self, x: Tensor) -> Tensor:
        return x

    def forward(self, h: Tensor) -> Distribution:
        return LogisticMixtureReal(*self.mixed(h))


class CountMixture(Components):
    """Counts of any shape: a mixture of ``components`` logistics of arcsinh(x / unit), cut at the whole numbers and a half.

    For counts with several peaks or with a value that is often repeated, which no negative binomial has. ``unit`` is the
    median of the data, so that small counts are spread evenly and large ones by their logarithm.

    >>> CountMixture((1,))(torch.zeros(300, 15)).log_prob(torch.arange(300.0)[:, None]).exp().sum()
    tensor(1.0000)
    """

    support = "count"
    unit: Tensor

    def __init__(self, shape: tuple[int, ...], components: int = 5, floor: float = 1e-3):
        super().__init__(shape, components, floor)
        self.register_buffer("unit", torch.ones(shape))

    def straight(self, x: Tensor) -> Tensor:
        return torch.asinh(x / self.unit)

    def begin(self, x: Tensor, seen: Tensor | None) -> None:
        there = torch.ones_like(x, dtype=torch.bool) if seen is None else seen.expand_as(x)
        self.unit.copy_(at_level(x.flatten(1), there.flatten(1), 0.5).view_as(self.unit).clamp_min(1.0))
        super().begin(x, seen)

    def forward(self, h: Tensor) -> Distribution:
        log_share, location, scale = self.mixed(h)
        location = location.clamp(-4.0, LOG_MEAN_LIMIT + 1)
        # x / (1 + x / widest): at most the widest, and the same for small ones
        return LogisticMixtureCount(log_share, location, scale / (1 + scale / WIDEST), self.unit)


def placed(x: Tensor, seen: Tensor, components: int, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Centres, scales and log-weights, each (K, D), of logistics that lie as the values (n, D) do.

    Expectation and maximisation of Gaussians, all columns at once, and logistics of the same deviations.
    """
    weight = seen.to(x.dtype)
    rows = weight.sum(0).clamp_min(1)
    mean = (x * weight).sum(0) / rows
    x = torch.where(seen, x, mean)
    deviation = (((x - mean).square() * weight).sum(0) / rows).sqrt().clamp_min(floor)
    levels = [(k + 0.5) / components for k in range(components)]
    centre = torch.stack([at_level(x, seen, level) for level in levels])
    centre = centre + 0.01 * deviation * torch.linspace(-1, 1, components)[:, None].to(x)  # ties part
    spread = (deviation / components).expand_as(centre)
    share = torch.full_like(centre, 1 / components)
    for _ in range(ROUNDS):
        z = (x[:, None] - centre) / spread
        owner = (share.log() - spread.log() - 0.5 * z.square()).softmax(1) * weight[:, None]  # (n, K, D)
        # A row that all components share belongs to each: none dies for want of rows.
        total = owner.sum(0) + 1.0
        centre = ((owner * x[:, None]).sum(0) + centre) / total
        variance = ((owner * (x[:, None] - centre).square()).sum(0) + spread.square()) / total
        spread = variance.sqrt().clamp_min(floor)
        share = total / total.sum(0)
    return centre, spread / DEVIATION, share.log()


def at_level(x: Tensor, seen: Tensor, level: float) -> Tensor:
    """(D,): that quantile of the seen values (n, D) of every column, 0 where none is seen."""
    ordered = torch.where(seen, x, torch.inf).sort(0).values
    count = seen.sum(0)
    found = ordered.gather(0, (count * level).long().clamp_max(len(x) - 1)[None])[0]
    return torch.where(count > 0, found, 0.0)
