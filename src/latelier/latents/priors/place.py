"""Where a prior stands, and what it can read there."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from latelier.latents.base import Block
from latelier.latents.chain import Latents


@dataclass(frozen=True)
class Place:
    """At the head of the chain ``latents``. ``encoder`` is the network (N, *inputs), c (N, C) -> features of q(z | x, c), and
    ``width`` is C, 0 without a condition."""

    latents: Latents
    encoder: nn.Module
    inputs: tuple[int, ...]
    width: int

    @property
    def block(self) -> Block:
        """The variable that gets the prior."""
        return self.latents.blocks[0]
