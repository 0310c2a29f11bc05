"""All checks on one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from latelier.doctor import CAUSES, CHECKS
from latelier.doctor.advice import command
from latelier.doctor.evidence import Evidence
from latelier.doctor.finding import Diagnosis, Finding, NotLooked, ordered


def examine(e: Evidence, data: str | None = None, folder: Path | None = None) -> Diagnosis:
    """Every check, the findings with the command that follows their advice; ``data`` and ``folder`` are what it names."""
    findings: list[Finding] = []
    passed: list[str] = []
    skipped: dict[str, str] = {}
    for name, check in CHECKS.items():
        try:
            found = list(check(e))
        except NotLooked as reason:
            skipped[name] = str(reason)
            continue
        findings += found
        if not found:
            passed.append(name)

    def line(changes: Mapping[str, object]) -> str:
        return command(e.asked, e.model.kind, e.schema, changes, data, folder) if changes else ""

    told = [replace(finding, command=line(finding.changes)) for finding in ordered(findings, CAUSES)]
    return Diagnosis(told, passed, skipped, e.looked_at)
