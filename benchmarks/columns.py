"""Likelihoods of columns chosen by a held-out fit, against the usual ones by rule; and what columns cost as there are more.

    python benchmarks/columns.py --seeds 3
    python benchmarks/columns.py --data mine.csv            # any table; ADBench's .npz (X, y) too
    python benchmarks/columns.py --who wide --most 2000     # seconds by columns

``nats``: of every table a fifth of the rows, drawn by the seed, is the test, which nothing is chosen on. ``latelier.fit``
trains the same network for the same number of steps with ``data.choose=rule`` (gaussian, hurdle_gaussian,
negative_binomial, ordinal; arcsinh where tails are heavy), with ``held-out`` (likelihoods by a small model, and curves, on
training rows) and, where no density stands beside an atom in one and not in the other, with the families of old
(``former``: amounts are counts). Figures are the importance-weighted bound (64 draws) in nats a row of the data's own units;
amounts have an atom at their spike. Differences are of the same test rows, with their standard error over rows.
``wide``: a table of normal, skewed, count and category columns is scanned, fitted for one epoch, and scored; seconds of the
processor, and how fast they grow: the slope of their logarithm against that of the number of columns, 1 being linear.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from record import ADULT, Recorder, arguments, machine

import latelier
from latelier.kinds import KINDS
from latelier.model import Model

SETS = ("adult", "winequality-white", "23_mammography", "32_shuttle")
WIDTHS = (60, 200, 600, 2_000)
WIDE_ROWS = 2_000


def main() -> None:
    parser = arguments(__doc__, seeds=3, budget=10.0)
    parser.add_argument("--who", default="nats", help="nats, wide, or both with a comma between")
    parser.add_argument("--steps", type=int, default=2000, help="steps of every fit (default 2000)")
    parser.add_argument("--most", type=int, default=2000, help="most columns of ``wide`` (default 2000)")
    options = parser.parse_args()
    recorder = Recorder(options.json)
    print(machine())
    if "nats" in options.who:
        for name, table in tables(options.data):
            for seed in range(options.seeds):
                compare(name, table, seed, options, recorder)
    if "wide" in options.who:
        widths(options, recorder)


def tables(path: Path | None) -> Iterator[tuple[str, pd.DataFrame]]:
    """The one at ``path``, or those of the folder LATELIER_DATA, or scikit-learn's breast cancer."""
    if path is not None:
        yield path.stem, read(path)
        return
    folder = Path(os.environ.get("LATELIER_DATA", ""))
    files = {
        "adult": folder / "uci_adult" / "adult.data.gz",
        "winequality-white": folder / "uci_small" / "winequality-white.csv",
        **{name: folder / "adbench" / f"{name}.npz" for name in SETS[2:]},
    }
    found = {name: file for name, file in files.items() if "LATELIER_DATA" in os.environ and file.exists()}
    for name in files.keys() - found.keys():
        print(f"SKIPPED {name}: set LATELIER_DATA to a folder that holds {files[name].name}")
    if not found:
        from sklearn.datasets import load_breast_cancer

        print("scikit-learn's breast cancer, twice over with noise, stands in for them")
        frame = load_breast_cancer(as_frame=True).frame
        noise = np.random.default_rng(0).normal(1, 0.01, (3 * len(frame), frame.shape[1] - 1))
        many = pd.concat([frame] * 3, ignore_index=True)
        many.iloc[:, :-1] *= noise
        yield "breast_cancer", many
    for name, file in found.items():
        yield name, read(file)


def read(path: Path) -> pd.DataFrame:
    """A CSV, Parquet or ADBench's npz as a frame; Adult has no names of its own."""
    if path.suffix == ".npz":
        arrays = np.load(path)
        return pd.DataFrame(arrays["X"]).add_prefix("x")
    if path.name.startswith("adult."):
        with gzip.open(path) as file:
            text = io.BytesIO(file.read())
        return pd.read_csv(text, header=None, names=list(ADULT), skipinitialspace=True, na_values="?")
    kind = KINDS["tables"]
    schema = kind.scan(path, latelier.Spec().data)
    return pd.concat([kind.present(batch, schema) for batch in kind.read(path, schema)], ignore_index=True)


