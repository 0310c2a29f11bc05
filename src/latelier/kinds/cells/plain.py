"""A table as plain numbers, whatever its columns are. N = rows, D = numbers of a row.

Columns of numbers and dates are one number each, those that come round the cosine and sine of their angle. Columns of words are
one 0 or 1 per level, and one for all that was rare or never there; so a word that training did not have can be read, and is
seen to be new.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from latelier.errors import BadInput
from latelier.kinds.cells.columns import Column, Place
from latelier.kinds.cells.files import Table, TextTable
from latelier.kinds.cells.schema import TableSchema, few

Floats = npt.NDArray[np.float64]
LEVELS = 64  # words of a column that get a number of their own, the most frequent; the rest share one


class Plain(BaseModel):
    """The columns of a table, and what numbers they become."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    columns: tuple[Column, ...]
    missing: tuple[str, ...]

    @classmethod
    def of(cls, schema: TableSchema) -> Plain:
        """Of a scanned table. Numbers are real whatever they were taken for, and so are dates; constants stay."""
        return cls(columns=tuple(map(_as_numbers, schema.columns)), missing=schema.missing)

    def with_common_levels(self, table: Table, rows: int = 1 << 16) -> Plain:
        """The same with at most ``LEVELS`` words a column, those that are most frequent in the table."""
        wide = [column for column in self.columns if len(column.levels) > LEVELS]
        if not wide:
            return self
        counts = {column.name: np.zeros(len(column.levels), np.int64) for column in wide}
        for block in table.blocks(list(counts), self.missing, rows):
            for column in wide:
                codes = _codes(column, block[column.name])
                known = codes[(codes >= 0) & (codes < len(column.levels))]
                counts[column.name] += np.bincount(known, minlength=len(column.levels))
        common = {n: sorted(np.argsort(-c, kind="stable")[:LEVELS].tolist()) for n, c in counts.items()}
        columns = tuple(
            c.model_copy(update={"levels": tuple(c.levels[i] for i in common[c.name])}) if c.name in common else c
            for c in self.columns
        )
        return self.model_copy(update={"columns": columns})

    @property
    def names(self) -> tuple[str, ...]:
        """(D,) what each number is called: COLUMN, or COLUMN=LEVEL."""
        return tuple(name for column in self.columns for name in _names(column))

    @property
    def owners(self) -> npt.NDArray[np.int64]:
        """(D,) the place of the column that each number belongs to."""
        return np.repeat(np.arange(len(self.columns)), [len(_names(column)) for column in self.columns])

    def numbers(self, table: Table, rows: int = 4096) -> Iterator[Floats]:
        """(n, D) at a time, NaN where missing. Columns are found by name, in any order; others are passed over. BadInput:
        a column that is not there, words among numbers, infinite values."""
        for column in self.columns:
            if column.name not in table.names:
                raise BadInput(
                    f"column {column.name!r} is not there ({table.where} has {few(table.names)}); add it, with empty cells "
                    "where its values are not known"
                )
        decimal = table.dialect.decimal if isinstance(table, TextTable) else "."
        start = 0
        for block in table.blocks([column.name for column in self.columns], self.missing, rows):
            place = partial(_place, table.place, start)
            yield np.column_stack([_numbers(column, block[column.name], place, decimal) for column in self.columns])
            start += len(next(iter(block.values())))


def by_column(values: npt.NDArray[np.generic], owners: npt.NDArray[np.int64]) -> Floats:
    """(N, D) -> (N, C): summed over the numbers of a column.

    >>> by_column(np.array([[1, 2, 4]]), np.array([0, 0, 1]))
    array([[3., 4.]])
    """
    firsts = np.flatnonzero(np.diff(owners, prepend=-1))
    return np.asarray(np.add.reduceat(values.astype(np.float64), firsts, axis=1))


def _as_numbers(column: Column) -> Column:
    if column.dtype in ("string", "bool"):
        return column
    family = "cyclic" if column.family == "cyclic" else "real"
    dtype = column.dtype if column.dated or column.timed else "double"
    return column.model_copy(update={"family": family, "dtype": dtype, "levels": ()})


def _place(of_table: Place, start: int, row: int) -> str:
    return of_table(start + row)


def _names(column: Column) -> Sequence[str]:
    if column.dtype not in ("string", "bool"):
        return (f"{column.name} (cos)", f"{column.name} (sin)") if column.family == "cyclic" else (column.name,)
    # Of two levels one tells the other, and counting both would count the column twice.
    told = column.levels[1:] if len(column.levels) == 2 else column.levels
    return [*(f"{column.name}={level}" for level in told), f"{column.name}=?"]


def _numbers(column: Column, array: pa.Array, place: Place, decimal: str) -> Floats:
    """(n, 1) of numbers and dates, (n, 2) of what comes round, (n, levels + 1) of words."""
    if column.dtype not in ("string", "bool"):
        values, seen = column.encode(array, place, decimal)
        numbers = np.where(seen, values, np.nan)[:, None]
        if column.family != "cyclic":
            return numbers
        angle = (numbers - column.start) * (2 * math.pi / column.period)
        return np.concatenate([np.cos(angle), np.sin(angle)], 1)
    found = _codes(column, array)
    hot = (found[:, None] == np.arange(len(column.levels) + 1)).astype(np.float64)
    hot[found < 0] = np.nan
    return hot[:, 1:] if len(column.levels) == 2 else hot


def _codes(column: Column, array: pa.Array) -> npt.NDArray[np.int64]:
    """(n,) the place of each word among the levels, their number where it is none of them, -1 where it is missing."""
    coded = array.dictionary_encode()
    known = {level.lower() if column.dtype == "bool" else level: code for code, level in enumerate(column.levels)}
    words = [str(value).lower() if column.dtype == "bool" else str(value) for value in coded.dictionary.to_pylist()]
    codes = np.array([known.get(word, len(known)) for word in words] + [-1], np.int64)
    return np.asarray(codes[coded.indices.fill_null(len(words)).to_numpy()])
