"""Codes 0, 1, ... of columns of unequal size. N = rows, C = columns, S = levels in all, M = in the largest column."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latelier.errors import BadInput
from latelier.likelihoods.base import Distribution, Likelihood, Ordered, full
from latelier.likelihoods.logistic import log_mass, standard_gumbel, standard_logistic


@dataclass(frozen=True)
class Levels:
    """How the S levels of C columns lie side by side: all columns at once, whatever their sizes."""

    column: Tensor  # (S,) the column of each level
    code: Tensor  # (S,) its code within the column
    start: Tensor  # (C,) where each column begins
    last: Tensor  # (C,) each column's highest code

    def largest(self, values: Tensor) -> Tensor:
        """(N, S) -> (N, C): the maximum within each column."""
        nothing = values.new_full((len(values), len(self.start)), -math.inf)
        return nothing.scatter_reduce(1, self.column.expand_as(values), values, "amax")

    def total(self, values: Tensor) -> Tensor:
        """(N, S) -> (N, C): the sum within each column."""
        nothing = values.new_zeros(len(values), len(self.start))
        return nothing.scatter_add(1, self.column.expand_as(values), values)

    def spread(self, values: Tensor) -> Tensor:
        """(N, C) -> (N, S): each column's value at all of its levels."""
        return values.index_select(1, self.column)

    def argmax(self, values: Tensor) -> Tensor:
        """(N, S) -> (N, C) int64: the code of the maximum within each column."""
        nothing = self.last.expand(len(values), -1)
        code = torch.where(values == self.spread(self.largest(values)), self.code, self.spread(nothing))
        return nothing.scatter_reduce(1, self.column.expand_as(code), code, "amin")

    def legal(self, x: Tensor) -> Tensor:
        """(N, C): codes brought within their column, so that a placeholder under a mask can be any number."""
        return torch.minimum(x, self.last).clamp_min(0)


class Coded(Distribution):
    """A distribution of int64 codes (N, C)."""

    levels: Levels

    @abstractmethod
    def probs(self) -> Tensor:
        """(N, S): the probability of every level, columns side by side; each column sums to 1."""


class CodedHead(Likelihood):
    """A head for codes: ``sizes`` are the numbers of levels of its C columns."""

    column: Tensor
    code: Tensor
    start: Tensor
    last: Tensor

    def __init__(self, sizes: tuple[int, ...]):
        if min(sizes, default=0) < 1:
            raise BadInput(f"{type(self).__name__} needs at least one level in every column; its sizes are {sizes}")
        super().__init__((len(sizes),))
        self.sizes = tuple(sizes)
        counts = torch.tensor(sizes)
        start = counts.cumsum(0) - counts
        column = torch.repeat_interleave(torch.arange(len(sizes)), counts)
        named = {
            "column": column,
            "code": torch.arange(int(counts.sum())) - start[column],
            "start": start,
            "last": counts - 1,
        }
        for name, value in named.items():
            self.register_buffer(name, value, persistent=False)

    @property
    def levels(self) -> Levels:
        return Levels(self.column, self.code, self.start, self.last)


class CategoricalDistribution(Coded):
    """A softmax over the levels of each column; logits (N, S)."""

    def __init__(self, logits: Tensor, levels: Levels):
        self.logits, self.levels = logits, levels

    def log_norm(self) -> tuple[Tensor, Tensor]:
        """Both (N, C): the largest logit of each column, and the log of the sum of exp(logits - largest)."""
        largest = self.levels.largest(self.logits.detach())
        return largest, self.levels.total(torch.exp(self.logits - self.levels.spread(largest))).log()

    def entry_log_prob(self, x: Tensor) -> Tensor:
        largest, log_total = self.log_norm()  # taken off one by one: logits of 1e4 leave no decimals in their sum
        return self.logits.gather(1, self.levels.legal(x) + self.levels.start) - largest - log_total

    def probs(self) -> Tensor:
        largest, log_total = self.log_norm()
        return torch.exp(self.logits - self.levels.spread(largest) - self.levels.spread(log_total))

    @torch.no_grad()
    def sample(self) -> Tensor:
        return self.levels.argmax(self.logits + standard_gumbel(self.logits))

    def point_estimate(self) -> Tensor:
        return self.levels.argmax(self.logits)


