"""A Gaussian with every correlation. N = rows, Z = dimensions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latelier.latents.base import Density, Posterior
from latelier.latents.normal import HALF_LOG_2PI, LOG_SCALE_LIMIT, DiagonalNormal
from latelier.noise import Noise
from latelier.spec import LatentSpec


class FullNormal(Density):
    """N(mean, S L L' S) with S = diag(exp(log_scale)): mean, log_scale (N, Z); L (N, Z, Z) lower triangular with ones on its
    diagonal, so that S L is the Cholesky factor."""

    def __init__(self, mean: Tensor, log_scale: Tensor, lower: Tensor):
        self.centre, self.log_scale, self.lower = mean, log_scale, lower

    def rsample(self, noise: Noise) -> Tensor:
        standard = noise.normal(self.centre).to(self.centre.dtype)
        return self.centre + self.log_scale.exp() * (self.lower * standard[:, None, :]).sum(2)

    def log_prob(self, value: Tensor) -> Tensor:
        apart = (value - self.centre) * torch.exp(-self.log_scale)
        standard = torch.linalg.solve_triangular(self.lower, apart[..., None], upper=False, unitriangular=True)[..., 0]
        return (-0.5 * standard.square() - self.log_scale - HALF_LOG_2PI).sum(1)

    def mean(self) -> Tensor:
        return self.centre

    def kl(self, p: Density) -> Tensor | None:
        """(N, Z) to a diagonal Gaussian, of each dimension given those before it; each part is at least 0."""
        if not isinstance(p, DiagonalNormal):
            return None
        ratio = self.log_scale - p.log_scale
        distance = (self.centre - p.centre) * torch.exp(-p.log_scale)
        return 0.5 * (torch.exp(2 * ratio) * self.lower.square().sum(2) + distance.square() - 1) - ratio

    def detach(self) -> FullNormal:
        return FullNormal(self.centre.detach(), self.log_scale.detach(), self.lower.detach())

    def temper(self, temperature: float) -> FullNormal:
        return FullNormal(self.centre, self.log_scale + math.log(max(temperature, 1e-9)), self.lower)


class Full(Posterior):
    """(N, Z + Z + Z (Z - 1) / 2) are means, log scales and what stands below the diagonal of L, row by row."""

    places: Tensor

    def __init__(self, dims: int):
        super().__init__()
        self.dims, self.outputs = dims, 2 * dims + dims * (dims - 1) // 2
        row, column = torch.tril_indices(dims, dims, -1)
        self.register_buffer("places", row * dims + column, persistent=False)

    def forward(self, h: Tensor) -> Density:
        h = h.float() if h.dtype in (torch.bfloat16, torch.float16) else h
        mean, log_scale, below = torch.split(h, [self.dims, self.dims, len(self.places)], 1)
        flat = h.new_zeros(len(h), self.dims * self.dims).index_copy(1, self.places, below)
        lower = flat.view(-1, self.dims, self.dims) + torch.eye(self.dims, dtype=h.dtype, device=h.device)
        return FullNormal(mean, log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT), lower)


def full(spec: LatentSpec, shape: tuple[int, ...]) -> Posterior:
    """Means, scales and all correlations."""
    return Full(math.prod(shape))
