"""A diagonal Gaussian latent; its prior is standard, or predicted from the state above (a rung of a ladder)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from latelier.latents.base import Block, Density, Nets, Posterior
from latelier.latents.chain import Latents
from latelier.latents.normal import HALF_LOG_2PI, LOG_SCALE_LIMIT, DiagonalNormal, StandardNormal, normal
from latelier.latents.posteriors import POSTERIORS
from latelier.latents.posteriors.diagonal import Diagonal
from latelier.spec import LatentSpec

__all__ = ["HALF_LOG_2PI", "LOG_SCALE_LIMIT", "DiagonalNormal", "Gaussian", "StandardNormal", "gaussian", "normal"]


class Gaussian(Block):
    """z ~ N(0, I), or N(mean(state, c), scale(state, c)^2) when a ``prior`` network is given.

    ``posterior(state, features, c)`` and ``prior(state, c)`` return (N, 2 * shape[0], *shape[1:]); of another ``family`` than
    the diagonal Gaussian, the posterior's network as many numbers as that has ``outputs``.
    ``merge`` (state, value) -> state overrides appending, for states that are maps.

    >>> import torch
    >>> block = Gaussian("z", (8,), posterior=lambda state, features, c: features[-1])
    >>> q = block.posterior(torch.zeros(3, 0), [torch.zeros(3, 16)], None)
    >>> q.kl(block.prior(torch.zeros(3, 0), None)).sum().item()
    0.0
    """

    family: Posterior

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        posterior: nn.Module,
        prior: nn.Module | None = None,
        merge: nn.Module | None = None,
        family: Posterior | None = None,
    ):
        super().__init__()
        self.name, self.shape = name, tuple(shape)
        self.posterior_net, self.prior_net, self.merge_net = posterior, prior, merge
        self.free = prior is None
        self.family = family or Diagonal(self.shape)

    def prior(self, state: Tensor, c: Tensor | None) -> Density:
        if self.prior_net is not None:
            return normal(self.prior_net(state, c))
        if self.own is not None:
            return self.own(len(state), c)
        return StandardNormal(state, len(state), self.shape)

    def posterior(self, state: Tensor, features: Sequence[Tensor], c: Tensor | None) -> Density:
        q: Density = self.family(self.posterior_net(state, features, c))
        return q

    def merge(self, state: Tensor, value: Tensor) -> Tensor:
        return super().merge(state, value) if self.merge_net is None else self.merge_net(state, value)


def gaussian(spec: LatentSpec, features: int, c: int, nets: Nets) -> Latents:
    """One variable z of ``dims`` dimensions with a standard prior, unless ``prior`` names another; ``posterior`` is the family of
    q(z | x)."""
    family = POSTERIORS[spec.posterior](spec, (spec.dims,))
    return Latents([Gaussian("z", (spec.dims,), nets.head(features + c, family.outputs), family=family)])
