"""Tables in files and in memory, block by block as Arrow arrays. N = rows.

A block is a mapping of column name to Arrow array (n,) of text, whole numbers, numbers, bools, dates or times, with nulls
where a value is missing. Text stays text here: what it means is for the columns to say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as arrow_parquet

from latelier.errors import BadInput
from latelier.kinds.base import Opened, Source
from latelier.kinds.cells.blanks import Tabbed
from latelier.kinds.cells.dialect import (
    SEPARATORS,
    Dialect,
    Empty,
    Header,
    distinct,
    find_dialect,
    is_number,
    line_of,
    open_bytes,
)

Block = dict[str, pa.Array]
TEXT, PARQUET = (".csv", ".tsv", ".txt", ".data"), (".parquet", ".pq")
_UNDERSTOOD = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_date,
    pa.types.is_timestamp,
    pa.types.is_time,
)


@dataclass(frozen=True)
class Categories:
    """The values of a categorical type in their order, and whether the order means something."""

    values: tuple[str, ...]
    ordered: bool


class Table(Opened, ABC):
    """Columns by name, and their rows in constant memory."""

    form: str
    names: tuple[str, ...]
    evidence: tuple[str, ...] = ()
    where: str = "the table"
    dialect: Dialect | None = None  # of text
    path: Path | None = None
    start: int = 0  # the number of its first row, where it is a piece of a file

    def blocks(self, columns: Sequence[str], missing: Sequence[str], rows: int) -> Iterator[Block]:
        """These columns, at most ``rows`` rows at a time, text stripped of blanks and null where it is one of ``missing``."""
        spellings = pa.array(list(missing), pa.string())
        codes = [float(word) for word in missing if is_number(word)]
        for batch in self.batches(columns, missing, rows):
            yield {
                name: self._tidy(name, array, spellings, codes)
                for name, array in zip(columns, batch.columns, strict=True)
            }

    @abstractmethod
    def batches(self, columns: Sequence[str], missing: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """These columns as they come. Text that is one of ``missing`` may be null already."""

    def categories(self, name: str) -> Categories | None:
        """What the column's type says of its values, where it is a categorical one."""
        return None

    def place(self, row: int) -> str:
        """Data row ``row`` (from 0) as a user would look it up."""
        return f"row {row + 1}"

    def pandas_type(self, name: str) -> str:
        """The pandas type that the column had, "" where it did not come from a frame."""
        return ""

    def _tidy(self, name: str, array: pa.Array, missing: pa.Array, codes: list[float]) -> pa.Array:
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        kind = pa.string() if pa.types.is_null(array.type) else plain_type(array.type)
        array = array if array.type == kind else array.cast(kind)
        if pa.types.is_string(array.type):
            blank = has_blank(array)
            array = pc.utf8_trim_whitespace(array) if blank else array
            if blank or self.form != "text":  # else the reader has found them
                array = pc.if_else(pc.is_in(array, missing), None, array)
        elif pa.types.is_floating(array.type) or pa.types.is_integer(array.type):
            gone = pc.is_nan(array) if pa.types.is_floating(array.type) else None
            for code in codes:
                gone = pc.or_(gone, pc.equal(array, code)) if gone is not None else pc.equal(array, code)
            if gone is not None and pc.any(gone).as_py():
                array = pc.if_else(gone, None, array)
        elif not any(test(array.type) for test in _UNDERSTOOD):
            raise BadInput(
                f"{self.where}: column {name!r} holds {array.type}, which is not a number, text or date; pass --ignore {name}"
            )
        return array


