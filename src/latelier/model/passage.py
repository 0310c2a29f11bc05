"""Rows into a model, and what it makes of them out again. n, N = rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch

from latelier.batch import Batch, join
from latelier.data.rows import hold
from latelier.data.schema import Field, Schema
from latelier.errors import BadInput
from latelier.kinds.base import Kind, Words
from latelier.model.source import Values, as_source
from latelier.noise import Keyed
from latelier.spec import Spec
from latelier.vae import VAE


class Fitted(Protocol):
    """The part of a model that reading, drawing and judging ask for."""

    vae: VAE
    spec: Spec
    schema: Schema
    figures: dict[str, Any]
    folder: Path | None
    kind: Kind[Any]


def read(model: Fitted, x: Values) -> Iterator[Batch]:
    """Batches of the model's own values."""
    return map(partial(ready, model), model.kind.read(as_source(x), model.schema))


def ready(model: Fitted, batch: Batch) -> Batch:
    """Stored values as the model reads them. Random transforms draw the same for the same row."""
    return model.vae.own(model.schema.to_model(batch, Keyed.of(batch)))


def along(model: Fitted, batches: Iterable[Batch], task: Any, draws: int = 1) -> Iterator[Batch]:
    """Stored results of ``task``, part by part (n rows or draw-major multiples), with each row's conditions beside them."""
    for batch in batches:
        # Parts as small as tasks make them: what a task cuts once more would not stand beside its conditions.
        for part in batch.slices(max(1, model.vae.rows // max(draws, 1))):
            drawn = join(list(task(part)))
            yield stored(model, drawn, part.repeat(len(drawn) // len(part)))


def stored(model: Fitted, drawn: Batch, conditions: Batch | None = None) -> Batch:
    """The data's own values, on the CPU; conditions that were given stand beside them."""
    known = {f.name for f in model.schema.fields}
    drawn = drawn.only([name for name in drawn.fields if name in known]).to("cpu")
    made = model.schema.within(model.schema.to_data(drawn))
    if conditions is None:
        return made
    beside = model.schema.to_data(conditions.only(told(model)).to("cpu"))
    seen = {k: v for k, v in beside.seen.items() if k not in made.fields}
    return Batch({**beside.fields, **made.fields}, {**seen, **made.seen})


def present(model: Fitted, batches: Iterable[Batch], draws: int = 0) -> Any:
    """Stored batches in the form that a Python user gets; ``draws`` of all rows one after the other."""
    parts = list(batches)
    if draws > 1:
        places = [torch.arange(len(part)).view(draws, -1) for part in parts]
        parts = [part.take(place[draw]) for draw in range(draws) for part, place in zip(parts, places, strict=True)]
    return model.kind.present(hold(parts), model.schema)


def conditions_for(
    model: Fitted, rows: int, given: Mapping[str, object] | None, at_once: int = 4096
) -> Iterator[Batch]:
    """What ``rows`` new rows are given, as batches that the model reads. BadInput where it cannot be given."""
    words = spelled(given)
    if words and not model.schema.told:
        raise BadInput(f"this model was not conditioned on anything; fit it with --given {next(iter(words))}")
    for first in range(0, rows, at_once):
        part = min(at_once, rows - first)
        if model.schema.told:
            conditions = model.kind.parse_given(words, model.schema, part, first)
            yield model.schema.to_model(conditions).to(model.vae.device)
        else:
            yield Batch({"": torch.zeros(part, 0, device=model.vae.device)})


def told(model: Fitted) -> list[str]:
    """The fields that rows can be given."""
    return [field.name for field in model.schema.told]


def spelled(given: Mapping[str, object] | None) -> dict[str, Words]:
    """Values as words; lists of them (arrays, series) are lists, and a pair of numbers is a range.

    >>> spelled({"age": (30, 40), "sex": ["F", "M"], "hours": ">=40", "label": np.array([7, 8])})
    {'age': '30..40', 'sex': ['F', 'M'], 'hours': '>=40', 'label': ['7', '8']}
    """
    words: dict[str, Words] = {}
    for name, value in (given or {}).items():
        if isinstance(value, tuple) and len(value) == 2 and not any(isinstance(end, str) for end in value):
            words[name] = f"{value[0]}..{value[1]}"
        else:
            many = isinstance(value, (list, tuple, np.ndarray, pd.Series)) and np.ndim(value) == 1
            words[name] = list(map(str, value)) if many else str(value)  # type: ignore[call-overload]
    return words


def coded(field: Field) -> bool:
    """Are the values of these columns names, of which one is right or wrong?"""
    return bool(field.columns) and field.coded
