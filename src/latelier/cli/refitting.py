"""``refit``: a trained model's prior fitted anew. What is slow is imported inside; see the package's first lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from latelier.cli.places import Folder, opened
from latelier.cli.progress import told
from latelier.errors import BadInput


def refit(
    model: Folder,
    data: Annotated[Path | None, Parameter(help="the rows of training; those that fit recorded if not given")] = None,
    /,
    *,
    test: Annotated[Path | None, Parameter(help="held-out rows, in place of a split")] = None,
    prior: Annotated[
        str, Parameter(help="auto (the best of several), mixture, flow, second-stage, vamp or standard")
    ] = "auto",
    minutes: Annotated[float | None, Parameter(help="it takes no longer, but for the held-out rows")] = None,
    as_json: Annotated[bool, Parameter("--json", help="as JSON, for programs")] = False,
) -> None:
    """Fit a model's prior anew to the codes of its training rows, so that samples are of where the decoder was trained.

    Candidates are compared by held-out nats; the model keeps its prior if none is better. Encoder and decoder stay as they are.
    """
    loaded = opened(model)
    if data is None:
        from latelier.store import load_checkpoint

        source = load_checkpoint(model)[1]["source"]
        if source.get("path") is None:
            raise BadInput(f"{model}: was fitted to rows in memory; name the rows of training after the model")
        data, test = Path(source["path"]), test or (source.get("test") and Path(source["test"]))
    if minutes is not None and not minutes > 0:
        raise BadInput(f"--minutes {minutes:g}: give more than 0")
    found = loaded.refit(data, test, prior, (lambda event: None) if as_json else told, minutes)
    if as_json:
        print(json.dumps({"prior": loaded.spec.latent.prior, "changed": found.changed, **found.plain()}, indent=1))
    else:
        print(*found.evidence(), sep="\n")
