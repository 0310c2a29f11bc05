"""A table as plain numbers, whatever its columns are. N = rows, D = numbers of a row.

Columns of numbers and dates are one number each. Columns of words are one 0 or 1 per level, and one for all that was rare
or never there; so a word that training did not have can be read, and is seen to be new.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from latelier.errors import BadInput
from latelier.kinds.base import Source
from latelier.kinds.cells.columns import Column, Place
from latelier.kinds.cells.files import TextTable, open_table
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
        kept = []
        for column in schema.columns:
            if column.dtype in ("string", "bool"):
                kept.append(column)
            else:
                dtype = column.dtype if column.dated else "double"
                kept.append(column.model_copy(update={"family": "real", "dtype": dtype, "levels": ()}))
        return cls(columns=tuple(kept), missing=schema.missing)

    def with_common_levels(self, values: Floats) -> Plain:
        """The same with at most ``LEVELS`` words a column, those that are most frequent in the (N, D) ``values``."""
        if all(len(column.levels) <= LEVELS for column in self.columns):
            return self
        counts = np.split(np.nansum(values, 0), np.flatnonzero(np.diff(self.owners)) + 1)
        kept = []
        for column, count in zip(self.columns, counts, strict=True):
            if len(column.levels) > LEVELS:
                common = sorted(np.argsort(-count[:-1], kind="stable")[:LEVELS].tolist())
                column = column.model_copy(update={"levels": tuple(column.levels[i] for i in common)})
            kept.append(column)
        return self.model_copy(update={"columns": tuple(kept)})

    @property
    def names(self) -> tuple[str, ...]:
        """(D,) what each number is called: COLUMN, or COLUMN=LEVEL."""
        return tuple(name for column in self.columns for name in _names(column))

    @property
    def owners(self) -> npt.NDArray[np.int64]:
        """(D,) the place of the column that each number belongs to."""
        return np.repeat(np.arange(len(self.columns)), [len(_names(column)) for column in self.columns])

    def read(self, source: Source, rows: int = 4096) -> Iterator[Floats]:
        """(n, D) at a time, NaN where missing. Columns are found by name, in any order; others are passed over. BadInput:
        a column that is not there, words among numbers, infinite values."""
        table = open_table(source, known=[column.name for column in self.columns])
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


def _place(of_table: Place, start: int, row: int) -> str:
    return of_table(start + row)


def _names(column: Column) -> list[str]:
    if column.dtype not in ("string", "bool"):
        return [column.name]
    # Of two levels one tells the other, and counting both would count the column twice.
    told = column.levels[1:] if len(column.levels) == 2 else column.levels
    return [*(f"{column.name}={level}" for level in told), f"{column.name}=?"]


def _numbers(column: Column, array: pa.Array, place: Place, decimal: str) -> Floats:
    """(n, 1) of numbers and dates, (n, levels + 1) of words."""
    if column.dtype not in ("string", "bool"):
        values, seen = column.encode(array, place, decimal)
        return np.where(seen, values, np.nan)[:, None]
    coded = array.dictionary_encode()
    known = {level.lower() if column.dtype == "bool" else level: code for code, level in enumerate(column.levels)}
    words = [str(value).lower() if column.dtype == "bool" else str(value) for value in coded.dictionary.to_pylist()]
    codes = np.array([known.get(word, len(known)) for word in words] + [-1], np.int64)
    found = codes[coded.indices.fill_null(len(words)).to_numpy()]
    hot = (found[:, None] == np.arange(len(known) + 1)).astype(np.float64)
    hot[found < 0] = np.nan
    return hot[:, 1:] if len(known) == 2 else hot
