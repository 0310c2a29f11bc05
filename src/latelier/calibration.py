"""Scores of normal rows, kept in a model's folder: p-values and thresholds are measured by them, so the training rows may go."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from latelier.batch import Batch
from latelier.data.rows import evenly
from latelier.data.schema import Schema
from latelier.noise import Keyed
from latelier.store import read_page, write_atomically
from latelier.tasks.alarm import Usual, usual, usual_scores
from latelier.vae import VAE

ROWS, ENTRIES, LEAST = 10_000, 120_000, 100  # held-out rows that are scored: at most, and by their entries; at least


class Scoring(Protocol):
    """A model with its folder."""

    vae: VAE
    schema: Schema
    folder: Path | None


def measured(vae: VAE, schema: Schema, batches: Iterable[Batch], draws: int) -> Usual:
    """Of rows as the model reads them; with shares where entries have names."""
    return (usual if schema.modelled[0].columns else usual_scores)(vae, batches, draws)


def keep_scores(model: Scoring, held: Batch, draws: int = 16) -> Usual:
    """Scores rows that training held out, settled, and writes that beside the weights, whose digest it names. Of rows of very
    many entries, such as pictures, there are fewer, so that it takes a moment."""
    some = held.take(evenly(torch.arange(len(held)), max(LEAST, min(ROWS, ENTRIES // max(model.schema.entries, 1)))))
    ready = (model.vae.own(model.schema.refine(part, Keyed.of(part))) for part in some.slices(4096))
    found = measured(model.vae, model.schema, ready, draws)
    assert model.folder is not None
    arrays = {f"entry.{name}": np.asarray(part, np.float64) for name, part in found.entries.items()}
    arrays |= {"scores": found.scores, "latent": np.array([found.latent])}
    page = {"weights": read_page(model.folder)["weights"]["sha256"], "draws": str(draws)}
    write_atomically(_place(model.folder, draws), save(arrays, page))
    return found


def kept_scores(folder: Path, draws: int = 16) -> Usual | None:
    """None where there are none, or they are of other weights."""
    path = _place(folder, draws)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            if (file.metadata() or {}).get("weights") != read_page(folder)["weights"]["sha256"]:
                return None
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        entries = {name.removeprefix("entry."): part for name, part in arrays.items() if name.startswith("entry.")}
        return Usual(arrays["scores"], entries, float(arrays["latent"][0]))
    except (SafetensorError, KeyError):  # of another version, or cut off: they are measured again
        return None


def _place(folder: Path, draws: int) -> Path:
    return folder / f"usual-{draws}.safetensors"
