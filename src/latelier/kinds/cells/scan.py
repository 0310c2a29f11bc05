"""What the columns of a table are, from one pass over all its rows in constant memory."""

from __future__ import annotations

from collections.abc import Sequence

from latelier.errors import BadInput
from latelier.kinds.cells.columns import infinite
from latelier.kinds.cells.families import Judged, judge, lines
from latelier.kinds.cells.files import FrameTable, Table
from latelier.kinds.cells.schema import BINS, MISSING, TableSchema, fields_of, told_of_fields
from latelier.kinds.cells.tally import RESERVOIR, Infinite, Tally
from latelier.kinds.classes import check_classes, remark
from latelier.spec import DataSpec
from latelier.wording import percent

SCANNED = 1 << 16  # most rows that are tallied at a time
CELLS = 1 << 23  # most cells that are tallied at a time
SAMPLED = 4_000_000  # most numbers that are kept of all columns together, evenly at random


def scanned(table: Table, spec: DataSpec) -> TableSchema:
    """Reads every row once. BadInput: see the errors of ``families`` and ``files``."""
    missing = tuple(dict.fromkeys((*MISSING, *spec.missing)))
    kept = [name for name in table.names if name not in spec.ignore]
    tallies = _tallied(table, kept, missing)
    families = dict(spec.families)
    if spec.label is not None:  # numbers too are names of classes there
        families[spec.label] = "ordinal" if families.get(spec.label) == "ordinal" else "category"
    judged = {name: judge(tally, families.get(name, ""), table.place, spec.bins > 0) for name, tally in tallies.items()}
    _check_given(spec.given, judged)
    _check_label(spec, judged)
    columns = tuple(found.column for found in judged.values() if found.column)
    schema = TableSchema(
        fields=tuple(fields_of(columns, tallies, spec.given, spec.choose == "held-out", spec.bins or BINS, spec.label)),
        rows=next(iter(tallies.values())).rows,
        columns=columns,
        form=table.form,
        missing=missing,
        whole_labels=isinstance(table, FrameTable) and table.whole_labels,
        new_categories=spec.new_categories,
    )
    if not schema.modelled:
        raise BadInput(f"{table.where}: no column left to model; its columns: " + "; ".join(lines(judged)[:5]))
    told = [
        f"tables: {schema.rows:,} rows, {len(table.names)} columns in {table.where}",
        *table.evidence,
        *lines(judged),
    ]
    told += told_of_fields(schema)
    if schema.label is not None:
        column = schema.by_name[schema.label.columns[0]]
        many = remark(column.name, column.levels)
        told.append(
            f"label: {column.name}, {len(column.levels)} classes, {percent(column.missing)} of rows without; a latent variable"
            + (f"; {many}" if many else "")
        )
    schema = schema.model_copy(update={"evidence": tuple(told)})
    if table.dialect is None:
        return schema
    form = ("separator", "decimal", "header", "encoding")
    return schema.model_copy(update={name: getattr(table.dialect, name) for name in form})


def rows_at_once(names: Sequence[str]) -> int:
    """So many rows of these columns that memory stays small however many columns there are."""
    return max(1024, min(SCANNED, CELLS // max(len(names), 1)))


def _tallied(table: Table, names: Sequence[str], missing: Sequence[str]) -> dict[str, Tally]:
    decimal = table.dialect.decimal if table.dialect else "."
    most = max(500, min(RESERVOIR, SAMPLED // max(len(names), 1)))
    tallies = {name: Tally(name, table.categories(name), table.pandas_type(name), decimal, most) for name in names}
    if not tallies:
        raise BadInput(f"{table.where}: every column is ignored; nothing is left to model")
    for block in table.blocks(names, missing, rows_at_once(names)):
        for name, array in block.items():
            try:
                tallies[name].add(array)
            except Infinite as error:
                raise infinite(name, error.value, table.place(error.row)) from None
    rows = next(iter(tallies.values())).rows
    if rows < 2:
        raise BadInput(f"{table.where}: {rows} row(s); give a table with at least two rows")
    return tallies


def _check_given(given: Sequence[str], judged: dict[str, Judged]) -> None:
    for name in given:
        column = judged[name].column if name in judged else None
        if column is None or column.family == "constant":
            reason = judged[name].why if name in judged else "it is ignored"
            raise BadInput(f"--given {name}: there is nothing to condition on: {reason}")


def _check_label(spec: DataSpec, judged: dict[str, Judged]) -> None:
    if spec.label is None:
        return
    column = judged[spec.label].column if spec.label in judged else None
    if column is None or column.family == "constant":
        reason = judged[spec.label].why if spec.label in judged else "it is ignored"
        raise BadInput(f"--label {spec.label}: there are no classes to tell apart: {reason}")
    if spec.label in spec.given:
        raise BadInput(
            f"--label {spec.label}: is given too; a column is a condition or a label, leave out one of the two"
        )
    if spec.label not in spec.families:  # where the user has said what it is, he is taken at his word
        remedy = f"say that they are names with --set data.families.{spec.label}=category"
        check_classes(spec.label, column.levels, remedy)
