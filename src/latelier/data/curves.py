"""Increasing curves of the real line, with inverse and slope, a column each. N = rows, D = columns; all in float64."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

TINY = 1e-300  # in place of the parameters of columns that do not have the curve, whose values are not used


@dataclass(frozen=True)
class Curve(ABC):
    """A bijection of the line of every ``chosen`` column; for the others the numbers are finite and mean nothing."""

    @property
    @abstractmethod
    def chosen(self) -> Tensor:
        """(D,) bool: which columns have it."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, D)"""

    @abstractmethod
    def back(self, y: Tensor) -> Tensor:
        """The inverse: (N, D) -> (N, D)"""

    @abstractmethod
    def log_slope(self, x: Tensor) -> Tensor:
        """(N, D) log of the derivative of ``forward`` at x."""

    def to(self, device: torch.device) -> Self:
        return type(self)(*(getattr(self, f.name).to(device) for f in fields(self)))


@dataclass(frozen=True)
class Arcsinh(Curve):
    """arcsinh(x / bend)

    >>> Arcsinh(torch.tensor([2.0])).back(Arcsinh(torch.tensor([2.0])).forward(torch.tensor([[-7.0]])))
    tensor([[-7.]])
    """

    bend: Tensor

    @property
    def chosen(self) -> Tensor:
        return self.bend > 0

    def forward(self, x: Tensor) -> Tensor:
        return torch.asinh(x / self.bend.clamp_min(TINY))

    def back(self, y: Tensor) -> Tensor:
        return torch.sinh(torch.where(self.chosen, y, 0.0)) * self.bend

    def log_slope(self, x: Tensor) -> Tensor:
        return -0.5 * torch.log(x.square() + self.bend.square().clamp_min(TINY))


@dataclass(frozen=True)
class Log(Curve):
    """log(x - origin) from ``start`` above the origin up, and below that the tangent there, so that all numbers have a place.

    >>> Log(torch.tensor([1.0]), torch.tensor([0.0])).forward(torch.tensor([[2.718282], [0.0]]))[:, 0]
    tensor([ 1., -1.])
    """

    start: Tensor
    origin: Tensor

    @property
    def chosen(self) -> Tensor:
        return self.start > 0

    def forward(self, x: Tensor) -> Tensor:
        x, start = x - self.origin, self.start.clamp_min(TINY)
        return torch.where(x > start, x.clamp_min(TINY).log(), start.log() + (x - start) / start)

    def back(self, y: Tensor) -> Tensor:
        start = torch.where(self.chosen, self.start, 1.0)
        y = torch.where(self.chosen, y, 0.0)
        return self.origin + torch.where(y > start.log(), y.exp(), start * (1 + y - start.log()))

    def log_slope(self, x: Tensor) -> Tensor:
        return -torch.maximum(x - self.origin, self.start.clamp_min(TINY)).log()


@dataclass(frozen=True)
class Logit(Curve):
    """log u / (1 - u) of u = (x - low) / (high - low), with tangents where u is nearer than ``margin`` to 0 or 1.

    >>> Logit(torch.zeros(1), torch.ones(1), torch.full((1,), 0.1)).forward(torch.tensor([[0.5], [0.8]]))[:, 0]
    tensor([0.0000, 1.3863])
    """

    low: Tensor
    high: Tensor
    margin: Tensor

    @property
    def chosen(self) -> Tensor:
        return self.margin > 0

    def forward(self, x: Tensor) -> Tensor:
        share, margin = self._share(x), self._margin()
        inner = torch.minimum(torch.maximum(share, margin), 1 - margin)
        return torch.logit(inner) + (share - inner) / (margin * (1 - margin))

    def back(self, y: Tensor) -> Tensor:
        margin = self._margin()
        inner = torch.minimum(torch.maximum(y, torch.logit(margin)), -torch.logit(margin))
        return self.low + (self.high - self.low) * (torch.sigmoid(inner) + (y - inner) * margin * (1 - margin))

    def log_slope(self, x: Tensor) -> Tensor:
        margin = self._margin()
        inner = torch.minimum(torch.maximum(self._share(x), margin), 1 - margin)
        return -torch.log(inner * (1 - inner) * torch.where(self.chosen, self.high - self.low, 1.0))

    def _share(self, x: Tensor) -> Tensor:
        return (x - self.low) / torch.where(self.chosen, self.high - self.low, 1.0)

    def _margin(self) -> Tensor:
        return torch.where(self.chosen, self.margin, 0.25)