def compare(name: str, table: pd.DataFrame, seed: int, options: argparse.Namespace, recorder: Recorder) -> None:
    order = np.random.default_rng(seed).permutation(len(table))
    test, train = table.iloc[order[: len(table) // 5]], table.iloc[order[len(table) // 5 :]]
    test = known(test, train).iloc[:4000]
    print(f"{name}, seed {seed}: {len(train)} training rows, {len(test)} test rows, {options.steps} steps")
    scores = {}
    for who, settings in whos(train).items():
        begun = time.process_time()
        model = fitted(train, seed, options.steps, settings)
        seconds = time.process_time() - begun
        scores[who] = model.score(test, draws=64)
        recorder.add("held-out log p(x), IW-64", name, who, seed, float(scores[who].mean()), "nats/row")
        recorder.add("fit", name, who, seed, seconds, "s")
    for who in scores.keys() - {"held-out"}:
        gain = scores["held-out"] - scores[who]
        error = gain.std() / np.sqrt(len(gain))
        recorder.add(f"held-out minus {who}", name, "held-out", seed, float(gain.mean()), "nats/row")
        recorder.add("its standard error over rows", name, "held-out", seed, float(error), "nats/row")


def whos(train: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The settings that are compared."""
    found = {"rule": {"data.choose": "rule"}, "held-out": {}}
    schema = KINDS["tables"].scan(train, latelier.Spec().data)
    amounts = [c for c in schema.columns if c.family == "amount"]
    if amounts and all(c.whole and c.low is not None and c.low >= 0 for c in amounts):
        found["former"] = {"data.choose": "rule", "data.families": {c.name: "count" for c in amounts}}
    return found


def fitted(train: pd.DataFrame, seed: int, steps: int, settings: dict[str, Any]) -> Model:
    epochs = max(1, round(steps * 256 / (0.9 * len(train))))
    shared = {
        "train.batch": 256,
        "train.epochs": epochs,
        "train.patience": None,
        "train.seed": seed,
        "train.threads": 1,
    }
    with tempfile.TemporaryDirectory() as folder:
        return latelier.fit(train, out=Path(folder, "model"), settings={**shared, **settings}, report=False)


def known(test: pd.DataFrame, train: pd.DataFrame) -> pd.DataFrame:
    """Without the few rows whose words, or levels of whole numbers, do not occur in the training rows."""
    whole = [c for c in test if not pd.api.types.is_float_dtype(test[c]) and train[c].nunique() <= 100]
    fits = np.logical_and.reduce(
        [test[c].isna() | test[c].isin(train[c].unique()) for c in whole] or [np.ones(len(test))]
    )
    return test[fits.astype(bool)]


def widths(options: argparse.Namespace, recorder: Recorder) -> None:
    found: dict[str, list[tuple[int, float]]] = {}
    for columns in [w for w in WIDTHS if w <= options.most] + [options.most] * (options.most > WIDTHS[-1]):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "wide.csv")
            wide(WIDE_ROWS, columns).to_csv(path, index=False, float_format="%.6g")
            begun = time.process_time()
            schema = KINDS["tables"].scan(path, latelier.Spec().data)
            scanned = time.process_time()
            model = latelier.fit(path, out=Path(folder, "model"), epochs=1, threads=1, report=False)
            done = time.process_time()
            scores = model.score(path)
            scored = time.process_time()
            model.sample(100)
            drawn = time.process_time()
        assert schema.rows == WIDE_ROWS
        assert np.isfinite(scores).all()
        for what, seconds in [
            ("scan", scanned - begun),
            ("fit, scan and trial and one epoch", done - scanned),
            ("score, 16 draws", scored - done),
            ("sample 100 rows", drawn - scored),
        ]:
            found.setdefault(what, []).append((columns, seconds))
            recorder.add(what, f"{WIDE_ROWS} x {columns}", "latelier", 0, seconds, "s")
    for what, points in found.items():
        if len(points) > 1:
            (few, one), (many, other) = points[0], points[-1]
            slope = float(np.log(other / one) / np.log(many / few))
            recorder.add(f"growth: {what}", f"{few} to {many}", "latelier", 0, slope, "exponent")


def wide(rows: int, columns: int) -> pd.DataFrame:
    """Columns of four kinds in turn, all of them leaning on five hidden numbers."""
    random = np.random.default_rng(0)
    hidden = random.normal(size=(rows, 5))
    x = hidden @ random.normal(size=(5, columns)) + random.normal(size=(rows, columns))
    data: dict[str, Any] = {}
    for j in range(columns):
        kinds = (
            x[:, j],
            np.exp(x[:, j] / 2),
            random.poisson(np.exp(x[:, j] / 3 + 1)),
            np.digitize(x[:, j], [-2, 0, 2]),
        )
        word = np.array(list("abcd"))[kinds[3]]
        data[f"c{j}"] = word if j % 4 == 3 else kinds[j % 4]
    return pd.DataFrame(data)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
