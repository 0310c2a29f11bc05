"""How a text file says a table: encoding, separator, decimal mark, header, names. Guessed from its first lines, with evidence."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from latelier.errors import BadInput

Header = Literal["auto", "yes", "no"]
Row = list[str]
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
SAMPLE = 1 << 17  # characters of the file from which the dialect is guessed
LONGEST = 1 << 25
FEW = 3  # columns that words of one cell may look like
PREAMBLE = 5  # lines of one value that may stand above a table
_BLOCK = 1 << 20
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


class Empty(BadInput):
    """A table without rows: an error where it is alone, nothing where it is one of several."""


@dataclass(frozen=True)
class Dialect:
    """What is needed to read the file, and what was guessed. ``skip`` physical lines stand above the first row."""

    encoding: str
    separator: str  # " " stands for any run of blanks and tabs
    decimal: str
    header: bool
    skip: int
    names: tuple[str, ...]
    characters: int  # of a typical line
    evidence: tuple[str, ...] = ()

    @property
    def narrow(self) -> bool:
        """Is every line's end one byte, wherever it stands?"""
        return self.encoding in ("utf-8", "latin-1")


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked where its name ends in .gz; BadInput where it cannot be read."""
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            yield file  # type: ignore[misc]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadInput(f"{path}: broken or cut off gzip file ({error}); unpack it, or fetch it again") from None
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be read ({error.strerror or error}); check the file and its permissions"
        ) from None


def find_encoding(path: Path) -> tuple[str, str]:
    """(encoding, evidence or "") from all bytes: UTF-8 where they are, else UTF-16 by its mark, else Latin-1."""
    decoder, encoding = codecs.getincrementaldecoder("utf-8")(), "utf-8"
    with open_bytes(path) as file:
        start = file.read(4)
        if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16", "encoding: utf-16, from the file's first two bytes"
        if not start:
            raise Empty(f"{path}: the file is empty; give a table with at least two rows")
        block, line = start + file.read(_BLOCK), 1
        while block:
            if b"\0" in block:
                raise BadInput(
                    f"{path}: not a text file (a zero byte in line {line + block[: block.find(0)].count(10)})"
                )
            if encoding == "utf-8" and not (block.isascii() and not decoder.getstate()[0]):
                try:
                    decoder.decode(block)
                except UnicodeDecodeError as error:
                    encoding, bad = "latin-1", line + block[: error.start].count(b"\n")
            line += block.count(b"\n")
            block = file.read(_BLOCK)
    if decoder.getstate()[0] and encoding == "utf-8":
        encoding, bad = "latin-1", line
    if encoding == "utf-8":
        return encoding, ""
    return encoding, f"encoding: latin-1, because line {bad} is not UTF-8; save the file as UTF-8 if letters look wrong"


def find_dialect(path: Path, header: Header = "auto", known: Sequence[str] = ()) -> Dialect:
    """Reads the first lines, and all bytes once for the encoding. ``known`` column names, where the file has some of
    them, settle whether there is a header. BadInput: empty, binary, nothing but a header, a column named twice."""
    encoding, told = find_encoding(path)
    text = _sample(path, encoding)
    separator = _separator(text, path)
    rows = split_lines(text, separator)
    top = _preamble(rows)
    if not rows[top:]:
        raise Empty(f"{path}: the file is empty; give a table with at least two rows")
    first, rest = rows[top], rows[top + 1 :]
    if header == "auto" and known:
        header = "yes" if {c.strip() for c in first} & set(known) else "no"
    has_header, why = (header == "yes", "as asked") if header != "auto" else _header(first, rest)
    if has_header and not rest:
        raise Empty(f"{path}: only a header ({len(first)} columns), no rows; give a table with at least two rows")
    names = _names(first, path) if has_header else tuple(f"c{i}" for i in range(len(first)))
    evidence = [told] if told else []
    if separator not in SEPARATORS or separator != _by_suffix(path):
        evidence.append(f"separator: {SEPARATORS.get(separator, 'blanks')}, {len(names)} columns")
    if top:
        evidence.append(
            f"left out {top} line(s) above the table (first {rows[0][0][:40]!r}): one value where others have {len(first)}"
        )
    if header == "auto" and not has_header:
        evidence.append(
            f"no header: {why}; columns are named c0 to c{len(names) - 1} (override with --set data.header=yes)"
        )
    decimal = _decimal(rest, separator)
    if decimal == ",":
        evidence.append("decimal mark: comma")
    skip = _physical(text, separator, top + has_header)
    return Dialect(
        encoding, separator, decimal, has_header, skip, names, max(1, len(text) // len(rows)), tuple(evidence)
    )


def split_lines(text: str, separator: str) -> list[Row]:
    """Rows of cells; blank lines are passed over."""
    if separator == " ":
        return [line.split() for line in text.splitlines() if line.strip()]
    try:
        return [row for row in csv.reader(io.StringIO(text), delimiter=separator) if row]
    except csv.Error as error:
        raise BadInput(f"the first lines are not a table ({error}); is a quotation mark left open?") from None


def is_number(cell: str) -> bool:
    """Does the cell read as a number, with a point or a comma?"""
    try:
        float(cell.strip().replace(",", ".", 1))
    except ValueError:
        return False
    return cell.strip().lower() not in ("nan", "inf", "-inf", "infinity")


def line_of(path: Path, dialect: Dialect, row: int) -> int:
    """The line (from 1) at which data row ``row`` (from 0) begins. Reads the file again: for messages only."""
    with open_bytes(path) as file:
        text = io.TextIOWrapper(file, dialect.encoding, errors="replace", newline="")
        for _ in range(dialect.skip):
            text.readline()
        if dialect.separator == " ":
            lines = (i for i, line in enumerate(text, dialect.skip + 1) if line.strip())
            return next((line for i, line in enumerate(lines) if i == row), 0)
        reader = csv.reader(text, delimiter=dialect.separator)
        before, number = 0, 0
        for cells in reader:
            if cells and number == row:
                break
            number += bool(cells)
            before = reader.line_num
        text.detach()
        return dialect.skip + before + 1


def _sample(path: Path, encoding: str) -> str:
    """The first whole lines."""
    with open_bytes(path) as file:
        text = io.TextIOWrapper(file, "utf-8-sig" if encoding == "utf-8" else encoding, errors="replace", newline="")
        sample = text.read(SAMPLE)
        while sample.count("\n") < 10 and len(sample) < LONGEST and (more := text.read(SAMPLE)):  # very wide tables
            sample += more
        text.detach()
    cut = sample.rfind("\n") + 1
    return sample if len(sample) < SAMPLE or not cut else sample[:cut]


def _by_suffix(path: Path) -> str:
    return "\t" if any(s.lower() == ".tsv" for s in path.suffixes) else ","


def _separator(text: str, path: Path) -> str:
    """The one that cuts most lines into the same number of cells, more than one; commas where none does."""
    head = "\n".join(text.splitlines()[:200])
    best, found = (0.0, 0), ""
    order = dict.fromkeys([_by_suffix(path), *SEPARATORS])
    for separator in order:
        best, found = max(
            (best, found), (_agreement(split_lines(head, separator)), separator), key=lambda pair: pair[0]
        )
    if best[0] < 0.9 or best[1] < 2:
        rows = split_lines(head, " ")
        blank = _agreement(rows)
        numbers = [is_number(c) for row in rows[1:] for c in row]
        # Words are cut by blanks too: only tables with numbers in them are taken for blank-separated, and not a column of
        # 'person 1', 'person 2' under one word.
        share = 1 / 2 if blank[1] <= FEW else 1 / 4
        if blank[0] >= 0.9 and len(rows[0]) > 1 and sum(numbers) > len(numbers) * share:
            return " "
    separator = found if best[1] >= 2 and best[0] >= 0.5 else _by_suffix(path)
    return separator


def _agreement(rows: list[Row]) -> tuple[float, int]:
    """(share of rows of the commonest length, that length); (0, 0) where it is one cell."""
    length, count = Counter(map(len, rows)).most_common(1)[0] if rows else (0, 0)
    return (round(count / len(rows), 2), length) if length > 1 else (0.0, 0)


def _preamble(rows: list[Row]) -> int:
    """Leading rows of one cell where the next three have the same number of cells, more than two."""
    for top in range(1, min(PREAMBLE, len(rows) - 3) + 1):
        widths = {len(row) for row in rows[top : top + 3]}
        if all(len(row) == 1 for row in rows[:top]) and len(widths) == 1 and widths.pop() > 2:
            return top
    return 0


def _header(first: Row, rest: list[Row]) -> tuple[bool, str]:
    """Names are not numbers, stand above numbers, and do not come back below."""
    quoted = [c for c in first if is_number(c)]
    if quoted:
        return False, f"the first line has numbers ({quoted[0].strip()!r})"
    same = [row for row in rest[:200] if len(row) == len(first)]
    numeric = [sum(is_number(row[i]) for row in same) > len(same) / 2 for i in range(len(first))]
    if any(numeric) or not same:
        return True, ""
    again = sum(first[i] in {row[i] for row in same} for i in range(len(first)))
    if again > len(first) / 2:
        return False, f"what the first line says ({first[0].strip()!r}, ...) comes back below it"
    return True, ""


def _names(first: Row, path: Path) -> tuple[str, ...]:
    names = tuple(cell.strip() or f"c{i}" for i, cell in enumerate(first))
    return distinct(names, str(path))


def distinct(names: Sequence[str], where: str) -> tuple[str, ...]:
    """The names; BadInput where two columns share one."""
    for name, count in Counter(names).items():
        if count > 1:
            places = [i + 1 for i, other in enumerate(names) if other == name]
            raise BadInput(f"{where}: column {name!r} is there twice (columns {places[0]} and {places[1]}); rename one")
    return tuple(names)


def _decimal(rows: list[Row], separator: str) -> str:
    if separator == ",":
        return "."
    cells = [c.strip() for row in rows[:1000] for c in row]
    commas = sum(bool(_DECIMAL_COMMA.fullmatch(c)) for c in cells)
    return "," if commas and not any("." in c and is_number(c) for c in cells) else "."


def _physical(text: str, separator: str, rows: int) -> int:
    """How many physical lines the first ``rows`` rows take."""
    if rows == 0:
        return 0
    reader = csv.reader(io.StringIO(text), delimiter="," if separator == " " else separator)
    filled = (row for row in reader if row and (separator != " " or "".join(row).strip()))
    for _ in range(rows):
        next(filled)
    return reader.line_num
