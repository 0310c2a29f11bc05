"""Between the data's own units and the model's: to_model, to_data, and the log-determinant between. N = rows.

Values as stored (uint8 pixels, float64 columns, int64 codes) go in; float32 or int64 tensors for the model come out.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from latelier.noise import Noise


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


class Same(Transform):
    """Codes, counts and 0/1 columns: nothing to do."""

    type: Literal["same"] = "same"

    def to_model(self, x: Tensor, noise: Noise) -> Tensor:
        return x

    def to_data(self, x: Tensor) -> Tensor:
        return x


class Standardise(Transform):
    """Columns to zero mean and unit scale: y = (g(x) - loc) / scale.

    g is the identity where ``bend`` is 0, and arcsinh(x / bend) in heavy-tailed columns: linear near 0, logarithmic far
    away, defined for both signs. ``bend`` scales with the data, so a change of units changes nats by the log of the factor.

    >>> unit = Standardise(loc=(5.0,), scale=(2.0,), bend=(0.0,))
    >>> unit.to_model(torch.tensor([[9.0]]), None), unit.log_det(torch.tensor([[9.0]]))
    (tensor([[2.]]), tensor([[-0.6931]]))
    """

    type: Literal["standardise"] = "standardise"
    loc: tuple[float, ...]
    scale: tuple[float, ...]
    bend: tuple[float, ...]
    low: tuple[float, ...] = ()  # the range of the data, if known
    high: tuple[float, ...] = ()

    def _columns(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        loc, scale, bend = (
            torch.tensor(v, dtype=torch.float64, device=like.device) for v in (self.loc, self.scale, self.bend)
        )
        return loc, scale, bend

    def to_model(self, x: Tensor, noise: Noise) -> Tensor:
        loc, scale, bend = self._columns(x)
        x = x.double()
        bent = torch.where(bend > 0, torch.asinh(x / bend.clamp_min(1e-300)), x)
        return ((bent - loc) / scale).float()

    def to_data(self, x: Tensor) -> Tensor:
        loc, scale, bend = self._columns(x)
        y = x.double() * scale + loc
        return torch.where(bend > 0, torch.sinh(torch.where(bend > 0, y, 0.0)) * bend, y)

    def log_det(self, x: Tensor) -> Tensor:
        _, scale, bend = self._columns(x)
        slope = torch.where(bend > 0, -0.5 * torch.log(x.double().square() + bend.square().clamp_min(1e-300)), 0.0)
        return (slope - torch.log(scale)).float()

    def within(self, x: Tensor) -> Tensor:
        if not self.low:
            return x
        low, high = (torch.tensor(v, dtype=torch.float64, device=x.device) for v in (self.low, self.high))
        return torch.minimum(torch.maximum(x, low), high)


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


AnyTransform = Annotated[Same | Standardise | Binarise | Levels | Dequantise, Field(discriminator="type")]
