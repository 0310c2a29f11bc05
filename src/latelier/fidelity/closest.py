"""Distance to the closest training row: are made rows nearer to them than other real rows are? N = rows, M = of training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latelier.fidelity.frames import Aligned, Numbers, evenly

ROWS = 5_000  # whose distances are taken
TRAINING = 50_000  # rows that they are compared with
PART = 250  # rows at a time
MISSING = 2.0  # where a number is missing, beyond the ranks 0 to 1: as far from any number as categories are apart


@dataclass(frozen=True)
class Distances:
    """(N,) each, sorted: of made rows, and of real rows that were held out, to the closest training row."""

    made: Numbers
    real: Numbers

    def at(self, share: float) -> tuple[float, float]:
        """The quantile of both."""
        return float(np.quantile(self.made, share)), float(np.quantile(self.real, share))

    @property
    def copies(self) -> tuple[float, float]:
        """The share of rows that stand in the training rows as they are."""
        return float((self.made == 0).mean()), float((self.real == 0).mean())


def closest(table: Aligned, train: Numbers, held: Numbers, made: Numbers, seed: int) -> Distances:
    """Gower's distance (1971), a mean over columns: 0 or 1 for categories, the difference of ranks among the training rows
    for numbers, so that no unit and no outlier decides. As many made rows as held-out ones."""
    numeric = np.array([table.numeric(i) for i in range(len(table.names))])
    rows = min(len(held), len(made), ROWS)
    train = train[evenly(len(train), TRAINING, seed)]
    order = [np.sort(train[:, i][~np.isnan(train[:, i])]) for i in np.flatnonzero(numeric)]
    base = ranked(train, numeric, order)
    found = [
        nearest(ranked(part[evenly(len(part), rows, seed)], numeric, order), base, int(numeric.sum()))
        for part in (made, held)
    ]
    return Distances(np.sort(found[0]), np.sort(found[1]))


def ranked(values: Numbers, numeric: npt.NDArray[np.bool_], order: list[Numbers]) -> Numbers:
    """(N, D): the ranks of numbers first, then codes."""
    ranks = [
        np.where(
            np.isnan(column),
            MISSING,
            (np.searchsorted(known, column, "left") + np.searchsorted(known, column, "right"))
            / (2 * max(len(known), 1)),
        )
        for column, known in zip(values[:, numeric].T, order, strict=True)
    ]
    return np.column_stack([*ranks, np.nan_to_num(values[:, ~numeric], nan=-1.0)])


def nearest(rows: Numbers, base: Numbers, numbers: int) -> Numbers:
    """(N,) the smallest mean distance of each row to a row of ``base``."""
    from scipy.spatial.distance import cdist

    out = np.empty(len(rows))
    codes = rows.shape[1] - numbers
    for first in range(0, len(rows), PART):
        part = rows[first : first + PART]
        total = np.zeros((len(part), len(base)))
        if numbers:
            total += cdist(part[:, :numbers], base[:, :numbers], "cityblock")
        if codes:
            total += codes * cdist(part[:, numbers:], base[:, numbers:], "hamming")
        out[first : first + PART] = total.min(1) / rows.shape[1]
    return out
