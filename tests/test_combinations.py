"""Every latent with every likelihood, conditioned or not, for both kinds of data: fit, save, load, sample, score."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import latelier
from latelier.latents import LATENTS
from latelier.likelihoods import LIKELIHOODS

ROWS = 24
GENERATOR = np.random.default_rng(0)
# support -> (a column of a table, its family), one for every support that columns can have
COLUMNS = {
    "real": ("length", "real"),
    "amount": ("rain", "amount"),
    "cyclic": ("hour", "cyclic"),
    "count": ("times", "count"),
    "category": ("town", "category"),
    "ordinal": ("grade", "ordinal"),
    "binary": ("yes", "binary"),
}
PICTURES = ("binary", "unit", "levels", "real")  # supports that pixels can have
# What a latent needs beside its name, for columns and for pictures; None where it is not for that kind.
CONV = {"network.name": "conv", "network.channels": (4, 6), "network.hidden": (16,)}
FACTORS = {"network.name": "factors"}
CODES = {
    "latent.codes": 6,
    "latent.code_dims": 2,
    "latent.levels": (3, 3),
    "latent.refit": "no",
}  # fitted in test_codes.py
NEEDS = {
    "factors": (FACTORS, None),
    "hierarchy": (None, {**CONV, "latent.rungs": (3, 2)}),
    "codes": (CODES, {**CODES, **CONV}),
    "fsq": ({**CODES, "latent.positions": 2}, {**CODES, **CONV}),
}


def table() -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "length": GENERATOR.normal(size=ROWS),
            "rain": GENERATOR.exponential(size=ROWS) * (GENERATOR.random(ROWS) > 0.4),
            "hour": GENERATOR.integers(0, 24, ROWS).astype(float),
            "times": GENERATOR.poisson(3.0, ROWS),
            "town": GENERATOR.choice(["ulm", "bonn", "kiel"], ROWS),
            "grade": GENERATOR.integers(1, 5, ROWS),
            "yes": GENERATOR.integers(0, 2, ROWS),
            "label": GENERATOR.choice(["a", "b"], ROWS),
        }
    )
    frame.loc[3, "length"] = np.nan
    return frame


TABLE = table()
IMAGES = {"images": GENERATOR.integers(0, 256, (ROWS, 8, 8), dtype=np.uint8), "label": GENERATOR.integers(0, 3, ROWS)}


def cases():
    for latent in LATENTS:
        columns, pixels = NEEDS.get(latent, ({}, {}))
        for likelihood, head in LIKELIHOODS.items():
            for given in (False, True):
                name = f"{latent}-{likelihood}{'-given' * given}"
                if columns is not None and head.support in COLUMNS:
                    yield pytest.param("table", latent, likelihood, columns, given, id=f"table-{name}")
                if pixels is not None and head.support in PICTURES:
                    yield pytest.param("pictures", latent, likelihood, pixels, given, id=f"pictures-{name}")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "pictures.npz"
    np.savez(path, **IMAGES)
    return path


@pytest.mark.parametrize("kind, latent, likelihood, needs, given", list(cases()))
def test_it_trains_saves_loads_samples_and_scores(kind, latent, likelihood, needs, given, pictures, tmp_path):
    settings = {"network.hidden": (16,), "latent.rungs": (2, 2), "latent.dims": 3, **needs, "latent.name": latent}
    if kind == "table":
        column = COLUMNS[LIKELIHOODS[likelihood].support][0]
        families = dict(COLUMNS.values())
        settings |= {"data.families": families, f"likelihood.{column}": likelihood, "data.choose": "rule"}
        source = TABLE if given else TABLE.drop(columns="label")
    else:
        settings |= {"likelihood.image": likelihood}
        source = pictures
    options = {"given": ["label"]} if given else {}
    made = latelier.fit(source, out=tmp_path / "m", settings=settings, epochs=1, report=False, **options)
    model = latelier.load(tmp_path / "m")
    assert likelihood in {field.likelihood for field in model.schema.modelled}
    value = {"label": "a" if kind == "table" else 1} if given else None
    assert len(model.sample(5, given=value)) == 5
    scores = model.score(source, draws=4)
    assert scores.shape == (ROWS,)
    assert np.isfinite(scores).all()
    assert np.array_equal(scores, made.score(source, draws=4))
