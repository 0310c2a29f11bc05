"""Network traffic: tables of flow records, in formats that say what each column is. N = rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import pandas as pd

from latelier.batch import Batch
from latelier.data.schema import Field, Role
from latelier.data.transforms import Same
from latelier.errors import BadInput, unknown
from latelier.kinds.base import Part, Source, is_pattern
from latelier.kinds.cells.columns import FAMILIES, Column
from latelier.kinds.cells.files import PARQUET, Table, suffix_of
from latelier.kinds.cells.lines import Lines
from latelier.kinds.cells.scan import scanned
from latelier.kinds.cells.schema import LIKELIHOODS, MISSING, TableSchema, few, to_arrow
from latelier.kinds.flows.formats import FORMATS, format_of, marks_in
from latelier.kinds.flows.roles import CLOCK, OTHER, ROLES, UNSET
from latelier.kinds.flows.several import names_in, open_all, parts_of_flows
from latelier.kinds.flows.table import (
    FlowTable,
    families_of,
    format_in,
    kept_words,
    lines_of,
    on_log_scale,
    survey,
    told_of_words,
)
from latelier.kinds.flows.write import write_zeek
from latelier.kinds.tables import Tables
from latelier.spec import DataSpec


class TrafficSchema(TableSchema):
    """A table, and the roles of the columns of its format: what is the file's own is said by them."""

    kind: str = "traffic"
    format: str = ""
    roles: dict[str, str] = {}  # columns as the file names them -> role


class Traffic(Tables):
    """Tables whose columns a format of flow records says: which are ports, bytes or times, and which are left out.

    The same rows and columns as ``Tables``, save that a time stamp is the column ``time_of_day``. Files are written as tables
    with these columns, or as Zeek writes them where the name ends in .log.
    """

    name: ClassVar[str] = "traffic"
    schema: type[TableSchema] = TrafficSchema

    def recognise(self, source: Source) -> str | None:
        """By the names of columns."""
        if not isinstance(source, (pd.DataFrame, Path)):
            return None
        names = names_in(source)
        found = format_of(names)
        return None if found is None else f"{FORMATS[found].called}, from its columns {few(marks_in(names, found))}"

    def scan(self, source: Source, spec: DataSpec) -> TrafficSchema:
        """Reads every row twice: which words and ports are common, then all the rest. BadInput: as ``Tables``."""
        if spec.label is not None:
            raise BadInput(
                f"--label {spec.label}: records of traffic have none; read them as any table with --kind tables"
            )
        inner = open_all(source)
        key = format_in(inner)
        known = FORMATS[key]
        asked = {*spec.families, *spec.given}
        roles = {n.strip(): known.role(n) for n in inner.names}
        # A column that the user names is as he says, and a label that is a condition is a word.
        roles = {
            n: "" if n in spec.families else "word" if n in spec.given and r == "label" else r for n, r in roles.items()
        }
        if CLOCK in roles and "clock" in roles.values():
            roles[CLOCK] = "identifier"
        table = FlowTable(inner, roles)
        own = {name: roles[table.raw[name].strip()] for name in table.names}
        for name in (*spec.given, *spec.ignore, *spec.families):
            if name not in own:
                raise unknown("column", name, table.names)
        left_out = {n: r for n, r in own.items() if r and not ROLES[r].family and n not in asked}
        missing = tuple(dict.fromkeys((*MISSING, *known.missing, *spec.missing)))
        modelled = {n: r for n, r in own.items() if r and n not in left_out and n not in spec.ignore}
        found = survey(table, modelled, missing)
        if CLOCK in modelled and found.span.short and CLOCK not in asked:
            left_out[CLOCK] = modelled.pop(CLOCK)
        table.kept = kept = kept_words(found, own)
        families = families_of(found, modelled) | spec.families
        ignore = tuple(dict.fromkeys((*spec.ignore, *left_out, *found.boundless)))
        told = _told(key, marks_in(inner.names, key), left_out, found.inexact, found.boundless)
        if CLOCK in left_out:
            told.append(
                f"left out: {CLOCK}, as the rows span {found.span.seconds / 3600:.3g} hours, and to a model of them all others "
                f"would be odd (keep it with --set data.families.{CLOCK}=cyclic)"
            )
        told += told_of_words(found, kept, own)
        spec = spec.model_copy(update={"families": families, "ignore": ignore, "missing": missing})
        schema = scanned(table, spec)
        logged = {n for n, r in modelled.items() if (r == "log" or n in found.inexact) and n not in asked}
        told += [f"on a log scale: {few(sorted(logged))}"] if logged else []
        opened = _with_room(schema, own, spec.given)
        fields = tuple(on_log_scale(f, found, logged) for f in opened.fields)
        page = {**{n: getattr(opened, n) for n in TableSchema.model_fields}, "kind": "traffic", "fields": fields}
        page |= {"evidence": (schema.evidence[0].replace("tables:", "traffic:"), *told, *opened.evidence[1:])}
        return TrafficSchema(**page, format=key, roles=roles)

    def as_read(self, table: Table, schema: TableSchema) -> Table:
        assert isinstance(schema, TrafficSchema)
        kept = {c.name: set(c.levels) for c in schema.columns if c.family == "category"}
        return FlowTable(table, schema.roles, kept)

    def parts(self, source: Path, schema: TableSchema, rows: int) -> list[Part]:
        """Files, and whole row groups of large Parquet files."""
        if not is_pattern(source) and not source.is_dir() and suffix_of(source) in PARQUET:
            return super().parts(source, schema, rows)
        return parts_of_flows(source, self._known(schema))

    def open(self, source: Source, schema: TableSchema) -> Table:
        return open_all(source, self._known(schema))

    def _known(self, schema: TableSchema) -> frozenset[str]:
        """The columns of the file by which rows of this schema are known."""
        return frozenset({*schema.by_name, *self.spelled_as(schema).values()})

    def lines(self, first: Sequence[bytes], schema: TableSchema, where: str) -> Lines:
        found = lines_of(first, self._known(schema))
        if found is None:
            raise BadInput(
                f"{where}: its first line names no flow record, and none that is known by its values; begin with the header"
            )
        return found

    def spelled_as(self, schema: TableSchema) -> Mapping[str, str]:
        moment = self.moment(schema)
        return {} if moment is None else {CLOCK: moment}

    def moment(self, schema: TableSchema) -> str | None:
        assert isinstance(schema, TrafficSchema)
        return next((name for name, role in schema.roles.items() if role == "clock"), None)

    def write(self, batches: Iterable[Batch], path: Path, schema: TableSchema) -> list[Path]:
        if suffix_of(Path(path)) != ".log":
            return super().write(batches, path, schema)
        return [write_zeek((to_arrow(batch, schema) for batch in batches), Path(path))]


