"""Where the line between usual and odd rows is drawn, in files and streams alike. What is slow is imported inside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from latelier.errors import BadInput

if TYPE_CHECKING:
    from latelier.judges import Judge
    from latelier.tasks.alarm import Usual

LINE = Group("What is odd", sort_key=1)


@dataclass(frozen=True)
class Limit:
    """Rows that score below ``threshold`` nats are odd; ``usual`` are the normal rows that it, or p, was measured by."""

    threshold: float
    usual: Usual | None


@Parameter(name="*")
@dataclass(frozen=True)
class Line:
    """The options. A threshold of one's own needs no normal rows."""

    p_values: Annotated[
        bool, Parameter(help="also p: the share of normal rows that are as odd", group=LINE, negative="")
    ] = False
    false_alarms: Annotated[
        float | None, Parameter(help="rows are odd so that at most this share of normal ones is", group=LINE)
    ] = None
    threshold: Annotated[float | None, Parameter(help="rows below so many nats are odd", group=LINE)] = None
    normal: Annotated[
        Path | None,
        Parameter(help="normal rows to measure by; those held out of training if not given", group=LINE),
    ] = None

    def check(self, stream: bool = False) -> None:
        """BadInput for what does not go together, before anything is loaded."""
        if self.threshold is not None and self.false_alarms is not None:
            raise BadInput("--threshold: a limit of your own needs no --false-alarms; leave out one of the two")
        if self.false_alarms is not None and not 0 < self.false_alarms <= 1:
            raise BadInput(f"--false-alarms {self.false_alarms:g}: give a share above 0 and at most 1, such as 0.01")
        if self.normal is not None and not self.p_values:
            if self.threshold is not None:
                raise BadInput(
                    "--threshold: a limit of your own needs no --normal, unless for --p-values; leave it out"
                )
            if self.false_alarms is None and not stream:
                raise BadInput("--normal: measures --p-values or --false-alarms; add one of them")

    def measured(self, judge: Judge) -> Usual | None:
        """The normal rows, where p or a threshold is to be measured by them."""
        return judge.usual(self.normal) if self.p_values or self.false_alarms is not None else None

    def drawn(self, judge: Judge, usually: float | None = None) -> Limit | None:
        """The limit, with the rate ``usually`` where none was asked for; None where there is none at all."""
        rate = usually if self.false_alarms is None else self.false_alarms
        if self.threshold is not None:
            return Limit(self.threshold, self.measured(judge))
        if rate is None:
            return None
        usual = judge.usual(self.normal)
        return Limit(usual.threshold(rate), usual)

    def plain(self) -> dict[str, object]:
        """By which runs are told apart."""
        normal = None if self.normal is None else str(self.normal)
        return {
            "p_values": self.p_values,
            "false_alarms": self.false_alarms,
            "threshold": self.threshold,
            "normal": normal,
        }


NO_LINE = Line()
