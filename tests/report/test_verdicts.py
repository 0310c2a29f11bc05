"""What is said of planted figures."""

from __future__ import annotations

import math

import pytest

from latelier.report import verdicts


@pytest.mark.parametrize(
    ("active", "units", "mark", "words"),
    [
        (14, 16, "good", "14 of 16 latent dimensions carry information: healthy"),
        (16, 16, "good", "all are in use"),
        (1, 1, "good", "1 of 1"),
        (3, 16, "fair", "the others idle"),
        (0, 16, "poor", "the decoder ignores z (posterior collapse). Try objective.free_nats="),
    ],
)
def test_active_units(active, units, mark, words):
    said = verdicts.of_units(active, units)
    assert said.mark == mark
    assert words in said.text


@pytest.mark.parametrize(
    ("active", "books", "mark", "words"),
    [
        (8, [(64, 0.9, 40.0)], "good", "healthy"),
        (8, [(64, 1.0, 60.0)], "good", "A larger book"),
        (8, [(64, 0.1, 4.0)], "fair", "A smaller book (latent.codes)"),
        (7, [(64, 1.0, 40.0), (64, 0.8, 3.0)], "fair", "3 even ones, in the worst of 2 books; at 7 of 8 places"),
        (0, [(64, 0.02, 1.0)], "poor", "posterior collapse"),
    ],
)
def test_use_of_codes(active, books, mark, words):
    said = verdicts.of_codes(active, 8, [dict(zip(("codes", "used", "perplexity"), b, strict=True)) for b in books])
    assert said.mark == mark
    assert words in said.text
    assert "dims" not in said.text.replace("code_dims", "") and "free_nats" not in said.text


@pytest.mark.parametrize(
    ("trained", "held", "error", "mark"),
    [
        (-80.0, -80.5, 1.0, "good"),  # within its error
        (-80.0, -79.0, 0.1, "good"),  # held-out rows are even likelier
        (-500.0, -502.0, 0.1, "good"),  # certain, and nothing beside the bound
        (-80.0, -84.0, 1.0, "fair"),
        (-80.0, -95.0, 1.0, "poor"),
        (-80.0, -95.0, 20.0, "good"),  # too few rows to tell
        (-80.0, math.nan, 1.0, "plain"),
    ],
)
def test_overfitting_is_told_from_a_gap_beyond_its_error(trained, held, error, mark):
    assert verdicts.of_gap(trained, held, error).mark == mark


def test_a_curve_that_still_rises_asks_for_more_epochs():
    said = verdicts.of_length([-300 + 10 * i for i in range(20)], 20, 20)
    assert said.mark == "fair"
    assert "Still improving" in said.text
    assert "epochs=40" in said.text


def test_a_curve_that_has_settled_was_long_enough():
    said = verdicts.of_length([-100 - 200 * math.exp(-i / 3) for i in range(40)], 40, 40)
    assert said.mark == "good"
    assert "Long enough" in said.text


def test_a_curve_that_turned_names_its_best_epoch():
    curve = [-100 - 200 * math.exp(-i) for i in range(8)] + [-105.0] * 20
    said = verdicts.of_length(curve, 8, 28)
    assert said.mark == "fair"
    assert "Best at epoch 8" in said.text


def test_a_run_that_was_stopped_early_says_so():
    said = verdicts.of_length([-100 - 200 * math.exp(-i / 2) for i in range(30)], 30, 500)
    assert "Stopped after 30 of 500 epochs" in said.text


@pytest.mark.parametrize("bounds", [[], [-3.0], [-3.0, -2.0], [math.nan] * 9])
def test_too_few_epochs_are_not_judged(bounds):
    assert "too few" in verdicts.of_length(bounds, 1, 9).text


@pytest.mark.parametrize(
    ("elbo", "baseline", "mark", "words"),
    [
        (-90.0, -206.0, "good", "116 nats more likely"),
        (-205.9, -206.0, "fair", "Only 0.1 nats a row better"),
        (-210.0, -206.0, "poor", "4 nats a row better"),
        (-90.0, None, "plain", "higher is better"),
        (math.nan, -206.0, "poor", "not finite"),
    ],
)
def test_the_bound_is_held_against_independent_values(elbo, baseline, mark, words):
    said = verdicts.of_bound(elbo, baseline)
    assert said.mark == mark
    assert words in said.text


@pytest.mark.parametrize(
    ("bits", "raw", "mark"), [(2.0, 8, "good"), (0.3, 1, "good"), (8.4, 8, "poor"), (1.2, 1, "poor")]
)
def test_bits_are_held_against_raw_storage(bits, raw, mark):
    assert verdicts.of_bits(bits, raw).mark == mark


@pytest.mark.parametrize(("kl", "mark"), [(0.0, "plain"), (0.03, "poor"), (20.0, "plain")])
def test_a_latent_that_lets_nothing_through_is_named_and_one_that_costs_nothing_is_not_blamed(kl, mark):
    assert verdicts.of_kl(kl, 16).mark == mark


def test_columns_are_close_within_chance_or_a_tenth():
    assert verdicts.of_columns([0.05, 0.3], [0.01, 0.4]).mark == "good"
    assert verdicts.of_columns([0.05, 0.3], [0.01, 0.02]).mark == "fair"
    assert verdicts.of_columns([0.5, 0.3, 0.4], [0.01, 0.02, 0.02]).mark == "poor"


def test_imputation_is_held_against_the_mean():
    assert verdicts.of_imputation([0.5, 0.7, math.nan]).mark == "good"
    assert verdicts.of_imputation([1.0, 1.0]).mark == "fair"
    assert verdicts.of_imputation([1.3, 1.2]).mark == "poor"
    assert verdicts.of_imputation([math.nan]).mark == "plain"
