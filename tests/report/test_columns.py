"""Distances and errors of columns, against scipy and pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from latelier.data.schema import Field
from latelier.report.columns import Shown, correlations, noise_floor

NUMBER = Shown("x", Field(name="real", shape=(1,), support="real"), 0)
WORD = Shown("w", Field(name="category", shape=(1,), support="category", sizes=(3,)), 0, ("a", "b", "c"))


def test_numbers_are_apart_by_kolmogorov_and_smirnov():
    random = np.random.default_rng(0)
    one, two = random.normal(size=300), random.normal(0.4, 1.5, size=170).round(1)
    assert NUMBER.distance(one, two) == pytest.approx(scipy.stats.ks_2samp(one, two).statistic)


def test_missing_values_do_not_count():
    one, two = np.array([1.0, np.nan, 3.0]), np.array([1.0, 3.0, np.nan, np.nan])
    assert NUMBER.distance(one, two) == 0
    assert WORD.distance(np.array([0.0, np.nan]), np.array([0.0])) == 0
    assert NUMBER.error(np.array([1.0, np.nan]), np.array([3.0, 9.0])) == 2.0


def test_codes_are_apart_by_the_share_that_would_have_to_change():
    assert WORD.distance(np.array([0.0, 0, 0, 1]), np.array([0.0, 1, 2, 2])) == pytest.approx(0.5)
    assert WORD.distance(np.array([0.0, 0]), np.array([2.0, 2])) == 1


def test_samples_of_one_source_are_beyond_the_floor_about_once_in_twenty_times():
    random = np.random.default_rng(0)
    beyond = 0
    for _ in range(400):
        one, two = random.normal(size=200), random.normal(size=300)
        beyond += NUMBER.distance(one, two) > noise_floor(one, two)
    assert 0.02 < beyond / 400 < 0.08


def test_correlations_are_those_of_pandas_with_holes_left_out_pair_by_pair():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(80, 3)) @ random.normal(size=(3, 4)), columns=list("abcd"))
    frame = frame.mask(random.random(frame.shape) < 0.2)
    assert np.allclose(correlations([frame[c].to_numpy() for c in frame]), frame.corr().to_numpy())


def test_a_constant_or_empty_column_has_no_correlation():
    found = correlations([np.ones(5), np.arange(5.0), np.full(5, np.nan)])
    assert np.array_equal(found, np.eye(3))


def test_without_a_model_one_fills_in_the_mean_or_the_mode():
    assert NUMBER.typical(np.array([1.0, 2.0, np.nan, 6.0])) == 3
    assert WORD.typical(np.array([2.0, 2.0, np.nan, 0.0])) == 2
    assert NUMBER.typical(np.full(3, np.nan)) == 0
