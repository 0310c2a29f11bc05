"""Lines of text as rows of named cells, a few at a time: what comes through a pipe, or is still being written. n = lines.

One line is one row, so a quotation mark that is open at its end is a mistake. Lines that are no rows (a header, wherever it
stands, comments, blank lines) are taken by ``directive``; those that cannot be rows are told apart, with the reason.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as arrow_csv

from latelier.errors import BadInput
from latelier.kinds.cells.blanks import tidy
from latelier.kinds.cells.dialect import SEPARATORS, open_bytes
from latelier.kinds.cells.files import Table

BLOCK = 1 << 20  # bytes that are read at a time
LONGEST = 1 << 20  # bytes of a line, which is a mistake if it is longer
KEYED = 10_000  # lines from which the keys of JSON lines are gathered


@dataclass(frozen=True)
class Cells:
    """``columns`` (m,) text of the m lines that are rows, ``rows`` their places among the lines, ``bad`` place -> why not."""

    columns: dict[str, pa.Array]
    rows: list[int]
    bad: dict[int, str]


class Lines(ABC):
    """How lines say rows. ``names`` of the columns are known once the header has passed."""

    names: tuple[str, ...] = ()

    @abstractmethod
    def directive(self, line: bytes) -> bool:
        """Is the line no row? Then what it says is kept in mind."""

    @abstractmethod
    def cells(self, lines: Sequence[bytes], names: Sequence[str], columns: Sequence[str]) -> Cells:
        """These columns of lines that are none of them directives and stand under a header of these names."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What they are and what directives have said, as plain values, for ``lines_from``."""


class Delimited(Lines):
    """Cells between separators. The first line is a header unless ``positional`` gives names for its cells; the header may come
    again, as it does in files that were joined. All from a line ``foot`` on, until a header, is passed over."""

    def __init__(
        self,
        separator: str = ",",
        positional: Callable[[list[str]], Sequence[str] | None] = lambda cells: None,
        quotes: bool = True,
        foot: bytes = b"",
        encoding: str = "utf-8",
    ):
        self.separator, self.positional, self.quotes, self.foot, self.encoding = (
            separator,
            positional,
            quotes,
            foot,
            encoding,
        )
        self.header, self.ended = b"", False

    def directive(self, line: bytes) -> bool:
        bare = line.strip()
        if not bare or bare == self.header:
            self.ended &= not bare
            return True
        if self.foot and bare == self.foot:
            self.ended = True
        if not self.names:
            cells = self.split(line.removeprefix(codecs.BOM_UTF8))
            self.names = tuple(self.positional(cells) or ())
            if not self.names:
                self.names, self.header = different(cells), bare
                return True
        return self.ended

    def split(self, line: bytes) -> list[str]:
        """The cells of one line."""
        text = line.decode(self.encoding, "replace").rstrip("\r\n")
        if self.separator == " ":
            return text.split()
        return next(csv.reader([text], delimiter=self.separator), []) if self.quotes else text.split(self.separator)

    def cells(self, lines: Sequence[bytes], names: Sequence[str], columns: Sequence[str]) -> Cells:
        bad = {}
        if self.quotes and any(b'"' in line for line in lines):
            bad = {
                i: "a quotation mark is opened and never closed" for i, line in enumerate(lines) if line.count(b'"') % 2
            }
        good = [i for i in range(len(lines)) if i not in bad] if bad else list(range(len(lines)))
        text = b"".join(_ended(lines[i]) for i in good) if bad else _ended(b"".join(lines))
        if self.encoding == "utf-8" and not _is_utf8(text):
            text = b"".join(_ended(_in_utf8(lines[i])) for i in good)
        try:
            table, ragged = self._table(text, names, columns)
        except pa.ArrowInvalid as error:
            raise BadInput(str(error).splitlines()[0][:120]) from None
        if any(b"\r" in lines[i].removesuffix(b"\n").removesuffix(b"\r") for i in good):  # which Arrow takes for an end
            raise BadInput("a carriage return in a line; take it out, or put a newline behind it")
        bad |= {good[place]: why for place, why in ragged.items()}
        rows = [i for i in good if i not in bad] if bad else good
        if table.num_rows != len(rows):
            raise BadInput("a line that cannot be told from two")
        return Cells({name: _whole(table[name]) for name in columns}, rows, bad)

    def _table(self, text: bytes, names: Sequence[str], columns: Sequence[str]) -> tuple[pa.Table, dict[int, str]]:
        ragged: dict[int, str] = {}
        called = SEPARATORS.get(self.separator, "blank")

        def skip(row: Any) -> str:
            ragged[row.number - 1] = (
                f"{row.actual_columns} values where others have {row.expected_columns}; check it for a missing or extra {called}"
            )
            return "skip"

        blanks = self.separator == " "
        table = arrow_csv.read_csv(
            io.BytesIO(tidy(text) if blanks else text),
            arrow_csv.ReadOptions(
                use_threads=False,
                block_size=max(len(text), 1) + 1,
                column_names=list(names),
                encoding="utf8" if self.encoding == "utf-8" else self.encoding,
            ),
            arrow_csv.ParseOptions(
                delimiter="\t" if blanks else self.separator,
                quote_char='"' if self.quotes and not blanks else False,
                invalid_row_handler=skip,
            ),
            arrow_csv.ConvertOptions(
                column_types={name: pa.string() for name in columns}, include_columns=list(columns)
            ),
        )
        return table, ragged

    def state(self) -> dict[str, Any]:
        said = {name: getattr(self, name) for name in ("separator", "quotes", "encoding", "ended")}
        said |= {name: getattr(self, name).decode("latin-1") for name in ("foot", "header")}
        return {"lines": "delimited", "names": list(self.names), **said}


