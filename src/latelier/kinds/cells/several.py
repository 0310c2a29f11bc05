"""Several files as one table, and one large file in parts. N = rows.

A folder or a pattern such as ``part-*.parquet`` names the files, in natural order. They have the same columns, in any
order; files without rows are passed over. Each is opened when its turn comes, so memory does not depend on how many there are.
"""

from __future__ import annotations

import copy
import glob
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from latelier.errors import BadInput
from latelier.kinds.base import Part, Source, is_pattern
from latelier.kinds.cells.dialect import Dialect, Empty, Header
from latelier.kinds.cells.files import (
    PARQUET,
    TEXT,
    Block,
    Categories,
    ParquetTable,
    Table,
    TextTable,
    plain_type,
    suffix_of,
)
from latelier.kinds.cells.files import open_table as open_one
from latelier.kinds.pictures.files import natural

FORMS = (PARQUET, (".csv", ".tsv"), (".txt", ".data"))  # tables are of the first form that there is
SMALL = 1 << 16  # bytes; only so small a text file may hold nothing but a header
LARGE = 256  # bytes for every row of a part: text files of more are cut, which takes a look at all of their bytes
_READ = 1 << 22  # bytes at a time while looking for the ends of lines


def open_table(source: Source, header: Header = "auto", known: Sequence[str] = ()) -> Table:
    """The table behind a path, a folder, a pattern, a frame or an array; what is open already stays as it is."""
    if isinstance(source, Table):
        return source
    if isinstance(source, Path) and (source.is_dir() or is_pattern(source)):
        return Several(source, header, known)
    return open_one(source, header, known)


def files_of(source: Path) -> list[Path]:
    """The tables that a folder or a pattern names, of one form and in natural order; none where it names none.

    Below a folder, names that begin with a point or an underscore are hidden, as Spark and others mark what is no data; and
    .txt may be anything, so only a pattern can name it.
    """
    found = below(source)
    for form in FORMS[:2] if source.is_dir() else FORMS:
        if chosen := [path for path in found if suffix_of(path) in form]:
            return sorted(chosen, key=lambda path: natural(path.as_posix()))
    return []


def below(source: Path) -> list[Path]:
    """All files of a folder that are not hidden, or those that match a pattern."""
    if source.is_dir():
        every = (path for path in source.rglob("*") if not any(p[0] in "._" for p in path.relative_to(source).parts))
    else:
        every = (Path(name) for name in glob.iglob(str(source), recursive=True))
    return [path for path in every if path.is_file()]


