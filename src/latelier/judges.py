"""Who says how usual rows are, a model or a detector, in one way for files and for streams. n = rows, C = columns; nats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from latelier.batch import Batch
from latelier.data.schema import Schema
from latelier.detector import Detector
from latelier.detector.density import COLUMNS
from latelier.kinds.base import Kind, Source, Stream
from latelier.model import BESIDE, Model
from latelier.tasks.alarm import Usual
from latelier.tasks.score import score, score_entries

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shares:
    """What makes up the scores of some rows: of the ``columns`` (n, C), and of the ``latent`` (n,)."""

    columns: Floats
    latent: Floats


class Judge(ABC):
    """Scores rows: the larger, the more usual. The same row has the same score wherever it comes from."""

    kind: Kind[Any]
    schema: Schema
    folder: Path | None
    columns: tuple[str, ...]  # of which it tells shares

    @property
    @abstractmethod
    def digest(self) -> str:
        """By which what it says is known."""

    @abstractmethod
    def follow(self, where: str) -> Stream:
        """Rows that come line by line, from what messages call ``where``."""

    @abstractmethod
    def scores(self, rows: Batch) -> Floats:
        """(n,) of a stream's rows."""

    @abstractmethod
    def shares(self, rows: Batch) -> Shares:
        """Of a few of a stream's rows."""

    @abstractmethod
    def usual(self, normal: Path | None = None) -> Usual:
        """Scores of normal rows and their mean shares: of a file, or of those that training held out."""

    @abstractmethod
    def usually(self, usual: Usual) -> Floats:
        """(C,) the mean shares of the columns."""

    @abstractmethod
    def totals(self, source: Source) -> Iterator[npt.NDArray[np.floating]]:
        """Scores of all rows, part by part, in constant memory."""

    @abstractmethod
    def frames(self, source: Source) -> Iterator[pd.DataFrame]:
        """The same with ``latent`` and the share of every column or pixel, in the data's order."""


class OfModel(Judge):
    def __init__(self, model: Model, draws: int):
        self.model, self.draws = model, draws
        self.kind, self.schema, self.folder = model.kind, model.schema, model.folder
        self.columns = tuple(name for field in self.schema.modelled for name in field.columns)

    @property
    def digest(self) -> str:
        return self.model.digest

    def follow(self, where: str) -> Stream:
        return self.kind.follow(self.schema, where)

    def scores(self, rows: Batch) -> Floats:
        parts = score(self.model.vae, [self.model.ready(rows)], self.draws)
        return np.asarray(torch.cat(list(parts)).double().cpu().numpy())

    def shares(self, rows: Batch) -> Shares:
        scored = list(score_entries(self.model.vae, [self.model.ready(rows)], self.draws))
        names = [field.name for field in self.schema.modelled]
        columns = [torch.cat([part.entries[name].flatten(1) for name in names], 1) for part in scored]
        latent = torch.cat([part.latent for part in scored])
        return Shares(torch.cat(columns).double().cpu().numpy(), latent.double().cpu().numpy())

    def usual(self, normal: Path | None = None) -> Usual:
        return self.model.usual(normal, self.draws)

    def usually(self, usual: Usual) -> Floats:
        return np.concatenate([usual.entries[field.name].ravel() for field in self.schema.modelled])

    def totals(self, source: Source) -> Iterator[npt.NDArray[np.floating]]:
        for values in score(self.model.vae, self.model.read(source), self.draws):
            yield values.cpu().numpy()

    def frames(self, source: Source) -> Iterator[pd.DataFrame]:
        for frame in self.model.entry_scores(source, self.draws):
            yield _ordered(frame, self.kind.ordered(frame.columns[2:], self.schema))


class OfDetector(Judge):
    """A score is the oddness with its sign turned, so that 0 is usual; so are shares."""

    def __init__(self, detector: Detector):
        self.detector = detector
        self.kind, self.schema, self.folder = detector.kind, detector.schema, detector.folder
        self.columns = detector.columns

    @property
    def digest(self) -> str:
        return self.detector.digest

    def follow(self, where: str) -> Stream:
        return self.detector.reading.follow(where)

    def scores(self, rows: Batch) -> Floats:
        return -self.detector.oddness_of(self.detector.reading.numbers_of(rows))

    def shares(self, rows: Batch) -> Shares:
        columns, latent = self.detector.attribution_of(self.detector.reading.numbers_of(rows))
        return Shares(-columns, -latent)

    def usual(self, normal: Path | None = None) -> Usual:
        if normal is not None:
            return self.detector.measured(normal)
        return Usual(self.detector.usual.scores, {COLUMNS: np.zeros(len(self.columns))}, 0.0)

    def usually(self, usual: Usual) -> Floats:
        return usual.entries[COLUMNS]

    def totals(self, source: Source) -> Iterator[npt.NDArray[np.floating]]:
        for odd in self.detector.stream(source):
            yield -odd

    def frames(self, source: Source) -> Iterator[pd.DataFrame]:
        for told in self.detector.attribution_stream(source):
            figures = {"score": -told.sum(axis=1), "latent": -told["latent"]}
            shares = -told.drop(columns="latent")
            shares.columns = [f"{name} (column)" if name in BESIDE else name for name in shares.columns]
            yield pd.concat([pd.DataFrame(figures), shares], axis=1)


def _ordered(frame: pd.DataFrame, shares: Sequence[str]) -> pd.DataFrame:
    return frame[[*frame.columns[:2], *shares]]
