"""Columns one by one and two by two, as SDMetrics defines them: 1 is the same, 0 is apart. D = columns."""

from __future__ import annotations

import numpy as np

from latelier.fidelity.frames import Aligned, Numbers

BINS = 10  # into which numbers are cut where they stand beside a category
COLUMNS = 100  # of which pairs are looked at
ROWS = 50_000  # of each side, for pairs


def column_shapes(table: Aligned, real: Numbers, made: Numbers) -> dict[str, float]:
    """1 - Kolmogorov-Smirnov of numbers, 1 - total variation of categories; what is missing is left out."""
    return {
        name: 1 - (ks(a, b) if table.numeric(i) else variation(a, b, len(table.levels[i])))
        for i, name in enumerate(table.names)
        if len(a := seen(real[:, i])) and len(b := seen(made[:, i]))
    }


def pair_trends(table: Aligned, real: Numbers, made: Numbers) -> Numbers:
    """(D, D), NaN on the diagonal: 1 - |difference of Pearson correlations| / 2 of two numbers; else 1 - total variation of
    the contingency table, numbers cut into ten bins of equal width over the real range."""
    columns = min(len(table.names), COLUMNS)
    out = np.full((columns, columns), np.nan)
    sides = [part[:ROWS, :columns] for part in (real, made)]
    correlated = [correlations(side, [table.numeric(i) for i in range(columns)]) for side in sides]
    codes, sizes = zip(*(binned(table, i, sides[0][:, i], sides[1][:, i]) for i in range(columns)), strict=True)
    for i in range(columns):
        for j in range(i):
            if table.numeric(i) and table.numeric(j):
                out[i, j] = 1 - abs(correlated[0][i, j] - correlated[1][i, j]) / 2
            else:
                both = [a * sizes[j] + b for a, b in zip(codes[i], codes[j], strict=True)]
                there = [(a >= 0) & (b >= 0) for a, b in zip(codes[i], codes[j], strict=True)]
                out[i, j] = 1 - variation(both[0][there[0]], both[1][there[1]], sizes[i] * sizes[j])
            out[j, i] = out[i, j]
    return out


def correlations(values: Numbers, numeric: list[bool]) -> Numbers:
    """(D, D) Pearson correlations of columns of numbers over the rows that both have; 0 where one does not vary."""
    out = np.zeros((len(numeric), len(numeric)))
    for i in np.flatnonzero(numeric):
        for j in np.flatnonzero(numeric[:i]):
            both = np.isfinite(values[:, i]) & np.isfinite(values[:, j])
            if both.sum() > 1:
                a, b = (values[both, k] - values[both, k].mean() for k in (i, j))
                size = float(np.sqrt((a @ a) * (b @ b)))
                out[i, j] = out[j, i] = float(a @ b) / size if size > 0 else 0.0
    return out


def ks(one: Numbers, two: Numbers) -> float:
    """The largest gap between the two cumulative shares.

    >>> ks(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    0.5
    """
    every = np.concatenate([one, two])
    a, b = (np.searchsorted(np.sort(v), every, side="right") / len(v) for v in (one, two))
    return float(np.abs(a - b).max())


def variation(one: Numbers, two: Numbers, size: int) -> float:
    """The share of rows that would have to change their code, of codes 0 ... size - 1.

    >>> variation(np.array([0.0, 0.0]), np.array([0.0, 1.0]), 2)
    0.5
    """
    shares = [np.bincount(v.astype(np.int64), minlength=size) / max(len(v), 1) for v in (one, two)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def binned(table: Aligned, column: int, real: Numbers, made: Numbers) -> tuple[list[Numbers], int]:
    """Codes of both sides, -1 where nothing is there, and how many codes there are."""
    if not table.numeric(column):
        return [np.nan_to_num(v, nan=-1.0) for v in (real, made)], len(table.levels[column])
    known = seen(real)
    edges = np.histogram_bin_edges(known, BINS)[1:-1] if len(known) else np.zeros(BINS - 1)
    return [np.where(np.isnan(v), -1.0, np.searchsorted(edges, v, side="right")) for v in (real, made)], BINS


def seen(values: Numbers) -> Numbers:
    return values[~np.isnan(values)]
