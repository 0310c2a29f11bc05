"""What ``fit`` shows while it works: a bar in a terminal, a line now and then elsewhere, and curves in TensorBoard."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latelier.errors import BadInput

Show = Callable[[Mapping[str, Any]], None]
LINES = 20  # at most about so many lines of epochs where there is no terminal


@contextmanager
def watching(tensorboard: bool) -> Iterator[Show]:
    """A function that shows the events of ``latelier.fit``; what it opened is closed at the end."""
    show = Bar() if sys.stdout.isatty() else Lines()
    board = Board() if tensorboard else None

    def both(event: Mapping[str, Any]) -> None:
        show(event)
        if board is not None:
            board(event)

    try:
        yield both
    finally:
        show.close()
        if board is not None:
            board.close()


def scanned(event: Mapping[str, Any]) -> list[str]:
    """What was recognised, and how to say otherwise."""
    return [*event["evidence"], f"writing to {event['folder']}"]


def skipped(event: Mapping[str, Any]) -> str:
    return f"skipped a step: loss {event['loss']:.4g}, gradient norm {event['norm']:.4g} ({event['where']})"


def uncompiled(event: Mapping[str, Any]) -> str:
    return f"steps are not compiled, which is slower on a GPU but gives the same ({event['why']})"


def figures(event: Mapping[str, Any]) -> str:
    """One epoch in a line, nats per row."""
    bound, kl = f"{event['elbo']:.2f} nats/row", f"KL {event['kl']:.2f}"
    return f"epoch {event['epoch']}: {bound}, {kl}, {event['active']}/{event['units']} active"


def refitting(event: Mapping[str, Any]) -> str:
    limit = f", in {left(event['seconds'])} at most" if event["seconds"] is not None else ""
    return f"fitting the prior {event['prior']} to the latent values of {event['rows']:,} rows{limit}"


def refitted(event: Mapping[str, Any]) -> str:
    return "\n".join(event["evidence"])


NOTICES = {"skipped": skipped, "not compiled": uncompiled, "refitting": refitting, "refitted": refitted}


def told(event: Mapping[str, Any]) -> None:
    """What is noticed, in lines."""
    if event["event"] in NOTICES:
        print(NOTICES[event["event"]](event), flush=True)


def left(seconds: float) -> str:
    """
    >>> left(75.4), left(4000)
    ('1:15', '1:06:40')
    """
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Pace:
    """Rows per second since the epoch before, and the seconds that are left if it goes on so."""

    def __init__(self) -> None:
        self.rows = 0
        self.before: tuple[int, float] | None = None
        self.begun: tuple[float, float] | None = None

    def of(self, event: Mapping[str, Any], batch: int) -> str:
        step, seconds, done = event["step"], event["seconds"], event["progress"]
        # A resumed run has steps and seconds from before, so the first epoch's own are not known.
        since = self.before or (0, 0.0)
        rate = (step - since[0]) * batch / max(seconds - since[1], 1e-9)
        self.before = step, seconds
        rest = seconds * (1 - done) / done if done else 0.0
        return f"{rate:,.0f} rows/s, {left(rest)} left"


class Lines:
    """Plain lines, the first and the last epoch among them."""

    def __init__(self) -> None:
        self.pace, self.batch, self.shown, self.last = Pace(), 1, -1.0, ""

    def __call__(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "scanned":
            self.batch = event["spec"].train.batch
            print(*scanned(event), sep="\n", flush=True)
        elif event["event"] == "epoch":
            self.last = f"{figures(event)}, {self.pace.of(event, self.batch)}"
            if event["progress"] >= min(self.shown + 1 / LINES, 1.0):
                print(self.last, flush=True)
                self.shown, self.last = event["progress"], ""
        elif event["event"] in NOTICES:
            self.close()
            told(event)

    def close(self) -> None:
        if self.last:
            print(self.last, flush=True)
        self.last = ""


class Bar:
    """A bar that moves at every epoch."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        # Narrow, so that the figures fit beside it into 80 characters.
        columns = (BarColumn(bar_width=8), TextColumn("{task.description}"))
        self.console = Console(highlight=False)
        self.progress = Progress(*columns, console=self.console)
        self.task = self.progress.add_task("reading", total=1.0, start=False)
        self.pace, self.batch = Pace(), 1

    def __call__(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "scanned":
            self.batch = event["spec"].train.batch
            for line in scanned(event):
                self.console.print(line, markup=False, soft_wrap=True)
            self.progress.start()
            self.progress.start_task(self.task)
        elif event["event"] in NOTICES:
            self.progress.console.print(NOTICES[event["event"]](event), markup=False, soft_wrap=True)
        elif event["event"] == "epoch":
            told = f"{figures(event)}, {self.pace.of(event, self.batch)}"
            self.progress.update(self.task, completed=event["progress"], description=told)
        elif event["event"] == "refit":
            told = f"prior {event['prior']}: {event['nats']:.2f} nats/row"
            self.progress.update(self.task, completed=event["progress"], description=told)

    def close(self) -> None:
        self.progress.stop()


class Board:
    """Figures of every epoch for TensorBoard, in ``tensorboard/`` of the model's folder."""

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise BadInput(
                "--tensorboard needs a package that is not there: pip install 'latelier[tensorboard]'"
            ) from None
        self.open = SummaryWriter
        self.writer: SummaryWriter | None = None

    def __call__(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "scanned":
            self.writer = self.open(str(Path(event["folder"]) / "tensorboard"))
        elif event["event"] == "epoch" and self.writer is not None:
            for name in ("elbo", "log_px", "kl", "active"):
                self.writer.add_scalar(f"held_out/{name}", event[name], event["step"])

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
