"""Several files of flow records as one table: a folder of logs, or those that match a pattern. N = rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from pathlib import Path

import numpy as np
import pandas as pd

from latelier.errors import BadInput
from latelier.kinds.base import Part, Source, is_pattern
from latelier.kinds.cells.dialect import Header
from latelier.kinds.cells.files import PARQUET, TEXT, Table, suffix_of
from latelier.kinds.cells.lines import JsonLines, LinesTable
from latelier.kinds.cells.several import Several, below, root_of
from latelier.kinds.flows.formats import FORMATS, format_of
from latelier.kinds.flows.table import head, lines_of, open_flows
from latelier.kinds.pictures.files import natural

# Files of one form are read, the first that there is.
FORMS = (PARQUET, (".log",), (".json", ".jsonl", ".ndjson"), (".csv", ".tsv"), (".txt", ".data"))


def open_all(source: Source, known: Set[str] = frozenset()) -> Table:
    """As ``open_flows``, and of a folder or a pattern all its flow records."""
    if isinstance(source, Path) and (source.is_dir() or is_pattern(source)):
        return SeveralFlows(source, known=tuple(known))
    return open_flows(source, known)


def names_in(source: Source) -> Sequence[str]:
    """The names of columns of what may be flow records; none where it is something else."""
    if isinstance(source, pd.DataFrame):
        return [str(name) for name in source.columns]
    if isinstance(source, np.ndarray):
        return ()
    assert isinstance(source, Path)
    if source.is_dir() or is_pattern(source):
        files = flow_files(source)
        return names_in(files[0]) if files else ()
    try:
        if suffix_of(source) in PARQUET:
            return open_flows(source).names
        first = head(source)
        lines = lines_of(first)
        if lines is None:
            return ()
        for line in first:
            lines.directive(line)
    except BadInput:
        return ()
    return lines.names


def flow_files(source: Path, known: Collection[str] = ()) -> list[Path]:
    """Those of a folder, or of a pattern, that are flow records, or if there are none those that have some of these columns, in
    natural order: beside Zeek's conn.log lie dns.log and others, which are passed over."""
    found = below(source)
    for form in FORMS:
        chosen = [path for path in found if suffix_of(path) in form]
        names = {path: names_in(path) for path in chosen}
        ours = [path for path in chosen if format_of(names[path])] or [p for p in chosen if set(known) & set(names[p])]
        if ours:
            return sorted(ours, key=lambda path: natural(path.as_posix()))
    return []


def parts_of_flows(source: Path, known: Collection[str]) -> list[Part]:
    """Every file is a part, as a piece of it would not say what its columns are; its output is a table."""
    paths = flow_files(source, known) if source.is_dir() or is_pattern(source) else [source]
    if not paths:
        SeveralFlows(source, known=tuple(known))  # says what was looked for
    root = root_of(source, paths) if len(paths) > 1 or source.is_dir() else paths[0].parent
    return [Part(_output(path.relative_to(root)), path, path) for path in paths]


class SeveralFlows(Several):
    """The rows of all of them. Of JSON lines each may have keys that others lack."""

    def __init__(self, source: Path, header: Header = "auto", known: Sequence[str] = ()):
        self.keys: tuple[str, ...] = ()
        super().__init__(source, header, known)
        passed = len(below(source)) - len(self.paths)
        self.evidence = (*self.evidence, *([f"passed over: {passed:,} other file(s)"] if passed else []))

    def files(self, source: Path) -> list[Path]:
        found = flow_files(source, self.known)
        if not found:
            called = ", ".join(known.called for known in FORMATS.values())
            raise BadInput(f"{source}: no flow records there; known are {called}; fit it with --kind tables")
        if isinstance(lines_of(head(found[0]), set(self.known)), JsonLines):
            self.keys = tuple(dict.fromkeys(n for path in found for n in open_flows(path, set(self.known)).names))
        return found

    def opened(self, path: Path, header: Header = "auto", known: Sequence[str] = ()) -> Table:
        table = open_flows(path, {*known, *self.known})
        if self.keys and isinstance(table, LinesTable):
            table.names = table.lines.names = self.keys
        return table


def _output(name: Path) -> str:
    written = suffix_of(name) in TEXT + PARQUET
    return name.as_posix() if written else f"{name.as_posix()}.csv"
