"""Charts: whole, inside their frame, and of any numbers."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latelier.report import plots
from latelier.report.elements import escape, number

numbers = st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=0, max_size=40).map(np.array)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 8))
def test_ticks_are_round_and_inside(low, width, most):
    marks = plots.ticks(low, low + width, most)
    slack = 1e-9 * (abs(low) + width)
    assert all(low - slack <= mark <= low + width + slack for mark in marks)
    assert len(marks) <= most + 1


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_neighbouring_ticks_have_different_words(low, width):
    _, words = plots.labelled(low, low + width, 5)
    assert len(set(words)) == len(words)


@given(numbers, numbers)
def test_histograms_of_any_numbers_are_whole_drawings(one, two):
    found = plots.histograms(one, two, "two samples")
    ElementTree.fromstring(found)
    assert "nan" not in found


@given(numbers.filter(lambda y: len(y) > 0))
def test_a_curve_of_any_numbers_stays_inside_its_frame(y):
    found = plots.curve(np.arange(len(y)), y, "epoch", "nats", "a curve", 0, zoom=True)
    ElementTree.fromstring(found)
    assert "nan" not in found
    line = re.search(r'class="line one" d="([^"]*)"', found)
    assert line is not None
    for x, down in re.findall(r"(-?[\d.]+) (-?[\d.]+)", line[1]):
        assert -0.1 <= float(x) <= plots.WIDTH + 0.1
        assert -0.1 <= float(down) <= plots.HEIGHT + 0.1


@pytest.mark.parametrize("size", [0, 1, 3, 70])
def test_bars_maps_and_matrices_of_any_size_are_whole_drawings(size):
    values, names = np.linspace(0, 2, size), [f"<{i}>" for i in range(size)]
    ElementTree.fromstring(plots.bars(values, names, "dimension", "nats", "bars"))
    ElementTree.fromstring(plots.paired_bars(names, values, values[::-1], "shares"))
    ElementTree.fromstring(plots.scatter(values, values, ["c0"] * size, "map", "x", "y"))
    ElementTree.fromstring(plots.heat(np.full((size, size), 0.3), names, names, "matrix"))


def test_areas_of_two_samples_are_equal_however_many_rows_each_has():
    small = plots.histograms(np.array([0.0, 1.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0, 2.0]), "same")
    large = plots.histograms(np.array([0.0, 1.0, 1.0, 2.0]), np.tile([0.0, 1.0, 1.0, 2.0], 50), "same")
    assert small == large


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (-186.3512, "−186"),
        (1234567, "1,234,567"),
        (0.000012345, "1.23e−05"),
        (float("inf"), "–"),
        (99.96, "100"),
    ],
)
def test_numbers_are_written_as_a_person_does(value, words):
    assert number(value) == words


@given(st.text())
def test_escaped_text_holds_nothing_that_a_page_would_read(text):
    assert not set(escape(text)) & set("<>\"'\x00\x1b")


def test_no_value_stands_on_the_name_of_its_axis():
    drawn = plots.Axes((0.0, 1.0), (-0.5, 0.5)).frame("epoch", "nats/row", x_ticks=False)
    assert ">nats/row<" in drawn and ">0.25<" in drawn and ">0.5<" not in drawn
    assert ">0.5<" in plots.Axes((0.0, 1.0), (-0.5, 0.5)).frame(x_ticks=False)