class Several(Table):
    """The rows of all files, one file after the other."""

    def __init__(self, source: Path, header: Header = "auto", known: Sequence[str] = ()):
        self.header, self.known = header, known
        self.where, self.paths = str(source), self.files(source)
        self.first = self._first()
        self.form, self.names, self.dialect = self.first.form, self.first.names, self.first.dialect
        files = f"{len(self.paths):,} file(s) as one table: {self.paths[0].name} to {self.paths[-1].name}"
        self.evidence = (files, *self.first.evidence)
        self.starts: list[int] = []  # the number of each file's first row, of those that have been reached
        self._types = self._common_types() if isinstance(self.first, ParquetTable) else {}

    def files(self, source: Path) -> list[Path]:
        """Those that are read. BadInput where there is none."""
        if found := files_of(source):
            return found
        what = "no file matches" if is_pattern(source) else "a folder without tables"
        raise BadInput(f"{source}: {what} (looked for {', '.join(TEXT + PARQUET)}); check the path")

    def opened(self, path: Path, header: Header = "auto", known: Sequence[str] = ()) -> Table:
        """One of them."""
        return open_one(path, header, known)

    def blocks(self, columns: Sequence[str], missing: Sequence[str], rows: int) -> Iterator[Block]:
        self.starts, total = [], 0
        for path in self.paths:
            self.starts.append(total)
            table = self._like_the_first(path)
            for block in table.blocks(columns, missing, rows) if table else ():
                total += len(next(iter(block.values())))
                yield {
                    name: array if array.type == self._types.get(name, array.type) else array.cast(self._types[name])
                    for name, array in block.items()
                }

    def batches(self, columns: Sequence[str], missing: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        raise NotImplementedError("each file's own blocks are read")

    def categories(self, name: str) -> Categories | None:
        """The values of all files, in the order in which they come."""
        found = [table.categories(name) for path in self.paths if (table := self._like_the_first(path))]
        kept = [c for c in found if c is not None]
        if len(kept) < len(found) or not kept:
            return None
        values = tuple(dict.fromkeys(value for c in kept for value in c.values))
        return Categories(values, kept[0].ordered and all(c == kept[0] for c in kept))

    def place(self, row: int) -> str:
        number = max(bisect_right(self.starts, row) - 1, 0)
        table = self._like_the_first(self.paths[number])
        return table.place(row - self.starts[number]) if table else str(self.paths[number])

    def _first(self) -> Table:
        for path in self.paths:
            try:
                return self.opened(path, self.header, self.known)
            except Empty as error:
                nothing = error
        raise nothing

    def _like_the_first(self, path: Path) -> Table | None:
        """The file, None where it has no rows. BadInput where its columns are not those of the first."""
        first = self.first
        if path == first.path:
            return first
        headless = first.dialect is not None and not first.dialect.header
        try:
            table = self.opened(path, "no" if headless else "auto", self.names)
        except Empty:
            return None
        own, there = set(self.names), set(table.names)
        for name in self.names:
            if name not in there:
                raise BadInput(
                    f"{path}: column {name!r} is not there, and {first.where} has it; files of one table have the same columns"
                )
        if more := next((name for name in table.names if name not in own), None):
            raise BadInput(f"{path}: column {more!r} is not in {first.where}; files of one table have the same columns")
        if table.dialect and first.dialect and table.dialect.decimal == "," != first.dialect.decimal:
            raise BadInput(f"{path}: has decimal commas, and {first.where} has points; write all files alike")
        return table

    def _common_types(self) -> dict[str, pa.DataType]:
        """What every file's column can be brought to: whole numbers in one and broken ones in another are numbers."""
        common: dict[str, pa.DataType] = {}
        for path in self.paths:
            table = self._like_the_first(path)
            if not isinstance(table, ParquetTable):
                continue
            for name in self.names:
                own = pa.schema([(name, plain_type(table.file.schema_arrow.field(name).type))])
                before = pa.schema([(name, common.get(name, pa.null()))])
                try:
                    common[name] = pa.unify_schemas([before, own], promote_options="permissive").field(name).type
                except (pa.ArrowInvalid, pa.ArrowTypeError):
                    raise BadInput(
                        f"{path}: column {name!r} holds {own.field(name).type}, but {common[name]} in the files before; "
                        f"write all files alike, or pass --ignore {name}"
                    ) from None
        return {name: pa.string() if pa.types.is_null(kind) else kind for name, kind in common.items()}


def parts_of(source: Path, known: Sequence[str], rows: int) -> list[Part]:
    """Every file as a part, large ones as several of about ``rows`` rows, each named as its output is to be called.

    How a file is cut follows from the file alone.
    """
    several = source.is_dir() or is_pattern(source)
    paths = files_of(source) if several else [source]
    if not paths:
        Several(source)  # says what was looked for
    root = root_of(source, paths)
    parts = [part for path in paths for part in _cut(path, path.relative_to(root), known, rows)]
    names = [part.name for part in parts]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"{source}: two outputs would be called {name}; rename one of the files")
    if not parts:
        raise BadInput(f"{source}: {len(paths)} file(s) without any row; give a table with at least one")
    return parts


def root_of(source: Path, paths: Sequence[Path]) -> Path:
    """The folder that all the files lie in, below which their outputs are named as they are."""
    return source if source.is_dir() else _common_folder(paths)


