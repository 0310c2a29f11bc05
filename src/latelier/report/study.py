"""What a report measures, once, for all its parts. n = rows looked at: few enough that the report takes seconds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.data.schema import Schema
from latelier.doctor.baseline import independent
from latelier.kinds.base import Kind
from latelier.log import read_log
from latelier.noise import Keyed
from latelier.spec import Spec
from latelier.tasks.evaluate import Figures, held_out
from latelier.tasks.score import score
from latelier.train import Data
from latelier.vae import VAE

ROWS = 1000  # at most so many held-out, and so many training rows
VALUES = 300_000  # rows x values per row that are decoded at a time: bounds the seconds for large pictures
MAP_ROWS = 2000


class Subject(Protocol):
    """The part of a model that a report asks for."""

    vae: VAE
    spec: Spec
    schema: Any
    figures: dict[str, Any]
    folder: Path | None
    kind: Kind[Any]

    def stored(self, drawn: Batch, conditions: Batch | None = None) -> Batch: ...
    def imputed(self, batches: Iterable[Batch], draws: int = 64, copies: int = 0, seed: int = 0) -> Iterator[Batch]: ...
    def liveliest(self) -> list[int]: ...


@dataclass(frozen=True)
class Colouring:
    """One value a row (n,) to colour a map by: codes of ``names``, or numbers where there are no names; NaN: unknown."""

    name: str
    values: npt.NDArray[np.float64]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """Rows of both sorts, as stored and as the model reads them, and the figures of both."""

    model: Subject
    data: Data
    log: list[dict[str, Any]]
    held_ids: Tensor | None  # places in data.rows, where the held-out rows stand there
    held: Batch  # (n, ...) the model's values
    held_stored: Batch
    trained_ids: Tensor
    trained: Batch
    trained_stored: Batch
    held_figures: Figures
    trained_figures: Figures
    held_scores: npt.NDArray[np.float64]  # nats
    trained_scores: npt.NDArray[np.float64]
    baseline: float | None  # nats per row of a model of independent values, on the held-out rows

    @property
    def schema(self) -> Schema:
        schema: Schema = self.model.schema
        return schema

    @property
    def figures(self) -> Mapping[str, Any]:
        """Those of the kept model, else measured here."""
        return self.model.figures or self.held_figures.plain()


def study(model: Subject, data: Data) -> Study:
    """Reads at most ``ROWS`` of each sort; figures repeat, for their noise is keyed by row."""
    schema, device = model.schema, model.vae.device
    values = sum(math.prod(f.shape) for f in schema.modelled)
    most = min(ROWS, max(64, VALUES // max(values, 1)))
    held_ids = _held_ids(data)
    trained_ids = data.training[spread(len(data.training), most)]
    held_settled = data.held.take(torch.arange(min(len(data.held), most)))
    trained_settled = data.rows.take(trained_ids)
    held, trained = (schema.refine(b, Keyed.of(b)).to(device) for b in (held_settled, trained_settled))
    draws = max(1, min(8, 4 * VALUES // max(values * max(len(held), 1), 1)))
    pixels = math.prod(schema.modelled[0].shape) if len(schema.modelled[0].shape) > 1 else None
    return Study(
        model=model,
        data=data,
        log=read_log(model.folder) if model.folder is not None else [],
        held_ids=None if held_ids is None else held_ids[: len(held)],
        held=held,
        held_stored=as_stored(schema, held_settled),
        trained_ids=trained_ids,
        trained=trained,
        trained_stored=as_stored(schema, trained_settled),
        held_figures=held_out(model.vae, [held], dimensions=pixels),
        trained_figures=held_out(model.vae, [trained], dimensions=pixels),
        held_scores=torch.cat(list(score(model.vae, [held], draws))).double().cpu().numpy(),
        trained_scores=torch.cat(list(score(model.vae, [trained], draws))).double().cpu().numpy(),
        baseline=independent(schema, trained.to("cpu"), held.to("cpu")),
    )


def as_stored(schema: Schema, settled: Batch) -> Batch:
    """The data's own values of settled rows, before anything was drawn at random."""
    fixed = {f.name for f in schema.fields if not f.transform.random}
    back = schema.to_data(settled.only([name for name in settled.fields if name in fixed]))
    return Batch({**settled.fields, **back.fields}, settled.seen)


def _held_ids(data: Data) -> Tensor | None:
    """The rows that do not train, in order; None where held-out rows came from elsewhere."""
    if len(data.training) == len(data.rows):
        return None
    rest = torch.ones(len(data.rows), dtype=torch.bool)
    rest[data.training] = False
    ids = rest.nonzero()[:, 0]
    return ids[: len(data.held)]


def spread(rows: int, most: int) -> Tensor:
    """At most ``most`` places, evenly over the rows."""
    return torch.linspace(0, rows - 1, min(rows, most)).round().long()


def parameters(vae: VAE) -> int:
    """How many numbers training adjusts."""
    return sum(p.numel() for p in vae.parameters())
