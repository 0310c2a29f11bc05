"""A collapsed model and its cure: letters one after the other, by a decoder that reads the letters before, which leave z little.

    python benchmarks/cure.py                          # plain, and fit --cure collapse
    python benchmarks/cure.py --who all                # beside other cures of the literature, by which the settings were chosen
    python benchmarks/cure.py --data some.txt.gz       # another text

Rows are windows of a text, each a table's row of so many letters, from places far apart: the first train, the next choose the
epoch, the last are tested on. Both models have the same networks, rows, steps and seed. A unit is active where its posterior
mean varies by more than 0.01 over rows (Burda et al. 2016). Bounds are of the test rows, nats per row; "lost" is the difference
of the importance-weighted bounds row by row, with its standard error, which tells smaller differences than those of the bounds.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import gzip
import re
import tempfile
import time
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from record import Recorder, arguments, machine

import latelier

WHO: dict[str, dict[str, Any]] = {
    "plain": {},
    "cure": {"cure": "collapse"},
    "free-0.05": {"objective.free_nats": 0.05},
    "free-0.1": {"objective.free_nats": 0.1},
    "free-0.25": {"objective.free_nats": 0.25},
    "free-4-in-all": {"objective.free_nats": 4.0, "objective.free_by": "group"},
    "cyclical": {"objective.anneal": "cyclical", "objective.anneal_share": 0.5},
    "linear": {"objective.anneal": "linear", "objective.anneal_share": 0.5},
    "cyclical-free-0.05": {"objective.anneal": "cyclical", "objective.anneal_share": 0.5, "objective.free_nats": 0.05},
    "linear-free-0.1": {"objective.anneal": "linear", "objective.anneal_share": 0.5, "objective.free_nats": 0.1},
    "hidden-letters": {"network.hide": 0.25},
    "free-anneal-hide": {
        "objective.anneal": "linear",
        "objective.anneal_share": 0.5,
        "objective.free_nats": 0.05,
        "network.hide": 0.05,
    },
    "mmd-1": {"objective.name": "mmd", "objective.beta": 0.9},
    "beta-0.5": {"objective.beta": 0.5},
    "mmd": {"objective.name": "mmd", "objective.beta": 0.5},
}
SHIPPED = ("plain", "cure")


def main() -> None:
    parser = arguments(__doc__, seeds=1, budget=1.0)
    parser.add_argument("--rows", type=int, default=24_000, help="windows that train (default 24000)")
    parser.add_argument("--letters", type=int, default=16, help="of a window (default 16)")
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--dims", type=int, default=16, help="latent dimensions (default 16)")
    parser.add_argument("--who", default=",".join(SHIPPED), help=f"all, or comma-separated of {', '.join(WHO)}")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="latelier")
    who = list(WHO) if options.who == "all" else options.who.split(",")
    recorder = Recorder(options.json)
    name, text = words(options.data)
    print(machine())
    print(
        f"protocol: {name}: {options.rows:,} windows of {options.letters} letters train, 1,000 choose the epoch, 1,000 are "
        f"tested; {options.epochs} epochs or {options.budget:g} minutes; IW bound of 100 draws"
    )
    for seed in range(options.seeds):
        before: npt.NDArray[np.float64] | None = None
        for each in who:
            scores, figures = fitted(text, WHO[each], seed, options)
            if each == "plain":
                before = scores
            for what, value, unit in figures:
                recorder.add(what, name, each, seed, value, unit)
            if before is not None and each != "plain":
                lost = before - scores
                recorder.add("lost, IW", name, each, seed, lost.mean(), "nats")
                recorder.add("standard error of what is lost", name, each, seed, lost.std() / len(lost) ** 0.5, "nats")


def fitted(
    text: str, settings: dict[str, Any], seed: int, options: argparse.Namespace
) -> tuple[npt.NDArray[np.float64], list[tuple[str, float, str]]]:
    """The IW bound of each test row of a model, and its figures."""
    train, choose, test = windows(text, options.letters, (options.rows, 1_000, 1_000))
    plain = {
        "network": {"name": "autoregressive", "hidden": (256,)},
        "latent.dims": options.dims,
        "data": {"choose": "rule", "new_categories": "missing"},
        "train": {"epochs": options.epochs, "minutes": options.budget, "patience": None, "rate": 4e-3, "seed": seed},
    }
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        model = latelier.fit(
            train, test=choose, out=Path(folder, "model"), report=False, settings={**plain, **settings}
        )
        seconds = time.monotonic() - begun
        found = model.evaluate(test, 100)
        scores = np.asarray(model.score(test, draws=100), dtype=np.float64)
    assert found.iw is not None
    return (
        scores,
        [
            ("active units", found.active, f"of {found.units}"),
            ("units with 0.05 nats or more", sum(k >= 0.05 for k in found.kl_parts["z"]), f"of {found.units}"),
            ("KL", found.kl, "nats"),
            ("ELBO", found.elbo, "nats"),
            ("IW bound", found.iw, "nats"),
            ("standard error of the IW bound", found.iw_error or 0.0, "nats"),
            ("seconds of training", seconds, "s"),
        ],
    )


def words(path: Path | None) -> tuple[str, str]:
    """(name, lower-case letters and single spaces) of a text; without one, what scikit-learn says of its data sets."""
    folder = os.environ.get("LATELIER_DATA")
    usual = Path(folder, "tiny_shakespeare", "input.txt.gz") if folder else None
    path = path or usual
    if path is None or not path.exists():
        print(
            "SKIPPED tiny_shakespeare: set LATELIER_DATA to a folder that holds it; descriptions of data sets stand in for it"
        )
        from sklearn import datasets

        sets = (
            datasets.load_iris,
            datasets.load_wine,
            datasets.load_digits,
            datasets.load_breast_cancer,
            datasets.load_diabetes,
        )
        name, raw = "descriptions", " ".join(load().DESCR for load in sets)
    else:
        raw = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode("utf-8")
        name = path.parent.name if path == usual else path.stem
    return name, re.sub(r"[^a-z]+", " ", raw.lower())


def windows(text: str, letters: int, sizes: tuple[int, ...]) -> list[pd.DataFrame]:
    """Tables of so many windows each, from one part of the text after the other."""
    step = (len(text) - letters) // sum(sizes)
    if step < 1:
        raise SystemExit(f"a text of {len(text):,} letters is too short for {sum(sizes):,} windows; give fewer --rows")
    rows = [list(text[i * step : i * step + letters]) for i in range(sum(sizes))]
    frame = pd.DataFrame(rows, columns=[f"letter {i + 1}" for i in range(letters)])
    ends = np.cumsum((0, *sizes)).tolist()
    return [frame[a:b].reset_index(drop=True) for a, b in pairwise(ends)]


if __name__ == "__main__":
    main()
