"""Tables to CSV, TSV or Parquet: streamed, and whole or not at all. N = rows."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as arrow_parquet

from latelier.errors import BadInput
from latelier.kinds.cells.files import PARQUET, TEXT, suffix_of
from latelier.kinds.pictures.write import beside

GROUP = 1 << 16  # rows that are gathered for a row group of Parquet


@dataclass(frozen=True)
class TextForm:
    """How text files say the table."""

    separator: str = ","
    header: bool = True
    decimal: str = "."


def write_table(parts: Iterable[pa.Table], path: Path, form: TextForm = TextForm()) -> Path:
    """Parts of one type -> the format that the suffix names. BadInput where the file is there already or cannot be written.

    It grows beside its place under another name and is moved there at the end: a reader sees a whole file or none.
    """
    suffix = suffix_of(path)
    if suffix not in TEXT + PARQUET:
        raise BadInput(f"{path}: tables are written as .csv, .tsv, .parquet, or .csv.gz; give another --out")
    if suffix == ".tsv":
        form = TextForm("\t", form.header, form.decimal)
    with beside(path) as unfinished:
        if suffix in PARQUET:
            _write_parquet(parts, unfinished)
        else:
            with gzip.open(unfinished, "wb", 5) if path.suffix.lower() == ".gz" else unfinished.open("wb") as file:
                _write_text(parts, file, form)  # type: ignore[arg-type]
    return path


def _write_parquet(parts: Iterable[pa.Table], path: Path) -> None:
    writer, kept, rows = None, [], 0
    try:
        for part in _alike(parts):
            writer = writer or arrow_parquet.ParquetWriter(path, part.schema)
            kept.append(part)
            rows += len(part)
            if rows >= GROUP:
                writer.write_table(pa.concat_tables(kept))
                kept, rows = [], 0
        if writer and kept:
            writer.write_table(pa.concat_tables(kept))
    finally:
        if writer:
            writer.close()


def _write_text(parts: Iterable[pa.Table], file: IO[bytes], form: TextForm) -> None:
    for number, part in enumerate(_alike(parts)):
        if number == 0 and form.header:
            file.write(_csv_line(part.column_names, form.separator))
        part = pa.table({name: _as_text(column, form) for name, column in zip(part.column_names, part.columns)})
        # A line of one empty cell would be a blank line, which readers pass over.
        options: dict[str, Any] = {
            "include_header": False,
            "delimiter": form.separator,
            "null_string": "NA" * (part.num_columns == 1),
        }
        try:
            plain = io.BytesIO()
            arrow_csv.write_csv(part, plain, arrow_csv.WriteOptions(quoting_style="none", **options))
            file.write(plain.getbuffer())
        except pa.ArrowInvalid:  # some text needs quotation marks, and Arrow would put them around all of it
            frame = part.to_pandas(types_mapper=pd.ArrowDtype)
            file.write(
                frame.to_csv(index=False, header=False, sep=form.separator, na_rep=options["null_string"]).encode()
            )


def _alike(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Every part in the first one's types; a column without any value yet is text."""
    schema = None
    for part in parts:
        if schema is None:
            schema = pa.schema(
                [pa.field(f.name, pa.string() if pa.types.is_null(f.type) else f.type) for f in part.schema]
            )
        yield part.cast(schema)


def _as_text(column: pa.ChunkedArray, form: TextForm) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        words = column.cast(pa.string())
        whole = pc.and_(pc.equal(pc.round(column), column), pc.less(pc.abs(column), 1e15))
        if pc.any(whole).as_py():  # 7.0, so that readers do not take the column for one of whole numbers
            words = pc.if_else(whole, pc.binary_join_element_wise(words, ".0", ""), words)
        return words if form.decimal == "." else pc.replace_substring(words, ".", form.decimal)
    return column


def _csv_line(cells: list[str], separator: str) -> bytes:
    line = io.StringIO()
    csv.writer(line, delimiter=separator, lineterminator="\n").writerow(cells)
    return line.getvalue().encode()
