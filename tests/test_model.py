"""The verbs in Python: what is given and what comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import latelier
from latelier.errors import BadInput


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


def test_a_walk_along_rows_knows_their_holes(model: latelier.Model, frame: pd.DataFrame) -> None:
    holes = frame.astype({"hue": object}).astype({"hue": float})
    holes.loc[4999, "hue"] = np.nan
    late = model.interpolate(holes, steps=2).tail(1).reset_index(drop=True)
    pd.testing.assert_frame_equal(late, model.interpolate(holes.tail(2), steps=2).tail(1).reset_index(drop=True))
    with pytest.raises(BadInput, match="at least two rows"):
        model.interpolate(frame.head(1))


def test_walks_from_the_priors_centre_are_under_a_condition(model: latelier.Model) -> None:
    low, high = (model.traverse(rows=1, steps=3, given={"place": place}) for place in (10, 700))
    assert not np.allclose(low["height"], high["height"])
    low, high = (model.grid(2, given={"place": place}) for place in (10, 700))
    assert not np.allclose(low["height"], high["height"])
    with pytest.raises(BadInput, match="name two dimensions"):
        model.grid(2, dims=(0,))  # type: ignore[arg-type]


def test_a_column_called_score_does_not_hide_the_score(tmp_path: Path) -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["score", "other"])
    model = latelier.fit(frame, out=tmp_path / "m", epochs=1, report=False)
    told = model.score(frame, entries=True)
    assert list(told) == ["score", "latent", "score (column)", "other"]
    assert np.allclose(told["score"], model.score(frame), atol=1e-4)


def test_numbers_of_nothing_are_one_line(model: latelier.Model, frame: pd.DataFrame) -> None:
    rows = frame.head(3)
    for ask in (
        lambda: model.sample(0),
        lambda: model.score(rows, draws=0),
        lambda: model.impute(rows, draws=0),
        lambda: model.denoise(rows, draws=0),
        lambda: model.augment(rows, copies=0),
        lambda: model.evaluate(rows, draws=0),
        lambda: model.interpolate(rows, steps=1),
    ):
        with pytest.raises(BadInput, match="or more"):
            ask()
    with pytest.raises(BadInput, match="no latent dimension 2"):
        model.traverse(dims=[2])
