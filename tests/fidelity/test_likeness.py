"""Rows as features, and made rows beside real ones and their floor."""

import numpy as np
import pandas as pd
import pytest

from latelier.fidelity.columns import LEVELS, Columns
from latelier.fidelity.frames import align
from latelier.fidelity.likeness import Likeness, like_frames


def people(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    job = random.choice(["clerk", "smith", "baker"], rows)
    return pd.DataFrame({"age": random.normal(40, 10, rows) + 20 * (job == "smith"), "job": job})


def test_numbers_are_standardised_categories_one_hot_and_holes_marked_by_hand():
    real = pd.DataFrame({"x": [1.0, 3.0, np.nan], "c": ["a", "b", "b"]})
    made = pd.DataFrame({"x": [4.0, np.nan], "c": ["a", "new"]})
    table = align([real, made])
    columns = Columns.of(table, table.parts[0])
    # x, is x missing, b (the more frequent), a, another level
    assert columns.features(table, table.parts[0]).tolist() == [[-1, 0, 0, 1, 0], [1, 0, 1, 0, 0], [0, 1, 1, 0, 0]]
    assert columns.features(table, table.parts[1]).tolist() == [[2, 0, 0, 1, 0], [0, 1, 0, 0, 1]]
    assert columns.digest != Columns.of(table, table.parts[1]).digest


def test_rare_levels_share_a_feature():
    many = pd.DataFrame({"c": [f"{i % 80}" for i in range(120)]})
    table = align([many])
    features = Columns.of(table, table.parts[0]).features(table, table.parts[0])
    assert features.shape == (120, LEVELS + 1) and (features.sum(1) == 1).all()
    assert features[:, -1].sum() == 30


def test_equal_rows_are_near_the_floor_and_a_dropped_class_shows_in_coverage():
    real, train = people(400, 0), people(400, 1)
    good = like_frames(real, people(400, 2), train)
    assert good.made.fid < 3 * good.floor.fid and not good.halves
    assert (good.made.rows, good.made.real) == (good.floor.rows, good.floor.real) == (400, 400)
    dropped = people(1200, 3)
    bad = like_frames(real, dropped[dropped["job"] != "smith"].head(400), train)
    assert bad.made.fid > 20 * bad.floor.fid
    assert bad.made.prdc.coverage < 0.8 < 0.9 < bad.floor.prdc.coverage
    assert bad.made.prdc.precision > 0.9
    assert bad.made.kid > 5 * bad.made.kid_error and abs(good.made.kid) < 4 * good.made.kid_error + 0.01


def test_the_floor_takes_as_many_rows_as_were_made_and_repeats():
    random = np.random.default_rng(0)
    real, made, train = (random.normal(size=(rows, 3)) for rows in (100, 40, 300))
    found = Likeness.of(real, made, train, "features", "digest", seed=3)
    assert found.floor.rows == 40 and found.floor.real == 100
    assert Likeness.of(real, made, train, "features", "digest", seed=3) == found
    halves = Likeness.of(real, made, None, "features", "digest")
    assert halves.halves and halves.floor.rows == halves.floor.real == 50
    assert halves.made.fid == pytest.approx(found.made.fid)
