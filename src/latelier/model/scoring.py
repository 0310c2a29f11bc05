"""Scores of rows by their entries, and what is usual among normal ones. n = rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from latelier.calibration import keep_scores, kept_scores, measured
from latelier.errors import at_least
from latelier.model.gathering import held_out_rows
from latelier.model.passage import Fitted, read
from latelier.model.source import Values
from latelier.tasks.alarm import Usual
from latelier.tasks.score import score_entries

BESIDE = ("score", "latent", "row", "file", "p", "odd")  # what stands beside the entries of scored rows


def entry_scores(model: Fitted, x: Values, draws: int = 16) -> Iterator[pd.DataFrame]:
    """A stream of frames: score, latent, then every column (or pixel) by name; names that are taken become "NAME (column)"."""
    for scored in score_entries(model.vae, read(model, x), draws):
        columns = {"score": scored.total.cpu().numpy(), "latent": scored.latent.cpu().numpy()}
        for field in model.schema.modelled:
            values = scored.entries[field.name]
            flat = values.flatten(1).cpu().numpy()
            names = field.columns or [
                f"{field.name}[{','.join(map(str, place))}]" for place in np.ndindex(*values.shape[1:])
            ]
            columns |= {f"{n} (column)" if n in BESIDE else n: v for n, v in zip(names, flat.T, strict=True)}
        yield pd.DataFrame(columns)


def usual(model: Fitted, normal: Values | None = None, draws: int = 16) -> Usual:
    """What ``Model.usual`` promises."""
    at_least(1, draws=draws)
    if normal is not None:
        return measured(model.vae, model.schema, read(model, normal), draws)
    found = None if model.folder is None else kept_scores(model.folder, draws)
    return found or keep_scores(model, held_out_rows(model), draws)
