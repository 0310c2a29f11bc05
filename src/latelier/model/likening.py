"""How like real rows made ones are, and how far codes tell known factors apart. n = rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor, nn

from latelier.data.rows import hold
from latelier.disentanglement import Disentanglement, disentangled
from latelier.errors import BadInput, at_least
from latelier.fidelity import Fidelity, compare
from latelier.fidelity.brought import SUFFIX, Brought
from latelier.fidelity.extractor import Extractor, read_extractor, trained
from latelier.fidelity.likeness import Likeness, like_frames, like_pictures
from latelier.kinds.factors import factors_of
from latelier.model.drawing import made_beside, made_like
from latelier.model.latent import moved_along
from latelier.model.passage import Fitted, present
from latelier.model.source import Values, as_source
from latelier.noise import seeded
from latelier.store import write_atomically

FEATURES_FILE = "features.safetensors"  # in a model's folder: the network by whose features its pictures are compared


def likeness(
    model: Fitted,
    real: Values,
    rows: int = 10_000,
    train: Values | None = None,
    features: str | Path | nn.Module | None = None,
    seed: int = 0,
) -> Likeness:
    """What ``Model.likeness`` promises."""
    at_least(2, rows=rows)
    if hasattr(model.schema, "columns"):
        if features is not None:
            raise BadInput(
                f"--features {features}: is for pictures; tables are compared by their columns; leave it out"
            )
        learnt = None if train is None else rows_of(model, train)
        with seeded(seed):
            return like_frames(rows_of(model, real), present(model, made_like(model, real, rows)), learnt, seed)
    name = model.schema.modelled[0].name
    by = network(model, real if train is None else train, features)

    def pictures(x: Values) -> Iterator[Tensor]:
        return (batch.fields[name] for batch in model.kind.read(as_source(x), model.schema))

    with seeded(seed):
        made = (batch.fields[name] for batch in made_like(model, real, rows))
        return like_pictures(by, pictures(real), made, None if train is None else pictures(train), seed)


def network(model: Fitted, x: Values, features: str | Path | nn.Module | None) -> nn.Module:
    """By which pictures are compared: as it is given, an ONNX file that somebody brings, or one of ours."""
    if isinstance(features, nn.Module):
        return features
    path = features and Path(features).expanduser()
    if path and path.suffix == SUFFIX and path.exists():
        return Brought(path, shape_of(model))
    return extractor(model, x, features)


def shape_of(model: Fitted) -> tuple[int, ...]:
    """(C, H, W) of its pictures. BadInput where it has none."""
    shape = model.schema.modelled[0].shape
    if len(shape) != 3:
        raise BadInput(
            f"there are no features for {model.schema.kind}; only pictures and tables can be compared by them"
        )
    return shape


def extractor(model: Fitted, x: Values, file: str | Path | None = None) -> Extractor:
    """The feature network of a file, trained on the pictures ``x`` and their labels and written there if it is not yet."""
    shape = shape_of(model)
    path = Path(file).expanduser() if file is not None else model.folder and model.folder / FEATURES_FILE
    if path and path.exists():
        return read_extractor(path, shape)
    if path and path.suffix != ".safetensors":
        raise BadInput(
            f"--features {path}: no such file; to have a network trained, name one that ends in .safetensors"
        )
    reader = getattr(model.kind, "labels", None)
    labels = reader(as_source(x), model.schema) if reader else None
    rows = hold(model.kind.read(as_source(x), model.schema))
    made = trained(rows.fields[model.schema.modelled[0].name], labels and np.concatenate(list(labels)))
    if path:
        write_atomically(path, made.packed())
    return made


def fidelity(
    model: Fitted, real: Values, train: Values | None = None, target: str | None = None, seed: int = 0
) -> Fidelity:
    """What ``Model.fidelity`` promises."""
    if not hasattr(model.schema, "columns"):
        raise BadInput(f"made rows are compared with real ones in tables; this is a model of {model.schema.kind}")
    shown = rows_of(model, real)
    learnt = None if train is None else rows_of(model, train)
    with seeded(seed):
        made = present(model, made_beside(model, real if train is None else train))
    return compare(shown, made, learnt, target, seed)


def disentanglement(model: Fitted, x: Values, factors: Sequence[str] | pd.DataFrame, seed: int = 0) -> Disentanglement:
    """What ``Model.disentangled`` promises."""
    known = factors_of(as_source(x), model.kind, model.schema, factors)
    codes = moved_along(model, x)
    if len(known) != len(codes):
        raise BadInput(f"--factors: {len(known):,} lines for {len(codes):,} rows; give one line a row, in their order")
    return disentangled(codes, known, seed)


def rows_of(model: Fitted, x: Values) -> pd.DataFrame:
    """A table's rows as the model knows them: its columns, in their types."""
    frame: pd.DataFrame = present(model, model.kind.read(as_source(x), model.schema))
    return frame
