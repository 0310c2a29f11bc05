"""Values that are 0 or 1, or lie between. N = rows; one logit per value of x, (N, *shape)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from latelier.likelihoods.base import Distribution, Likelihood, Ordered


class BernoulliDistribution(Distribution):
    """p(x) = s^x (1 - s)^(1 - x) with s = sigmoid(logits)."""

    def __init__(self, logits: Tensor):
        self.logits = logits

    def entry_log_prob(self, x: Tensor) -> Tensor:
        # minus torch's binary cross-entropy, term by term, in a fifth less time, as nothing is negated on the way
        return torch.addcmul(F.logsigmoid(self.logits), x - 1, self.logits)

    @torch.no_grad()
    def sample(self) -> Tensor:
        return torch.bernoulli(self.logits.sigmoid())

    def point_estimate(self) -> Tensor:
        return self.logits.sigmoid()

    def relaxed(self) -> Tensor:
        share = self.logits.sigmoid()
        return torch.bernoulli(share.detach()) + share - share.detach()


class Bernoulli(Likelihood):
    """Coin flips; the point estimate is the probability of 1.

    >>> px = Bernoulli((3,))(torch.zeros(2, 3))
    >>> px.log_prob(torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]))
    tensor([-2.0794, -2.0794])
    """

    support = "binary"
    per_value = 1

    def forward(self, h: Tensor) -> Distribution:
        return BernoulliDistribution(self.unpack(h).squeeze(0))


class ContinuousBernoulliDistribution(Ordered):
    """p(x) = l exp(l x) / (exp(l) - 1) on [0, 1] with l = logits: Loaiza-Ganem & Cunningham 2019, equations 5 to 10.

    In their terms l = log(lambda / (1 - lambda)); near l = 0, where their constant is 0 / 0, series take over.
    """

    def __init__(self, logits: Tensor):
        self.logits = logits

    def entry_log_prob(self, x: Tensor) -> Tensor:
        logits = self.logits
        size = logits.abs()
        middle = size < 0.05  # here two terms of the series, of which the next is below 3e-9
        small = logits.clamp(-0.05, 0.05)  # keeps the branch that is not taken, and so its gradient, finite
        near = small * (x - 0.5 - small / 24)
        size = size.clamp_min(0.05)
        # measured from the end where the density is highest, so that huge logits do not cancel
        far = logits * (x - (logits > 0).to(x.dtype)) + torch.log(size / -torch.expm1(-size))
        return torch.where(middle, near, far)

    @torch.no_grad()
    def sample(self) -> Tensor:
        return self.inverse(torch.rand_like(self.logits))

    def point_estimate(self) -> Tensor:
        logits = self.logits
        small = logits.clamp(-0.5, 0.5)
        square = small * small
        near = 0.5 + small * (1 / 12 - square * (1 / 720 - square / 30240))
        away = torch.where(logits.abs() < 0.5, 1.0, logits)
        return torch.where(logits.abs() < 0.5, near, -1 / torch.expm1(-away) - 1 / away)

    def quantile(self, level: float) -> Tensor:
        return self.inverse(torch.full_like(self.logits, level))

    def inverse(self, level: Tensor) -> Tensor:
        """The x below which a share ``level`` lies; it is measured from the end where the density is highest."""
        size = self.logits.abs().clamp_min(1e-6)
        rising = self.logits > 0
        distance = -torch.log1p(torch.where(rising, 1 - level, level) * torch.expm1(-size)) / size
        distance = distance.clamp(0, 1)
        return torch.where(rising, 1 - distance, distance)


class ContinuousBernoulli(Likelihood):
    """Intensities in [0, 1] as they are, with the constant that a Bernoulli lacks there.

    >>> px = ContinuousBernoulli((1,))(torch.tensor([[0.0], [4.0]]))
    >>> px.log_prob(torch.ones(2, 1)), px.quantile(0.5)[:, 0]
    (tensor([0.0000, 1.4048]), tensor([0.5000, 0.8313]))
    """

    support = "unit"
    per_value = 1

    def forward(self, h: Tensor) -> Distribution:
        return ContinuousBernoulliDistribution(self.unpack(h).squeeze(0))