class Zeek(Delimited):
    """Zeek's own logs: lines of # say the separator and the fields, and do so again where a log was rotated."""

    def __init__(self, encoding: str = "utf-8"):
        super().__init__("\t", quotes=False, encoding=encoding)

    def directive(self, line: bytes) -> bool:
        if not line.startswith(b"#"):
            return not line.strip()
        word, _, rest = line.decode(self.encoding, "replace").rstrip("\r\n").partition("\t")
        if word.startswith("#separator"):  # its own separator is always a blank
            spelled = word.removeprefix("#separator").strip() or "\\x09"
            self.separator = spelled.encode("ascii", "ignore").decode("unicode_escape")[:1] or "\t"
        elif word.startswith("#fields"):
            told = rest if self.separator == "\t" else line.decode(self.encoding).split(self.separator, 1)[1]
            self.names = different(told.strip().split(self.separator))
        return True

    def state(self) -> dict[str, Any]:
        return super().state() | {"lines": "zeek"}


class JsonLines(Lines):
    """An object a line. A key that a line lacks is an empty cell; keys of nested objects are joined with points."""

    def __init__(self, names: Iterable[str] = ()):
        self.names = tuple(names)

    def directive(self, line: bytes) -> bool:
        if not line.strip():
            return True
        if not self.names:
            self.learn([line])
        return False

    def learn(self, lines: Iterable[bytes]) -> None:
        """Takes the names that these lines have, in the order in which they come."""
        found = dict.fromkeys(self.names)
        for line in lines:
            found |= dict.fromkeys(flat) if (flat := _flat(line)) is not None else {}
        self.names = tuple(found)

    def cells(self, lines: Sequence[bytes], names: Sequence[str], columns: Sequence[str]) -> Cells:
        found = [_flat(line) for line in lines]
        bad = {i: "not a JSON object" for i, row in enumerate(found) if row is None}
        rows = [row for row in found if row is not None]
        arrays = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in columns}
        return Cells(arrays, [i for i in range(len(lines)) if i not in bad], bad)

    def state(self) -> dict[str, Any]:
        return {"lines": "json", "names": list(self.names)}


def lines_from(state: Mapping[str, Any]) -> Lines:
    """Lines that go on where others were."""
    if state["lines"] == "json":
        return JsonLines(state["names"])
    lines = Zeek(state["encoding"]) if state["lines"] == "zeek" else Delimited(encoding=state["encoding"])
    lines.names, lines.separator, lines.quotes, lines.ended = (
        tuple(state["names"]),
        state["separator"],
        state["quotes"],
        state["ended"],
    )
    lines.foot, lines.header = (state[name].encode("latin-1") for name in ("foot", "header"))
    return lines


