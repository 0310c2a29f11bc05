"""Whole numbers 0, 1, 2, ... held as floats. N = rows; all parameters are (N, *shape)."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from scipy.special import betainc
from torch import Tensor

from latelier.likelihoods.base import Likelihood, Ordered

LOG_MEAN_LIMIT = 22.0  # means up to 3.6e9: CUDA draws Poisson numbers as 32-bit integers
LOG_SIZE_LIMIT = 12.0  # inverse dispersions from 6e-6 to 1.6e5, where a negative binomial is a Poisson for most data


class CountDistribution(Ordered):
    """Counts. Log-probabilities are computed in float64: the gamma function of a million leaves float32 no decimals."""

    @abstractmethod
    def share_up_to(self, x: Tensor) -> Tensor:
        """P(X <= x), float64, for x >= 0 of shape (N, *shape)."""

    def quantile(self, level: float) -> Tensor:
        mean = self.point_estimate()
        high = mean.double().ceil().clamp_min(1)
        while bool((short := self.share_up_to(high) < level).any()):
            high = torch.where(short, 2 * high, high)
        low = torch.full_like(high, -1)  # P(X <= low) < level <= P(X <= high)
        while bool((high - low > 1).any()):
            middle = ((low + high) / 2).floor()
            enough = self.share_up_to(middle.clamp_min(0)) >= level
            low, high = torch.where(enough, low, middle), torch.where(enough & (middle >= 0), middle, high)
        return high.to(mean.dtype)


class PoissonDistribution(CountDistribution):
    """p(x) = rate^x exp(-rate) / x!"""

    def __init__(self, log_rate: Tensor):
        self.log_rate = log_rate

    def entry_log_prob(self, x: Tensor) -> Tensor:
        log_rate, wide = self.log_rate.double(), x.double()
        return (wide * log_rate - log_rate.exp() - torch.lgamma(wide + 1)).to(self.log_rate.dtype)

    @torch.no_grad()
    def sample(self) -> Tensor:
        return torch.poisson(self.log_rate.exp())

    def point_estimate(self) -> Tensor:
        return self.log_rate.exp()

    def share_up_to(self, x: Tensor) -> Tensor:
        share: Tensor = torch.special.gammaincc(x + 1, self.log_rate.double().exp())
        return share


class NegativeBinomialDistribution(CountDistribution):
    """A Poisson whose rate is Gamma distributed: mean m, variance m + m^2 / r with r = exp(log_size)."""

    def __init__(self, log_mean: Tensor, log_size: Tensor):
        self.log_mean, self.log_size = log_mean, log_size

    def entry_log_prob(self, x: Tensor) -> Tensor:
        log_size, wide = self.log_size.double(), x.double()
        size, odds = log_size.exp(), self.log_mean.double() - log_size
        ways = torch.lgamma(wide + size) - torch.lgamma(size) - torch.lgamma(wide + 1)
        # r log(r / (r + m)) + x log(m / (r + m))
        terms = ways + wide * odds - (wide + size) * F.softplus(odds, threshold=50)
        return terms.to(self.log_mean.dtype)

    @torch.no_grad()
    def sample(self) -> Tensor:
        size = self.log_size.exp()
        rate = torch.distributions.Gamma(size, torch.exp(self.log_size - self.log_mean).clamp_min(1e-30)).sample()
        return torch.poisson(rate.clamp_max(math.exp(LOG_MEAN_LIMIT)))

    def point_estimate(self) -> Tensor:
        return self.log_mean.exp()

    def share_up_to(self, x: Tensor) -> Tensor:
        size, odds = (
            self.log_size.detach().double().exp(),
            self.log_size.detach().double() - self.log_mean.detach().double(),
        )
        return x.new_tensor(betainc(size.cpu().numpy(), x.cpu().numpy() + 1, odds.sigmoid().cpu().numpy()))


class ZeroInflated(CountDistribution):
    """0 with probability sigmoid(gate), else a draw from ``counts``, which may be 0 too."""

    def __init__(self, counts: CountDistribution, gate: Tensor):
        self.counts, self.gate = counts, gate

    def entry_log_prob(self, x: Tensor) -> Tensor:
        drawn = F.logsigmoid(-self.gate) + self.counts.entry_log_prob(x)
        return torch.where(x == 0, torch.logaddexp(F.logsigmoid(self.gate), drawn), drawn)

    @torch.no_grad()
    def sample(self) -> Tensor:
        return self.counts.sample() * torch.bernoulli(torch.sigmoid(-self.gate))

    def point_estimate(self) -> Tensor:
        return torch.sigmoid(-self.gate) * self.counts.point_estimate()

    def share_up_to(self, x: Tensor) -> Tensor:
        empty = self.gate.double().sigmoid()
        return empty + (1 - empty) * self.counts.share_up_to(x)


class CountHead(Likelihood):
    """A head for counts, whose last number per value opens the gate of zeros where it is ``inflated``.

    The first number h sets the mean: ``usual`` * softplus(h) / log 2, where ``usual`` (*shape) is the mean of the data that
    ``begin`` was told of, and 1 before. Unlike exp(h) it grows slowly, so that no single row is given a mean beyond reason.
    """

    support = "count"
    inflated: ClassVar[bool] = False
    log_usual: Tensor

    def __init__(self, shape: tuple[int, ...]):
        super().__init__(shape)
        self.register_buffer("log_usual", torch.zeros(shape))

    def begin(self, x: Tensor, seen: Tensor | None) -> None:
        weight = torch.ones_like(x) if seen is None else seen.to(x.dtype).expand_as(x)
        mean = ((x * weight).sum(0) + 0.5) / (weight.sum(0) + 1)  # half a count in one more row: never 0
        self.log_usual.copy_(mean.log())

    def log_mean(self, h: Tensor) -> Tensor:
        """(N, *shape) -> (N, *shape), for means from next to nothing to ``LOG_MEAN_LIMIT``."""
        grown = F.softplus(h.clamp(min=-80.0)).log() - math.log(math.log(2))
        return (grown + self.log_usual).clamp(max=LOG_MEAN_LIMIT)

    @abstractmethod
    def counts(self, parameters: Tensor) -> CountDistribution:
        """(per_value, N, *shape) -> the distribution without a gate."""

    def forward(self, h: Tensor) -> CountDistribution:
        parameters = self.unpack(h)
        counts = self.counts(parameters)
        return ZeroInflated(counts, parameters[-1]) if self.inflated else counts


class Poisson(CountHead):
    """Counts whose variance is their mean; the network supplies what the head turns into rates.

    >>> Poisson((1,))(torch.zeros(1, 1)).log_prob(torch.tensor([[2.0]]))
    tensor([-1.6931])
    """

    per_value = 1

    def counts(self, parameters: Tensor) -> CountDistribution:
        return PoissonDistribution(self.log_mean(parameters[0]))


class NegativeBinomial(CountHead):
    """Counts that vary more than a Poisson's; the network supplies mean and log inverse dispersion.

    >>> NegativeBinomial((1,))(torch.zeros(1, 2)).log_prob(torch.tensor([[2.0]]))  # log 1/8
    tensor([-2.0794])
    """

    per_value = 2

    def counts(self, parameters: Tensor) -> CountDistribution:
        return NegativeBinomialDistribution(
            self.log_mean(parameters[0]), parameters[1].clamp(-LOG_SIZE_LIMIT, LOG_SIZE_LIMIT)
        )


class ZeroInflatedPoisson(Poisson):
    """Poisson counts behind a gate that makes more zeros: rate, gate.

    >>> ZeroInflatedPoisson((1,))(torch.zeros(1, 2)).log_prob(torch.tensor([[0.0]])).exp()
    tensor([0.6839])
    """

    per_value = 2
    inflated = True


class ZeroInflatedNegativeBinomial(NegativeBinomial):
    """Negative binomial counts behind a gate that makes more zeros: mean, log inverse dispersion, gate.

    >>> ZeroInflatedNegativeBinomial((1,))(torch.zeros(1, 3)).log_prob(torch.tensor([[0.0]])).exp()
    tensor([0.7500])
    """

    per_value = 3
    inflated = True
