"""What a report measures, once, for all its parts. n = rows looked at: few enough that the report takes seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.data.schema import Schema
from latelier.doctor import Diagnosis, Evidence
from latelier.doctor.evidence import VALUES
from latelier.doctor.evidence import Subject as Examined
from latelier.doctor.examine import examine
from latelier.tasks.evaluate import Figures
from latelier.tasks.score import score
from latelier.train import Data
from latelier.vae import VAE


class Subject(Examined, Protocol):
    """The part of a model that a report asks for: what the doctor does, and its ways with rows."""

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
    seen: Evidence  # what the doctor looks at: the rows as the model reads them, and figures of both sorts
    held_ids: Tensor | None  # places in data.rows, where the held-out rows stand there
    held_stored: Batch
    trained_stored: Batch
    held_scores: npt.NDArray[np.float64]  # nats
    trained_scores: npt.NDArray[np.float64]

    @property
    def log(self) -> list[Mapping[str, Any]]:
        return self.seen.log

    @property
    def held(self) -> Batch:
        """(n, ...) the model's values."""
        return self.seen.held

    @property
    def trained(self) -> Batch:
        return self.seen.trained

    @property
    def trained_ids(self) -> Tensor:
        return self.seen.trained_ids

    @property
    def held_figures(self) -> Figures:
        return self.seen.held_figures

    @property
    def trained_figures(self) -> Figures:
        return self.seen.trained_figures

    @property
    def baseline(self) -> float | None:
        """Nats per row of a model of independent values, on the held-out rows."""
        return self.seen.baseline

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """What the doctor says of it."""
        return examine(self.seen, self.data.source.get("path"), self.model.folder)

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
    schema, seen = model.schema, Evidence.of(model, data)
    held_ids = _held_ids(data)
    draws = max(1, min(8, 4 * VALUES // max(schema.entries * max(len(seen.held), 1), 1)))
    return Study(
        model=model,
        data=data,
        seen=seen,
        held_ids=None if held_ids is None else held_ids[: len(seen.held)],
        held_stored=as_stored(schema, seen.held_settled),
        trained_stored=as_stored(schema, seen.trained_settled),
        held_scores=torch.cat(list(score(model.vae, [seen.held], draws))).double().cpu().numpy(),
        trained_scores=torch.cat(list(score(model.vae, [seen.trained], draws))).double().cpu().numpy(),
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


def parameters(vae: VAE) -> int:
    """How many numbers training adjusts."""
    return sum(p.numel() for p in vae.parameters())
