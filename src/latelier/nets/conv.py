"""Convolutional networks in 1, 2 or 3 dimensions. N = rows, C = channels, space = (L,), (H, W) or (D, H, W)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latelier.nets.mlp import activation
from latelier.nets.products import Conv2d, ConvTranspose2d

CONV = {1: nn.Conv1d, 2: Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def normalised(norm: str, channels: int, dims: int) -> nn.Module:
    """Group normalisation in groups of about 8 channels, batch normalisation, layer normalisation (one group), or none."""
    if norm == "group":
        return nn.GroupNorm(math.gcd(channels, max(1, channels // 8)), channels)
    if norm == "layer":
        return nn.GroupNorm(1, channels)
    if norm == "batch":
        return BATCH_NORM[dims](channels)
    return nn.Identity()


class Residual(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))), the pre-activation block of He et al. 2016; begins as the identity."""

    def __init__(self, channels: int, dims: int = 2, act: str = "silu", norm: str = "group", dropout: float = 0.0):
        super().__init__()
        self.norms = nn.ModuleList(normalised(norm, channels, dims) for _ in range(2))
        first, second = (CONV[dims](channels, channels, 3, padding=1) for _ in range(2))
        nn.init.zeros_(second.weight)
        self.convs = nn.ModuleList([first, second])
        self.act, self.dropout = activation(act), dropout

    def forward(self, x: Tensor) -> Tensor:
        h = self.convs[0](self.act(self.norms[0](x)))
        h = self.act(self.norms[1](h))
        if self.dropout:
            h = F.dropout(h, self.dropout, self.training)
        return x + self.convs[1](h)


def halvings(space: Sequence[int], times: int) -> list[tuple[int, ...]]:
    """Sizes from ``space`` down, rounded up at each halving: what stride 2 with padding gives.

    >>> halvings((28, 20), 2)
    [(28, 20), (14, 10), (7, 5)]
    """
    sizes = [tuple(space)]
    for _ in range(times):
        sizes.append(tuple(-(-s // 2) for s in sizes[-1]))
    return sizes


class ConvEncoder(nn.Module):
    """(N, inputs, *space), c -> features from fine to coarse maps, and last a vector (N, features)."""

    def __init__(
        self,
        inputs: int,
        space: Sequence[int],
        channels: Sequence[int],
        features: int,
        c: int = 0,
        blocks: int = 1,
        act: str = "silu",
        norm: str = "group",
        dropout: float = 0.0,
    ):
        super().__init__()
        dims = len(space)
        self.act, self.features, self.plain = activation(act), features, blocks == 0
        sizes = [inputs, *channels]
        self.down = nn.ModuleList(CONV[dims](a, b, 3, 2, 1) for a, b in pairwise(sizes))
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Residual(width, dims, act, norm, dropout) for _ in range(blocks))) for width in channels
        )
        coarse = halvings(space, len(channels))[-1]
        self.norm = normalised(norm, channels[-1], dims)
        self.last = nn.Linear(channels[-1] * math.prod(coarse) + c, features)

    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, ...]:
        maps = []
        h = x
        for down, block in zip(self.down, self.blocks, strict=True):
            h = self.act(down(h)) if self.plain else block(down(h))
            maps.append(h)
        flat = self.act(self.norm(h)).flatten(1)
        flat = flat if c is None else torch.cat([flat, c], 1)
        return (*maps, self.act(self.last(flat)))


class ConvDecoder(nn.Module):
    """z (N, inputs), c -> (N, outputs, *space), coarse to fine.

    ``upsample`` is ``transposed`` convolution, or ``resize`` (nearest) and convolve, which leaves no checkerboard (Odena
    et al. 2016). With ``skip``, z is added at each resolution through a 1 x 1 map.
    """

    def __init__(
        self,
        inputs: int,
        space: Sequence[int],
        channels: Sequence[int],
        outputs: int,
        blocks: int = 1,
        act: str = "silu",
        norm: str = "group",
        skip: bool = False,
        upsample: str = "resize",
        dropout: float = 0.0,
    ):
        super().__init__()
        dims = len(space)
        self.upsample, self.act = upsample, activation(act)
        self.sizes = halvings(space, len(channels))
        widths = list(channels)
        self.first = nn.Linear(inputs, widths[-1] * math.prod(self.sizes[-1]))
        narrower = [*reversed(widths[:-1]), widths[0]]
        coarse = list(reversed(widths))
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Residual(width, dims, act, norm, dropout) for _ in range(blocks))) for width in coarse
        )
        self.skip = nn.ModuleList(nn.Linear(inputs, width) for width in coarse) if skip else None
        if upsample == "transposed":
            self.up = nn.ModuleList(TRANSPOSED[dims](a, b, 4, 2, 1) for a, b in zip(coarse, narrower, strict=True))
        else:
            self.up = nn.ModuleList(CONV[dims](a, b, 3, padding=1) for a, b in zip(coarse, narrower, strict=True))
        self.norm = normalised(norm, narrower[-1], dims)
        self.last = CONV[dims](narrower[-1], outputs, 3, padding=1)

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        start = z.flatten(1) if c is None else torch.cat([z.flatten(1), c], 1)
        h = self.first(start).view(len(z), -1, *self.sizes[-1])
        for i, (block, up) in enumerate(zip(self.blocks, self.up, strict=True)):
            if self.skip is not None:
                h = h + self.skip[i](start).view(len(z), -1, *[1] * len(self.sizes[0]))
            h = self.act(block(h))
            size = self.sizes[-2 - i]
            if self.upsample == "transposed":
                h = up(h)[(..., *(slice(s) for s in size))]
            else:
                h = up(F.interpolate(h, size=size))
        return self.last(self.act(self.norm(h)))
