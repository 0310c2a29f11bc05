"""Columns of any units on one scale of surprise: normal scores. N = rows, D = columns, K = knots of a column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Floats = npt.NDArray[np.float64]
KNOTS = 512  # distinct values of a column that are kept; between them scores are interpolated


@dataclass(frozen=True)
class Margin:
    """One column: s(x) = Phi^-1 of the mid-rank of x among the ``rows`` values that it was made from.

    Ties share the middle of their ranks, so a value's score says how far out in the tail it lies, whatever the column's
    units, skew or number of values: a flag that is set in one row of a thousand has a score of 3.3 where it is set and of
    0.0 elsewhere, not of 31.6 standard deviations. Beyond the values that were there the score is that of the last rank
    and asinh of the way beyond it in standard deviations, so that far out is odder than just outside.

    >>> ages = Margin.of(np.array([20.0, 30.0, 30.0, 40.0]))
    >>> ages.scores(np.array([20.0, 30.0, 40.0, 41.0, 1000.0])).round(1)
    array([-1.2,  0. ,  1.2,  1.7,  7.1])
    """

    values: Floats  # (K,) rising
    ranks: Floats  # (K,) their scores
    edge: float  # the score of the last rank
    spread: float  # standard deviation

    @classmethod
    def of(cls, column: Floats) -> Margin:
        """From (N,) values, of which NaN are missing. A column without values scores 0 everywhere."""
        column = column[~np.isnan(column)]
        rows = len(column)
        if not rows:
            return cls(np.zeros(1), np.zeros(1), 0.0, 1.0)
        values, counts = np.unique(column, return_counts=True)
        middle = (np.cumsum(counts) - counts / 2) / rows
        kept = np.arange(len(values))
        if len(values) > KNOTS:  # evenly by rank, the ends included; and every value that many rows share
            even = np.searchsorted(middle, np.linspace(middle[0], middle[-1], KNOTS))
            kept = np.unique(np.concatenate([even, np.flatnonzero(counts > rows / KNOTS), [0, len(values) - 1]]))
        # Half a rank from the ends, as for any other value.
        edge = 0.5 / rows
        spread = float(column.std()) or abs(float(values[0])) or 1.0
        return cls(values[kept], ndtri(middle[kept].clip(edge, 1 - edge)), float(ndtri(1 - edge / 2)), spread)

    def scores(self, column: Floats) -> Floats:
        """(N,) values -> (N,) scores, NaN where missing."""
        inside = np.interp(column, self.values, self.ranks)
        beyond = np.maximum(column - self.values[-1], 0) - np.maximum(self.values[0] - column, 0)
        way = np.arcsinh(np.abs(beyond) / self.spread)
        outside = np.abs(beyond) > 1e-9 * self.spread  # what is not only rounded differently
        return np.where(outside, np.sign(beyond) * (self.edge + way), inside)


@dataclass(frozen=True)
class Margins:
    """The columns of a table, each by its own margin."""

    columns: tuple[Margin, ...]

    @classmethod
    def of(cls, values: Floats) -> Margins:
        """From (N, D) values, NaN where missing."""
        return cls(tuple(Margin.of(column) for column in values.T))

    def scores(self, values: Floats) -> npt.NDArray[np.float32]:
        """(N, D) values -> (N, D) scores, NaN where missing."""
        scored = np.empty(values.shape, np.float32)
        for place, margin in enumerate(self.columns):
            scored[:, place] = margin.scores(values[:, place])
        return scored

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """As plain arrays, for a file: the knots of all columns one after the other, and how many each has."""
        return {
            "knots": np.array([len(m.values) for m in self.columns], np.int64),
            "values": np.concatenate([m.values for m in self.columns]),
            "ranks": np.concatenate([m.ranks for m in self.columns]),
            "edge": np.array([m.edge for m in self.columns]),
            "spread": np.array([m.spread for m in self.columns]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Margins:
        """The inverse of ``arrays``."""
        ends = np.cumsum(arrays["knots"])[:-1]
        parts = zip(
            np.split(arrays["values"], ends),
            np.split(arrays["ranks"], ends),
            arrays["edge"].tolist(),
            arrays["spread"].tolist(),
            strict=True,
        )
        return cls(tuple(Margin(*part) for part in parts))
