"""Discrete latents: vectors that are codes of a book, at one position or many. N = rows, P = positions, B = books, K = codes.

The posterior has all its mass on the codes that the encoder's vectors fall on, so log q = 0 and the KL is what the prior says
of them: P B log K under a uniform prior, and a true bound under any other.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from latelier.errors import BadInput
from latelier.latents.base import Block, Coded, Density, Nets
from latelier.latents.chain import Latents
from latelier.latents.quantise import Codebook, Grid, Quantised, Quantiser
from latelier.noise import Noise
from latelier.spec import LatentSpec

POSITIONS = 8  # of networks without maps, where none are asked for


class Chosen(Density):
    """All mass on the codes that were found. Between codes there is nothing: whatever is drawn or averaged is those codes."""

    def __init__(self, quantiser: Quantiser, found: Quantised):
        self.quantiser, self.found = quantiser, found

    def rsample(self, noise: Noise) -> Tensor:
        return self.found.value

    def log_prob(self, value: Tensor) -> Tensor:
        if value is self.found.value:  # asked first: in training the book has moved on since
            return value.new_zeros(len(value))
        same = (self.quantiser.codes(value) == self.found.codes).flatten(1).all(1)
        return torch.where(same, 0.0, -math.inf).to(value.dtype)

    def mean(self) -> Tensor:
        return self.found.value

    def kl(self, p: Density) -> Tensor | None:
        """(N, P): of every position what its codes cost."""
        return -p.log_prob_of(self.found.codes) if isinstance(p, CodePrior) else None

    def detach(self) -> Chosen:
        """Itself: log q has no gradient."""
        return self

    def coded(self) -> Coded:
        return Coded(self.found.codes, self.quantiser.size)


class CodePrior(Density):
    """A distribution of the codes of N rows."""

    def __init__(self, quantiser: Quantiser, rows: int):
        self.quantiser, self.rows = quantiser, rows

    @abstractmethod
    def log_prob_of(self, codes: Tensor) -> Tensor:
        """(N, P, B) -> (N, P) nats, given the codes before."""

    @abstractmethod
    def draw(self, noise: Noise) -> Tensor:
        """(N, P, B)"""

    @abstractmethod
    def likely(self) -> Tensor:
        """(N, P, B) codes that can stand for all."""

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_prob_of(self.quantiser.codes(value)).sum(1)

    def rsample(self, noise: Noise) -> Tensor:
        return self.quantiser.value(self.draw(noise))

    def mean(self) -> Tensor:
        return self.quantiser.value(self.likely())


class Uniform(CodePrior):
    """Every code is as likely as any other: log p = -B log K at a position."""

    def __init__(self, quantiser: Quantiser, like: Tensor, rows: int):
        super().__init__(quantiser, rows)
        self.like = like

    def log_prob_of(self, codes: Tensor) -> Tensor:
        each = -self.quantiser.books * math.log(self.quantiser.size)
        return self.like.new_full((), each).expand(len(codes), self.quantiser.positions)

    def draw(self, noise: Noise) -> Tensor:
        size = self.quantiser.size
        u = noise.uniform(self.like.new_zeros(()).expand(self.rows, self.quantiser.positions, self.quantiser.books))
        return (u * size).long().clamp_max(size - 1)

    def likely(self) -> Tensor:
        """The codes nearest to the mean of all codes."""
        q = self.quantiser
        every = q.vectors(torch.arange(q.size, device=self.like.device)[:, None, None].expand(-1, 1, q.books))
        return q.nearest(every.mean(0, keepdim=True)).expand(self.rows, q.positions, q.books)

    def temper(self, temperature: float) -> Uniform:
        """Any power of a uniform distribution is itself."""
        return self

    def detach(self) -> Uniform:
        return self


class Codes(Block):
    """z = the codes nearest to posterior(state, features, c), which returns (N, D P) numbers or (N, D, *space).

    All codes are equally likely until a prior is fitted to them. ``merge`` (state, value summed over books) -> state overrides
    appending. ``commitment`` weighs how far vectors are from their codes (van den Oord et al. 2017, eq. 3, the last term),
    summed over numbers.
    """

    density: ClassVar[bool] = False  # codes have probabilities
    support = "codes"
    free = True
    certain = True
    awaiting = True

    def __init__(
        self,
        name: str,
        quantiser: Quantiser,
        posterior: nn.Module,
        merge: nn.Module | None = None,
        commitment: float = 0.25,
    ):
        super().__init__()
        self.name, self.shape, self.commitment = name, quantiser.shape, commitment
        self.quantiser, self.posterior_net, self.merge_net = quantiser, posterior, merge

    @property
    def parts(self) -> int:
        return self.quantiser.positions

    def prior(self, state: Tensor, c: Tensor | None) -> Density:
        return Uniform(self.quantiser, state, len(state)) if self.own is None else self.own(len(state), c)

    def posterior(self, state: Tensor, features: Sequence[Tensor], c: Tensor | None) -> Density:
        return Chosen(self.quantiser, self.quantiser.quantise(self._vectors(state, features, c)))

    def merge(self, state: Tensor, value: Tensor) -> Tensor:
        whole = value.sum(1)
        return super().merge(state, whole) if self.merge_net is None else self.merge_net(state, whole)

    def penalty(self, q: Density) -> Tensor | None:
        assert isinstance(q, Chosen)
        return None if q.found.distance is None else self.commitment * q.found.distance

    def legal(self, value: Tensor) -> Tensor:
        return self.quantiser.value(self.quantiser.codes(value))

    def moved(self, value: Tensor, parts: Tensor, to: Tensor) -> Tensor:
        """Each part is a position, whose code is brought along the direction in which the (first) book is widest."""
        q, every = self.quantiser, torch.arange(len(value), device=value.device)
        codes = torch.arange(q.size, device=value.device)[:, None, None].expand(-1, 1, q.books)
        book = q.vectors(codes)[:, 0, 0]
        centred = book - book.mean(0)
        _, strengths, directions = torch.linalg.svd(centred, full_matrices=False)
        away = to[:, None].to(value.dtype) * directions[0] * strengths[0] / q.size**0.5
        flat = value.flatten(3).clone()
        flat[every, 0, :, parts] = book.mean(0) + away
        return self.legal(flat.view_as(value))

    def begin(self, state: Tensor, features: Sequence[Tensor], c: Tensor | None) -> None:
        self.quantiser.begin(self._vectors(state, features, c))

    def _vectors(self, state: Tensor, features: Sequence[Tensor], c: Tensor | None) -> Tensor:
        h = self.posterior_net(state, features, c)
        h = h.float() if h.dtype in (torch.bfloat16, torch.float16) else h
        return h.reshape(len(h), self.quantiser.dims, self.quantiser.positions).transpose(1, 2).contiguous()


def codes(spec: LatentSpec, features: int, c: int, nets: Nets) -> Latents:
    """Vector quantisation: ``books`` books of ``codes`` vectors of ``code_dims`` numbers each. On the coarsest map where the
    network has maps, else (or where ``positions`` are named) at so many positions that have no place."""
    return _chain(
        spec,
        features,
        c,
        nets,
        spec.code_dims,
        lambda space: Codebook(spec.codes, spec.books, spec.code_dims, space, spec.memory),
    )


def fsq(spec: LatentSpec, features: int, c: int, nets: Nets) -> Latents:
    """Finite scalar quantisation: the codes are a grid of ``levels``; the same positions as those of ``codes``."""
    if spec.books > 1:
        raise BadInput(
            f"latent.books={spec.books}: a grid has no further books; use latent.name=codes, or more latent.levels"
        )
    return _chain(spec, features, c, nets, len(spec.levels), lambda space: Grid(spec.levels, space))


def _chain(
    spec: LatentSpec,
    features: int,
    c: int,
    nets: Nets,
    dims: int,
    quantiser: Callable[[Sequence[int]], Quantiser],
) -> Latents:
    """One variable z. On a map the decoder starts from the map of codes."""
    if nets.levels and spec.positions is None:
        level = nets.levels[0]
        shape = (level.channels, *level.space)
        enter = nets.descent(0, (dims, *level.space), rises=False)
        posterior = nets.map_rung(0, dims, c, reads=True)
        block = Codes("z", quantiser(level.space), posterior, enter, spec.commitment)
        return Latents([block], shape, shape, nets.entry(c) if c else None)
    positions = POSITIONS if spec.positions is None else spec.positions
    block = Codes("z", quantiser((positions,)), nets.head(features + c, dims * positions), None, spec.commitment)
    return Latents([block], shape=(dims * positions,))
