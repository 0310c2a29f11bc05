"""A normalising flow as posterior. N = rows, Z = dimensions, C = numbers that its maps are given beside."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latelier.latents.base import Density, Posterior
from latelier.latents.flows import Map, log_standard
from latelier.latents.normal import LOG_SCALE_LIMIT
from latelier.noise import Noise
from latelier.spec import LatentSpec

CONTEXT = 32


class FlowPosterior(Posterior):
    """z = mean + scale * map(noise, context): (N, 2 Z + C) are means, log scales and the context. The maps are coupled, so z is
    found from noise in one pass of their networks, and noise from z in two."""

    def __init__(self, dims: int, map: Map):
        super().__init__()
        self.dims, self.outputs, self.map = dims, 2 * dims + CONTEXT, map

    def forward(self, h: Tensor) -> Density:
        h = h.float() if h.dtype in (torch.bfloat16, torch.float16) else h
        mean, log_scale, context = torch.split(h, [self.dims, self.dims, CONTEXT], 1)
        return Flowed(self.map, mean, log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT), context)


class Flowed(Density):
    """mean + scale * map(N(0, I)): mean, log_scale (N, Z), context (N, C)."""

    def __init__(
        self,
        map: Map,
        mean: Tensor,
        log_scale: Tensor,
        context: Tensor,
        temperature: float = 1.0,
        detached: bool = False,
    ):
        self.map, self.loc, self.log_scale, self.context = map, mean, log_scale, context
        self.temperature, self.detached = temperature, detached
        self.drawn: tuple[Tensor, Tensor] | None = None  # the last draw and its nats, which are known from drawing it

    def rsample(self, noise: Noise) -> Tensor:
        base = self.temperature * noise.normal(self.loc).to(self.loc.dtype)
        y, log_det = self.map(base, self.context)
        value = self.loc + self.log_scale.exp() * y
        self.drawn = value, self._log_base(base) - log_det - self.log_scale.sum(1)
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        if self.drawn is not None and value is self.drawn[0]:
            return self.drawn[1]
        y = (value - self.loc) * torch.exp(-self.log_scale)
        weights = {k: p.detach() if self.detached else p for k, p in self.map.named_parameters()}
        base, log_det = torch.func.functional_call(self.map, weights, (y, self.context), {"back": True})
        return self._log_base(base) + log_det - self.log_scale.sum(1)

    def mean(self) -> Tensor:
        """What the centre of the noise becomes."""
        return self.loc + self.log_scale.exp() * self.map(torch.zeros_like(self.loc), self.context)[0]

    def detach(self) -> Flowed:
        loc, log_scale, context = (t.detach() for t in (self.loc, self.log_scale, self.context))
        return Flowed(self.map, loc, log_scale, context, self.temperature, detached=True)

    def temper(self, temperature: float) -> Flowed:
        temperature = self.temperature * max(temperature, 1e-9)
        return Flowed(self.map, self.loc, self.log_scale, self.context, temperature, self.detached)

    def _log_base(self, base: Tensor) -> Tensor:
        return log_standard(base / self.temperature) - math.log(self.temperature) * base.shape[1]


def flow(spec: LatentSpec, shape: tuple[int, ...]) -> Posterior:
    """``transforms`` coupled maps."""
    dims = math.prod(shape)
    return FlowPosterior(dims, Map(dims, CONTEXT, spec.transforms, spec.width, passes=2))
