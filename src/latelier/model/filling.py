"""Holes in rows, filled, and how sure that is. n, N = rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from latelier.batch import Batch, join
from latelier.data.transforms import Transform
from latelier.errors import at_least
from latelier.model.passage import Fitted, coded, present, ready, stored
from latelier.model.source import Values, as_source
from latelier.noise import seeded
from latelier.tasks.impute import impute, impute_with_spread


@dataclass(frozen=True)
class Imputation:
    """``rows`` as they are with every hole filled, and the ``spread`` of what was filled in, NaN where a cell was seen: the
    standard deviation of numbers in their own units, the probability of the value that was chosen among names."""

    rows: Any
    spread: Any


def imputation(
    model: Fitted, x: Values, mask: Values | None = None, draws: int | None = None, seed: int = 0
) -> Imputation:
    """The rows with missing entries filled, and how sure each of these is."""
    with seeded(seed):
        parts = list(completed_with_spread(model, x, mask, draws, seed))
    rows = present(model, [rows for rows, _ in parts])
    if model.schema.modelled[0].columns:
        return Imputation(rows, pd.concat([spread_frame(model, spread) for _, spread in parts], ignore_index=True))
    name = model.schema.modelled[0].name
    return Imputation(rows, torch.cat([spread[name] for _, spread in parts]).movedim(1, -1).squeeze(-1).numpy())


def completed(
    model: Fitted, x: Values, mask: Values | None = None, draws: int | None = None, copies: int = 0, seed: int = 0
) -> Iterator[Batch]:
    """What ``Model.impute`` fills, as a stream of stored batches. What was seen comes back to the last bit, as it never
    passes the model."""
    draws = model.kind.filling_draws if draws is None else draws
    at_least(1, draws=draws)
    at_least(0, copies=copies)
    for holed in with_holes(model, x, mask, max(copies, 1)):
        filled = join(list(imputed(model, [ready(model, holed)], draws, copies, seed)))
        yield kept(holed.repeat(max(copies, 1)), filled)


def completed_with_spread(
    model: Fitted, x: Values, mask: Values | None = None, draws: int | None = None, seed: int = 0
) -> Iterator[tuple[Batch, dict[str, Tensor]]]:
    """Stored batches without holes, and of every field the spread (n, *entries) of what was filled in, NaN elsewhere."""
    draws = model.kind.filling_draws if draws is None else draws
    at_least(1, draws=draws)
    for holed in with_holes(model, x, mask):
        for found in impute_with_spread(
            model.vae, [ready(model, holed)], draws, rounds(model), seed=seed, units=units(model)
        ):
            filled = stored(model, found.rows)
            spread = {k: v.cpu() for k, v in {**found.deviation, **found.probability}.items()}
            for field in model.schema.modelled:
                values = spread.setdefault(
                    field.name, torch.full_like(filled.fields[field.name], torch.nan, dtype=torch.float64)
                )
                if coded(field) and field.support == "binary":  # what is filled in is the nearer of the two values
                    likely = filled.fields[field.name].double()
                    spread[field.name] = torch.where(values.isnan(), values, torch.maximum(likely, 1 - likely))
            yield kept(holed, filled), spread


def imputed(
    model: Fitted, batches: Iterable[Batch], draws: int = 64, copies: int = 0, seed: int = 0
) -> Iterator[Batch]:
    """Batches of the model's values -> stored ones without holes."""
    for filled in impute(model.vae, batches, draws, copies, rounds(model), seed=seed, units=units(model)):
        yield stored(model, filled)


def with_holes(model: Fitted, x: Values, mask: Values | None, copies: int = 1) -> Iterator[Batch]:
    """Stored rows as they are, with the pixels under the ``mask`` unseen."""
    missing = None if mask is None else model.kind.read_mask(mask, model.schema)
    for batch in model.kind.read(as_source(x), model.schema):
        for part in batch.slices(max(1, model.vae.rows // copies)):
            yield part if missing is None else hidden(part, model.schema.modelled[0].name, missing)


def spread_frame(model: Fitted, spread: Mapping[str, Tensor]) -> pd.DataFrame:
    """A column for every one that is modelled, in the data's order."""
    columns = {n: spread[f.name][:, i].numpy() for f in model.schema.modelled for i, n in enumerate(f.columns)}
    return pd.DataFrame({name: columns[name] for name in model.kind.ordered(columns, model.schema)})


def rounds(model: Fitted) -> int:
    """Of pseudo-Gibbs in imputation: none for a model whose encoder knows holes."""
    return 0 if model.spec.train.holes or all(f.holes for f in model.schema.modelled) else 4


def units(model: Fitted) -> dict[str, Transform]:
    """How each field goes to the data's own units."""
    return {f.name: f.transform for f in model.schema.modelled}


def hidden(batch: Batch, name: str, missing: Tensor) -> Batch:
    """The rows with those entries of a field marked as unseen; ``missing`` is bool (1, *entries)."""
    seen = (~missing).expand(len(batch), *missing.shape[1:])
    both = seen & batch.seen[name] if name in batch.seen else seen
    return Batch(batch.fields, {**batch.seen, name: both}, batch.log_det)


def kept(stored: Batch, filled: Batch) -> Batch:
    """What was seen as it was, the rest as it was filled in; conditions keep their holes."""
    fields = {
        k: torch.where(stored.seen[k], stored.fields[k], v) if k in stored.seen else stored.fields.get(k, v)
        for k, v in filled.fields.items()
    }
    return Batch(fields, filled.seen)
