"""How likely rows are if no value knows of another: the yardstick of the bound. n = training rows, m = held-out rows.

Every value of a row has the distribution of its own column (or pixel) in the training rows, smoothed where there are few.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.data.schema import Field, Schema

Column = Callable[[Tensor, Tensor, Tensor, Field], Tensor]
NARROW = (
    0.05  # least standard deviation, in the model's standardised units: a constant column gives no infinite density
)


def independent(schema: Schema, trained: Batch, held: Batch) -> float | None:
    """Mean log-probability of the held-out rows in nats, of the data's own units; None where a support has no such model.

    >>> from latelier.data.schema import Field, Schema
    >>> coin = Schema(kind="tables", fields=(Field(name="coin", shape=(1,), support="binary"),))
    >>> toss = Batch({"coin": torch.tensor([[0.0], [1.0]]).repeat(500, 1)})
    >>> round(independent(coin, toss, toss), 3)
    -0.693
    """
    total = held.stretch().double()
    for field in schema.modelled:
        column = COLUMNS.get(field.support)
        if column is None:
            return None
        values = trained.fields[field.name]
        seen = trained.seen.get(field.name, torch.ones(1, dtype=torch.bool)).expand_as(values)
        terms = column(values, seen, held.fields[field.name], field)
        mask = held.seen.get(field.name)
        total = total + (terms if mask is None else torch.where(mask.expand_as(terms), terms, 0.0)).flatten(1).sum(1)
    return float(total.mean())


def _real(x: Tensor, seen: Tensor, y: Tensor, field: Field) -> Tensor:
    mean, variance = _moments(x, seen)
    scale = variance.sqrt().clamp_min(NARROW)
    return -0.5 * ((y - mean) / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)


def _binary(x: Tensor, seen: Tensor, y: Tensor, field: Field) -> Tensor:
    n = seen.sum(0)
    share = (((x * seen).sum(0) + 0.5) / (n + 1)).double()
    return y * share.log() + (1 - y) * (-share).log1p()


def _codes(x: Tensor, seen: Tensor, y: Tensor, field: Field) -> Tensor:
    out = torch.zeros(y.shape, dtype=torch.float64)
    for j, size in enumerate(field.sizes):
        counts = torch.bincount(x[:, j][seen[:, j]], minlength=size).double() + 0.5
        out[:, j] = (counts / counts.sum()).log()[y[:, j].clamp(0, size - 1)]
    return out


def _count(x: Tensor, seen: Tensor, y: Tensor, field: Field) -> Tensor:
    """Negative binomial by moments; Poisson where the variance is no larger than the mean."""
    mean, variance = _moments(x, seen)
    mean = mean.clamp_min(1e-3)
    total = mean.square() / (variance - mean).clamp_min(1e-6 * mean)
    share = mean / (mean + total)
    return (
        torch.lgamma(y + total) - torch.lgamma(total) - torch.lgamma(y + 1) + y * share.log() + total * (-share).log1p()
    )


def _amount(x: Tensor, seen: Tensor, y: Tensor, field: Field) -> Tensor:
    """The share of the spike, 0.0 here, and a normal of the others."""
    spike = x == 0
    share = (((seen & spike).sum(0) + 0.5) / (seen.sum(0) + 1)).double()
    return torch.where(y == 0, share.log(), (-share).log1p() + _real(x, seen & ~spike, y, field))


def _cyclic(x: Tensor, seen: Tensor, y: Tensor, field: Field) -> Tensor:
    """A density of 24 steps once round."""
    codes = Field(name=field.name, shape=field.shape, support="category", sizes=(24,) * field.shape[0])
    hours, wanted = (((t / (2 * math.pi) + 0.5) * 24).long().clamp(0, 23) for t in (x, y))
    return _codes(hours, seen, wanted, codes) + math.log(24 / (2 * math.pi))


def _levels(x: Tensor, seen: Tensor, y: Tensor, field: Field) -> Tensor:
    """A normal of the value's own mean and spread, cut into the 256 levels, the ends open."""
    x, y = (x.double() + 1) * 127.5, (y.double() + 1) * 127.5
    mean, variance = _moments(x, seen)
    spread = variance.sqrt().clamp_min(0.5)
    above = torch.where(y > 254.5, 1.0, torch.special.ndtr((y + 0.5 - mean) / spread))
    below = torch.where(y < 0.5, 0.0, torch.special.ndtr((y - 0.5 - mean) / spread))
    return (above - below).clamp_min(1e-7).log()


def _unit(x: Tensor, seen: Tensor, y: Tensor, field: Field) -> Tensor:
    """A density of 32 steps on [0, 1] for every value."""
    grey = Field(name=field.name, shape=field.shape, support="category", sizes=(32,) * math.prod(field.shape))
    codes, wanted = ((t * 32).long().clamp(0, 31).flatten(1) for t in (x, y))
    return (_codes(codes, seen.reshape(codes.shape), wanted, grey) + math.log(32)).view(y.shape)


def _moments(x: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    x, n = x.double(), seen.sum(0).clamp_min(1)
    mean = torch.where(seen, x, 0.0).sum(0) / n
    return mean, torch.where(seen, x - mean, 0.0).square().sum(0) / n


COLUMNS: dict[str, Column] = {
    "real": _real,
    "binary": _binary,
    "unit": _unit,
    "levels": _levels,
    "amount": _amount,
    "cyclic": _cyclic,
    "count": _count,
    "category": _codes,
    "ordinal": _codes,
}