class LinesTable(Table):
    """A whole file of such lines, or a few of them, as a table. The first line that is no row is an error."""

    form = "lines"
    path: Path

    def __init__(self, path: Path, lines: Lines):
        self.path, self.where, self.lines = path, str(path), lines
        with open_bytes(path) as file:
            for number, line in enumerate(whole_lines(file)):
                row = not lines.directive(line)
                if (row and not isinstance(lines, JsonLines)) or number > KEYED:
                    break
                if row and isinstance(lines, JsonLines):
                    lines.learn([line])
        self.names = lines.names

    def batches(self, columns: Sequence[str], missing: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        first = 1
        with open_bytes(self.path) as file:
            for block in blocks_of(file):
                places = [i for i, line in enumerate(block) if not self.lines.directive(line)]
                found = self.lines.cells([block[i] for i in places], self.names, columns) if places else None
                if found and found.bad:
                    place, why = next(iter(sorted(found.bad.items())))
                    raise BadInput(f"{self.path}, line {first + places[place]}: {why}")
                first += len(block)
                for start in range(0, len(found.rows) if found else 0, rows):
                    arrays = [found.columns[name].slice(start, rows) for name in columns]  # type: ignore[union-attr]
                    yield pa.RecordBatch.from_arrays(arrays, names=list(columns))

    def place(self, row: int) -> str:
        """Reads the file again: for messages only."""
        with open_bytes(self.path) as file:
            rows = (number for number, line in enumerate(whole_lines(file), 1) if not self.lines.directive(line))
            line = next((number for i, number in enumerate(rows) if i == row), 0)
        return f"{self.path}, line {line}"


class ArrivedTable(Table):
    """Rows that have just come, with the numbers of their lines."""

    form = "lines"

    def __init__(self, where: str, names: tuple[str, ...], cells: Cells, numbers: Sequence[int]):
        self.where, self.names, self.cells, self.numbers = where, names, cells, numbers

    def batches(self, columns: Sequence[str], missing: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(self.cells.rows), rows):
            arrays = [self.cells.columns[name].slice(start, rows) for name in columns]
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns))

    def place(self, row: int) -> str:
        return f"{self.where}, line {self.numbers[row]}"


def whole_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Lines with their ends, the last perhaps without one."""
    for block in blocks_of(file):
        yield from block


def blocks_of(file: IO[bytes]) -> Iterator[list[bytes]]:
    """Whole lines, about ``BLOCK`` bytes at a time."""
    rest = b""
    while block := file.read(BLOCK):
        whole, newline, rest_of_block = block.rpartition(b"\n")
        if newline:
            yield lines_in(rest + whole + newline)
            rest = rest_of_block
        else:
            rest += block
    if rest:
        yield [rest]


def lines_in(text: bytes) -> list[bytes]:
    """Cut after every newline alone: a form feed or a lone carriage return ends no line."""
    lines = [line + b"\n" for line in text.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def different(names: Sequence[str]) -> tuple[str, ...]:
    """The names without blanks around them; one that comes again gets a number, as pandas does.

    >>> different([" a", "b", "a "])
    ('a', 'b', 'a.1')
    """
    found: dict[str, None] = {}
    for i, name in enumerate(names):
        bare = name.strip() or f"c{i}"
        new, count = bare, 0
        while new in found:
            count += 1
            new = f"{bare}.{count}"
        found[new] = None
    return tuple(found)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _in_utf8(line: bytes) -> bytes:
    """A line that is not UTF-8 is read as Latin-1; those beside it are what they are."""
    return line if _is_utf8(line) else line.decode("latin-1").encode("utf-8")


def _ended(line: bytes) -> bytes:
    return line if line.endswith(b"\n") else line + b"\n"


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _flat(line: bytes) -> dict[str, str | None] | None:
    """Keys and values of a JSON object as text, numbers as they are spelled; None where the line is none."""
    try:
        page = json.loads(line, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    return dict(_leaves(page, "")) if isinstance(page, dict) else None


def _leaves(page: dict[str, Any], prefix: str) -> Iterator[tuple[str, str | None]]:
    for key, value in page.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif isinstance(value, bool):
            yield prefix + key, "T" if value else "F"  # as Zeek spells them
        elif isinstance(value, list):
            yield prefix + key, ",".join(map(str, value))
        else:
            yield prefix + key, value
