"""How likely rows of plain numbers are: several small VAEs of their normal scores. N = rows, D = numbers, C = columns.

Every column is brought to its normal scores (``data.margins``), on which being far out means the same in all of them, and
a few VAEs that differ in seed learn how columns hang together. Their decoders' scales are fixed at ``RESOLUTIONS``: a density at
the precision of the measurements is decided by the last digits of the most precise columns, while oddness is mostly a matter of
standard deviations, and now and then of breaks in what hangs together closely. Nats of finer members are spread wider, so members
are weighted by the inverse of that.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_ndtr

from latelier.batch import Batch
from latelier.build import fit_to_data
from latelier.data.margins import Margins
from latelier.data.schema import Field
from latelier.data.transforms import Standardise
from latelier.kinds import KINDS
from latelier.kinds.cells.columns import Column
from latelier.kinds.cells.plain import by_column
from latelier.kinds.cells.schema import TableSchema
from latelier.machine import settled, threads
from latelier.model import Model
from latelier.step import Watch
from latelier.tasks.alarm import Usual
from latelier.tasks.score import score, score_entries
from latelier.train import Data, train

Floats = npt.NDArray[np.float64]

# Chosen by AUROC on tables with known odd rows: see benchmarks/anomaly.py for which, and docs for more.
# Standard deviations of the decoder's noise, in normal scores, of the members in turn. With 1 for all, breaks of what hangs
# together closely are missed (bank notes); with less for all, those of words outweigh the rest.
RESOLUTIONS = (1.0, 0.1, 1.0, 0.3)
MEMBERS = 4
# Per member; 1,500 steps of 128 rows at a rate of 2e-3 took 1.4 times the time for the same AUROC on those tables (.936, .937).
STEPS, BATCH, RATE = 750, 256, 3e-3
DRAWS = 8  # of z per row and member
COLUMNS = "columns"  # what the entries of ``Usual`` are called here
STOPPING = 0.1  # share of the rows that a member holds out to choose its best epoch by
LEAN = 0.1  # skewness of a column's normal scores from which one of its tails counts by itself
FEW = 30  # held-out rows that are too few to show how wide nats are spread: those of training do then


@dataclass(frozen=True)
class Density:
    """The mean of the members' importance-weighted bounds on log p by their ``weights``, which is a bound on their mixture too,
    in nats of normal scores; with a share ``apart`` columns by themselves, the log of how much lies as far out in their tails
    (``standing_alone``)."""

    margins: Margins
    members: list[Model]
    owners: npt.NDArray[np.int64]  # (D,) the column that each number belongs to
    apart: float
    weights: tuple[float, ...]  # of the members, summing to 1
    sides: Floats | None  # (D,) -1, 0 or 1: the tail that a number's column leans to; None in folders of before

    def nats(self, values: Floats) -> Floats:
        """(N, D), NaN where missing -> (N,). Missing cells cost nothing."""
        scores = self.margins.scores(values)
        batch = as_batch(scores)
        parts = [torch.cat(list(score(m.vae, [m.vae.own(batch)], DRAWS))).double().cpu().numpy() for m in self.members]
        together = np.asarray(np.average(parts, 0, self.weights))
        if not self.apart:
            return together
        return (1 - self.apart) * together + self.apart * standing_alone(scores, self.sides).sum(1)

    def shares(self, values: Floats) -> tuple[Floats, Floats]:
        """(N, C) what each column adds to the nats, and (N,) what the latents do; they sum to ``nats``."""
        scores = self.margins.scores(values)
        batch = as_batch(scores)
        entries, latent = self.apart * standing_alone(scores, self.sides), np.zeros(len(values))
        for member, share in zip(self.members, self.weights, strict=True):
            weight = (1 - self.apart) * share
            scored = list(score_entries(member.vae, [member.vae.own(batch)], DRAWS))
            own = torch.cat([s.entries["real"] for s in scored]).double().cpu().numpy()
            entries += weight * own
            latent += weight * torch.cat([s.latent for s in scored]).double().cpu().numpy()
        return by_column(entries, self.owners), latent

    def seen(self, values: Floats) -> npt.NDArray[np.bool_]:
        """(N, C) of which columns something is there."""
        return np.asarray(by_column(~np.isnan(values), self.owners) > 0)


def usual_in(density: Density, values: Floats) -> Usual:
    """What rows that trained nothing are like: mean nats first, as scores are told from there."""
    shares, latent = density.shares(values)
    seen = density.seen(values)
    mean = np.array([c[s].mean() if s.any() else 0.0 for c, s in zip(shares.T, seen.T, strict=True)])
    scores = (shares - mean * seen).sum(1) + latent - latent.mean()
    return Usual(np.sort(scores), {COLUMNS: mean}, float(latent.mean()))


def odder_than(usual: Usual, density: Density, values: Floats) -> Floats:
    """(N,) nats by which each row is less likely than a usual one with as much of it seen."""
    return (usual.entries[COLUMNS] * density.seen(values)).sum(1) + usual.latent - density.nats(values)


def standing_alone(scores: npt.NDArray[np.float32], sides: Floats | None) -> Floats:
    """(N, D) normal scores -> nats, 0 where missing: the log of how much lies as far out, in either tail, or for columns that
    lean to a side in that one alone; of the two whichever makes the row odder, much as in ECOD (Li et al. 2022). Without
    ``sides`` log N(s; 0, 1)."""
    s = np.nan_to_num(scores.astype(np.float64))
    if sides is None:
        return np.where(np.isnan(scores), 0.0, -0.5 * (s**2 + math.log(2 * math.pi)))
    either = math.log(2) + log_ndtr(-np.abs(s))
    one = np.where(np.isnan(scores), 0.0, np.where(sides == 0, either, log_ndtr(-s * sides)))
    return np.where((one.sum(1) < either.sum(1))[:, None], one, either)


def leaning(scores: npt.NDArray[np.float32]) -> Floats:
    """(N, D) -> (D,) the tail that each column leans to: 1 above, -1 below, 0 neither. Normal scores of the rows that they were
    made from lean where many rows share a value; those of more rows also to where the others lie."""
    s = scores.astype(np.float64)
    seen = (~np.isnan(s)).sum(0).clip(1)
    second, third = (np.nansum((s - np.nansum(s, 0) / seen) ** power, 0) / seen for power in (2, 3))
    skewness = np.divide(third, second**1.5, out=np.zeros(len(third)), where=second > 1e-12)
    return np.where(np.abs(skewness) > LEAN, np.sign(skewness), 0.0)


def learned(
    values: Floats,
    names: tuple[str, ...],
    owners: npt.NDArray[np.int64],
    members: int,
    apart: float,
    seed: int,
    asked: Mapping[str, Any],
    watch: Watch,
    every: Floats | None = None,
) -> Density:
    """From (N, D) values. ``asked`` are settings of ``Spec``; ``every`` are those that were left out as odd with them."""
    margins = Margins.of(values)
    sides = leaning(margins.scores(values if every is None else every))
    batch = as_batch(margins.scores(values))
    made = [
        _member(names, batch, RESOLUTIONS[number % len(RESOLUTIONS)], seed * 1000 + number, asked, watch)
        for number in range(members)
    ]
    inverse = np.array([1 / spread for _, spread in made])
    return Density(
        margins, [model for model, _ in made], owners, apart, tuple((inverse / inverse.sum()).tolist()), sides
    )


def as_batch(scores: npt.NDArray[np.float32]) -> Batch:
    seen = ~np.isnan(scores)
    field = {"real": torch.from_numpy(np.where(seen, scores, np.float32(0)))}
    return Batch(field, {} if seen.all() else {"real": torch.from_numpy(seen)})


def _member(
    names: tuple[str, ...], rows: Batch, resolution: float, seed: int, asked: Mapping[str, Any], watch: Watch
) -> tuple[Model, float]:
    """One VAE of normal scores, and the standard deviation of its nats. It holds out rows of its own, to choose its best epoch
    and to see that deviation by."""
    schema = _schema(names, resolution, "real" in rows.seen, len(rows))
    most = max(1, round(len(rows) * (1 - STOPPING)))
    defaults = {
        "network.hidden": (128, 128),
        "latent.dims": max(2, min(16, len(names))),
        "train.batch": BATCH,
        "train.rate": RATE,
        "train.ema": 0.995,
        "train.epochs": max(1, round(STEPS * BATCH / most)),
        "train.checkpoint": 0.0,
        "train.precision": "float32",  # so small a network is not faster otherwise, and rows score the same anywhere
        "train.threads": 1,
    }
    settings = {k: v for k, v in asked.items() if not k.startswith("data")}
    spec, schema = fit_to_data(
        {**defaults, **settings, "train.seed": seed, "data.kind": "tables"}, KINDS["tables"], schema, len(rows)
    )
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    held = rows.take(order[most:][:2000]) if most < len(rows) else rows
    with tempfile.TemporaryDirectory() as folder, threads(1):
        train(settled(spec), schema, Data(rows, order[:most].sort().values, held), Path(folder), watch)
        model = Model.load(folder)
    model.folder = None
    shown = held if len(held) >= FEW else rows
    spread = torch.cat(list(score(model.vae, [model.vae.own(shown)], DRAWS))).double().std().item()
    return model, spread if spread > 0 and math.isfinite(spread) else 1.0


def _schema(names: tuple[str, ...], resolution: float, holes: bool, rows: int) -> TableSchema:
    one = (1.0,) * len(names)
    none = (0.0,) * len(names)
    field = Field(
        name="real",
        shape=(len(names),),
        support="real",
        likelihood="gaussian",
        options={"scale": resolution},
        columns=names,
        transform=Standardise(loc=none, scale=one, bend=none),
        holes=holes,
    )
    columns = tuple(Column(name=name, family="real", dtype="double") for name in names)
    return TableSchema(fields=(field,), rows=rows, columns=columns, evidence=("normal scores of a table",))
