"""Flow records as a table whose cells are what their roles make of them. N = rows, n = rows of a block."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from latelier.data.schema import Field
from latelier.data.transforms import Amount, Curved
from latelier.errors import BadInput
from latelier.kinds.base import Source
from latelier.kinds.cells.columns import numbers
from latelier.kinds.cells.dialect import SEPARATORS
from latelier.kinds.cells.families import ABOVE_NEXT, SPIKE
from latelier.kinds.cells.files import PARQUET, Block, FrameTable, ParquetTable, Table, TextTable, suffix_of
from latelier.kinds.cells.lines import Delimited, JsonLines, Lines, LinesTable, Zeek, lines_in
from latelier.kinds.cells.tally import Tally
from latelier.kinds.flows.formats import FORMATS, format_of, kdd_names
from latelier.kinds.flows.roles import CLOCK, EXACT, KEPT, ROLES, grouped, kept_of
from latelier.kinds.flows.span import Span
from latelier.wording import percent

BEGINNING, HEAD = 1 << 17, 50  # bytes, and lines of them, by which a file is known
WORDS = 100_000  # different words of a column that are counted; more are names of something


class FlowTable(Table):
    """Another table's columns, changed as their roles say; a time stamp becomes the column ``time_of_day``.

    ``kept`` says which words of a category column are told apart; all of them where it is not there.
    """

    def __init__(self, inner: Table, roles: Mapping[str, str], kept: Mapping[str, Set[str]] | None = None):
        self.inner, self.roles, self.kept = inner, dict(roles), dict(kept or {})
        self.form, self.where, self.evidence = inner.form, inner.where, inner.evidence
        self.raw = {CLOCK if roles.get(n.strip()) == "clock" else n.strip(): n for n in inner.names}
        self.names = tuple(self.raw)

    def blocks(self, columns: Sequence[str], missing: Sequence[str], rows: int) -> Iterator[Block]:
        for _, block in self.pairs(columns, missing, rows):
            yield block

    def pairs(self, columns: Sequence[str], missing: Sequence[str], rows: int) -> Iterator[tuple[Block, Block]]:
        """Blocks as the file has them, by its names, and as they are changed."""
        for block in self.inner.blocks([self.raw[name] for name in columns], missing, rows):
            yield block, {name: self._change(name, block[self.raw[name]]) for name in columns}

    def batches(self, columns: Sequence[str], missing: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        return self.inner.batches([self.raw[name] for name in columns], missing, rows)

    def place(self, row: int) -> str:
        return self.inner.place(row)

    def _change(self, name: str, array: pa.Array) -> pa.Array:
        role = self.roles.get(self.raw[name].strip(), "")
        changed = ROLES[role].change(array)
        return grouped(changed, role, self.kept[name]) if name in self.kept else changed


@dataclass
class Survey:
    """What one pass over all rows finds: how often each word occurs, and how large the amounts are."""

    words: dict[str, dict[str, int]] = field(default_factory=dict)
    boundless: set[str] = field(default_factory=set)  # columns of more words than are counted
    inexact: dict[str, float] = field(default_factory=dict)  # amounts that are no counts float32 holds: the largest
    tallies: dict[str, Tally] = field(default_factory=dict)  # of amounts, and of what is on a log scale
    span: Span = field(default_factory=Span)  # of the time stamps


def survey(table: FlowTable, roles: Mapping[str, str], missing: Sequence[str], rows: int = 1 << 16) -> Survey:
    """``roles``: of the columns that are to be modelled."""
    found = Survey(words={name: {} for name, role in roles.items() if ROLES[role].family == "category"})
    amounts = [name for name, role in roles.items() if role == "amount"]
    found.tallies = {name: Tally(name) for name, role in roles.items() if role in ("amount", "log", "share")}
    for raw, block in table.pairs(list(roles), missing, rows):
        if CLOCK in block:
            found.span.add(raw[table.raw[CLOCK]])
        for name in list(found.words):
            counts = found.words[name]
            for pair in block[name].drop_null().value_counts().to_pylist():
                counts[pair["values"]] = counts.get(pair["values"], 0) + pair["counts"]
            if len(counts) > WORDS:
                found.boundless.add(name)
                del found.words[name]
        for name in amounts:
            values, _ = numbers(block[name])
            values = values[np.isfinite(values)]
            if len(values) and (values.max() > EXACT or (values % 1 != 0).any()):
                found.inexact[name] = max(float(values.max()), found.inexact.get(name, 0.0))
        for name, tally in found.tallies.items():
            values, _ = numbers(block[name])
            tally.add(pa.array(values[np.isfinite(values)]))
    return found


def families_of(found: Survey, roles: Mapping[str, str]) -> dict[str, str]:
    """What each column is modelled as: as its role says, or what suits its values."""
    families = {}
    for name, role in roles.items():
        tally = found.tallies.get(name)
        families[name] = "real" if name in found.inexact else ROLES[role].family
        if tally is not None and families[name] == "real" and tally.seen and _spiked(tally):
            families[name] = ROLES["log" if name in found.inexact else role].spiked
    return families


def on_log_scale(field: Field, found: Survey, names: Set[str]) -> Field:
    """The field with these columns as arcsinh(x / bend), which is logarithmic beyond the bend: a tenth of what is not 0 lies
    below it. Whatever stands out in an amount is no part of that."""
    curve = field.transform
    if not isinstance(curve, Curved):
        return field
    parts = {name: list(getattr(curve, name)) for name in ("loc", "scale", "bend", "log", "margin")}
    for i, name in enumerate(field.columns):
        sample = found.tallies[name].sample if name in names else np.empty(0)
        if isinstance(curve, Amount):
            sample = sample[sample != curve.spike[i]]
        away = np.abs(sample[sample != 0])
        if len(away):
            bend = float(np.quantile(away, 0.1))
            bent = np.arcsinh(sample / bend)
            if bent.std() > 0:
                for part, value in (
                    ("bend", bend),
                    ("loc", bent.mean()),
                    ("scale", bent.std()),
                    ("log", 0.0),
                    ("margin", 0.0),
                ):
                    if parts[part]:
                        parts[part][i] = float(value)
    changed = curve.model_copy(update={name: tuple(values) for name, values in parts.items()})
    return field.model_copy(update={"transform": changed})


def _spiked(tally: Tally) -> bool:
    _, share, following = tally.repeated
    return share >= max(SPIKE, ABOVE_NEXT * following)


def kept_words(found: Survey, roles: Mapping[str, str]) -> dict[str, Set[str]]:
    return {name: kept_of(counts, roles[name]) for name, counts in found.words.items()}


def told_of_words(found: Survey, kept: Mapping[str, Set[str]], roles: Mapping[str, str]) -> list[str]:
    """One line for every column of which not all words are told apart."""
    told = []
    for name, counts in found.words.items():
        rest = {word: count for word, count in counts.items() if word not in kept[name]}
        if rest:
            how = "grouped by range" if roles[name] == "port" else f"grouped, as only {KEPT} are told apart"
            share = sum(rest.values()) / max(sum(counts.values()), 1)
            told.append(
                f"{name}: {len(kept[name])} of {len(counts):,} values kept, the rest ({percent(share)} of the rows) {how}"
            )
    return told


def open_flows(source: Source, known: Set[str] = frozenset()) -> Table:
    """The table as it stands: one of a known format, or with some of these columns. BadInput where it is neither."""
    if isinstance(source, Table):
        return source
    if isinstance(source, np.ndarray):
        raise BadInput(f"the array given: flow records have named columns; known are {_known()}")
    if isinstance(source, pd.DataFrame):
        return FrameTable(source)
    assert isinstance(source, Path)
    if suffix_of(source) in PARQUET:
        return ParquetTable(source)
    first = head(source)
    lines = lines_of(first, known)
    if lines is None and (not first or known):
        return TextTable(source)  # which says what is wrong with it
    if lines is None:
        raise BadInput(
            f"{source}: its first line names no flow record; known are {_known()}; fit it with --kind tables"
        )
    return LinesTable(source, lines)


def format_in(table: Table) -> str:
    """BadInput where no format is recognised."""
    found = format_of(table.names)
    if found is None:
        raise BadInput(
            f"{table.where}: its columns are of no flow record; known are {_known()}; fit it with --kind tables"
        )
    return found


def lines_of(first: Sequence[bytes], known: Set[str] = frozenset()) -> Lines | None:
    """How a file that begins with these lines is to be read; None where it is no flow record and has none of these columns."""
    rows = [line for line in first if line.strip()]
    if not rows:
        return None
    if rows[0].startswith(b"#") and any(line.startswith((b"#fields", b"#separator")) for line in rows):
        return Zeek()
    if rows[0].lstrip().startswith(b"{"):
        lines = JsonLines()
        lines.learn(rows)
        return lines if format_of(lines.names) or known & set(lines.names) else None
    for separator in SEPARATORS:
        cells = Delimited(separator).split(rows[0].removeprefix(b"\xef\xbb\xbf"))
        if format_of(cells) or kdd_names(cells) or known & {cell.strip() for cell in cells}:
            return Delimited(separator, kdd_names, foot=b"Summary")  # which nfdump ends with
    return None


def head(path: Path) -> list[bytes]:
    """The first lines; none where there is no such file, or it is no text."""
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            text = file.read(BEGINNING)
    except (OSError, EOFError, zlib.error):
        return []
    return [] if b"\0" in text else lines_in(text)[:HEAD]


def _known() -> str:
    return ", ".join(known.called for known in FORMATS.values())