def _told(
    key: str, marks: list[str], left_out: dict[str, str], inexact: dict[str, float], boundless: set[str]
) -> list[str]:
    told = [
        f"format: {FORMATS[key].called}, from its columns {few(marks)} (override with --kind tables, a plain table)"
    ]
    for role, words in (("address", "addresses"), ("identifier", "identifiers and further times"), ("label", "labels")):
        names = [name for name, own in left_out.items() if own == role]
        if names:
            told.append(f"left out: {words} {few(names)} (keep one with --set data.families.{names[0]}=category)")
    for name, most in inexact.items():
        told.append(
            f"{name}: up to {most:.4g}, more than whole numbers of float32 or no whole numbers, so on a log scale"
        )
    return told + [f"left out: {name}, which has too many different values" for name in sorted(boundless)]


def _with_room(schema: TableSchema, roles: dict[str, str], given: Sequence[str]) -> TableSchema:
    """Every category can say that a word did not occur in training; what was always the same is a category of that value and
    of any other. Columns without any value are left out."""
    empty = [c.name for c in schema.columns if c.family == "constant" and not c.levels]
    same = [c.name for c in schema.columns if c.family == "constant" and c.levels]
    columns = tuple(map(partial(_roomy, roles=roles), (c for c in schema.columns if c.name not in empty)))
    fields = [f for f in schema.fields if not f.name.endswith("category")]
    parts: tuple[tuple[Role, str], ...] = (("model", ""), ("condition", "given_"))
    for role, prefix in parts:
        own = [c for c in columns if c.family == "category" and (c.name in given) == (role == "condition")]
        if own:
            fields.append(
                Field(
                    name=f"{prefix}category",
                    shape=(len(own),),
                    support="category",
                    likelihood=LIKELIHOODS["category"] if role == "model" else "",
                    sizes=tuple(len(c.levels) for c in own),
                    columns=tuple(c.name for c in own),
                    transform=Same(),
                    role=role,
                    holes=any(c.missing for c in own),
                )
            )
    fields.sort(key=lambda f: (f.role != "model", FAMILIES.index(f.support)))
    told = [
        line for line in schema.evidence if not _of_constants(line, (*empty, *same)) and ", so modelled " not in line
    ]
    told += [f"left out: {few(empty)}, without any value"] if empty else []
    told += [f"always one value: {few(same)}; any other value is odd, whatever it is"] if same else []
    return schema.model_copy(update={"columns": columns, "fields": tuple(fields), "evidence": tuple(told)})


def _of_constants(line: str, names: Sequence[str]) -> bool:
    return "): constant (" in line or line.startswith(tuple(f"{name}: constant" for name in names))


def _roomy(column: Column, roles: dict[str, str]) -> Column:
    if column.family not in ("constant", "category"):
        return column
    groups = ROLES[roles.get(column.name, "")].groups or (OTHER,)
    levels = tuple(dict.fromkeys((*column.levels, *groups)))
    update = {
        "family": "category",
        "levels": levels,
        "dtype": "string",
        "categorical": "",
        "decimals": None,
        "pandas": "",
    }
    return column.model_copy(update=update)


assert UNSET in FORMATS["zeek"].missing  # so that what is written is read as it was
