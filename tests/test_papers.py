"""Every line of the table of papers is what it says it is: it fits, is kept, loads, samples and scores."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import latelier
from latelier.spec import ObjectiveSpec
from tiny import fitted, write_digits

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "papers.md"
LINE = re.compile(r"^\| ([^|]+) \| `([^`]+)` \| ([^|]+) \|$", re.M)
PAPERS = {name: shlex.split(options) for name, options, _ in LINE.findall(PAGE.read_text(encoding="utf-8"))}
CLASSIC = {
    "AE",
    "VAE",
    "beta-VAE",
    "CVAE",
    "IWAE",
    "VampPrior",
    "LVAE",
    "VQ-VAE",
    "VAE-GAN",
    "InfoVAE",
    "beta-TC-VAE",
    "M2",
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("digits"), 60)


def test_the_table_has_the_classic_papers_and_a_reference_for_each():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    assert len(PAPERS) == sum(line.startswith("|") for line in lines) - 2, "a line of the table could not be read"
    assert PAPERS.keys() >= CLASSIC
    assert all(re.search(r"\b(19|20)\d\d\b", paper) for _, _, paper in LINE.findall("\n".join(lines)))


@pytest.mark.parametrize("name", PAPERS)
def test_a_paper_fits_is_kept_loads_samples_and_scores(name, digits, tmp_path):
    small = ["--set", "network.hidden=[16]"]
    folder = fitted(tmp_path / "model", digits, *small, *PAPERS[name])
    model = latelier.load(folder)
    assert np.isfinite(model.figures["elbo"])
    given = {"given": {"label": "3"}} if "--given" in PAPERS[name] else {}
    made = model.sample(5, seed=1, **given)
    assert made.shape == (5, 8, 8) and made.dtype == np.uint8
    first = model.score(digits, draws=4)
    assert first.shape == (60,) and np.isfinite(first).all()
    assert np.array_equal(first, latelier.load(folder).score(digits, draws=4))


def test_no_two_papers_are_one_setting(digits):
    assert len({tuple(sorted(options)) for options in PAPERS.values()}) == len(PAPERS)
    assert ObjectiveSpec().critic == 0  # what is not asked for is not there
