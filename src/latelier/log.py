"""The log of a run: log.jsonl for programs and log.csv for people, a line an epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latelier.errors import BadInput
from latelier.store import write_atomically

COLUMNS = (
    "epoch",
    "step",
    "seconds",
    "elbo",
    "elbo_error",
    "log_px",
    "kl",
    "active",
    "units",
    "bits_per_dim",
)  # of log.csv


class Log:
    """log.jsonl and log.csv, a line an epoch; whoever resumes cuts what came after the checkpoint."""

    def __init__(self, folder: Path):
        self.path, self.table = folder / "log.jsonl", folder / "log.csv"

    def clear(self) -> None:
        self.path.write_text("")
        self.table.write_text(",".join(COLUMNS) + "\n")

    def write(self, event: Mapping[str, Any]) -> None:
        for path, line in ((self.path, json.dumps(event)), (self.table, _cells(event))):
            try:
                with open(path, "a") as file:
                    file.write(line + "\n")
            except OSError as error:
                raise BadInput(
                    f"{path}: cannot be written ({error.strerror or error}): {len(line) + 1} bytes were needed; "
                    "free some space, then resume"
                ) from error

    def cut(self, epoch: int, step: int) -> None:
        # Both are asked: after an epoch's last step, but before its end, a checkpoint has the step of that epoch's line.
        events = read_log(self.path.parent)
        kept = [event for event in events if event["epoch"] <= epoch and event["step"] <= step]
        write_atomically(self.path, "".join(json.dumps(event) + "\n" for event in kept).encode())
        write_atomically(self.table, ("\n".join([",".join(COLUMNS), *map(_cells, kept)]) + "\n").encode())


def _cells(event: Mapping[str, Any]) -> str:
    return ",".join(str(event.get(name, "")) for name in COLUMNS)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The epochs of a run; a line cut short by a crash is left out."""
    events = []
    path = folder / "log.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return events
