"""The rows of a run: all of them, those that train and those that are held out, and the same found again later."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from latelier.batch import Batch
from latelier.data.rows import evenly, hold, split
from latelier.data.schema import Schema
from latelier.errors import BadInput
from latelier.kinds import KINDS
from latelier.model.passage import Fitted
from latelier.model.source import Values, as_source
from latelier.spec import Spec
from latelier.store import CHECKPOINT, load_checkpoint
from latelier.train import HELD_OUT_ROWS, Data


def rows_at_hand(model: Fitted, x: Values | None) -> tuple[Data | None, str]:
    """Rows as the run had them: of its own source, or ``x`` with what is there of that; and why some are not there."""
    where = dict(run_state(model).get("source", {}))
    path, test = where.get("path"), where.get("test")
    own, absent = None, "the rows of training are not at hand"
    if path is None:
        absent += " (they came from memory); give them as DATA"
    elif not Path(path).exists():
        absent += f" ({path} is not there any more)"
    else:
        test = test if test is None or Path(test).exists() else None
        own = gather(model.spec, model.schema, path, test, where, model.folder)
        if own.source["digest"] != where.get("digest"):
            own, absent = None, f"{path} holds other rows than when the model was fitted"
    if x is None:
        return own, absent
    given = gather(model.spec, model.schema, x, None, where, model.folder)
    if given.source["digest"] == where.get("digest"):
        return own or given, absent
    held = given.rows.take(evenly(torch.arange(len(given.rows)), HELD_OUT_ROWS))
    if own is None:
        return replace(given, training=torch.zeros(0, dtype=torch.int64), held=held), absent
    return replace(own, held=held), absent


def run_state(model: Fitted) -> dict[str, Any]:
    """What the last checkpoint of its training says of the run; nothing where that is gone."""
    if model.folder is None or not (model.folder / CHECKPOINT).is_file():
        return {}
    return load_checkpoint(model.folder)[1]


def held_out_rows(model: Fitted) -> Batch:
    """The rows that training held out, read again, settled. BadInput where they are not there any more."""
    remedy = "name normal rows with --normal FILE (normal=), or a limit with --threshold NATS"
    if model.folder is None or not (model.folder / CHECKPOINT).is_file():
        raise BadInput(f"{model.folder or 'this model'}: keeps no scores of normal rows; {remedy}")
    where = load_checkpoint(model.folder)[1]["source"]
    if where.get("path") is None or not Path(where.get("test") or where["path"]).exists():
        raise BadInput(
            f"{where.get('path') or model.folder}: the rows of its training are not there any more; {remedy}"
        )
    data = gather(model.spec, model.schema, where["path"], where.get("test"))
    if data.source["held"] != where["held"]:
        raise BadInput(f"{where['path']}: these are not the rows of its training any more; {remedy}")
    return data.held


def gather(
    spec: Spec,
    schema: Schema,
    source: Values,
    test: Values | None = None,
    where: Mapping[str, Any] | None = None,
    folder: Path | None = None,
) -> Data:
    """All rows of ``source``, settled, and which of them train; of the rest, or of ``test``, at most ``HELD_OUT_ROWS`` are
    held out. Rows too many for memory are mapped to nameless files on the disk of ``folder``."""
    kind = KINDS[schema.kind]
    disk = folder and next(place for place in (folder, *folder.absolute().parents) if place.is_dir())

    def all_of(x: Values) -> Batch:
        return hold((schema.settle(b) for b in kind.read(as_source(x), schema)), folder=disk)

    rows = all_of(source)
    if test is None:
        training, held_ids = split(len(rows), spec.data.holdout, spec.train.seed)
        held = rows.take(evenly(held_ids, HELD_OUT_ROWS))
    else:
        training = torch.arange(len(rows))
        tested = all_of(test)
        held = tested.take(evenly(torch.arange(len(tested)), HELD_OUT_ROWS))
    page = {**(where or {}), "digest": fingerprint(rows), "rows": len(rows), "held": fingerprint(held)}
    return Data(rows, training, held, page, kind.augmentation(spec.data, schema))


def fingerprint(rows: Batch) -> str:
    """A digest of the number of rows and of the first and last thousand, so that a resumed run knows its data."""
    digest = hashlib.sha256(str(len(rows)).encode())
    for part in (
        rows.take(torch.arange(min(1000, len(rows)))),
        rows.take(torch.arange(max(0, len(rows) - 1000), len(rows))),
    ):
        for name in sorted(part.fields):
            digest.update(part.fields[name].contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def refuse_other_rows(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Rows that were trained on must not become held out, nor the other way round."""
    if before.get("digest", now["digest"]) != now["digest"]:
        raise BadInput(f"{now.get('path') or 'the given rows'}: not the rows that this run began with; start a new one")
    if before.get("held", now["held"]) != now["held"]:
        raise BadInput(
            f"{now.get('test') or now.get('path') or 'the given rows'}: not the held-out rows that this run began with; "
            "give the same test rows again (none where it began with none), or start a new run"
        )
