"""The verbs in Python: what is given and what comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import latelier


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """More rows than a task has in flight at once: 4,096, divided by the draws."""
    random = np.random.default_rng(0)
    place = np.arange(5000, dtype=float) / 7
    return pd.DataFrame({"place": place, "height": place + random.normal(size=5000), "hue": random.normal(size=5000)})


@pytest.fixture(scope="module")
def model(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> latelier.Model:
    out = tmp_path_factory.mktemp("fit") / "m"
    return latelier.fit(frame, out=out, given=("place",), epochs=1, dims=2, report=False, batch=500)


def test_new_rows_stand_beside_the_conditions_of_the_rows_that_they_were_drawn_from(
    model: latelier.Model, frame: pd.DataFrame
) -> None:
    for rows in (model.augment(frame, copies=3), model.reconstruct(frame, draws=3)):
        assert np.allclose(rows["place"], np.tile(frame["place"], 3), atol=1e-3)


def test_copies_of_imputed_rows_stand_one_after_the_other(model: latelier.Model, frame: pd.DataFrame) -> None:
    holes = frame.assign(hue=frame["hue"].where(np.arange(5000) % 9 > 0))
    copies = model.impute(holes, draws=4, copies=2)
    assert np.array_equal(copies["height"], np.tile(frame["height"], 2))
    assert np.array_equal(copies["place"], np.tile(frame["place"], 2))
    seen = np.tile(holes["hue"].notna(), 2)
    assert np.array_equal(copies["hue"][seen], np.tile(frame["hue"], 2)[seen])
    first, second = copies["hue"][:5000], copies["hue"][5000:].reset_index(drop=True)
    # Both resample the same few draws of z, so some rows agree.
    assert (first[holes["hue"].isna()] != second[holes["hue"].isna()]).mean() > 0.3


def test_holes_in_some_rows_only_are_no_trouble(model: latelier.Model, frame: pd.DataFrame) -> None:
    holes = frame.copy()
    holes.loc[4900, "place"] = np.nan
    assert model.reconstruct(holes)["place"].isna().sum() == 1


def test_a_path_and_what_it_holds_give_the_same(model: latelier.Model, frame: pd.DataFrame, tmp_path: Path) -> None:
    frame.head(50).to_parquet(tmp_path / "rows.parquet")
    assert np.array_equal(model.score(tmp_path / "rows.parquet"), model.score(frame.head(50)))
