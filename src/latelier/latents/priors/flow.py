"""A normalising flow as prior. N = rows, D = dimensions of z, C = width of the condition."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from latelier.latents.base import Density, Prior
from latelier.latents.flows import Flowing, Map
from latelier.latents.priors.place import Place
from latelier.spec import LatentSpec


class Flow(Prior):
    """z = loc + scale * map^-1(noise, c)."""

    loc: Tensor
    log_scale: Tensor

    def __init__(self, shape: tuple[int, ...], map: Map):
        super().__init__()
        self.shape, self.map = shape, map
        self.loc = nn.Parameter(torch.zeros(math.prod(shape)))
        self.log_scale = nn.Parameter(torch.zeros(math.prod(shape)))

    def forward(self, rows: int, c: Tensor | None) -> Density:
        context = None if c is None else c.to(self.loc.dtype)
        return Flowing(self.map, self.loc, self.log_scale, context, rows, self.shape)

    @torch.no_grad()
    def settle(self, values: Tensor, c: Tensor | None) -> None:
        """What the map sees is centred and of unit scale, as its splines end at 5."""
        self.loc.copy_(values.flatten(1).mean(0))
        self.log_scale.copy_(values.flatten(1).std(0).clamp_min(1e-3).log())


def flow(spec: LatentSpec, place: Place) -> Prior:
    """``transforms`` maps, autoregressive or coupled (``flow``)."""
    dims = math.prod(place.block.shape)
    passes = None if spec.flow == "autoregressive" else 2
    return Flow(place.block.shape, Map(dims, place.width, spec.transforms, spec.width, passes))
