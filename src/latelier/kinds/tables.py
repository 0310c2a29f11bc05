"""Tables: CSV, TSV, blank-separated text, Parquet, frames and 2-d arrays. N = rows, D = columns of one family."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from latelier.batch import Batch
from latelier.data.schema import Role
from latelier.errors import BadInput, NewCategories, unknown
from latelier.kinds.base import Held, Kind, Part, Source, Words, is_pattern
from latelier.kinds.cells.columns import FAMILIES, Column, New, Place
from latelier.kinds.cells.files import PARQUET, TEXT, Block, Table, suffix_of
from latelier.kinds.cells.groups import alternatives, regrouped
from latelier.kinds.cells.held import held, in_turn
from latelier.kinds.cells.lines import Lines
from latelier.kinds.cells.scan import rows_at_once, scanned
from latelier.kinds.cells.schema import (
    FITTING,
    LIKELIHOODS,
    TableSchema,
    batch_of,
    few,
    likelihoods_of,
    spelled,
    to_arrow,
)
from latelier.kinds.cells.several import files_of, open_table, parts_of
from latelier.kinds.cells.stream import LineStream, lines_like
from latelier.kinds.cells.writer import TextForm, write_table
from latelier.spec import DataSpec


class Tables(Kind[TableSchema]):
    """Rows of mixed columns, those of one family side by side in one field: ``real``, ``amount`` and ``cyclic`` float64
    (N, D), ``count`` float32, ``category`` and ``ordinal`` int64, ``binary`` float32.

    Columns that the model is conditioned on are in ``given_real`` and so on. Missing entries are False in ``seen``.
    """

    name: ClassVar[str] = "tables"
    filling_draws: ClassVar[int] = 256
    schema = TableSchema

    def recognise(self, source: Source) -> str | None:
        """By suffix, type and shape alone."""
        if isinstance(source, pd.DataFrame):
            return f"a frame of {source.shape[0]:,} rows and {source.shape[1]} columns"
        if isinstance(source, np.ndarray):
            return f"an array of {source.shape[0]:,} rows and {source.shape[1]} columns" if source.ndim == 2 else None
        if not isinstance(source, Path):
            return None
        if source.is_dir() or is_pattern(source):
            files = files_of(source)
            return f"{len(files):,} file(s) that end in {suffix_of(files[0])}" if files else None
        suffix = suffix_of(source)
        return f"{source.name} ends in {suffix}" if suffix in TEXT + PARQUET else None

    def scan(self, source: Source, spec: DataSpec) -> TableSchema:
        """Reads every row once. BadInput: see the errors of ``families`` and ``files``, each one line with place
        and remedy."""
        table = open_table(source, spec.header)
        for name in (*spec.given, *spec.ignore, *spec.families, *([] if spec.label is None else [spec.label])):
            if name not in table.names:
                raise unknown("column", name, table.names)
        return scanned(table, spec)

    def read(self, source: Source, schema: TableSchema, rows: int = 4096) -> Iterator[Batch]:
        """Columns are found by name, in any order; others are passed over. BadInput: a column that is not there, a value
        that did not occur in training (unless ``new_categories`` are taken as missing, which is told at the end by a warning),
        words among numbers, infinite values."""
        yield from self.batches_of(self.open(source, schema), schema, rows)

    def open(self, source: Source, schema: TableSchema) -> Table:
        """Rows as they stand, to be read as the schema says."""
        return open_table(source, known=[c.name for c in schema.columns])

    def as_read(self, table: Table, schema: TableSchema) -> Table:
        """The table whose cells are what the schema speaks of."""
        return table

    def batches_of(self, table: Table, schema: TableSchema, rows: int) -> Iterator[Batch]:
        """The rows of a table that is open, or of the lines that have just come."""
        table = self.as_read(table, schema)
        there = set(table.names)
        for field in schema.fields:
            for name in field.columns:
                if name not in there and field.role != "label":  # rows may all be without
                    raise _absent(name, field.role, table, [n for n in table.names if n not in schema.by_name])
        wanted = [c.name for c in schema.columns if c.name in there]
        decimal = table.dialect.decimal if table.dialect else schema.decimal
        new: New | None = {} if schema.new_categories == "missing" else None
        start = 0
        for block in table.blocks(wanted, schema.missing, rows):
            place = partial(_place, table, start)
            _check_unmodelled(block, schema, place, decimal)
            rows_here = len(next(iter(block.values())))
            block |= {n: pa.nulls(rows_here, pa.string()) for n in label_of(schema) if n not in there}
            yield batch_of(block, schema, schema.fields, place, decimal, new=new)
            start += rows_here
        if new:
            told = "; ".join(f"column {name!r}: {count:,} (first {first})" for name, (count, first) in new.items())
            warnings.warn(
                f"values that did not occur in training were taken as missing: {told}", NewCategories, stacklevel=2
            )

    def follow(self, schema: TableSchema, where: str) -> LineStream:
        return LineStream(self, schema, where)

    def lines(self, first: Sequence[bytes], schema: TableSchema, where: str) -> Lines:
        """How lines that begin so are rows. BadInput where their columns have no names and cannot be known."""
        return lines_like(schema, where)

    def spelled_as(self, schema: TableSchema) -> Mapping[str, str]:
        """Columns that the file calls otherwise -> its name for them."""
        return {}

    def moment(self, schema: TableSchema) -> str | None:
        """The column that says when a row was, as the file calls it, or None."""
        return next((c.name for c in schema.columns if c.dated), None)

    def write(self, batches: Iterable[Batch], path: Path, schema: TableSchema) -> list[Path]:
        """By suffix: .csv, .tsv, .txt, .data (all of them .gz or not), .parquet. BadInput where the file exists.

        Whole numbers, dates, words and decimals are written as the data had them.
        """
        path = Path(path)
        parts = (to_arrow(batch, schema) for batch in batches)
        if suffix_of(path) not in PARQUET:
            parts = (spelled(part, schema) for part in parts)
        form = TextForm(schema.separator if schema.separator.strip(" ") else ",", schema.header, schema.decimal)
        return [write_table(parts, path, form)]

    def present(self, batch: Batch, schema: TableSchema) -> pd.DataFrame:
        """The original columns in their order and types; NaN or None where not seen."""
        table = to_arrow(batch, schema)
        frame = pd.DataFrame({name: _series(table[name], schema.by_name[name]) for name in table.column_names})
        return frame.set_axis([int(name) for name in frame.columns], axis=1) if schema.whole_labels else frame

    def defaults(self, schema: TableSchema, rows: int, size: str) -> dict[str, Any]:
        """An MLP as wide as the size says; as many epochs as make the size's steps. Holes are made in training, so that
        every model of a table can impute."""
        step = {"small": 0, "medium": 1, "large": 2}[size]
        entries = sum(len(f.columns) for f in schema.modelled)
        width = (128, 256, 512)[step] * (2 if entries > 50 and rows > 5_000 else 1)
        batch = 32 if rows < 1_000 else 64 if rows < 5_000 else 128 if rows < 50_000 else 256
        steps = (6_000, 20_000, 60_000)[step]
        epochs = min(max(round(steps * batch / max(rows, 1)), 5), 1000)
        holed = any(f.holes for f in schema.modelled)
        return {
            "network": {"name": "mlp", "hidden": (width, width), "residual": step == 2},
            "latent": {"dims": min((16, 32, 64)[step], max(2, entries // 2))},
            "train": {
                "batch": batch,
                "epochs": epochs,
                "patience": max(10, epochs // 5),
                "holes": 0.3 if holed else 0.2,
            },
        }

    def rows_at(self, source: Source, schema: TableSchema, ids: npt.NDArray[np.int64]) -> Batch:
        """Only these rows are made numbers of."""
        table = self.as_read(self.open(source, schema), schema)
        decimal = table.dialect.decimal if table.dialect else schema.decimal
        names = [name for field in schema.fields for name in field.columns]
        parts, start = [], 0
        for block in table.blocks(names, schema.missing, rows_at_once(names)):
            rows = len(next(iter(block.values())))
            here = pa.array(ids[(ids >= start) & (ids < start + rows)] - start)
            start += rows
            if len(here):
                parts.append({name: array.take(here) for name, array in block.items()})
        whole = {name: pa.concat_arrays([part[name] for part in parts]) for name in names}
        return batch_of(whole, schema, schema.fields, table.place, decimal)

    def alternatives(self, schema: TableSchema) -> dict[str, tuple[str, ...]]:
        """Per family, see ``cells/groups.py``."""
        return alternatives(schema)

    def with_likelihoods(self, schema: TableSchema, chosen: dict[str, str], evidence: Sequence[str]) -> TableSchema:
        """Columns of one family under different likelihoods become fields of their own."""
        changed = regrouped(schema, chosen)
        names = {f"{f.name}: likelihood " for f in schema.modelled}
        told = [line for line in schema.evidence if not any(line.startswith(name) for name in names)]
        return changed.model_copy(update={"evidence": (*told, *evidence, *likelihoods_of(changed))})

    def purposes(self, schema: TableSchema, rows: int) -> dict[str, dict[str, Any]]:
        """For imputation: a network that starts from factor analysis of the rows with their holes and so needs none that are
        made. Tuned on breast cancer, banknote and concrete, as docs/reference/figures.md says."""
        values = sum(sum(f.sizes) if f.sizes else len(f.columns) for f in schema.modelled)
        epochs = min(max(round(4_500 * 128 / max(rows, 1)), 10), 1000)
        settings: dict[str, Any] = {
            "network.name": "factors",
            "network.hidden": (256, 256),
            "latent.name": "factors",
            "latent.dims": min(24, max(2, values)),
            "objective.name": "iwae",
            "objective.draws": 8,
            "train.holes": 0.0,
            "train.batch": 128,
            "train.epochs": epochs,
            "train.patience": max(10, epochs // 5),
            "train.rate": 3e-3,
        }
        if any(f.name == "real" for f in schema.modelled):
            settings["likelihood.real"] = "gaussian"
        return {"imputation": settings}

    def with_likelihood(self, schema: TableSchema, field: str, likelihood: str, support: str) -> TableSchema:
        """The same stored values under another likelihood. BadInput where they do not fit its support."""
        found = next((f for f in schema.modelled if f.name == field), None)
        column = next((f for f in schema.modelled if field in f.columns), None) if found is None else None
        chosen = found or column
        if chosen is None:
            raise unknown("field", field, (f.name for f in schema.modelled))
        family = schema.by_name[chosen.columns[0]].family
        if support not in FITTING[family]:
            raise BadInput(
                f"likelihood.{field}={likelihood}: {likelihood} is for {support} values, and the columns {few(chosen.columns)} "
                f"are {family}; choose one for {' or '.join(FITTING[family])} values such as {LIKELIHOODS[family]}, "
                f"or move a column with --set data.families.COLUMN={support if support in FAMILIES else 'FAMILY'}"
            )
        if found is None:
            return self.with_likelihoods(schema, {field: likelihood}, (f"{field}: likelihood {likelihood} (as asked)",))
        changed = found.model_copy(update={"likelihood": likelihood, "support": support, "options": {}})
        told = tuple(line for line in schema.evidence if not line.startswith(f"{field}: likelihood"))
        fields = tuple(changed if f is found else f for f in schema.fields)
        return schema.model_copy(
            update={"fields": fields, "evidence": (*told, f"{field}: likelihood {likelihood} (as asked)")}
        )

    def ordered(self, names: Iterable[str], schema: TableSchema) -> list[str]:
        """As the columns stand in the table, whatever fields they are in."""
        place = {c.name: i for i, c in enumerate(schema.columns)}
        return sorted(names, key=lambda name: place.get(name, len(place)))

    def parts(self, source: Path, schema: TableSchema, rows: int) -> list[Part]:
        """Files, and whole row groups or lines of large ones."""
        return parts_of(source, [c.name for c in schema.columns], rows)

    def parse_given(self, text: Mapping[str, Words], schema: TableSchema, rows: int, start: int = 0) -> Batch:
        """``sex=Female``, or ``sex=Female,Male`` in turn; conditions that are not named are unseen."""
        known = {name: schema.by_name[name] for f in schema.told for name in f.columns}
        for name in text:
            if name not in known:
                which = (
                    f"it was fitted with --given {' '.join(known)}"
                    if known
                    else "this model was fitted without --given"
                )
                raise BadInput(f"--given {name}: {which}, so {name!r} cannot be given")
        block: Block = {}
        for name, column in known.items():
            every = in_turn(text[name], column, schema.missing) if name in text else [None]
            block[name] = pa.array([every[(start + i) % len(every)] for i in range(rows)], pa.string())
        return batch_of(block, schema, schema.told, lambda row: "in --given", always_masked=True)

    def held(self, text: Mapping[str, Words], schema: TableSchema, rows: int, start: int = 0) -> Held:
        """See ``cells.held``."""
        return held(text, schema, rows, start)

    def classes(self, name: str, schema: TableSchema) -> tuple[str, ...]:
        """The levels of a column of codes."""
        if name not in schema.by_name:
            raise unknown("column", name, schema.by_name)
        column = schema.by_name[name]
        if column.family == "constant" or not column.levels:
            raise BadInput(f"--balance {name}: holds {column.family} values, not classes; name a column of categories")
        return column.levels


def label_of(schema: TableSchema) -> tuple[str, ...]:
    """The column of the label, if there is one."""
    return () if schema.label is None else schema.label.columns


def _place(table: Table, start: int, row: int) -> str:
    return table.place(start + row)


def _check_unmodelled(block: Block, schema: TableSchema, place: Place, decimal: str) -> None:
    """A column that was constant is not in the model, which so cannot speak of other values."""
    for column in schema.columns:
        if column.family == "constant" and column.name in block:
            column.encode(block[column.name], place, decimal)


def _absent(name: str, role: Role, table: Table, others: Sequence[str]) -> BadInput:
    """``others``: columns of the table that the model does not know, one of which may be it under another name."""
    there = f"{table.where} has {few(table.names)}"
    folded = {other.casefold().strip(): other for other in others}
    near = get_close_matches(name.casefold().strip(), folded, 1)
    if near:
        there = f"{table.where} has {folded[near[0]]!r}, which it may be: then rename that"
    if role == "condition":
        return BadInput(f"column {name!r} is not there, and the model is conditioned on it ({there}); add it")
    return BadInput(f"column {name!r} is not there ({there}); add it, with empty cells if its values are to be imputed")


def _series(array: pa.ChunkedArray, column: Column) -> pd.Series[Any]:
    """As a frame held it, where that type can say what is missing; dates and times that were text are text."""
    array = column.spelled(array) if column.spelt and column.pandas else array
    series: pd.Series[Any] = array.to_pandas(date_as_object=column.pandas == "object")
    if not column.pandas or str(series.dtype) == column.pandas:
        return series
    dtype = pd.api.types.pandas_dtype(column.pandas)
    if isinstance(dtype, np.dtype) and dtype.kind in "iub" and series.isna().any():  # these have no missing value
        return series
    return series.astype(dtype)
