"""Amounts: one value with a probability of its own, which is 0.0 here, and a density of all others. N = rows."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from latelier.likelihoods.base import Distribution, Likelihood, full
from latelier.likelihoods.mixture import RealMixture
from latelier.likelihoods.real import Gaussian, Laplace, StudentT


class HurdleDistribution(Distribution):
    """P(x = 0) = sigmoid(gate), and density sigmoid(-gate) rest(x) elsewhere (Cragg 1971); gate (N, *shape).

    Nats are with respect to an atom at 0 and the Lebesgue measure elsewhere, so that no density grows without bound at a
    value that is repeated. 0 says that the value is the column's spike, wherever among the others that may lie.
    """

    def __init__(self, gate: Tensor, rest: Distribution):
        self.gate, self.rest = gate, rest

    def entry_log_prob(self, x: Tensor) -> Tensor:
        density = F.logsigmoid(-self.gate) + self.rest.entry_log_prob(x)
        return torch.where(x == 0, F.logsigmoid(self.gate), density)

    @torch.no_grad()
    def sample(self) -> Tensor:
        x = self.rest.sample()
        return torch.where(torch.rand_like(x) < torch.sigmoid(self.gate), 0.0, torch.where(x == 0, 1e-20, x))

    def point_estimate(self) -> Tensor:
        """The spike where it is more likely than not, else the mean of the others: between the two there may be nothing."""
        return torch.where(self.gate > 0, 0.0, self.rest.point_estimate())


class Hurdle(Likelihood):
    """A gate, and the head of another likelihood for what is beyond it: the network supplies a number more per value.

    ``floor`` is that of the other likelihood's scale. With zeros from the network the spike is as likely as in the data.
    """

    support = "amount"
    beyond: ClassVar[type[Likelihood]]
    log_odds: Tensor

    def __init__(self, shape: tuple[int, ...], floor: float = 1e-2):
        super().__init__(shape)
        self.rest = self.beyond(shape, floor=floor)  # type: ignore[call-arg]
        self.per_value = 1 + self.rest.per_value
        self.register_buffer("log_odds", torch.zeros(shape))

    def begin(self, x: Tensor, seen: Tensor | None) -> None:
        there = torch.ones_like(x, dtype=torch.bool) if seen is None else seen.expand_as(x)
        spikes = (there & (x == 0)).sum(0)
        self.log_odds.copy_(((spikes + 0.5) / (there.sum(0) - spikes + 0.5)).log())
        self.rest.begin(x, there & (x != 0))

    def at_floor(self, px: Distribution) -> Tensor | None:
        return self.rest.at_floor(px.rest) if isinstance(px, HurdleDistribution) else None

    def forward(self, h: Tensor) -> Distribution:
        gate, rest = full(h).split([self.shape[0], self.rest.width], 1)  # type: ignore[no-untyped-call]
        return HurdleDistribution(gate + self.log_odds, self.rest(rest))


class HurdleGaussian(Hurdle):
    """Gaussian beyond the spike.

    >>> HurdleGaussian((1,))(torch.zeros(1, 3)).log_prob(torch.tensor([[0.0]])).exp()
    tensor([0.5000])
    """

    beyond = Gaussian


class HurdleLaplace(Hurdle):
    """Laplace beyond the spike.

    >>> HurdleLaplace((1,))(torch.zeros(1, 3)).log_prob(torch.tensor([[0.0]])).exp()
    tensor([0.5000])
    """

    beyond = Laplace


class HurdleStudentT(Hurdle):
    """Student's t beyond the spike.

    >>> HurdleStudentT((1,))(torch.zeros(1, 3)).log_prob(torch.tensor([[0.0]])).exp().detach()
    tensor([0.5000])
    """

    beyond = StudentT


class HurdleMixture(Hurdle):
    """A mixture of logistics beyond the spike.

    >>> HurdleMixture((1,))(torch.zeros(1, 16)).log_prob(torch.tensor([[0.0]])).exp()
    tensor([0.5000])
    """

    beyond = RealMixture
