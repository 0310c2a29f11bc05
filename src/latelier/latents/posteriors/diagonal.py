"""The diagonal Gaussian. N = rows."""

from __future__ import annotations

from torch import Tensor

from latelier.latents.base import Density, Posterior
from latelier.latents.normal import normal
from latelier.spec import LatentSpec


class Diagonal(Posterior):
    """N(mean, diag(scale^2)): (N, 2 * shape[0], *shape[1:]) are means, then log scales."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.outputs = 2 * shape[0]

    def forward(self, h: Tensor) -> Density:
        return normal(h)


def diagonal(spec: LatentSpec, shape: tuple[int, ...]) -> Posterior:
    """A mean and a scale of every dimension."""
    return Diagonal(shape)
