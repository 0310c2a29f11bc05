"""What a cure is for: z of a collapsed model comes back."""

import numpy as np
import pandas as pd

import latelier


def test_the_cure_of_a_collapse_brings_units_back(tmp_path):
    """Letters of a chain that z cannot shorten: a decoder that reads the letter before needs nothing else."""
    random = np.random.default_rng(0)
    step = random.dirichlet(np.full(5, 0.3), 5)
    rows = np.zeros((4000, 6), int)
    for column in range(6):
        before = rows[:, column - 1] if column else np.zeros(4000, int)
        rows[:, column] = [random.choice(5, p=step[b]) for b in before]
    letters = pd.DataFrame(np.array(list("abcde"))[rows], columns=[f"c{i}" for i in range(6)])
    settings = {
        "network": {"name": "autoregressive", "hidden": (32,)},
        "latent.dims": 6,
        "train": {"epochs": 20, "rate": 1e-2, "ema": 0.99, "patience": None},
        "data.new_categories": "missing",
    }
    figures = {
        cure: latelier.fit(letters, out=tmp_path / cure, report=False, cure=cure, settings=settings).figures
        for cure in ("none", "collapse")
    }
    plain, cured = figures["none"], figures["collapse"]
    assert plain["active"] <= 2 and cured["active"] >= 5
    assert cured["elbo"] > plain["elbo"] - 2 * plain["elbo_error"]