class TextTable(Table):
    """CSV, TSV or blank-separated text, .gz or not. Every column comes as strings."""

    form = "text"
    path: Path
    dialect: Dialect
    span: tuple[int, int] | None = None  # (first byte, bytes) of a piece, which has so many ``rows``
    rows: int | None = None

    def __init__(self, path: Path, header: Header = "auto", known: Sequence[str] = ()):
        self.path, self.where = path, str(path)
        self.dialect = find_dialect(path, header, known)
        self.names, self.evidence = self.dialect.names, self.dialect.evidence

    def batches(self, columns: Sequence[str], missing: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        dialect = self.dialect
        # Enough bytes for ``rows`` rows, so that wide tables do not come in slivers.
        block = min(max(1 << 20, dialect.characters * min(rows, 16_384)), 1 << 25)
        reading = arrow_csv.ReadOptions(
            use_threads=False,
            block_size=block,
            skip_rows=0 if self.span and self.span[0] else dialect.skip,
            column_names=list(self.names),
            encoding="utf8" if dialect.encoding == "utf-8" else dialect.encoding,
        )
        parsing = arrow_csv.ParseOptions(
            delimiter="\t" if dialect.separator == " " else dialect.separator,
            quote_char=False if dialect.separator == " " else '"',
            newlines_in_values=dialect.separator != " ",
            invalid_row_handler=self._ragged,
        )
        # Blanks around a spelling are common ("39, ?, Male"); all others are cut off later.
        spellings = [*missing, *(f" {word}" for word in missing)]
        converting = arrow_csv.ConvertOptions(
            column_types={name: pa.string() for name in columns},
            include_columns=list(columns),
            null_values=spellings,
            strings_can_be_null=True,
        )
        self._bad: Any = None
        with self._opened() as file:
            try:
                source = Tabbed(file) if dialect.separator == " " else file
                with arrow_csv.open_csv(source, reading, parsing, converting) as reader:
                    last, count = None, 0
                    for batch in reader:
                        last, count = (batch.slice(len(batch) - 1), count + len(batch)) if len(batch) else (last, count)
                        for start in range(0, len(batch), rows):
                            yield batch.slice(start, rows)
                self._check_end(last, count - 1)
                if self.rows not in (None, count):
                    raise BadInput(
                        f"{self.place(0)}: quotation marks inside of values, so that the file cannot be cut into parts; "
                        "give --out a file and not a folder"
                    )
            except pa.ArrowInvalid as error:
                raise self._reason(error) from None

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        if self.span is None:
            with open_bytes(self.path) as file:
                yield file
        else:
            with pa.OSFile(str(self.path)) as whole:
                yield whole.get_stream(*self.span)

    def place(self, row: int) -> str:
        return f"{self.path}, line {line_of(self.path, self.dialect, self.start + row)}"

    def _check_end(self, last: pa.RecordBatch | None, row: int) -> None:
        """A quotation mark that is never closed makes one value of all the lines after it."""
        words = [word for array in last.columns for word in array.to_pylist() if word] if last else []
        if any(word.endswith("\n") or word.count("\n") > 20 for word in words):
            raise BadInput(
                f"{self.place(row)}: a quotation mark is opened here and never closed; close it or take it out"
            )

    def _ragged(self, row: Any) -> str:
        self._bad = row
        return "error"

    def _reason(self, error: Exception) -> BadInput:
        if self._bad is not None:
            bad, separator = self._bad, SEPARATORS.get(self.dialect.separator, "blank")
            numbered = bad.number and not self.start  # in a piece, lines are not counted from the file's first
            line = f"line {bad.number}" if numbered else f"the line {bad.text[:60]!r}"
            return BadInput(
                f"{self.path}: {line} has {bad.actual_columns} values where others have {bad.expected_columns}; "
                f"check it for a missing or extra {separator}, or put values that hold one in quotation marks"
            )
        return BadInput(f"{self.path}: cannot be read as a table ({str(error).splitlines()[0][:120]}); check the file")


class ParquetTable(Table):
    """A Parquet file, column chunks read through a small buffer and not whole."""

    form = "parquet"
    path: Path
    groups: list[int] | None = None  # row groups of a piece

    def __init__(self, path: Path):
        self.path, self.where = path, str(path)
        try:
            self.file = arrow_parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
        except FileNotFoundError:
            raise BadInput(f"{path}: no such file") from None
        except (pa.ArrowInvalid, OSError) as error:
            raise BadInput(
                f"{path}: not a readable Parquet file ({str(error).splitlines()[0][:120]}); fetch or write it again"
            ) from None
        schema = self.file.schema_arrow
        index = [n for n in schema.names if n.startswith("__index_level_")]  # what pandas adds for its row labels
        self.names = distinct([n for n in schema.names if n not in index], self.where)
        if self.file.metadata.num_rows == 0:
            raise Empty(f"{path}: {len(self.names)} columns and no rows; give a table with at least two rows")

    def place(self, row: int) -> str:
        return f"{self.path}, row {self.start + row + 1}"

    def batches(self, columns: Sequence[str], missing: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        try:
            reading: dict[str, Any] = {} if self.groups is None else {"row_groups": self.groups}
            for batch in self.file.iter_batches(rows, columns=list(columns), use_threads=False, **reading):
                yield batch.select(list(columns))
        except (pa.ArrowInvalid, OSError) as error:
            raise BadInput(
                f"{self.path}: broken Parquet file ({str(error).splitlines()[0][:120]}); fetch or write it again"
            ) from None

    def categories(self, name: str) -> Categories | None:
        kind = self.file.schema_arrow.field(name).type
        if not pa.types.is_dictionary(kind):
            return None
        first = next(self.file.iter_batches(batch_size=1, columns=[name])).column(0)
        return Categories(tuple(as_words(first.dictionary)), kind.ordered)


class FrameTable(Table):
    """A pandas frame; labels that are not text are read as text."""

    form = "frame"

    def __init__(self, frame: pd.DataFrame, form: str = "frame"):
        self.frame, self.where = frame, f"the {form}"
        self.names = distinct([str(c) for c in frame.columns], self.where)
        self.places = {name: place for place, name in enumerate(self.names)}
        self.whole_labels = bool(len(frame.columns)) and all(isinstance(c, (int, np.integer)) for c in frame.columns)
        if not len(frame) or not self.names:
            raise BadInput(
                f"{self.where} has {len(frame)} rows and {len(self.names)} columns; give at least two rows and a column"
            )

    def batches(self, columns: Sequence[str], missing: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        places = [self.places[name] for name in columns]
        for start in range(0, len(self.frame), rows):
            part = self.frame.iloc[start : start + rows]
            yield pa.RecordBatch.from_arrays([_as_arrow(part.iloc[:, i]) for i in places], names=list(columns))

    def pandas_type(self, name: str) -> str:
        return str(self.frame.dtypes.iloc[self.places[name]])

    def categories(self, name: str) -> Categories | None:
        kind = self.frame.dtypes.iloc[self.places[name]]
        if not isinstance(kind, pd.CategoricalDtype):
            return None
        return Categories(tuple(as_words(pa.array(kind.categories, from_pandas=True))), bool(kind.ordered))


def open_table(source: Source, header: Header = "auto", known: Sequence[str] = ()) -> Table:
    """The table behind a path, a frame or a 2-d array of numbers (columns x0, x1, ...)."""
    if isinstance(source, pd.DataFrame):
        return FrameTable(source)
    if isinstance(source, np.ndarray):
        if source.ndim != 2 or source.dtype.kind not in "biuf":
            raise BadInput(
                f"an array {source.shape} of {source.dtype}: a table is a 2-d array of numbers; give a frame for words"
            )
        return FrameTable(pd.DataFrame(source, columns=[f"x{i}" for i in range(source.shape[1])], copy=False), "array")
    assert isinstance(source, Path)
    if suffix_of(source) in PARQUET:
        return ParquetTable(source)
    return TextTable(source, header, known)


def suffix_of(path: Path) -> str:
    """The suffix that says the format: .csv of people.csv.gz."""
    suffixes = [s.lower() for s in path.suffixes]
    return next((s for s in reversed(suffixes) if s != ".gz"), "")


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type that columns of this one are read as."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return pa.float64() if pa.types.is_decimal(kind) or pa.types.is_float16(kind) else kind


def has_blank(array: pa.Array) -> bool:
    """Is there a blank anywhere in these strings? A look at their bytes, which is far cheaper than trimming them."""
    return has_byte(array, b" ") or has_byte(array, b"\xa0") or has_byte(array, b"\t")


def has_byte(array: pa.Array, byte: bytes) -> bool:
    """Is this byte anywhere in a slice of strings?"""
    _, offsets, characters = array.buffers()
    if characters is None or not len(array):
        return False
    ends = np.frombuffer(offsets, np.int32, len(array) + 1, array.offset * 4)
    return bool((np.frombuffer(characters, np.uint8)[ends[0] : ends[-1]] == byte[0]).any())


def as_words(values: pa.Array) -> list[str]:
    """How Python says the values: True, 7, 0.5, 2024-01-31, text."""
    return [str(v) for v in values.to_pylist()]


def _as_arrow(series: pd.Series[Any]) -> pa.Array:
    """Words where a column mixes types."""
    try:
        found = pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        found = pa.array(series.map(str, na_action="ignore"), pa.string(), from_pandas=True)
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
