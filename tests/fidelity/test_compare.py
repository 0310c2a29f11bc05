"""Figures of fidelity: closed-form values, the same against itself, and faults that each figure is there to find."""

import numpy as np
import pandas as pd
import pytest

from latelier.errors import BadInput
from latelier.fidelity import compare
from latelier.fidelity.closest import closest
from latelier.fidelity.frames import align
from latelier.fidelity.shapes import column_shapes, pair_trends


def people(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    age = random.integers(18, 80, rows)
    job = np.where(random.random(rows) < (age - 18) / 62, "retired", random.choice(["clerk", "smith"], rows))
    income = age * 3.0 + 60 * (job == "smith") + random.normal(0, 10, rows)
    return pd.DataFrame({"age": age, "job": job, "income": income, "rich": income > 150})


def test_shapes_and_trends_by_hand():
    real = pd.DataFrame({"x": [1.0, 2, 3, 4], "y": [1.0, 2, 3, 4], "c": ["a", "a", "b", "b"]})
    made = pd.DataFrame({"x": [3.0, 4, 5, 6], "y": [6.0, 5, 4, 3], "c": ["a", "b", "b", "b"]})
    table = align([real, made])
    assert column_shapes(table, *table.parts) == pytest.approx({"x": 0.5, "y": 0.5, "c": 0.75})
    pairs = pair_trends(table, *table.parts)
    assert pairs[0, 1] == pytest.approx(0.0)  # correlations 1 and -1
    # x in ten bins of [1, 4]: real 0, 3, 6, 9; made 6, 9, 9, 9 with a, b, b, b: (6, b) and (9, b) are shared
    # real (6,b) 1/4 (9,b) 1/4; made (6,a) 1/4, (9,b) 3/4: half the summed differences is 3/4
    assert pairs[0, 2] == pytest.approx(0.25)


def test_rows_of_one_source_are_alike_in_every_figure():
    found = compare(people(1500, 0), people(1500, 1), train=people(1500, 2), target="rich")
    assert found.column_likeness > 0.95
    assert found.pair_likeness > 0.93
    assert found.discriminator == pytest.approx(0.5, abs=0.05)
    assert found.on_made["AUC"] == pytest.approx(found.on_real["AUC"], abs=0.02)
    assert found.on_real["AUC"] > 0.95
    made, real = found.distances.at(0.5)
    assert made == pytest.approx(real, rel=0.15)
    assert found.plain()["rows"] == 1500


def test_columns_that_have_lost_each_other_are_found_by_pairs_and_trees_and_not_by_shapes():
    real, made = people(1500, 0), people(1500, 1)
    torn = made.assign(income=made["income"].sample(frac=1, random_state=0).to_numpy())
    whole, loose = (compare(real, frame, target="rich") for frame in (made, torn))
    assert loose.column_likeness == pytest.approx(whole.column_likeness, abs=0.01)
    assert loose.pair_likeness < whole.pair_likeness - 0.05
    assert loose.discriminator > 0.8
    assert loose.split


def test_copies_of_training_rows_are_found():
    train, held = people(400, 0), people(400, 1)
    table = align([held, train, train])
    near = closest(table, table.parts[2], table.parts[0], table.parts[1], 0)
    assert near.copies[0] == 1.0
    assert near.copies[1] < 0.01
    assert near.at(0.5)[0] == 0.0 < near.at(0.5)[1]


def test_distances_do_not_depend_on_units():
    train, held, made = (people(200, seed) for seed in range(3))
    first = align([held, made, train])
    other = align([frame.assign(income=frame["income"] * 1e6 - 7) for frame in (held, made, train)])
    one, two = (closest(t, t.parts[2], t.parts[0], t.parts[1], 0) for t in (first, other))
    np.testing.assert_allclose(one.made, two.made, atol=1e-9)


def test_numbers_are_predicted_by_their_explained_variance_and_holes_are_no_obstacle():
    real, made = people(400, 0), people(400, 1)
    real.loc[::7, "age"] = np.nan
    made.loc[::9, "job"] = None
    found = compare(real, made, target="income")
    assert list(found.on_made) == ["R²"]
    assert found.on_made["R²"] > 0.5


@pytest.mark.parametrize(
    "change,words",
    [
        (dict(target="richh"), "did you mean 'rich'"),
        (dict(real=people(3, 0)), "too few"),
        (dict(made=people(50, 0).drop(columns="job")), "column 'job'"),
        (dict(real=people(50, 0).assign(rich=True), target="rich"), "nothing to predict"),
    ],
)
def test_what_cannot_be_compared_is_said(change, words):
    options = dict(real=people(50, 0), made=people(50, 1)) | change
    with pytest.raises(BadInput, match=words) as error:
        compare(**options)
    assert "\n" not in str(error.value)
