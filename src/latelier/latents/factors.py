"""A Gaussian latent whose posterior starts from a linear model's, correlations and all. N = rows, Z = dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from latelier.latents.base import Block, Density, Nets
from latelier.latents.chain import Latents
from latelier.latents.normal import HALF_LOG_2PI, StandardNormal
from latelier.noise import Noise
from latelier.spec import LatentSpec

LOG_SCALE_LIMIT = 4.0  # a posterior is at most 55 times as wide or narrow as the linear one


class CorrelatedNormal(Density):
    """N(centre, R R') with R = root diag(exp(log_scale)): centre, log_scale (N, Z); root (N, Z, Z) upper triangular, and its
    inverse."""

    def __init__(self, centre: Tensor, root: Tensor, inverse: Tensor, log_scale: Tensor):
        self.centre, self.root, self.inverse, self.log_scale = centre, root, inverse, log_scale

    def rsample(self, noise: Noise) -> Tensor:
        return self.centre + _times(self.root, self.log_scale.exp() * noise.normal(self.centre))

    def log_prob(self, value: Tensor) -> Tensor:
        standard = _times(self.inverse, value - self.centre) * torch.exp(-self.log_scale)
        return (-0.5 * standard.square() - self.log_deviations() - HALF_LOG_2PI).sum(1)

    def log_deviations(self) -> Tensor:
        """(N, Z) of each dimension given those after it; their sum is half the log-determinant of the covariance."""
        return self.log_scale + torch.diagonal(self.root, dim1=1, dim2=2).log()

    def mean(self) -> Tensor:
        return self.centre

    def kl(self, p: Density) -> Tensor | None:
        """(N, Z) to a standard normal, in the order in which the root is triangular; each part is at least 0."""
        if not isinstance(p, StandardNormal):
            return None
        spread = (self.root * self.log_scale.exp()[:, None, :]).square().sum(2)
        return 0.5 * (self.centre.square() + spread - 1) - self.log_deviations()

    def detach(self) -> CorrelatedNormal:
        return CorrelatedNormal(*(t.detach() for t in (self.centre, self.root, self.inverse, self.log_scale)))

    def temper(self, temperature: float) -> CorrelatedNormal:
        return CorrelatedNormal(self.centre, self.root, self.inverse, self.log_scale + math.log(max(temperature, 1e-9)))


class FactorPosterior(Block):
    """z ~ N(0, I). The features are mean, root and inverse of a linear posterior, and last a vector from which ``head`` makes
    (N, 2 Z): a shift of the mean in units of the linear posterior's spread, and log scales along its axes."""

    free = True

    def __init__(self, name: str, shape: tuple[int, ...], head: nn.Module):
        super().__init__()
        self.name, self.shape, self.head = name, tuple(shape), head

    def prior(self, state: Tensor, c: Tensor | None) -> Density:
        return StandardNormal(state, len(state), self.shape) if self.own is None else self.own(len(state), c)

    def posterior(self, state: Tensor, features: Sequence[Tensor], c: Tensor | None) -> Density:
        mean, root, inverse = features[:3]
        h = self.head(state, features, c)
        shift, log_scale = (h.float() if h.dtype in (torch.bfloat16, torch.float16) else h).chunk(2, 1)
        return CorrelatedNormal(
            mean + _times(root, shift), root, inverse, log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)
        )


def factors(spec: LatentSpec, features: int, c: int, nets: Nets) -> Latents:
    """One variable z of ``dims`` dimensions with a standard prior, for a network that supplies a linear posterior."""
    return Latents([FactorPosterior("z", (spec.dims,), nets.head(features + c, 2 * spec.dims))])


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    """(N, Z, Z), (N, Z) -> (N, Z)"""
    with torch.autocast(matrix.device.type, enabled=False):  # a density has more digits than bfloat16
        return (matrix @ vector[..., None])[..., 0]
