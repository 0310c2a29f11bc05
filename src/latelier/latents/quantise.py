"""Vectors to codes and back. N = rows, P = positions, B = books, D = numbers of a vector, K = codes of a book.

A value of the latent is (N, B, D, *space), the vectors of all books apart, so that each tells its own code; the decoder reads
their sum over books.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

AT_ONCE = 1 << 23  # distances from vectors to codes that are held at a time
DEAD = 0.03  # of its even share of a batch's vectors: a code that is used less is drawn anew from the batch
REVIVED = 0.1  # of the even share: what a code begins with, so that it has some hundred steps to find its use
SMOOTHING = 1e-5  # added to every count (van den Oord et al. 2017, appendix A.1, as in their code)
ROUNDS = 10  # of k-means before training


@dataclass(frozen=True)
class Quantised:
    """What vectors became: ``codes`` (N, P, B), the ``value`` (N, B, D, *space) whose gradient passes straight through to the
    vectors, and the squared ``distance`` (N,) that they moved, where there is one to be paid."""

    codes: Tensor
    value: Tensor
    distance: Tensor | None


class Quantiser(nn.Module, ABC):
    """The values that a vector at each of the positions in ``space`` can take: ``size`` codes in each of ``books`` books."""

    def __init__(self, size: int, books: int, dims: int, space: Sequence[int]):
        super().__init__()
        self.size, self.books, self.dims, self.space = size, books, dims, tuple(space)
        self.shape = (books, dims, *self.space)
        self.positions = math.prod(self.space)

    @abstractmethod
    def quantise(self, h: Tensor) -> Quantised:
        """(N, P, D); in training a codebook learns from them."""

    @abstractmethod
    def vectors(self, codes: Tensor) -> Tensor:
        """(N, P, B) -> (N, P, B, D)"""

    @abstractmethod
    def nearest(self, vectors: Tensor) -> Tensor:
        """(N, P, B, D) -> (N, P, B): the code of each, or of the code nearest to it, book by book."""

    def begin(self, h: Tensor) -> None:
        """Told once, before training, of some vectors (N, P, D)."""

    def value(self, codes: Tensor) -> Tensor:
        """(N, P, B) -> (N, B, D, *space)"""
        return self.laid(self.vectors(codes))

    def codes(self, value: Tensor) -> Tensor:
        """(N, B, D, *space) -> (N, P, B)"""
        return self.nearest(value.flatten(3).permute(0, 3, 1, 2))

    def laid(self, vectors: Tensor) -> Tensor:
        """(N, P, B, D) -> (N, B, D, *space)"""
        return vectors.permute(0, 2, 3, 1).reshape(len(vectors), *self.shape)


class Codebook(Quantiser):
    """Vector quantisation by nearest code (van den Oord et al. 2017); further books quantise what the ones before left over
    (residual quantisation: Zeghidour et al. 2021, algorithm 1).

    A code is the running mean of the vectors that chose it (the same, appendix A.1). Counts and sums are buffers, so a run
    that goes on has them. A code that hardly any vector chooses is replaced by a vector of the batch.

    >>> book = Codebook(size=4, books=2, dims=3, space=(5,)).eval()
    >>> found = book.quantise(torch.randn(7, 5, 3))
    >>> found.codes.shape, found.value.shape, torch.equal(book.codes(found.value), found.codes)
    (torch.Size([7, 5, 2]), torch.Size([7, 2, 3, 5]), True)
    """

    def __init__(self, size: int, books: int, dims: int, space: Sequence[int], memory: float = 0.99):
        super().__init__(size, books, dims, space)
        self.memory = memory
        start = torch.randn(books, size, dims) * 0.1
        self.register_buffer("book", start)  # (B, K, D)
        self.register_buffer("count", torch.ones(books, size))  # running number of vectors a step that chose a code
        self.register_buffer("total", start.clone())  # and their running sum

    book: Tensor
    count: Tensor
    total: Tensor

    def quantise(self, h: Tensor) -> Quantised:
        moved = h.flatten(0, 1)  # what is left of it, with its gradient
        left, codes, vectors, distance = moved.detach(), [], [], h.new_zeros(len(h))
        for b in range(self.books):
            chosen = _nearest(self.book[b], left)
            vector = self.book[b][chosen]
            moved = moved - vector
            distance = distance + moved.square().view(len(h), -1).sum(1)
            if self.training:
                self._learn(b, left, chosen)
            left = left - vector
            codes.append(chosen)
            vectors.append(vector)
        if (
            h.requires_grad
        ):  # the decoder reads the sum over books, so all of its gradient passes through the first vector
            vectors[0] = h.flatten(0, 1) + (vectors[0] - h.flatten(0, 1)).detach()
        value = torch.stack(vectors, 1).view(*h.shape[:2], self.books, self.dims)
        return Quantised(torch.stack(codes, 1).view(*h.shape[:2], self.books), self.laid(value), distance)

    def vectors(self, codes: Tensor) -> Tensor:
        return self.book[torch.arange(self.books, device=codes.device), codes]

    def nearest(self, vectors: Tensor) -> Tensor:
        flat = vectors.flatten(0, 1)
        found = [_nearest(self.book[b], flat[:, b]) for b in range(self.books)]
        return torch.stack(found, 1).view(*vectors.shape[:3])

    @torch.no_grad()
    def begin(self, h: Tensor) -> None:
        """Codes begin as the means of k-means; where there are fewer vectors than codes, some are alike at first."""
        left = h.flatten(0, 1)
        for b in range(self.books):
            order = torch.randperm(len(left)).repeat(-(-self.size // len(left)))[: self.size]
            self.book[b] = left[order]
            for _ in range(ROUNDS):
                count, total = self._sums(left, _nearest(self.book[b], left))
                self.book[b] = torch.where(count[:, None] > 0, total / count[:, None].clamp_min(1), self.book[b])
            left = left - self.book[b][_nearest(self.book[b], left)]
        self.total.copy_(self.book)
        self.count.fill_(1.0)

    @torch.no_grad()
    def _learn(self, b: int, flat: Tensor, chosen: Tensor) -> None:
        """One step of the running means of book b, from the vectors (M, D) and the codes that they chose."""
        count, total = self._sums(flat, chosen)
        self.count[b].lerp_(count, 1 - self.memory)
        self.total[b].lerp_(total, 1 - self.memory)
        whole = self.count[b].sum()
        smooth = (self.count[b] + SMOOTHING) / (whole + self.size * SMOOTHING) * whole
        self.book[b] = self.total[b] / smooth[:, None]
        share = len(flat) / self.size
        dead = self.count[b] < DEAD * share
        some = flat[torch.randint(len(flat), (self.size,), device=flat.device)]
        self.book[b] = torch.where(dead[:, None], some, self.book[b])
        self.count[b] = torch.where(dead, REVIVED * share, self.count[b])
        self.total[b] = torch.where(dead[:, None], some * REVIVED * share, self.total[b])

    def _sums(self, flat: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """How many vectors chose each code (K,), and their sum (K, D)."""
        count = flat.new_zeros(self.size).index_add_(0, chosen, flat.new_ones(len(flat)))
        return count, flat.new_zeros(self.size, self.dims).index_add_(0, chosen, flat)


class Grid(Quantiser):
    """Finite scalar quantisation (Mentzer et al. 2023): each number of a vector is bounded and rounded to one of ``levels[i]``
    values, so that the codes are the points of a grid: none is learnt, and none can die.

    >>> grid = Grid((3, 3), (1,))
    >>> grid.value(torch.arange(9)[:, None, None]).flatten(1)[:4]
    tensor([[-1., -1.],
            [ 0., -1.],
            [ 1., -1.],
            [-1.,  0.]])
    """

    def __init__(self, levels: Sequence[int], space: Sequence[int]):
        super().__init__(math.prod(levels), 1, len(levels), space)
        basis = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("basis", torch.tensor(basis), persistent=False)
        self.register_buffer("width", torch.tensor([float(n // 2) for n in levels]), persistent=False)

        self.register_buffer("centre", torch.zeros(len(levels)))
        self.register_buffer("scale", torch.ones(len(levels)))

    levels: Tensor
    basis: Tensor
    width: Tensor  # of the precision that the network has
    centre: Tensor
    scale: Tensor

    def quantise(self, h: Tensor) -> Quantised:
        half = (self.levels - 1) * (1 + 1e-3) / 2  # the outermost values can be reached by finite numbers
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)  # of an even number of levels, 0 is one
        h = (h - self.centre) * self.scale
        bounded = torch.tanh(h + torch.atanh(offset / half)) * half - offset
        whole = bounded + (bounded.round() - bounded).detach()
        vectors = (whole / self.width)[:, :, None]
        return Quantised(self.nearest(vectors.detach()), self.laid(vectors), None)

    @torch.no_grad()
    def begin(self, h: Tensor) -> None:
        """Numbers that begin near 0 would all be rounded to it, and many never leave it: they are spread over the levels."""
        flat = h.flatten(0, 1)
        self.centre.copy_(flat.mean(0))
        self.scale.copy_(1 / flat.std(0).clamp_min(1e-6))

    def vectors(self, codes: Tensor) -> Tensor:
        return (codes[..., None] // self.basis % self.levels - self.width) / self.width

    def nearest(self, vectors: Tensor) -> Tensor:
        digits = (vectors * self.width + self.width).round().long().clamp_min(0)
        return (torch.minimum(digits, self.levels - 1) * self.basis).sum(-1)


def _nearest(book: Tensor, flat: Tensor) -> Tensor:
    """(K, D), (M, D) -> (M,): the first of the nearest codes."""
    length = 0.5 * book.square().sum(1)
    # Networks may run in bfloat16, in which many codes are equally near.
    with torch.autocast(flat.device.type, enabled=False):
        flat = flat.to(book.dtype)
        parts = [
            torch.addmm(-length, part, book.T).argmax(1) for part in torch.split(flat, max(1, AT_ONCE // len(book)))
        ]
    return torch.cat(parts)
