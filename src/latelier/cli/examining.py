"""Verbs that ask what is wrong with a model: ``doctor``, ``dissect``. What is slow is imported inside."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from latelier.cli.places import Data, Folder, Overwrite, Seed, fresh, opened

if TYPE_CHECKING:
    from rich.console import Console

    from latelier.doctor import Diagnosis

JsonFile = Annotated[Path | None, Parameter("--json", help="also write everything to this file, as JSON")]


def doctor(
    model: Folder,
    data: Annotated[
        Path | None,
        Parameter(help="rows that the model shall be good at; those of its own training, if they are still there"),
    ] = None,
    /,
    *,
    json_file: JsonFile = None,
) -> None:
    """Say in plain words what a model suffers from, with figures, and the option to try.

    Also of a run that broke off without leaving a model. Without rows it goes by the figures, the weights and the log.
    """
    from rich.console import Console

    from latelier.model import Model
    from latelier.store import write_atomically

    found = Model.of_run(model).doctor(data)
    _print(found, Console(highlight=False, soft_wrap=True))
    if json_file is not None:
        write_atomically(json_file, json.dumps(found.plain(), indent=1).encode())
        print(f"wrote {json_file}")


def _print(found: Diagnosis, console: Console) -> None:
    """Findings, then what was looked at without one, then what could not be looked at."""
    from rich.markup import escape

    held, trained = found.rows
    seen = f"{held:,} held-out and {trained:,} training rows" if held else "no rows: figures, weights and log"
    console.print(f"looked at {seen}")
    for finding in found.findings:
        word, colour = {"poor": ("act", "red"), "fair": ("look", "yellow")}[finding.severity]
        console.print(f"\n[bold {colour}]{word}: {escape(finding.name)}[/]")
        console.print(f"  {escape(finding.evidence)}")
        console.print(f"  {escape(finding.meaning)}")
        if finding.with_it:
            console.print(f"  [dim]it brings with it: {escape(', '.join(finding.with_it))}[/]")
        console.print(f"  [bold]try:[/] {escape(finding.try_)}")
        if finding.command:
            options = " ".join(finding.options)
            console.print(f"    [cyan]{escape(options)}[/]")
            console.print(f"    [dim]{escape(finding.command)}[/]")
    if not found.findings:
        console.print("\n[bold green]nothing found[/]")
    console.print(f"\nnothing found of: {', '.join(found.passed) or 'none'}")
    for name, reason in found.skipped.items():
        console.print(f"[dim]not looked for: {escape(name)} ({escape(reason)})[/]")


def dissect(
    model: Folder,
    data: Data,
    /,
    *,
    out: Annotated[Path | None, Parameter(help="the page; dissect.html in the model's folder if not given")] = None,
    json_file: JsonFile = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Take the decoder apart: spoil z, c and parts of the network in turn, and say what each costs in nats, with pictures."""
    from latelier.report import write_dissection
    from latelier.store import write_atomically

    loaded = opened(model)
    path = out or model / "dissect.html"
    with fresh(path, overwrite) as place:
        found = loaded.dissect(data, seed)
        write_dissection(loaded, found, model.resolve().name, place)
    if json_file is not None:
        write_atomically(json_file, json.dumps(found.plain(), indent=1).encode())
    print(f"{found.rows:,} rows, log p(x | z) {found.log_px:.2f} nats/row with everything whole; lost when spoilt:")
    width = max(len(f"{d.group}: {d.name}") for d in found.damages)
    for damage in found.damages:
        print(f"  {f'{damage.group}: {damage.name}':<{width}}  {damage.loss:10.3f} +- {damage.error:.3f}")
    for file in (path, json_file):
        if file is not None:
            print(f"wrote {shlex.quote(str(file))}")
