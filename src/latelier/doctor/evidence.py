"""What the doctor looks at: a model, its log, rows of both sorts, and what is measured of them, each once. n = rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from latelier.batch import Batch, join
from latelier.data.rows import spread
from latelier.data.schema import Schema
from latelier.doctor.baseline import independent
from latelier.doctor.finding import NotLooked
from latelier.doctor.probes import Modes, modes
from latelier.kinds.base import Kind
from latelier.likelihoods.base import Joint
from latelier.log import read_log
from latelier.noise import Keyed, seeded
from latelier.spec import Spec
from latelier.store import CHECKPOINT, load_checkpoint
from latelier.tasks.evaluate import Figures, held_out
from latelier.train import Data
from latelier.vae import VAE

ROWS = 1000  # at most so many held-out, and so many training rows
VALUES = 300_000  # rows x values per row that are decoded at a time: bounds the seconds for large pictures


class Subject(Protocol):
    """The part of a model that a doctor asks for."""

    vae: VAE
    spec: Spec
    schema: Any
    figures: dict[str, Any]
    folder: Path | None
    kind: Kind[Any]


class Evidence:
    """Rows are read once, and a figure is measured when the first check asks for it. Figures repeat: noise is keyed by row.

    A check that asks for rows which are not at hand gets ``NotLooked`` with the reason.
    """

    def __init__(
        self,
        model: Subject,
        data: Data | None,
        log: Sequence[Mapping[str, Any]] = (),
        absent: str = "no rows were given",
        lost: int | None = None,
        prior: str | None = None,
    ):
        """``data`` may lack training rows (no ids), or be None; ``absent`` then says why. ``lost``: steps of training that were
        skipped, None where that is not known. ``prior``: the one with which training began, None where that is not known."""
        self.model, self.data, self.log, self.absent, self.lost = model, data, list(log), absent, lost
        self.vae, self.spec, self.schema = model.vae, model.spec, model.schema
        self.prior = prior

    schema: Schema

    @classmethod
    def of(cls, model: Subject, data: Data | None, absent: str = "no rows were given") -> Evidence:
        """With what the model's folder tells of its training."""
        folder = model.folder
        log = [] if folder is None else read_log(folder)
        if folder is None or not (folder / CHECKPOINT).is_file():
            return cls(model, data, log, absent)
        state = load_checkpoint(folder)[1]
        return cls(model, data, log, absent, state.get("lost"), state["spec"]["latent"]["prior"])

    @property
    def asked(self) -> Spec:
        """What fits such a model again: a prior that was fitted once the rest was trained is fitted so again."""
        latent = self.spec.latent
        if self.prior is None or self.prior == latent.prior:
            return self.spec
        by_itself = latent.refit == "if-needed" and self.vae.latents.first.awaiting
        refit = latent.prior if latent.refit in ("no", "if-needed") and not by_itself else latent.refit
        return Spec.of({"latent.prior": self.prior, "latent.refit": refit}, self.spec.model_dump())

    @property
    def most(self) -> int:
        """Rows of each sort that are looked at."""
        return min(ROWS, max(64, VALUES // max(self.schema.entries, 1)))

    @cached_property
    def held_settled(self) -> Batch:
        if self.data is None:
            raise NotLooked(self.absent)
        return self.data.held.take(torch.arange(min(len(self.data.held), self.most)))

    @cached_property
    def trained_ids(self) -> Tensor:
        if self.data is None or not len(self.data.training):
            raise NotLooked(self.absent)
        return self.data.training[spread(len(self.data.training), self.most)]

    @cached_property
    def trained_settled(self) -> Batch:
        ids = self.trained_ids
        assert self.data is not None
        return self.data.rows.take(ids)

    @cached_property
    def held(self) -> Batch:
        """The model's values."""
        return self._read(self.held_settled)

    @cached_property
    def trained(self) -> Batch:
        return self._read(self.trained_settled)

    @property
    def any_rows(self) -> Batch:
        """Rows of training where they are at hand, for what is asked of the model rather than of new rows."""
        return self.trained if self.data is not None and len(self.data.training) else self.held

    def _read(self, settled: Batch) -> Batch:
        return self.vae.own(self.schema.refine(settled, Keyed.of(settled)))

    @cached_property
    def held_figures(self) -> Figures:
        return held_out(self.vae, [self.held], dimensions=self.schema.dimensions)

    @cached_property
    def trained_figures(self) -> Figures:
        return held_out(self.vae, [self.trained], dimensions=self.schema.dimensions)

    @property
    def figures(self) -> Mapping[str, Any]:
        """Those of the rows at hand, else those that were kept with the model."""
        if self.data is not None:
            return self.held_figures.plain()
        if not self.model.figures:
            raise NotLooked(self.absent)
        return self.model.figures

    @cached_property
    def baseline(self) -> float | None:
        """Nats a row of a model of independent values, on the held-out rows."""
        return independent(self.schema, self.trained.to("cpu"), self.held.to("cpu"))

    @cached_property
    def gain(self) -> float:
        """Nats a held-out row that the model is above that. NotLooked where there is no such model."""
        if self.baseline is None:
            raise NotLooked("there is no model of independent values for these")
        return self.held_figures.elbo - self.baseline

    @cached_property
    def codes(self) -> dict[str, Tensor]:
        """z ~ q(z | x, c) of ``any_rows``, by variable that one can move along."""
        with torch.no_grad():
            draw = self.vae.infer(self.any_rows, noise=Keyed.of(self.any_rows))
        return {block.name: draw.steps[block.name].value for block in self.vae.latents.movable}

    @cached_property
    def decoded(self) -> tuple[Batch, Joint]:
        """Held-out rows and p(x | z, c) of each at one draw of z ~ q(z | x, c)."""
        with torch.no_grad():
            px = self.vae.decode(self.vae.infer(self.held, noise=Keyed.of(self.held)))
            return self.held, px.given(self.held)

    @cached_property
    def centres(self) -> Batch:
        """E[x | z] of held-out rows at the centre of q(z | x, c), the model's values."""
        with torch.no_grad():
            return self.vae.decode(self.vae.infer(self.held, centre=True)).point_estimate()

    @cached_property
    def samples(self) -> Batch:
        """As many rows from the prior as ``samples_of`` holds, under the conditions of these; the model's values."""
        with seeded(0), torch.no_grad():
            return self.vae.decode(self.vae.generate(self.samples_of)).sample()

    @cached_property
    def samples_of(self) -> Batch:
        """All rows at hand, held-out ones first, and those that samples are compared with."""
        if self.data is None:
            raise NotLooked(self.absent)
        sorts = [self.held, self.trained] if len(self.data.training) else [self.held]
        return join([masked(rows) for rows in sorts])

    @cached_property
    def modes(self) -> Modes:
        """Which sorts of rows the samples visit, both as the encoder reads them, in each entry's own spread."""
        real = self.vae.encoder.read(self.samples_of)
        made = self.vae.encoder.read(_like(self.samples, self.samples_of))
        one, two = (t.flatten(1).double().cpu().numpy() for t in (real, made))
        # Whether an entry is seen is read too, and says nothing of a mode: what is drawn is seen.
        varying = two.std(0) + one.std(0) > 0
        scale = np.maximum(one.std(0), 1e-3 * one.std())
        return modes((one / scale)[:, varying], (two / scale)[:, varying])

    @property
    def looked_at(self) -> tuple[int, int]:
        """(held-out, training) rows."""
        if self.data is None:
            return 0, 0
        return len(self.held_settled), len(self.trained_ids) if len(self.data.training) else 0


def masked(batch: Batch) -> Batch:
    """Every field with a mask of its own, so that batches with and without holes can be joined."""
    seen = {
        name: batch.seen.get(name, value.new_ones(1, dtype=torch.bool).expand(value.shape))
        for name, value in batch.fields.items()
    }
    return Batch(batch.fields, seen)


def _like(made: Batch, real: Batch) -> Batch:
    """Made rows with the holes of real ones, so that both are read alike."""
    return Batch(
        {k: torch.where(real.seen[k].expand(v.shape), v, real.fields[k]) for k, v in made.fields.items()},
        {k: v for k, v in real.seen.items() if k in made.fields},
    )
