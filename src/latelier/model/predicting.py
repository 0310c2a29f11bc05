"""The classes of rows, of a model with a label. n = rows, K = classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.build import choose
from latelier.data.schema import Field
from latelier.errors import BadInput
from latelier.model.passage import Fitted, read
from latelier.model.source import Values
from latelier.tasks.predict import Classified, classified, predict, predict_by_bound


def predicted(model: Fitted, x: Values, by: str = "classifier", draws: int = 16) -> Iterator[pd.DataFrame]:
    """What ``Model.predict`` gives, as a stream of frames."""
    label = _label(model)
    names = model.kind.classes(label.columns[0], model.schema)
    for log_p in log_classes(model, read(model, x), by, draws):
        p = log_p.exp().double().cpu()
        words = np.array(names, dtype=object)[p.argmax(1).numpy()]
        yield pd.DataFrame({label.columns[0]: words, **{f"p({name})": p[:, i] for i, name in enumerate(names)}})


def log_classes(model: Fitted, batches: Iterable[Batch], by: str = "classifier", draws: int = 16) -> Iterator[Tensor]:
    """(n, K) nats of log p(y | x)."""
    ways = {"classifier": partial(predict, model.vae), "bound": partial(predict_by_bound, model.vae, draws=draws)}
    found: Iterator[Tensor] = choose("way to predict", by, ways)(batches)
    return found


def classification(
    model: Fitted, batches: Sequence[Batch], by: str = "classifier", draws: int = 16
) -> Classified | None:
    """How well the rows (the model's values) that have a label are told; None where there are none."""
    name = _label(model).name
    truth = (
        torch.where(b.seen[name], b.fields[name], -1)[:, 0] if name in b.seen else b.fields[name][:, 0] for b in batches
    )
    found = (torch.cat(list(log_classes(model, [batch], by, draws))) for batch in batches)
    return classified(found, truth)


def _label(model: Fitted) -> Field:
    if model.schema.label is None:
        raise BadInput("this model was fitted without a label, so it has no classes; fit it with --label COLUMN")
    return model.schema.label
