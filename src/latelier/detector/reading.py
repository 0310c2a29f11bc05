"""The rows of a table, or of a log of network traffic, as plain numbers: from files, frames or line by line. n = rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from latelier.batch import Batch
from latelier.errors import BadInput
from latelier.kinds.base import Source
from latelier.kinds.cells.files import Table
from latelier.kinds.cells.lines import Lines
from latelier.kinds.cells.plain import Plain
from latelier.kinds.cells.schema import TableSchema
from latelier.kinds.cells.stream import LineStream
from latelier.kinds.tables import Tables

Floats = npt.NDArray[np.float64]
FIELD = "plain"  # what the numbers are called in a batch


@dataclass(frozen=True)
class Reading:
    """A kind of table, the schema of the rows that were learned from, and the numbers that they become."""

    kind: Tables
    schema: TableSchema
    plain: Plain

    @classmethod
    def of(cls, kind: Tables, schema: TableSchema, source: Source) -> Reading:
        """Reads the words of columns that have very many, to know the common ones."""
        plain = Plain.of(schema)
        return cls(kind, schema, plain.with_common_levels(kind.as_read(kind.open(source, schema), schema)))

    def rows(self, source: Source, at_once: int = 4096) -> Iterator[Floats]:
        """(n, D) at a time, NaN where missing; constant memory. BadInput where data and schema differ."""
        yield from self.plain.numbers(self.kind.as_read(self.kind.open(source, self.schema), self.schema), at_once)

    def some(self, source: Source, ids: npt.NDArray[np.int64]) -> Floats:
        """(N, D) the rows at these places, which rise."""
        parts, start = [], 0
        for values in self.rows(source):
            parts.append(values[ids[(ids >= start) & (ids < start + len(values))] - start])
            start += len(values)
        if start < self.schema.rows:
            raise BadInput(
                f"{start:,} rows, and there were {self.schema.rows:,} a moment ago; is the file being written?"
            )
        return np.concatenate(parts)

    def follow(self, where: str) -> LineStream:
        """Rows that come line by line, as batches of one field of numbers."""
        return LineStream(self, self.schema, where)

    def batches_of(self, table: Table, schema: TableSchema, rows: int) -> Iterator[Batch]:
        for values in self.plain.numbers(self.kind.as_read(table, schema), rows):
            seen = ~np.isnan(values)
            yield Batch({FIELD: torch.from_numpy(np.where(seen, values, 0.0))}, {FIELD: torch.from_numpy(seen)})

    @staticmethod
    def numbers_of(batch: Batch) -> Floats:
        """(n, D) of such a batch, NaN where missing."""
        values, seen = batch.fields[FIELD].numpy(), batch.seen.get(FIELD)
        return values if seen is None else np.where(seen.numpy(), values, np.nan)

    def lines(self, first: Sequence[bytes], schema: TableSchema, where: str) -> Lines:
        return self.kind.lines(first, schema, where)

    def spelled_as(self, schema: TableSchema) -> Mapping[str, str]:
        return self.kind.spelled_as(schema)

    def moment(self, schema: TableSchema) -> str | None:
        return self.kind.moment(schema)
