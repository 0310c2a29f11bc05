"""A latent is a chain of blocks and one walk: inference, generation, ladders and held values are the same code."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from latelier.latents.base import Block, Density
from latelier.noise import FRESH, Noise

Given = Mapping[str, tuple[Tensor, Tensor]]  # name -> (value (N, *shape), held (N,) bool)


@dataclass(frozen=True)
class Step:
    """One latent variable as it was drawn; ``held`` (N,) marks rows whose value was given."""

    value: Tensor
    p: Density
    q: Density | None
    held: Tensor | None = None
    penalty: Tensor | None = None

    def kl(self) -> Tensor:
        """(N, parts) nats: in closed form where the pair is known, else one part, at the drawn value."""
        parts = None if self.q is None else self.q.kl(self.p)
        if parts is None:
            return self.log_ratio()[:, None]
        if self.held is None:
            return parts
        # A held value costs what the prior says; it stands in the first part so that the sum over parts is right.
        cost = torch.cat([-self.p.log_prob(self.value)[:, None], torch.zeros_like(parts[:, 1:])], 1)
        return torch.where(self.held[:, None], cost, parts)

    def log_ratio(self, detached: bool = False) -> Tensor:
        """(N,) log q(value) - log p(value) in nats; ``detached`` cuts q's own parameters from the graph."""
        assert self.q is not None, "a generated step has no posterior"
        q = self.q.detach() if detached else self.q
        log_p = self.p.log_prob(self.value)
        ratio = q.log_prob(self.value) - log_p
        return ratio if self.held is None else torch.where(self.held, -log_p, ratio)


@dataclass(frozen=True)
class Guide:
    """Moves what is drawn away from what no condition says: ``strength`` times as far as the condition moves it (Ho & Salimans
    2022, eq. 6). ``c`` (N, C) is the condition that says nothing, ``state`` where the walk is under it, with the same values."""

    c: Tensor
    strength: float
    state: Tensor | None = None


@dataclass(frozen=True)
class Draw:
    """What a walk found: the ``state`` (N, *state) that the decoder reads, the condition as it was given, every step; ``read``
    is the condition with the labels that were found, which the decoder reads beside the state."""

    state: Tensor
    c: Tensor | None
    steps: Mapping[str, Step]
    read: Tensor | None = None
    guide: Guide | None = None

    def kl(self) -> Tensor:
        """(N,) nats, all variables."""
        return torch.stack([step.kl().sum(1) for step in self.steps.values()]).sum(0)

    def log_ratio(self, detached: bool = False) -> Tensor:
        """(N,) log q(z | x) - log p(z) at the drawn values, nats."""
        return torch.stack([step.log_ratio(detached) for step in self.steps.values()]).sum(0)


class Latents(nn.Module):
    """A chain of latent variables z1, z2, ... with p(z) = prod p(zi | z<i, c) and q(z | x) = prod q(zi | z<i, x, c)."""

    def __init__(
        self,
        blocks: Iterable[Block],
        start: tuple[int, ...] = (0,),
        shape: tuple[int, ...] | None = None,
        entry: nn.Module | None = None,
    ):
        """``shape`` of the final state, where values are not simply appended; ``entry`` maps c (N, C) to what is added to the
        ``start``, so that a state which is transformed on its way carries the condition."""
        super().__init__()
        self.blocks: Sequence[Block] = nn.ModuleList(blocks)  # type: ignore[assignment]
        self.start = nn.Parameter(torch.zeros(1, *start))
        appended = start[0] + sum(math.prod(block.shape) for block in self.blocks)
        self.shape = (appended,) if shape is None else shape
        self.entry = entry

    @property
    def width(self) -> int:
        """Numbers in the final state."""
        return math.prod(self.shape)

    def begun(self, rows: int, c: Tensor | None) -> Tensor:
        """(N, *start): the state that the first variable reads, below the label, which is part of c."""
        state = self.start.expand(rows, *self.start.shape[1:])
        return state if self.entry is None else state + self.entry(c)

    @property
    def names(self) -> list[str]:
        """Of the variables, in the order of the walk."""
        return [block.name for block in self.blocks]

    @property
    def movable(self) -> list[Block]:
        """The variables that one can move along: a label is none."""
        return [block for block in self.blocks if block.choices is None]

    @property
    def first(self) -> Block:
        """The first of those."""
        return self.movable[0]

    @property
    def awaiting(self) -> bool:
        """Whether the first variable's prior only stands in for one that is to be fitted once the rest is trained."""
        return self.first.awaiting and self.first.own is None

    @property
    def certain(self) -> bool:
        """Whether every posterior has all its mass at one point, so that further draws are the same."""
        return all(block.certain for block in self.blocks)

    @torch.no_grad()
    def begin(self, rows: int, c: Tensor | None, features: Sequence[Tensor]) -> None:
        """Tells every variable once, before training, of what its posterior reads of some rows."""
        state = self.start.expand(rows, *self.start.shape[1:])
        for block in self.blocks:
            if self.entry is not None and block is self.first:
                state = state + self.entry(c)
            block.begin(state, features, c)
            value = block.posterior(state, features, c).mean()
            state, c = block.merge(state, value), block.extend(c, value)

    def forward(
        self,
        rows: int,
        c: Tensor | None = None,
        features: Sequence[Tensor] | None = None,
        given: Given | None = None,
        noise: Noise = FRESH,
        temperature: float | Mapping[str, float] = 1.0,
        centre: bool = False,
        guide: Guide | None = None,
    ) -> Draw:
        """The walk: posterior when features are given, prior otherwise.

        ``given`` holds values per name; ``centre`` takes each density's mean in place of a draw; ``temperature``
        narrows or widens what is drawn from the prior, of all variables or by name (1 where a name is left out, and at 0
        the prior's mean). A ``guide`` moves priors away from what they are on the same walk without a condition.
        """
        state, read = self.start.expand(rows, *self.start.shape[1:]), c
        bare = state  # where the same walk without a condition is
        steps: dict[str, Step] = {}
        for block in self.blocks:
            if self.entry is not None and block is self.first:  # what is read is whole below the label
                state = state + self.entry(read)
                bare = bare if guide is None else bare + self.entry(guide.c)
            p = block.prior(state, read)
            if guide is not None:
                p = p.guided(block.prior(bare, guide.c), guide.strength)
            q = None if features is None else block.posterior(state, features, read)
            heat = temperature if isinstance(temperature, (int, float)) else temperature.get(block.name, 1.0)
            source = q if q is not None else p if heat == 1.0 else p.temper(heat)
            value, held = source.mean() if centre or (q is None and heat == 0) else source.rsample(noise), None
            if given and block.name in given:
                fixed, held = given[block.name]
                value = torch.where(held.view(-1, *[1] * (value.ndim - 1)), block.legal(fixed), value)
            steps[block.name] = Step(value, p, q, held, None if q is None else block.penalty(q))
            state, read = block.merge(state, value), block.extend(read, value)
            if guide is not None:
                bare = block.merge(bare, value)
                wider = block.extend(guide.c, value)
                guide = replace(guide, c=guide.c if wider is None else wider, state=bare)
        return Draw(state, c, steps, read, guide)
