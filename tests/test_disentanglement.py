"""MIG, DCI and SAP: values by hand, codes that are the factors, and codes that mix them or know nothing of them."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import special_ortho_group

from latelier.disentanglement import Disentanglement, dci, disentangled
from latelier.errors import BadInput


def numbers(rows: int = 800, seed: int = 0) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(seed).uniform(-1, 1, (rows, 3)), columns=["size", "angle", "shade"])


def classes(rows: int = 800, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({"shape": random.choice(["box", "disc", "star"], rows), "side": random.integers(0, 4, rows)})


def all_of(found: Disentanglement) -> list[float]:
    return [v for v in (found.mig, found.sap, found.disentanglement, found.completeness) if v is not None]


def test_codes_that_are_the_factors_are_near_1_and_codes_that_know_nothing_near_0():
    factors = numbers()
    codes = np.column_stack(
        [factors["angle"] * -3, np.random.default_rng(1).normal(size=800), factors["shade"], factors["size"]]
    )
    good = disentangled(codes, factors)
    assert min(all_of(good)) > 0.85 and good.informativeness > 0.98
    assert [good.factors[name]["dimension"] for name in factors] == [3, 0, 2]
    nothing = disentangled(np.random.default_rng(2).normal(size=(800, 4)), factors)
    assert max(all_of(nothing)) < 0.15 and nothing.informativeness < 0.1


def test_turned_codes_keep_the_information_and_lose_the_rest():
    factors = numbers(2000)
    turn = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    codes = np.column_stack([factors, np.zeros(2000)]) @ turn  # every dimension is as much of one factor as of another
    found = disentangled(codes, factors)
    assert found.mig < 0.05 and found.sap < 0.05 and found.disentanglement < 0.25 and found.completeness < 0.3
    assert found.informativeness > 0.9
    mild = disentangled(factors.to_numpy() @ special_ortho_group.rvs(3, random_state=0), factors)
    assert found.mig < mild.mig < disentangled(factors, factors).mig


def test_classes_in_words_are_factors_too():
    factors = classes()
    codes = np.column_stack([pd.factorize(factors["shape"])[0], factors["side"]]) + 0.01 * np.random.default_rng(
        1
    ).normal(size=(800, 2))
    found = disentangled(codes, factors)
    assert found.informativeness > 0.99 and found.disentanglement > 0.95 and found.completeness > 0.95
    assert found.mig > 0.95
    # The best dimension is always right, the other one right as often as chance: 1 - 1 / classes.
    assert found.factors["shape"]["sap"] == pytest.approx(1 - 1 / 3, abs=0.08)
    assert found.factors["side"]["sap"] == pytest.approx(1 - 1 / 4, abs=0.08)


def test_gaps_by_hand():
    factor = pd.DataFrame({"f": np.tile([0, 1, 2, 3], 50)})
    codes = np.column_stack([factor["f"], factor["f"] // 2])  # the second tells log 2 of log 4 nats
    found = disentangled(codes.astype(float), factor)
    assert found.mig == pytest.approx(0.5)
    assert found.sap == pytest.approx(0.5)  # all right, and two of four classes right
    assert found.disentanglement is None and found.factors["f"]["dimension"] == 0
    x = np.linspace(0, 1, 100)
    other = np.where(np.arange(100) % 2, x, -x)
    r2 = np.corrcoef(x, other)[0, 1] ** 2
    assert disentangled(np.column_stack([other, x]), pd.DataFrame({"x": x})).sap == pytest.approx(1 - r2)


def test_importances_by_hand():
    whole, parts = dci(np.array([[1.0, 0.0], [0.5, 0.5]]))
    # Rows: one factor (1) with half of all importance, both factors (0). Columns: shares (2/3, 1/3) and (0, 1).
    assert whole == pytest.approx(0.5)
    entropy = -(2 / 3 * np.log2(2 / 3) + 1 / 3 * np.log2(1 / 3))
    assert parts == pytest.approx([1 - entropy, 1.0])
    assert dci(np.full((4, 3), 0.2))[0] == pytest.approx(0)
    assert dci(np.zeros((2, 2)))[0] == 0


def test_one_dimension_has_no_gap():
    found = disentangled(numbers()["size"].to_numpy(), numbers()[["size"]])
    assert found.mig is None and found.sap is None and found.completeness is None
    assert found.informativeness > 0.99


def test_rows_of_which_a_factor_is_unknown_are_left_out():
    factors = numbers(100)
    holed = factors.mask(np.random.default_rng(0).random(factors.shape) < 0.1)
    known = holed.notna().all(axis=1)
    assert disentangled(factors, holed) == disentangled(factors[known], factors[known])


def test_factors_that_tell_nothing_are_refused_in_a_line():
    with pytest.raises(BadInput, match="'same': has one value"):
        disentangled(np.zeros((20, 2)), pd.DataFrame({"same": ["a"] * 20}))
    with pytest.raises(BadInput, match="'far': holds infinite values"):
        disentangled(np.zeros((20, 2)), pd.DataFrame({"far": [np.inf, *range(19)]}))
    with pytest.raises(BadInput, match="3 rows"):
        disentangled(np.zeros((3, 2)), numbers(3))
