"""A run from what a user gives to a trained model: settings, folder, rows, training, and what follows it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from latelier.build import fit_to_data
from latelier.calibration import keep_scores
from latelier.data.schema import Schema
from latelier.errors import BadInput
from latelier.kinds import KINDS
from latelier.machine import settled, threads
from latelier.model.gathering import gather, refuse_other_rows
from latelier.model.source import Values, as_source, find_kind
from latelier.model.verbs import Model
from latelier.objectives.sharpened import Features
from latelier.spec import SHORT, Spec
from latelier.step import Watch
from latelier.store import CHECKPOINT, described, load_checkpoint
from latelier.train import train
from latelier.trial import suited

BESIDES = 0.25  # of the minutes of training: so much more a prior that is fitted at the end may take

# What a resumed run may not change.
FROZEN = ("size", "purpose", "cure", "network", "latent", "likelihood", "head", "data", "objective")
FROZEN_IN_TRAINING = ("seed", "holes")  # as the seed decides which rows are held out, and holes what the encoder reads


def fit(
    source: Values | None = None,
    *,
    out: str | Path | None = None,
    test: Values | None = None,
    resume: bool = False,
    overwrite: bool = False,
    report: bool = True,
    watch: Watch = lambda event: None,
    features: Features | None = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Model:
    """Trains a model on a path, an array or a frame, and returns the best one by held-out bound.

    ``out`` is the model's folder (a new one under ``runs/`` if not given); ``test`` supplies the held-out rows in place of
    a split. ``options`` are those of ``Spec``: short (``epochs=5``), dotted in ``settings`` ({"latent.dims": 2}), or
    sections. ``resume`` goes on with the run in ``out``, of which options such as ``epochs`` may be raised. ``watch`` is
    told of the scan, of epochs and of skipped steps. ``features``: any network from pictures (N, C, H, W) in [0, 1] to a list of
    maps, whose distance ``objective.perceptual`` weighs; it is not kept with the model.
    Raises BadInput, one line, for whatever cannot be used.
    """
    asked = named(settings, options)
    folder = Path(out) if out is not None else new_folder(source)
    if resume:
        spec, schema, where = _resumed(folder, asked)
        source = where.get("path") if source is None else source
        test = where.get("test") if test is None else test
        if source is None:
            raise BadInput(
                f"{folder}: this run read its rows from memory; give the same array or frame again to resume"
            )
        kind = KINDS[schema.kind]
    else:
        _refuse_overwriting(folder, overwrite)
        if source is None:
            raise BadInput("nothing to fit: give a path, an array or a frame")
        kind = find_kind(as_source(source), Spec.of(asked).data.kind)
        schema = kind.scan(as_source(source), Spec.of(asked).data)
        schema = suited(kind, schema, as_source(source), Spec.of(asked), tested=test is not None)
        spec, schema = fit_to_data(asked, kind, schema, schema.rows)
        where = {"path": str(Path(source).resolve()) if isinstance(source, (str, Path)) else None}
        where |= {"test": str(Path(test).resolve()) if isinstance(test, (str, Path)) else None}
    watch({"event": "scanned", "evidence": list(schema.evidence), "spec": spec, "schema": schema, "folder": folder})
    data = gather(spec, schema, source, test, where, folder)
    if resume:
        refuse_other_rows(where, data.source)
    spec = settled(spec)
    train(spec, schema, data, folder, watch, resume, features)
    model = Model.load(folder)
    wanted = spec.latent.refit
    if wanted == "if-needed":
        wanted = "auto" if model.vae.latents.awaiting else "no"
    if wanted != "no":
        with threads(spec.train.threads):
            more = None if spec.train.minutes is None else BESIDES * spec.train.minutes
            found = model.refit_to(data, wanted, watch, more)
        watch({"event": "refitted", "evidence": found.evidence()})
    # Models that have no scores say so when they are asked for one.
    with threads(spec.train.threads), suppress(BadInput):
        keep_scores(model, data.held)
    if report:
        from latelier.report import write_report  # here: a fit without a report need not load it

        with threads(spec.train.threads):
            write_report(model, data, folder / "report.html")
    return model


def named(settings: Mapping[str, Any] | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Short names spelled out: ``epochs`` is ``train.epochs``."""
    return {**(settings or {}), **{SHORT.get(k, k): v for k, v in options.items() if v is not None}}


def new_folder(source: Values | None) -> Path:
    """runs/NAME-1, runs/NAME-2, ... whichever is free."""
    stem = Path(source).resolve().stem if isinstance(source, (str, Path)) else "fit"
    stem = re.sub(r"[^\w.-]|[-_.]+$", "", re.sub(r"\[.*?\]|[*?]", "", stem)) or "fit"  # of a pattern, what is not one
    number = 1
    while Path("runs", f"{stem}-{number}").exists():
        number += 1
    return Path("runs", f"{stem}-{number}")


def _resumed(folder: Path, asked: Mapping[str, Any]) -> tuple[Spec, Schema, dict[str, Any]]:
    """The run of a folder with what may be changed of it, its schema, and where its rows came from."""
    _, state = load_checkpoint(folder)
    before = described(folder / CHECKPOINT, state)
    spec = Spec.of(asked, state["spec"])
    changed = [name for name in FROZEN if getattr(before.spec, name) != getattr(spec, name)]
    changed += [f"train.{k}" for k in FROZEN_IN_TRAINING if getattr(before.spec.train, k) != getattr(spec.train, k)]
    for name in changed:
        raise BadInput(f"{folder}: {name} cannot be changed while resuming; start a new run with --out")
    return spec, before.schema, dict(state["source"])


def _refuse_overwriting(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder}: is a file; --out takes a folder")
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise BadInput(
            f"{folder}: is not empty; go on with --resume {folder}, replace it with --overwrite, or name another --out"
        )