class Categorical(CodedHead):
    """Unordered codes; one logit per level, S in all.

    >>> px = Categorical((2, 3))(torch.zeros(1, 5))
    >>> px.entry_log_prob(torch.tensor([[1, 2]])).exp(), px.probs()
    (tensor([[0.5000, 0.3333]]), tensor([[0.5000, 0.5000, 0.3333, 0.3333, 0.3333]]))
    """

    support = "category"

    @property
    def width(self) -> int:
        return sum(self.sizes)

    def places(self) -> Tensor:
        return self.column.cpu()

    def unpack(self, h: Tensor) -> Tensor:
        """(N, S) as it is."""
        return full(h)

    def forward(self, h: Tensor) -> Distribution:
        return CategoricalDistribution(self.unpack(h), self.levels)


class OrdinalDistribution(Coded, Ordered):
    """P(code <= k) = sigmoid((cuts[k] - location) / scale), the last k excepted: McCullagh 1980, proportional odds.

    location, scale (N, C); cuts (C, M - 1), increasing; only the first sizes - 1 of a column are in use.
    """

    def __init__(self, location: Tensor, scale: Tensor, cuts: Tensor, levels: Levels):
        self.location, self.scale, self.cuts, self.levels = location, scale, cuts, levels

    def entry_log_prob(self, x: Tensor) -> Tensor:
        x = self.levels.legal(x)
        return self.between(x, torch.arange(x.shape[1], device=x.device), self.location, self.scale)

    def between(self, code: Tensor, column: Tensor, location: Tensor, scale: Tensor) -> Tensor:
        """Log-probability of each code, nats; all shapes broadcast to that of the answer."""
        highest = self.cuts.shape[1] - 1
        below, above = self.cuts[column, (code - 1).clamp(0, highest)], self.cuts[column, code.clamp(0, highest)]
        first, last = code == 0, code == self.levels.last[column]
        # At the ends there is one cut; any positive length serves there, for log_mass does not look at it.
        length = torch.where(first | last, 1.0, (above - below).clamp_min(1e-6))
        low = torch.where(first, above - 1.0, below)
        return log_mass((low - location) / scale, length / scale, first, last)

    def probs(self) -> Tensor:
        column = self.levels.column
        location, scale = self.levels.spread(self.location), self.levels.spread(self.scale)
        return self.between(self.levels.code, column, location, scale).exp()

    @torch.no_grad()
    def sample(self) -> Tensor:
        return self.bin(self.location + self.scale * standard_logistic(self.location))

    def point_estimate(self) -> Tensor:
        return self.levels.argmax(self.probs())

    def quantile(self, level: float) -> Tensor:
        return self.bin(self.location + self.scale * math.log(level / (1 - level)))

    def bin(self, value: Tensor) -> Tensor:
        """(N, C) -> (N, C) int64: how many of its column's cuts each value exceeds."""
        used = torch.arange(self.cuts.shape[1], device=value.device) < self.levels.last[:, None]
        return ((value[:, :, None] > self.cuts) & used).sum(2)


class Ordinal(CodedHead):
    """Ordered codes: learned cut points per column, location and scale predicted. ``floor`` bounds the scale below.

    At the start, with zeros from the network, all levels are about equally likely.

    >>> Ordinal((4,), floor=1e-6)(torch.zeros(1, 2)).probs()
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]], grad_fn=<ExpBackward0>)
    """

    support = "ordinal"
    per_value = 2

    def __init__(self, sizes: tuple[int, ...], floor: float = 1e-2):
        super().__init__(sizes)
        if floor <= 0:
            raise BadInput(f"floor of Ordinal is {floor}; give a number above 0, such as 0.01")
        self.floor = floor
        k = torch.arange(1, max(2, max(sizes)))
        cuts = torch.logit(k / torch.tensor(sizes)[:, None].clamp_min(2), eps=1e-6)
        gaps = cuts.diff(dim=1).clamp_min(1e-2)  # beyond a column's own cuts there is nothing to learn
        self.first = nn.Parameter(cuts[:, :1].clone())
        self.raw_gaps = nn.Parameter(torch.log(torch.expm1(gaps)))

    def cuts(self) -> Tensor:
        """(C, M - 1), increasing."""
        gaps = F.softplus(self.raw_gaps) + 1e-4  # codes that nobody has seen keep a little room
        return torch.cat([self.first, self.first + gaps.cumsum(1)], 1)

    def forward(self, h: Tensor) -> Distribution:
        location, raw = self.unpack(h)
        scale = F.softplus(raw + math.log(math.e - 1)) + self.floor
        return OrdinalDistribution(location, scale, self.cuts(), self.levels)
