"""``score`` of rows that come one after the other: alerts as lines of JSON."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from latelier.cli.tail import FileTail, Piece, PipeTail, Tail, found_again, opened_file, pieces
from latelier.errors import BadInput, at_least

if TYPE_CHECKING:
    from latelier.cli.line import Limit, Line
    from latelier.judges import Judge
    from latelier.kinds.base import Arrived

STREAM = Group("Stream", sort_key=2)
PIPE = Path("-")
AT_ONCE = 4096  # rows that are scored together where --at-once does not say
FORMAT = 1  # of the file of --state
ENDED_BY: dict[int, int] = {signal.SIGINT: 130, signal.SIGTERM: 143}  # exit status, as shells count signals


@Parameter(name="*")
@dataclass(frozen=True)
class Following:
    """The options of a stream. Where one is given, or DATA is -, rows are scored as they come and alerts are written."""

    follow: Annotated[
        bool, Parameter(help="go on as DATA grows, is rotated or truncated, until Ctrl-C", group=STREAM)
    ] = False
    alerts: Annotated[
        Path | None, Parameter(help="file that alerts are added to; printed if not given", group=STREAM)
    ] = None
    reasons: Annotated[int | None, Parameter(help="columns that an alert names (3)", group=STREAM)] = None
    every: Annotated[float | None, Parameter(help="seconds that a row waits at most (1)", group=STREAM)] = None
    at_once: Annotated[int | None, Parameter(help="rows that are scored together at most (4096)", group=STREAM)] = None
    state: Annotated[
        Path | None, Parameter(help="file that keeps the place, from which the next run goes on", group=STREAM)
    ] = None

    @property
    def asked(self) -> bool:
        """Was any of them given?"""
        values = [getattr(self, f.name) for f in fields(self)]
        return any(value is not None and value is not False for value in values)


NOT_FOLLOWING = Following()


@dataclass
class Count:
    """What has come so far."""

    rows: int = 0
    alerts: int = 0
    bad: int = 0
    passed: int = 0

    def told(self) -> str:
        passed = f", {self.passed:,} passed over" if self.passed else ""
        return f"{self.rows:,} rows, {self.alerts:,} alerts, {self.bad:,} bad lines{passed}"


def score_stream(judge: Judge, data: Path, asked: Following, line: Line) -> None:
    """Until the data end (or, with --follow, a signal comes): then a summary on stderr."""
    _check(data, asked)
    where = "standard input" if data == PIPE else str(data)
    stream = judge.follow(where)
    kept = _kept(asked.state, data)
    limit = line.drawn(judge, 0.01)
    assert limit is not None
    alarm = _Alarm(judge, limit, 3 if asked.reasons is None else asked.reasons)
    count = Count(**kept.get("count", {}))
    if kept:
        stream.restore(kept["stream"])
        print(f"{asked.state}: goes on after {count.told()}", file=sys.stderr)
    tail, at = _opened(data, asked.follow, kept)
    every, at_once = 1.0 if asked.every is None else asked.every, asked.at_once or AT_ONCE
    with tail, _sink(asked.alerts, kept.get("alerts_bytes")) as write, _until_signalled() as signalled:
        for piece in pieces(tail, every, at_once, lambda: bool(signalled), **at):
            if piece.fresh:
                stream.begin()
            arrived = stream.rows(piece.lines, piece.first)
            _complain(arrived, piece, where, count)
            for text in alarm.alerts(arrived, stream.moment, count):
                write(text)
            size = write(None)
            if asked.state is not None and isinstance(tail, FileTail):
                line_number = piece.first + len(piece.lines)
                _keep(asked.state, data, tail.place(piece.end), line_number, count, stream.state(), size)
    print(f"{where}: {count.told()}", file=sys.stderr)
    if signalled:
        raise SystemExit(ENDED_BY[signalled[0]])


class _Alarm:
    """Which rows are odd, and what of them is."""

    def __init__(self, judge: Judge, limit: Limit, reasons: int):
        import numpy as np

        self.judge, self.limit, self.reasons = judge, limit, reasons
        usual = limit.usual
        self.usually = np.zeros(len(judge.columns)) if usual is None else judge.usually(usual)
        self.shown = round(limit.threshold, 4) if math.isfinite(limit.threshold) else None  # JSON has no infinity

    def alerts(self, arrived: Arrived, moment: str | None, count: Count) -> Iterator[str]:
        """One JSON object for every odd row; counts all of them."""
        if arrived.batch is None:
            return
        import numpy as np
        import torch

        scores = self.judge.scores(arrived.batch)
        odd = np.flatnonzero(scores < self.limit.threshold)
        first, count.rows = count.rows, count.rows + len(scores)
        if not len(odd):
            return
        usual = self.limit.usual
        ps = None if usual is None else usual.p_values(scores[odd])
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        shares = self.judge.shares(arrived.batch.take(torch.from_numpy(odd)))
        for place, row in enumerate(odd.tolist()):
            page: dict[str, Any] = {"row": first + row, "line": arrived.lines[row]}
            page["time"] = None if moment is None else arrived.cell(row, moment)
            page |= {"seen": now, "score": round(float(scores[row]), 4), "threshold": self.shown}
            if ps is not None:
                page["p"] = float(f"{ps[place]:.4g}")
            page["latent"] = round(float(shares.latent[place]), 4)
            page["reasons"] = self._reasons(shares.columns[place], partial(arrived.cell, row))
            count.alerts += 1
            yield json.dumps(page, ensure_ascii=False, allow_nan=False)

    def _reasons(self, nats: Any, cell: Callable[[str], str | None]) -> list[dict[str, Any]]:
        """The columns that lie furthest below what they usually contribute."""
        found = sorted(zip((nats - self.usually).tolist(), self.judge.columns, nats.tolist(), strict=True))
        return [
            {"column": name, "value": cell(name), "nats": round(own, 4), "below_usual": round(-less, 4)}
            for less, name, own in found[: self.reasons]
        ]


def _check(data: Path, asked: Following) -> None:
    if asked.every is not None and not 0 <= asked.every <= 3600:
        raise BadInput(f"--every {asked.every:g}: give seconds from 0 to 3600")
    at_least(1, **{"--at-once": 1 if asked.at_once is None else asked.at_once})
    at_least(0, **{"--reasons": asked.reasons or 0})
    if data == PIPE:
        if asked.state is not None:
            raise BadInput("--state: standard input cannot be read again from a place; name a file as DATA")
        if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
            raise BadInput("-: standard input is a terminal; pipe rows into it, or name a file")
        return
    from latelier.model import as_source

    as_source(data)
    if data.is_dir():
        raise BadInput(f"{data}: a folder; what is followed is one file of lines")
    opened_file(data)
    for name, place in (("--alerts", asked.alerts), ("--state", asked.state)):
        if place is not None and place.exists() and place.samefile(data):
            raise BadInput(f"{name} {place}: that is the file of the rows; name another")


def _kept(state: Path | None, data: Path) -> dict[str, Any]:
    """What an earlier run left in the file of --state; {} where there is none."""
    if state is None or not state.exists():
        if state is not None and not state.absolute().parent.is_dir():
            raise BadInput(f"--state {state}: there is no folder {state.parent}; make it")
        return {}
    try:
        page = json.loads(state.read_text("utf-8"))
        number, path = page["format"], page["path"]
        page["place"]["offset"] + page["line"], page["count"]["rows"], page["stream"]
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(f"--state {state}: not a file that --state wrote; remove it, or name another") from None
    if number != FORMAT:
        raise BadInput(f"--state {state}: written by another version (format {number}); remove it to begin anew")
    if path != str(data.resolve()):
        raise BadInput(f"--state {state}: keeps a place in {path}; name another for {data}")
    return dict(page)


def _keep(
    state: Path, data: Path, place: dict[str, Any], line: int, count: Count, stream: dict[str, Any], size: int | None
) -> None:
    from latelier.store import write_atomically

    page = {"format": FORMAT, "path": str(data.resolve()), "place": place, "line": line, "count": vars(count)}
    write_atomically(state, json.dumps(page | {"stream": stream, "alerts_bytes": size}).encode())


def _opened(data: Path, follow: bool, kept: dict[str, Any]) -> tuple[Tail, dict[str, Any]]:
    """The rows from where they are to be read, and what ``pieces`` is to be told of that place."""
    if data == PIPE:
        return PipeTail(), {}
    if not kept:
        return FileTail(data, follow), {}
    place = kept["place"]
    start = found_again(data, place)
    if start is None:
        print(f"{data}: is another file than before; begins at its start", file=sys.stderr)
        return FileTail(data, follow), {}
    return FileTail(data, follow, start, place["offset"]), {
        "line": kept["line"],
        "offset": place["offset"],
        "fresh": False,
    }


def _complain(arrived: Arrived, piece: Piece, where: str, count: Count) -> None:
    """One line on stderr for every line that is no row; the stream goes on."""
    bad = [*arrived.bad, *(f"{where}, line {number}: longer than a row can be" for number in piece.cut)]
    for text in bad:
        print("bad line: " + " ".join(text.split()), file=sys.stderr)
    count.bad += len(bad)
    count.passed += arrived.passed


@contextmanager
def _sink(path: Path | None, size: int | None) -> Iterator[Any]:
    """A function that writes an alert, and after None sees to it that all are on the disk and says how long the file is. What an
    interrupted run wrote after it last kept its place is cut off: those alerts come again."""
    if path is None:

        def show(line: str | None) -> None:
            if line is None:
                sys.stdout.flush()
            else:
                sys.stdout.write(line + "\n")

        yield show
        return
    try:
        file = open(path, "ab")  # noqa: SIM115 - closed below
    except OSError as error:
        raise BadInput(f"--alerts {path}: cannot be written ({error.strerror or error}); name another") from None

    def add(line: str | None) -> int:
        if line is not None:
            file.write(line.encode() + b"\n")
            return 0
        file.flush()
        os.fsync(file.fileno())
        return file.tell()

    with file:
        if size is not None and file.seek(0, os.SEEK_END) > size:
            file.truncate(size)
            file.seek(0, os.SEEK_END)
        yield add


@contextmanager
def _until_signalled() -> Iterator[list[int]]:
    """The signals that came to end us. The rows that are there are finished first; a second signal ends at once."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        for again, usual in before.items():
            signal.signal(again, usual)

    before = {number: signal.signal(number, note) for number in ENDED_BY}
    try:
        yield came
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)
