"""Where a prior stands, and what it can read there."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from latelier.latents.base import Block
from latelier.latents.chain import Latents


@dataclass(frozen=True)
class Place:
    """At the head of the chain ``latents``, below its label where there is one. ``encoder`` is the network (N, *inputs), c ->
    features of q(z | x, c). ``width`` is C, how many numbers the prior reads: those of c, and then ``classes`` of the label,
    which the encoder does not read."""

    latents: Latents
    encoder: nn.Module
    inputs: tuple[int, ...]
    width: int
    classes: int = 0

    @property
    def block(self) -> Block:
        """The variable that gets the prior."""
        return self.latents.first
