"""Columns of a table as a report reads them, and how far two samples of one column are apart. n = rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latelier.batch import Batch
from latelier.data.schema import Field, Schema
from latelier.fidelity import shapes

Numbers = npt.NDArray[np.float64]
YEAR = 365.2425 * 86_400  # seconds


@dataclass(frozen=True)
class Shown:
    """One column: where it stands in a batch, and what its codes stand for. Dates are shown as years."""

    name: str
    field: Field
    place: int
    levels: tuple[str, ...] = ()
    dated: bool = False

    @property
    def coded(self) -> bool:
        return self.field.coded

    @property
    def named(self) -> bool:
        """Do its codes have no order?"""
        return self.coded and self.field.support == "category"

    def values(self, batch: Batch) -> Numbers:
        """(n,) stored values or codes of a stored batch, NaN where not seen."""
        values: Numbers = batch.fields[self.field.name][:, self.place].double().cpu().numpy().copy()
        if self.field.name in batch.seen:
            values[~batch.seen[self.field.name][:, self.place].cpu().numpy()] = np.nan
        return values / YEAR + 1970 if self.dated else values

    def word(self, code: int) -> str:
        """What a code stands for."""
        return self.levels[code] if code < len(self.levels) else str(code)

    def shares(self, *samples: Numbers) -> list[Numbers]:
        """(codes,) for each sample: how often each code occurs among what is seen."""
        codes = [np.rint(v[np.isfinite(v)]).astype(int) for v in samples]
        size = max([len(self.levels), *(int(v.max()) + 1 for v in codes if len(v))])
        return [np.bincount(v, minlength=size) / max(len(v), 1) for v in codes]

    def distance(self, one: Numbers, two: Numbers) -> float:
        """Total variation of codes, Kolmogorov-Smirnov of numbers: 0 the same, 1 apart; seen values only.

        >>> age = Shown("age", Field(name="real", shape=(1,), support="real"), 0)
        >>> age.distance(np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 4.0, 5.0, 6.0]))
        0.5
        """
        one, two = one[np.isfinite(one)], two[np.isfinite(two)]
        if not len(one) or not len(two):
            return 0.0
        if self.coded:
            a, b = self.shares(one, two)
            return float(np.abs(a - b).sum() / 2)
        return shapes.ks(one, two)

    def typical(self, values: Numbers) -> float:
        """What one would fill in without a model: the mean of numbers, the most frequent code."""
        if not np.isfinite(values).any():
            return 0.0
        return float(self.shares(values)[0].argmax()) if self.coded else float(np.nanmean(values))

    def error(self, truth: Numbers, guess: Numbers | float) -> float:
        """Share of wrong codes, or root mean square in the column's own unit; seen values only, NaN without any."""
        seen = np.isfinite(truth)
        if not seen.any():
            return float("nan")
        guess = np.broadcast_to(guess, truth.shape)[seen]
        wrong = (truth[seen] != np.rint(guess)).mean() if self.coded else np.sqrt(np.square(truth[seen] - guess).mean())
        return float(wrong)


def shown(schema: Schema, conditions: bool = False) -> list[Shown]:
    """The modelled columns, and on demand those that are given."""
    about = {column.name: column for column in getattr(schema, "columns", ())}
    out = []
    for field in schema.fields if conditions else schema.modelled:
        for place in range(field.shape[0]):
            name = field.columns[place] if place < len(field.columns) else f"{field.name}[{place}]"
            column = about.get(name)
            levels = tuple(getattr(column, "levels", ()))
            out.append(Shown(name, field, place, levels, bool(getattr(column, "dated", False))))
    return out


def noise_floor(one: Numbers, two: Numbers) -> float:
    """The distance that two samples of one source exceed once in twenty times (Kolmogorov-Smirnov, large samples)."""
    n, m = int(np.isfinite(one).sum()), int(np.isfinite(two).sum())
    return 1.36 * float((n + m) / (n * m)) ** 0.5 if n and m else 1.0


def correlations(values: Sequence[Numbers]) -> Numbers:
    """(D, D) Pearson correlations over the rows that both columns have; 0 where a column does not vary, 1 on the diagonal."""
    return np.eye(len(values)) + shapes.correlations(np.asarray(values).T, [True] * len(values))
