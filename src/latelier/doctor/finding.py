"""What the doctor says: findings, what was looked at without one, and what could not be looked at."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Severity = Literal["poor", "fair"]  # act; have a look


class NotLooked(Exception):
    """A check that cannot be made; the message says why."""


@dataclass(frozen=True)
class Finding:
    """``name`` is the standard term; ``evidence`` has the figures, ``meaning`` says it in plain words, ``try_`` what to do.

    ``changes`` are options of ``Spec`` by their dotted names, and ``command`` the whole line with which to fit again.
    ``figures``: the numbers of the evidence, for programs. ``with_it``: findings that follow from this one.
    """

    name: str
    severity: Severity
    evidence: str
    meaning: str
    try_: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    command: str = ""
    with_it: tuple[str, ...] = ()

    @property
    def options(self) -> list[str]:
        """``--set NAME=VALUE`` for each change, quoted for a shell."""
        return [f"--set {shlex.quote(f'{name}={spelled(value)}')}" for name, value in self.changes.items()]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "severity": {"poor": "act", "fair": "look"}[self.severity],
            "evidence": self.evidence,
            "meaning": self.meaning,
            "try": self.try_,
            "options": self.options,
            "command": self.command,
            "figures": dict(self.figures),
            "with it": list(self.with_it),
        }


@dataclass(frozen=True)
class Diagnosis:
    """``findings``, the worst first; ``passed`` are the checks that found nothing, ``skipped`` those that could not be made,
    each with the reason. ``rows``: how many held-out and training rows were looked at."""

    findings: Sequence[Finding]
    passed: Sequence[str]
    skipped: Mapping[str, str]
    rows: tuple[int, int] = (0, 0)

    @property
    def names(self) -> list[str]:
        """Of the findings."""
        return [finding.name for finding in self.findings]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "findings": [finding.plain() for finding in self.findings],
            "passed": list(self.passed),
            "skipped": dict(self.skipped),
            "rows": {"held out": self.rows[0], "training": self.rows[1]},
        }


def ordered(findings: Sequence[Finding], causes: Mapping[str, tuple[str, ...]]) -> list[Finding]:
    """What is to be acted on first; what follows from another finding is told with that one.

    >>> def of(name, severity): return Finding(name, severity, "", "", "")
    >>> found = ordered([of("blur", "fair"), of("collapse", "poor")], {"collapse": ("blur",)})
    >>> [(f.name, f.with_it) for f in found]
    [('collapse', ('blur',))]
    """
    names = [finding.name for finding in findings]
    led: dict[str, str] = {}  # what is told with another -> that other
    for cause, effects in causes.items():
        if cause in names and cause not in led:
            led |= {effect: cause for effect in effects if effect in names and effect != cause and effect not in led}
    out = [
        replace(finding, with_it=tuple(effect for effect, cause in led.items() if cause == finding.name))
        for finding in findings
        if finding.name not in led
    ]
    return sorted(out, key=lambda finding: finding.severity != "poor")


def spelled(value: Any) -> str:
    """As ``--set`` reads it.

    >>> spelled([256, 256]), spelled("linear"), spelled(0.5), spelled(True), spelled(None)
    ('[256, 256]', 'linear', '0.5', 'true', 'null')
    """
    return value if isinstance(value, str) else json.dumps(value)
