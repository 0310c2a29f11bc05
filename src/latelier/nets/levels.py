"""The networks of a hierarchy of maps. N = rows, C = channels, space = (L,), (H, W) or (D, H, W) of a level."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latelier.nets.conv import CONV, TRANSPOSED, Residual, normalised
from latelier.nets.mlp import activation


class MapRung(nn.Module):
    """The state, beside the encoder's map of its level where ``features`` are read, and c -> (N, outputs, *space).

    ``place`` says where in the encoder's features that map stands, counted from the last.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        dims: int = 2,
        c: int = 0,
        features: int = 0,
        place: int = -2,
        act: str = "silu",
        norm: str = "group",
    ):
        super().__init__()
        self.place, self.act = place, activation(act)
        self.norm = normalised(norm, channels + features, dims)
        self.first = CONV[dims](channels + features, channels, 3, padding=1)
        self.c = nn.Linear(c, channels) if c else None
        self.last = CONV[dims](channels, outputs, 1)
        with torch.no_grad():  # posteriors begin near their priors
            for parameter in self.last.parameters():
                parameter.mul_(0.1)

    def forward(self, state: Tensor, *others: Sequence[Tensor] | Tensor | None) -> Tensor:
        """``others`` is (c,) for a prior and (features, c) for a posterior."""
        *features, c = others
        h = torch.cat([state, features[0][self.place]], 1) if features else state  # type: ignore[index]
        h = self.first(self.act(self.norm(h)))
        if self.c is not None:
            h = h + broadcast(self.c(c), h)
        return self.last(self.act(h))


class Rise(nn.Module):
    """(N, inputs, *coarse) -> (N, outputs, *size), twice as fine: ``transposed`` convolution, or ``resize`` and convolve."""

    def __init__(self, inputs: int, outputs: int, size: Sequence[int], upsample: str = "resize"):
        super().__init__()
        dims = len(size)
        self.size, self.upsample = tuple(size), upsample
        transposed = upsample == "transposed"
        self.conv = (
            TRANSPOSED[dims](inputs, outputs, 4, 2, 1) if transposed else CONV[dims](inputs, outputs, 3, padding=1)
        )

    def forward(self, h: Tensor) -> Tensor:
        if self.upsample == "transposed":
            return self.conv(h)[(..., *(slice(s) for s in self.size))]
        return self.conv(F.interpolate(h, size=self.size))


class Descent(nn.Module):
    """(state, value) -> the next state: the value is added to the map, which ``blocks`` refine and which may then ``rise``."""

    def __init__(
        self, channels: int, space: Sequence[int], value: Sequence[int], blocks: nn.Module, rise: nn.Module | None
    ):
        super().__init__()
        self.vector = len(value) == 1
        self.enter = (
            nn.Linear(value[0], channels * math.prod(space)) if self.vector else CONV[len(space)](value[0], channels, 1)
        )
        self.blocks, self.rise = blocks, rise

    def forward(self, state: Tensor, value: Tensor) -> Tensor:
        """(N, C, *space), (N, *value) -> (N, C, *space)"""
        entered = self.enter(value)
        h = self.blocks(state + (entered.view(state.shape) if self.vector else entered))
        return h if self.rise is None else self.rise(h)


class Entry(nn.Module):
    """c (N, C) -> (N, channels, 1, ...), the same everywhere on a map."""

    def __init__(self, c: int, channels: int, dims: int):
        super().__init__()
        self.linear, self.ones = nn.Linear(c, channels), (1,) * dims

    def forward(self, c: Tensor) -> Tensor:
        h = self.linear(c)
        return h.view(*h.shape, *self.ones)


class MapDecoder(nn.Module):
    """The last state of a hierarchy, c -> (N, outputs, *space): through the finer levels that have no variables of their own."""

    def __init__(
        self,
        channels: Sequence[int],
        sizes: Sequence[Sequence[int]],
        outputs: int,
        c: int = 0,
        blocks: int = 1,
        act: str = "silu",
        norm: str = "group",
        upsample: str = "resize",
        dropout: float = 0.0,
    ):
        """``channels`` and ``sizes`` of the state and of every finer map, coarse to fine."""
        super().__init__()
        dims = len(sizes[0])
        self.c = nn.Linear(c, channels[0]) if c else None
        self.rises = nn.ModuleList(
            Rise(a, b, size, upsample) for a, b, size in zip(channels, channels[1:], sizes[1:], strict=False)
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Residual(width, dims, act, norm, dropout) for _ in range(blocks)))
            for width in channels[1:-1]  # none at the resolution of the data, where they cost most
        )
        self.norm, self.act = normalised(norm, channels[-1], dims), activation(act)
        self.last = CONV[dims](channels[-1], outputs, 3, padding=1)

    def forward(self, state: Tensor, c: Tensor | None = None) -> Tensor:
        """(N, C, *coarse), (N, C) -> (N, outputs, *space)"""
        h = state if self.c is None else state + broadcast(self.c(c), state)
        for i, rise in enumerate(self.rises):
            h = rise(h)
            if i < len(self.blocks):
                h = self.blocks[i](h)
        return self.last(self.act(self.norm(h)))


def broadcast(vector: Tensor, like: Tensor) -> Tensor:
    """(N, C) -> (N, C, 1, ...) with as many axes as ``like``."""
    return vector.view(*vector.shape, *[1] * (like.ndim - 2))
