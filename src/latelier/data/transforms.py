"""Between the data's own units and the model's: to_model, to_data, and the log-determinant between. N = rows.

Values as stored (uint8 pixels, float64 columns, int64 codes) go in; float32 or int64 tensors for the model come out.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from latelier.data.curves import Arcsinh, Curve, Log, Logit
from latelier.noise import Noise

T = TypeVar("T", bound="Transform")


class Transform(BaseModel, ABC):
    """A bijection of stored values, or a random refinement of discrete ones; ``random`` ones are drawn anew at each step."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    random: ClassVar[bool] = False
    type: str

    @abstractmethod
    def to_model(self, x: Tensor, noise: Noise) -> Tensor:
        """(N, *shape) stored -> (N, *shape) as the model reads it."""

    @abstractmethod
    def to_data(self, x: Tensor) -> Tensor:
        """The inverse: (N, *shape) of the model -> stored form."""

    def within(self, x: Tensor) -> Tensor:
        """Stored values that the model made, brought into the range that the data had; all of them where it is not known."""
        return x

    def log_det(self, x: Tensor) -> Tensor | None:
        """(N, *shape) log |d model / d stored| in nats at stored values x; None where no density is stretched."""
        return None

    def of(self, columns: Sequence[int]) -> Self:
        """The same of these columns, in this order, where there are parameters for each column."""
        own = [name for name, value in self if isinstance(value, tuple) and value]
        return self.model_copy(update={name: tuple(getattr(self, name)[i] for i in columns) for name in own})


def side_by_side(parts: Sequence[T]) -> T:
    """One transform of the columns of all parts, which are of one type."""
    own = [name for name, value in parts[0] if isinstance(value, tuple)]
    return parts[0].model_copy(update={name: tuple(v for part in parts for v in getattr(part, name)) for name in own})


class Same(Transform):
    """Codes, counts and 0/1 columns: nothing to do."""

    type: Literal["same"] = "same"

    def to_model(self, x: Tensor, noise: Noise) -> Tensor:
        return x

    def to_data(self, x: Tensor) -> Tensor:
        return x


class Curved(Transform):
    """Columns to zero mean and unit scale: y = (g(x) - loc) / scale, where g is one of four curves, a column each.

    ``identity``; ``arcsinh``, arcsinh(x / bend), where ``bend`` is not 0: linear near 0, logarithmic far away, for both
    signs; ``log`` where ``log`` is not 0: the logarithm of what is above ``origin``, from there up, and below its tangent;
    ``logit`` where ``margin`` is not 0: that of the share of the range ``low`` to ``high``, and its tangents in so much of
    the share at either end. All are defined everywhere, increasing, and have a slope, so a value that was never seen before
    has a finite density. What they are measured by scales with the data, so a change of units changes nats by the log of
    the factor.
    """

    loc: tuple[float, ...]
    scale: tuple[float, ...]
    bend: tuple[float, ...]
    low: tuple[float, ...] = ()  # the range of the data, if known
    high: tuple[float, ...] = ()
    log: tuple[float, ...] = ()  # from where above its origin a column is taken by its logarithm; 0: it is not
    origin: tuple[float, ...] = ()
    margin: tuple[float, ...] = ()  # share of the range at either end that a logit leaves straight; 0: no logit

    def _columns(self, like: Tensor) -> tuple[Tensor, Tensor]:
        loc, scale = (torch.tensor(v, dtype=torch.float64, device=like.device) for v in (self.loc, self.scale))
        return loc, scale

    def curves(self) -> tuple[Curve, ...]:
        """Those that some column has."""
        curves: list[Curve] = []
        if any(self.bend):
            curves.append(Arcsinh(torch.tensor(self.bend, dtype=torch.float64)))
        if any(self.log):
            curves.append(Log(*(torch.tensor(v, dtype=torch.float64) for v in (self.log, self.origin))))
        if any(self.margin):
            low, high, margin = (torch.tensor(v, dtype=torch.float64) for v in (self.low, self.high, self.margin))
            curves.append(Logit(low, high, margin))
        return tuple(curves)

    def to_model(self, x: Tensor, noise: Noise) -> Tensor:
        loc, scale = self._columns(x)
        x = x.double()
        curved = x
        for curve in self.curves():
            curved = torch.where(curve.chosen.to(x.device), curve.to(x.device).forward(x), curved)
        return ((curved - loc) / scale).float()

    def to_data(self, x: Tensor) -> Tensor:
        loc, scale = self._columns(x)
        y = x.double() * scale + loc
        straight = y
        for curve in self.curves():
            straight = torch.where(curve.chosen.to(x.device), curve.to(x.device).back(y), straight)
        return straight

    def log_det(self, x: Tensor) -> Tensor:
        _, scale = self._columns(x)
        slope = torch.zeros_like(x, dtype=torch.float64)
        for curve in self.curves():
            slope = torch.where(curve.chosen.to(x.device), curve.to(x.device).log_slope(x.double()), slope)
        return (slope - torch.log(scale)).float()

    def within(self, x: Tensor) -> Tensor:
        if not self.low:
            return x
        low, high = (torch.tensor(v, dtype=torch.float64, device=x.device) for v in (self.low, self.high))
        return torch.minimum(torch.maximum(x, low), high)


class Standardise(Curved):
    """Columns of numbers, each by its curve.

    >>> unit = Standardise(loc=(5.0,), scale=(2.0,), bend=(0.0,))
    >>> unit.to_model(torch.tensor([[9.0]]), None), unit.log_det(torch.tensor([[9.0]]))
    (tensor([[2.]]), tensor([[-0.6931]]))
    """

    type: Literal["standardise"] = "standardise"


