"""Gaussian densities of a latent variable. N = rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latelier.latents.base import Density
from latelier.noise import Noise

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
LOG_SCALE_LIMIT = 7.0  # scales from 0.0009 to 1097: wider than any healthy posterior, narrow enough for float32


class DiagonalNormal(Density):
    """N(mean, diag(scale^2)); mean and log_scale are (N, *shape)."""

    def __init__(self, mean: Tensor, log_scale: Tensor):
        self.centre, self.log_scale = mean, log_scale

    def rsample(self, noise: Noise) -> Tensor:
        return torch.addcmul(self.centre, self.log_scale.exp(), noise.normal(self.centre))

    def log_prob(self, value: Tensor) -> Tensor:
        standard = (value - self.centre) * torch.exp(-self.log_scale)
        return (-0.5 * standard.square() - self.log_scale - HALF_LOG_2PI).flatten(1).sum(1)

    def mean(self) -> Tensor:
        return self.centre

    def kl(self, p: Density) -> Tensor | None:
        """(N, dimensions): Kingma & Welling 2014, appendix B, and its form for two Gaussians."""
        if isinstance(p, StandardNormal):
            parts = 0.5 * (self.centre.square() + torch.exp(2 * self.log_scale) - 1) - self.log_scale
        elif isinstance(p, DiagonalNormal):
            ratio = self.log_scale - p.log_scale
            distance = (self.centre - p.centre) * torch.exp(-p.log_scale)
            parts = 0.5 * (torch.exp(2 * ratio) + distance.square() - 1) - ratio
        else:
            return None
        return parts.flatten(1)

    def detach(self) -> DiagonalNormal:
        return DiagonalNormal(self.centre.detach(), self.log_scale.detach())

    def temper(self, temperature: float) -> DiagonalNormal:
        return DiagonalNormal(self.centre, self.log_scale + math.log(max(temperature, 1e-9)))

    def guided(self, base: Density, strength: float) -> Density:
        """Means and log scales on the line from the one through the other."""
        if not isinstance(base, DiagonalNormal):
            return self
        log_scale = torch.lerp(base.log_scale, self.log_scale, strength).clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)
        return DiagonalNormal(torch.lerp(base.centre, self.centre, strength), log_scale)


class StandardNormal(DiagonalNormal):
    """N(0, I) for ``rows`` rows."""

    def __init__(self, like: Tensor, rows: int, shape: tuple[int, ...]):
        zero = like.new_zeros(()).expand(rows, *shape)
        super().__init__(zero, zero)

    def rsample(self, noise: Noise) -> Tensor:
        return noise.normal(self.centre).to(self.centre.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        return (-0.5 * value.square() - HALF_LOG_2PI).flatten(1).sum(1)

    def guided(self, base: Density, strength: float) -> Density:
        return self


def normal(h: Tensor) -> DiagonalNormal:
    """(N, 2 * channels, *space) -> a Gaussian of (N, channels, *space): means, then log scales."""
    # Networks may run in bfloat16, whose three digits are too few for the sums of nats that a KL is.
    mean, log_scale = (h.float() if h.dtype in (torch.bfloat16, torch.float16) else h).chunk(2, 1)
    return DiagonalNormal(mean, log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT))
