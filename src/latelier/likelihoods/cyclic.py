"""Angles, -pi to pi: times of day, days of a week, directions. N = rows, K = components."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latelier.errors import BadInput
from latelier.likelihoods.base import Distribution, Likelihood
from latelier.likelihoods.logistic import standard_gumbel

LOG_2PI = math.log(2 * math.pi)
STRONGEST = 1e4  # concentration, a standard deviation of 0.01: at most so sure of an angle


class VonMisesDistribution(Distribution):
    """sum_k share_k exp(along_k cos x + across_k sin x) / (2 pi I0(strength_k)), strength the length of (along, across).

    Von Mises (1918) in its natural parameters, which have no seam and at 0 are the uniform. All (N, K, *shape); float64
    inside, as the exponent of a sure one leaves float32 few decimals.
    """

    def __init__(self, log_share: Tensor, along: Tensor, across: Tensor):
        self.log_share, self.along, self.across = log_share, along, across

    def strength(self) -> Tensor:
        """(N, K, *shape) float64; the length, a little above 0 so that it has a slope there."""
        return (self.along.double().square() + self.across.double().square() + 1e-12).sqrt()

    def entry_log_prob(self, x: Tensor) -> Tensor:
        angle, strength = x.double()[:, None], self.strength()
        lean = self.along * angle.cos() + self.across * angle.sin()
        log_norm = torch.special.i0e(strength).log() + strength + LOG_2PI
        return torch.logsumexp(self.log_share.double() + lean - log_norm, 1).to(self.along.dtype)

    @torch.no_grad()
    def sample(self) -> Tensor:
        chosen = (self.log_share + standard_gumbel(self.log_share)).argmax(1, keepdim=True)
        centre, strength = (
            part.gather(1, chosen)[:, 0] for part in (torch.atan2(self.across, self.along).double(), self.strength())
        )
        drawn: Tensor = torch.distributions.VonMises(centre, strength).sample()  # type: ignore[no-untyped-call]
        return drawn.to(self.along.dtype)

    def point_estimate(self) -> Tensor:
        """The direction of the mean of (cos x, sin x)."""
        strength = self.strength()
        pull = self.log_share.exp() * torch.special.i1e(strength) / torch.special.i0e(strength) / strength
        mean: Tensor = torch.atan2((pull * self.across).sum(1), (pull * self.along).sum(1))
        return mean.to(self.along.dtype)


class VonMises(Likelihood):
    """One direction and how sure it is, or the mixture of several ``components``, each with a share.

    >>> VonMises((1,))(torch.zeros(1, 2)).log_prob(torch.tensor([[1.0]])).exp() * 2 * math.pi
    tensor([1.])
    """

    support = "cyclic"
    towards: Tensor

    def __init__(self, shape: tuple[int, ...], components: int = 1):
        super().__init__(shape)
        if components < 1:
            raise BadInput(f"components of {type(self).__name__} is {components}; give at least 1")
        self.components, self.per_value = components, 2 if components == 1 else 3 * components
        # Components that start alike would stay alike under a network whose last layer starts at zero.
        turns = torch.arange(components).view(-1, *[1] * len(shape)) * (2 * math.pi / components)
        self.register_buffer("towards", turns, persistent=False)

    def forward(self, h: Tensor) -> Distribution:
        parts = self.unpack(h).reshape(-1, self.components, len(h), *self.shape).movedim(2, 1)
        start = 0.0 if self.components == 1 else 1.0
        along, across = parts[0] + start * self.towards.cos(), parts[1] + start * self.towards.sin()
        length = (along.square() + across.square() + 1e-12).sqrt()
        # As it is while small, and at most the strongest.
        bound = 1 / (1 + length / STRONGEST)
        log_share = parts[2].log_softmax(1) if self.components > 1 else torch.zeros_like(along)
        return VonMisesDistribution(log_share, along * bound, across * bound)


class VonMisesMixture(VonMises):
    """Several directions: rush hours, say.

    >>> VonMisesMixture((1,))(torch.zeros(1, 9)).point_estimate().shape
    torch.Size([1, 1])
    """

    def __init__(self, shape: tuple[int, ...], components: int = 3):
        super().__init__(shape, components)