class Amount(Curved):
    """Amounts with an atom: columns where one value, the ``spike``, is often repeated, such as 0, and the others are spread.

    The spike becomes 0.0, and nothing else does; the others are standardised by a curve. Nats are with respect to the
    Lebesgue measure and an atom at the spike: its probability is not stretched.

    >>> paid = Amount(loc=(5.0,), scale=(2.0,), bend=(0.0,), spike=(0.0,))
    >>> y = paid.to_model(torch.tensor([[0.0], [9.0], [5.0]]), None)
    >>> y[:, 0].tolist(), paid.to_data(y)[:, 0].tolist(), paid.log_det(torch.tensor([[0.0], [9.0]]))[:, 0]
    ([0.0, 2.0, 1e-20], [0.0, 9.0, 5.0], tensor([ 0.0000, -0.6931]))
    """

    type: Literal["amount"] = "amount"
    spike: tuple[float, ...]

    def _spike(self, like: Tensor) -> Tensor:
        return torch.tensor(self.spike, dtype=torch.float64, device=like.device)

    def to_model(self, x: Tensor, noise: Noise) -> Tensor:
        return torch.where(x.double() == self._spike(x), 0.0, not_spike(super().to_model(x, noise)))

    def to_data(self, x: Tensor) -> Tensor:
        return torch.where(x == 0, self._spike(x), super().to_data(x))

    def log_det(self, x: Tensor) -> Tensor:
        return torch.where(x.double() == self._spike(x), 0.0, super().log_det(x))

    def within(self, x: Tensor) -> Tensor:
        return torch.where(x == self._spike(x), x, super().within(x))


def not_spike(y: Tensor) -> Tensor:
    """The same numbers, with 0.0, which means the spike, moved by less than float32 notices elsewhere."""
    return torch.where(y == 0, 1e-20, y)


class Cyclic(Transform):
    """Values that come round, such as times of day, to angles: from ``start`` once round in a ``period``, -pi to pi.

    >>> hours = Cyclic(start=(0.0,), period=(24.0,))
    >>> hours.to_model(torch.tensor([[0.0], [12.0], [36.0]]), None)[:, 0]
    tensor([-3.1416,  0.0000,  0.0000])
    """

    type: Literal["cyclic"] = "cyclic"
    start: tuple[float, ...]
    period: tuple[float, ...]

    def _columns(self, like: Tensor) -> tuple[Tensor, Tensor]:
        start, period = (torch.tensor(v, dtype=torch.float64, device=like.device) for v in (self.start, self.period))
        return start, period

    def to_model(self, x: Tensor, noise: Noise) -> Tensor:
        start, period = self._columns(x)
        return ((((x.double() - start) / period) % 1.0) * (2 * math.pi) - math.pi).float()

    def to_data(self, x: Tensor) -> Tensor:
        start, period = self._columns(x)
        return start + period * ((x.double() / (2 * math.pi) + 0.5) % 1.0)

    def log_det(self, x: Tensor) -> Tensor:
        _, period = self._columns(x)
        return (math.log(2 * math.pi) - period.log()).float().expand(x.shape)


class Binarise(Transform):
    """Grey levels to 0/1: x is read as the probability x / 255 and drawn anew (``dynamic``), or cut at the middle."""

    random: ClassVar[bool] = True
    type: Literal["binarise"] = "binarise"
    dynamic: bool = True

    def to_model(self, x: Tensor, noise: Noise) -> Tensor:
        if self.dynamic:
            return noise.uniform(x).mul_(255).lt_(x)  # comparing floats in place is five times as fast as making bools
        return x.float().gt_(127)

    def to_data(self, x: Tensor) -> Tensor:
        return (x * 255).round().clamp(0, 255).to(torch.uint8)


class Levels(Transform):
    """8-bit levels 0..255 to the grid -1, ..., 1 that the discretised logistic reads. Probabilities are discrete: no stretch."""

    random: ClassVar[bool] = True  # not random, but 4x smaller in memory as stored
    type: Literal["levels"] = "levels"

    def to_model(self, x: Tensor, noise: Noise) -> Tensor:
        return x.float() / 127.5 - 1

    def to_data(self, x: Tensor) -> Tensor:
        return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


class Dequantise(Transform):
    """8-bit levels to a density: y = ((x + u) / 256 - loc) / scale with u uniform on (0, 1).

    The density of y plus ``log_det`` is a lower bound on the discrete log-probability (Theis et al. 2016, eq. 3), so
    nats of Gaussian pixels and of the discretised logistic can be compared.
    """

    random: ClassVar[bool] = True
    type: Literal["dequantise"] = "dequantise"
    loc: float = 0.0
    scale: float = 1.0

    def to_model(self, x: Tensor, noise: Noise) -> Tensor:
        return ((x + noise.uniform(x)) * (1 / 256) - self.loc) / self.scale

    def to_data(self, x: Tensor) -> Tensor:
        return ((x * self.scale + self.loc) * 256).floor().clamp(0, 255).to(torch.uint8)

    def log_det(self, x: Tensor) -> Tensor:
        return torch.full((), -math.log(256 * self.scale), device=x.device).expand(x.shape)


AnyTransform = Annotated[
    Same | Standardise | Amount | Cyclic | Binarise | Levels | Dequantise, Field(discriminator="type")
]
