"""A point latent: a plain autoencoder as a spec. It has no bound; it is there to be compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from latelier.latents.base import Block, Density, Nets
from latelier.latents.chain import Latents
from latelier.latents.normal import StandardNormal
from latelier.noise import Noise
from latelier.spec import LatentSpec


class Dirac(Density):
    """All mass at one value, which costs nothing: its KL is 0 by convention, so the sum of terms is no bound."""

    def __init__(self, value: Tensor):
        self.value = value

    def rsample(self, noise: Noise) -> Tensor:
        return self.value

    def log_prob(self, value: Tensor) -> Tensor:
        return value.new_zeros(len(value))

    def mean(self) -> Tensor:
        return self.value

    def kl(self, p: Density) -> Tensor:
        return torch.zeros_like(self.value).flatten(1)

    def detach(self) -> Dirac:
        return Dirac(self.value.detach())


class Uncharged(Density):
    """Sampled from as another density is; what that makes of a value is never charged."""

    def __init__(self, density: Density):
        self.density = density

    def rsample(self, noise: Noise) -> Tensor:
        return self.density.rsample(noise)

    def log_prob(self, value: Tensor) -> Tensor:
        return value.new_zeros(len(value))

    def mean(self) -> Tensor:
        return self.density.mean()

    def law(self) -> Density:
        return self.density

    def temper(self, temperature: float) -> Uncharged:
        return Uncharged(self.density.temper(temperature))


class Point(Block):
    """z = posterior(state, features, c), (N, *shape), with no noise and no prior cost. New values are drawn from N(0, I), for
    want of anything better, until a prior is fitted to the codes (``refit``)."""

    free = True

    density: ClassVar[bool] = False
    certain = True

    def __init__(self, name: str, shape: tuple[int, ...], posterior: nn.Module):
        super().__init__()
        self.name, self.shape, self.posterior_net = name, tuple(shape), posterior

    def prior(self, state: Tensor, c: Tensor | None) -> Density:
        law = StandardNormal(state, len(state), self.shape) if self.own is None else self.own(len(state), c)
        return Uncharged(law)

    def posterior(self, state: Tensor, features: Sequence[Tensor], c: Tensor | None) -> Density:
        return Dirac(self.posterior_net(state, features, c))


def point(spec: LatentSpec, features: int, c: int, nets: Nets) -> Latents:
    """One code of ``dims`` numbers: a plain autoencoder."""
    return Latents([Point("z", (spec.dims,), nets.head(features + c, spec.dims))])