def _common_folder(paths: Sequence[Path]) -> Path:
    folders = [set(path.parents) for path in paths]
    return max(set.intersection(*folders), key=lambda folder: len(folder.parts))


def _cut(path: Path, name: Path, known: Sequence[str], rows: int) -> Iterator[Part]:
    """The parts of one file: whole row groups of Parquet, whole lines of text. None where it has no rows."""
    parquet, packed = suffix_of(path) in PARQUET, path.suffix.lower() == ".gz"
    try:
        # A text file is opened only if it may be without rows, or is large: that reads all of it.
        table = open_one(path, known=known) if parquet or not SMALL < path.stat().st_size < LARGE * rows else None
    except Empty:
        return
    slices: list[Table] = []
    if isinstance(table, ParquetTable):
        slices = list(_row_groups(table, rows))
    elif isinstance(table, TextTable) and not packed and table.dialect.separator != " " and table.dialect.narrow:
        slices = list(_lines(table, rows))
    if len(slices) < 2:
        yield Part(name.as_posix(), path, path)
        return
    stem, suffix = name.as_posix().removesuffix(name.suffix), name.suffix
    for number, piece in enumerate(slices):
        yield Part(f"{stem}-{number:05}{suffix}", path, piece, piece.start)


def _row_groups(table: ParquetTable, rows: int) -> Iterator[Table]:
    metadata, chosen, count, start = table.file.metadata, [], 0, 0
    for group in range(metadata.num_row_groups):
        chosen.append(group)
        count += metadata.row_group(group).num_rows
        if count >= rows or group == metadata.num_row_groups - 1:
            piece = copy.copy(table)
            piece.groups, piece.start = chosen, start
            yield piece
            chosen, count, start = [], 0, start + count


def _lines(table: TextTable, rows: int) -> Iterator[Table]:
    """Cuts at ends of lines that stand outside of quotation marks, after every ``rows`` rows."""
    begins = [(0, 0)]  # (row, byte) where each part begins
    row = 0
    for first, ends in row_ends(table.path, table.dialect):
        for target in range(rows * (first // rows + 1), first + len(ends) + 1, rows):
            begins.append((target, int(ends[target - first - 1])))
        row = first + len(ends)
    if len(begins) > 1 and begins[-1][0] == row:
        begins.pop()  # nothing but blank lines may follow
    for (first, start), (last, end) in zip(begins, [*begins[1:], (row, table.path.stat().st_size)], strict=True):
        piece = copy.copy(table)
        piece.start, piece.span, piece.rows = first, (start, end - start), last - first
        yield piece


def row_ends(path: Path, dialect: Dialect) -> Iterator[tuple[int, np.ndarray[tuple[int], np.dtype[np.int64]]]]:
    """(number of the first row, (n,) byte after the end of each row), block by block, in constant memory."""
    with path.open("rb") as file:
        for _ in range(dialect.skip):
            file.readline()
        begun = base = file.tell()  # of the line; of the block
        quoted, row, last = 0, 0, b"\n"
        while block := file.read(_READ):
            bytes_ = np.frombuffer(block, np.uint8)
            newlines = np.flatnonzero(bytes_ == 10)
            if b'"' in block or quoted:
                marks = np.cumsum(bytes_ == 34) + quoted
                newlines, quoted = newlines[marks[newlines] % 2 == 0], int(marks[-1]) % 2
            ends = newlines + base + 1
            lengths = np.diff(ends, prepend=begun)
            before = np.where(newlines > 0, bytes_[newlines - 1], last[-1])
            filled = ~((lengths == 1) | ((lengths == 2) & (before == 13)))
            yield row, ends[filled]
            row += int(filled.sum())
            begun = int(ends[-1]) if len(ends) else begun
            base, last = base + len(block), block[-1:]
        if base > begun:  # the last line has no end
            yield row, np.array([base])
