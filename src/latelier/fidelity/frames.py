"""Frames of one table as matrices that can be compared. N = rows of a frame, D = columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from latelier.errors import BadInput

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Aligned:
    """The same columns of several frames: numbers as they are (dates in seconds), all else as codes of ``levels``.

    ``parts`` are (N, D) each, NaN where nothing is there; ``levels`` is empty for columns of numbers.
    """

    names: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    parts: tuple[Numbers, ...]

    def numeric(self, column: int) -> bool:
        return not self.levels[column]

    def column(self, name: str) -> int:
        return self.names.index(name)


def align(frames: Sequence[pd.DataFrame]) -> Aligned:
    """By the columns and types of the first. BadInput where another lacks one.

    >>> both = align([pd.DataFrame({"a": [1, 2], "b": ["x", None]}), pd.DataFrame({"b": ["y", "x"], "a": [3.5, 4]})])
    >>> both.levels, both.parts[1].tolist()
    (((), ('x', 'y')), [[3.5, 1.0], [4.0, 0.0]])
    """
    first = frames[0]
    for frame in frames[1:]:
        for name in first.columns:
            if name not in frame.columns:
                raise BadInput(f"column {name!r} is in one of the tables that are compared and not in another; add it")
    levels: list[tuple[str, ...]] = []
    columns: list[list[Numbers]] = []
    for name in first.columns:
        series = [frame[name] for frame in frames]
        if all(is_number(part) for part in series):
            levels.append(())
            columns.append([numbers(part) for part in series])
        else:
            words = [part.astype("string") for part in series]
            known = tuple(sorted({str(w) for part in words for w in part.dropna().unique()})) or ("",)
            levels.append(known)
            codes = [pd.Categorical(part, categories=known).codes.astype(np.float64) for part in words]
            columns.append([np.where(code < 0, np.nan, code) for code in codes])
    parts = tuple(np.stack([column[i] for column in columns], 1) for i in range(len(frames)))
    return Aligned(tuple(map(str, first.columns)), tuple(levels), parts)


def is_number(series: pd.Series) -> bool:
    """Numbers and dates, but not True and False, which are names of two classes."""
    kind = series.dtype
    return (pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)) or (
        pd.api.types.is_datetime64_any_dtype(kind)
    )


def numbers(series: pd.Series) -> Numbers:
    """(N,) float64, NaN where nothing is there."""
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        stamps = series.to_numpy("datetime64[us]")
        return np.where(np.isnat(stamps), np.nan, stamps.astype(np.int64) / 1e6)
    return series.to_numpy(np.float64, na_value=np.nan)


def evenly(rows: int, most: int, seed: int) -> npt.NDArray[np.int64]:
    """At most so many row numbers, at random."""
    return np.random.default_rng(seed).permutation(rows)[:most]
