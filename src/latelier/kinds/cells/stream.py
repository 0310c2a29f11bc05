"""Lines that come bit by bit, as batches of a table's rows. n = rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from latelier.batch import Batch
from latelier.data.rows import hold
from latelier.errors import BadInput
from latelier.kinds.base import Arrived, Stream
from latelier.kinds.cells.files import Table
from latelier.kinds.cells.lines import ArrivedTable, Cells, Delimited, Lines, lines_from
from latelier.kinds.cells.schema import TableSchema, few

HOPELESS = 1_000  # lines, none of which can be read, after which it must be the wrong file


class Reader(Protocol):
    """What a stream needs of the kind of table."""

    def lines(self, first: Sequence[bytes], schema: TableSchema, where: str) -> Lines: ...

    def batches_of(self, table: Table, schema: TableSchema, rows: int) -> Iterator[Batch]: ...

    def spelled_as(self, schema: TableSchema) -> Mapping[str, str]: ...

    def moment(self, schema: TableSchema) -> str | None: ...


@dataclass(frozen=True)
class _Part:
    """Lines that were read together."""

    batch: Batch
    table: ArrivedTable


class LineStream(Stream):
    """Reads what comes as a file of the same rows would be read. Where some lines cannot be, halves are tried, and their halves,
    until those lines alone are left."""

    def __init__(self, kind: Reader, schema: TableSchema, where: str):
        self.kind, self.schema, self.where = kind, schema, where
        self.moment = kind.moment(schema)
        self.reading: Lines | None = None
        self.before: Lines | None = None  # of the file before this one
        self.checked: tuple[str, ...] = ()  # column names that were looked at
        self.passing = False  # over rows of a header without the model's columns?
        self.good = self.spoilt = 0

    def begin(self) -> None:
        self.before, self.reading = self.reading, None

    def rows(self, lines: Sequence[bytes], first: int) -> Arrived:
        if self.reading is None and any(line.strip() for line in lines):
            self.reading = self._begun([line for line in lines if line.strip()])
        bad: list[str] = []
        parts: list[_Part] = []
        passed = 0
        for names, places in _runs(self.reading, lines) if self.reading else ():
            if names != self.checked:
                self._check(names, bad, begun=bool(self.good or parts))
            if self.passing:
                passed += len(places)
            else:
                parts += self._sifted([lines[i] for i in places], [first + i for i in places], names, bad)
        self.good += sum(len(part.batch) for part in parts)
        self.spoilt += len(bad)
        if not self.good and self.spoilt >= HOPELESS:
            raise BadInput(
                f"{bad[-1]} (none of {self.spoilt:,} lines could be read: are they of the kind that was trained on?)"
            )
        numbers = [number for part in parts for number in part.table.numbers]
        starts = [0]
        for part in parts:
            starts.append(starts[-1] + len(part.batch))
        spelled_as = self.kind.spelled_as(self.schema)

        def cell(row: int, column: str) -> str | None:
            part = max(i for i, start in enumerate(starts[:-1]) if start <= row)
            array = parts[part].table.cells.columns.get(spelled_as.get(column, column))
            return None if array is None else array[row - starts[part]].as_py()

        return Arrived(hold(part.batch for part in parts) if parts else None, numbers, bad, passed, cell)

    def state(self) -> dict[str, Any]:
        return self.reading.state() if self.reading and self.reading.names else {}

    def restore(self, state: dict[str, Any]) -> None:
        self.reading = lines_from(state) if state else None

    def _begun(self, lines: Sequence[bytes]) -> Lines:
        """How these first lines are to be read: as the last file was, if there is no header in them."""
        try:
            reading = self.kind.lines(lines, self.schema, self.where)
            reading.directive(lines[0])
        except BadInput:
            if self.before is None:
                raise
            return self.before
        return reading

    def _check(self, names: tuple[str, ...], bad: list[str], begun: bool) -> None:
        """Under this header, are the model's columns there? BadInput where the first one lacks any."""
        nothing = Cells({name: pa.array([], pa.string()) for name in names}, [], {})
        self.checked, self.passing = names, False
        try:
            for _ in self.kind.batches_of(ArrivedTable(self.where, names, nothing, []), self.schema, 1):
                pass
        except BadInput as error:
            if not begun:
                raise
            self.passing = True
            bad.append(f"{error}; rows are passed over until a header that has it")

    def _sifted(
        self, lines: Sequence[bytes], numbers: Sequence[int], names: tuple[str, ...], bad: list[str]
    ) -> Iterator[_Part]:
        assert self.reading is not None
        try:
            cells = self.reading.cells(lines, names, names)
            told = [f"{self.where}, line {numbers[place]}: {why}" for place, why in sorted(cells.bad.items())]
            if cells.rows:
                table = ArrivedTable(self.where, names, cells, [numbers[place] for place in cells.rows])
                yield _Part(hold(self.kind.batches_of(table, self.schema, len(cells.rows))), table)
            bad += told
        except BadInput as error:
            if len(lines) == 1:
                where, text = f"{self.where}, line {numbers[0]}", str(error)
                bad.append(text if where in text else f"{where}: {text}")
                return
            middle = len(lines) // 2
            yield from self._sifted(lines[:middle], numbers[:middle], names, bad)
            yield from self._sifted(lines[middle:], numbers[middle:], names, bad)


def lines_like(schema: TableSchema, where: str) -> Lines:
    """Lines such as those that the model was fitted to. The first one may be a header, and must be where theirs had one."""

    def positional(cells: list[str]) -> Sequence[str] | None:
        known = {column.name for column in schema.columns}
        if known & {cell.strip() for cell in cells}:
            return None
        if schema.header:
            raise BadInput(
                f"{where}: the first line names none of the columns {few(sorted(known))}; begin with the header"
            )
        return [f"c{i}" for i in range(len(cells))]

    return Delimited(schema.separator, positional, encoding=schema.encoding)


def _runs(reading: Lines, lines: Sequence[bytes]) -> list[tuple[tuple[str, ...], list[int]]]:
    """(column names, places of the rows under them), in order."""
    runs: list[tuple[tuple[str, ...], list[int]]] = []
    for place, line in enumerate(lines):
        if not reading.directive(line):
            if not runs or runs[-1][0] != reading.names:
                runs.append((reading.names, []))
            runs[-1][1].append(place)
    return runs
