"""``detect``: which rows of a table or a log are odd, how sure that is, and why. What is slow is imported inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from latelier.cli.places import Out, Overwrite, fresh
from latelier.cli.progress import told
from latelier.cli.settings import Settings, settings_of
from latelier.errors import BadInput
from latelier.wording import percent

if TYPE_CHECKING:
    import pandas as pd

    from latelier.detector import Detector

NOTHING = Settings()
ODDEST = 5  # rows that the summary names


def detect(
    train: Annotated[
        Path,
        Parameter(help="mostly normal rows of a table or a log to learn from, or a detector's folder"),
    ],
    data: Annotated[
        Path | None, Parameter(help="the rows that may be odd; without it those of TRAIN, or with --save alone none")
    ] = None,
    /,
    *,
    save: Annotated[Path | None, Parameter(help="keep the detector in this folder, for later rows")] = None,
    out: Out = None,
    contamination: Annotated[float, Parameter(help="share of odd rows expected among those learned from")] = 0.0,
    false_alarms: Annotated[
        float | None, Parameter(help="also a column alarm: at most this share of normal rows has one")
    ] = None,
    entries: Annotated[bool, Parameter(help="also what each column adds to a row's oddness")] = False,
    members: Annotated[int | None, Parameter(help="how many models the detector is made of")] = None,
    overwrite: Overwrite = False,
    assignments: Annotated[list[str] | None, Parameter("--set", help="NAME=VALUE, as for fit; may be repeated")] = None,
    short: Settings = NOTHING,
) -> None:
    """Find the odd rows of a table: oddness in nats, a p-value against normal rows, and on request an alarm and the why.

    Learns from TRAIN and writes what it says of DATA; both may be the same file. Repeatable: the same row says the same.
    """
    if data is None and _is_detector(train):
        raise BadInput(f"{train}: is a detector; name the rows to look at after it")
    making = partial(_made, train, save, contamination, members, overwrite, settings_of(None, assignments or (), short))
    if data is None and save is not None and out is None and false_alarms is None and not entries:
        making()
        return
    path = out or Path("odd.csv")
    with fresh(path, overwrite) as place:
        rows, alarms, oddest = _look(detector := making(), data or train, place, false_alarms, entries)
    print(f"wrote {path}: {rows:,} rows")
    if false_alarms is not None:
        line, most = detector.threshold(false_alarms), percent(false_alarms, 2)
        print(f"alarms: {alarms:,}, oddness above {line:.2f} nats; of normal rows at most {most} have one")
    print("the oddest rows, counted from 0: " + ", ".join(f"{row} ({-value:.2f})" for value, row in oddest))


def _look(
    detector: Detector, data: Path, place: Path, false_alarms: float | None, entries: bool
) -> tuple[int, int, list[tuple[float, int]]]:
    """Writes what the detector says of every row; returns how many there are, alarms among them, and the oddest of them."""
    import numpy as np
    import pandas as pd

    from latelier.kinds.cells.frame_files import write_rows

    line = None if false_alarms is None else detector.threshold(false_alarms)
    oddest: list[tuple[float, int]] = []
    rows = alarms = 0

    def frames() -> Iterator[pd.DataFrame]:
        nonlocal rows, alarms, oddest
        for frame in detector.attribution_stream(data) if entries else map(_empty, detector.stream(data)):
            odd = frame.sum(axis=1).to_numpy(np.float64)
            highest = np.argsort(-odd)[:ODDEST]
            pairs = zip((-odd[highest]).tolist(), (rows + highest).tolist(), strict=True)
            oddest = sorted([*oddest, *pairs])[:ODDEST]
            figures = {"oddness": odd, "p": detector.p_values_of(odd)}
            if line is not None:
                figures["alarm"] = odd > line
                alarms += int((odd > line).sum())
            rows += len(odd)
            told = [f"{c} (column)" if c in ("oddness", "p", "alarm") else c for c in frame.columns]
            yield pd.concat([pd.DataFrame(figures), frame.set_axis(told, axis=1)[told if entries else []]], axis=1)

    write_rows(frames(), place)
    return rows, alarms, oddest


def _made(
    train: Path,
    save: Path | None,
    contamination: float,
    members: int | None,
    overwrite: bool,
    settings: dict[str, object],
) -> Detector:
    from latelier.detector import MEMBERS, Detector

    if _is_detector(train):
        if contamination or members or settings or save:
            raise BadInput(f"{train}: is a detector already, so nothing is fitted; leave out the options of fitting")
        return Detector.load(train)
    seed = settings.pop("train.seed", 0)
    made = Detector.fit(
        train,
        contamination=contamination,
        out=save,
        seed=int(str(seed)),
        members=MEMBERS if members is None else members,
        overwrite=overwrite,
        watch=_told,
        settings=settings,
    )
    if save is not None:
        print(f"detector: {save}")
    return made


def _is_detector(path: Path) -> bool:
    from latelier.detector import PAGE

    return (path / PAGE).is_file()


def _told(event: Mapping[str, Any]) -> None:
    """What was recognised, and steps that were skipped; epochs of small models are not worth a line."""
    if event["event"] == "scanned":
        print("\n".join(event["evidence"]), flush=True)
    else:
        told(event)


def _empty(odd: object) -> pd.DataFrame:
    """Oddness alone, as one column."""
    import pandas as pd

    return pd.DataFrame({"oddness": odd})
