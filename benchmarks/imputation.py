"""Filling missing cells, beside the mean, nearest neighbours, chained ridge regressions (MICE) and chained extra-trees.

    python benchmarks/imputation.py                                  # uci_small and scikit-learn's breast cancer, 20 and 50 %
    python benchmarks/imputation.py --data TABLES --rates 0.2        # numeric columns of a folder, or of a file
    python benchmarks/imputation.py --data 35_SpamBase.npz --rates 0.2 --scale minmax
    python benchmarks/imputation.py --data adult.data.gz --mixed --rows 5000

Cells are hidden at random, by the seed; every method learns from the same rows with the same holes and fills them. Columns are
brought to unit variance (or, with ``--scale minmax``, to [0, 1]) and the error is over the hidden cells alone. What Latelier does
is ``fit --for imputation`` and ``impute``, one setting for all tables: no method sees a hidden cell, and the epoch is chosen
by the bound on a tenth of the rows, from what is seen of them. ``--mixed`` keeps columns of words and asks for the error of
numbers, over their spread, and the share of right words apart.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from record import Recorder, arguments, machine

import latelier

PUBLISHED = (
    "published: breast 50 % MSE .280 to .287 (MIWAE), .291 (missForest); Spambase 20 % RMSE .0512 (MICE, minmax)"
)
TREES_LIMIT = 3e6  # rows x columns^2 beyond which chained trees would take many minutes
WHO = ("latelier", "mean", "knn", "mice", "trees")


def main() -> None:
    parser = arguments(__doc__, seeds=1, budget=2.0)
    parser.add_argument("--rates", default="0.2,0.5", help="shares of cells to hide (default 0.2,0.5)")
    parser.add_argument("--scale", choices=("standard", "minmax"), default="standard")
    parser.add_argument(
        "--rows", type=int, default=0, help="at most so many rows of each table, drawn by the seed (0: all)"
    )
    parser.add_argument("--draws", type=int, default=500, help="values of z per row in imputation")
    parser.add_argument("--mixed", action="store_true", help="keep columns of words")
    parser.add_argument("--who", default=",".join(WHO), help=f"comma-separated, of {', '.join(WHO)}")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="sklearn")
    recorder = Recorder(options.json)
    print(machine())
    print(
        f"protocol: cells hidden completely at random by the seed; {options.scale} scale; at most {options.budget:g} minutes "
        f"of training; {options.draws} draws; rows {options.rows or 'all'}\n{PUBLISHED}"
    )
    errors: dict[tuple[float, str], list[float]] = {}
    for name, frame in tables(options.data, options.mixed):
        for rate in (float(word) for word in options.rates.split(",")):
            for seed in range(options.seeds):
                run = mixed if options.mixed else numeric
                for who, value in run(name, frame, rate, seed, options, recorder).items():
                    errors.setdefault((rate, who), []).append(value)
    if not options.mixed:
        print("mean over tables and seeds of the root mean squared error:")
        for (rate, who), values in sorted(errors.items()):
            print(f"  {rate:.0%} hidden  {who:<10} {statistics.mean(values):.4f}  ({len(values)} runs)")


def numeric(
    name: str, frame: pd.DataFrame, rate: float, seed: int, options: argparse.Namespace, recorder: Recorder
) -> dict[str, float]:
    generator = np.random.default_rng(seed)
    x = some_rows(frame, options.rows, seed).to_numpy(np.float64)
    x = x[:, x.std(0) > 0]
    if options.scale == "minmax":
        x = (x - x.min(0)) / (x.max(0) - x.min(0))
    else:
        x = (x - x.mean(0)) / x.std(0)
    hidden = hide(generator, x.shape, rate)
    holes = np.where(hidden, np.nan, x)
    errors = {}
    for who in options.who.split(","):
        if who == "trees" and x.size * x.shape[1] > TREES_LIMIT:
            recorder.add(f"RMSE, {rate:.0%} hidden", name, who, seed, None, "")
            continue
        begun = time.process_time()
        filled = ours(numbers(holes), seed, options) if who == "latelier" else peers()[who](holes)
        seconds = time.process_time() - begun
        error = float(np.mean(np.square(np.asarray(filled, np.float64) - x)[hidden]))
        errors[who] = error**0.5
        recorder.add(f"RMSE, {rate:.0%} hidden", name, who, seed, error**0.5, options.scale)
        recorder.add(f"MSE, {rate:.0%} hidden", name, who, seed, error, options.scale)
        recorder.add("processor time", name, who, seed, seconds, "s")
    return errors


def mixed(
    name: str, frame: pd.DataFrame, rate: float, seed: int, options: argparse.Namespace, recorder: Recorder
) -> dict[str, float]:
    """Errors of numbers over their spread, and accuracy of words; a forest per column, of one-hot words, as the peer."""
    frame = some_rows(frame, options.rows, seed).reset_index(drop=True)
    hidden = hide(np.random.default_rng(seed), frame.shape, rate) & frame.notna().to_numpy()
    holes = frame.mask(hidden)
    words = [c for c in frame if not pd.api.types.is_numeric_dtype(frame[c])]
    fillers = {
        "latelier": lambda: ours(holes, seed, options),
        "mean": lambda: usual(holes),
        "trees": lambda: forest(holes),
    }
    errors = {}
    for who in (who for who in options.who.split(",") if who in fillers):
        begun = time.process_time()
        filled = fillers[who]()
        recorder.add("processor time", name, who, seed, time.process_time() - begun, "s")
        found: dict[str, list[float]] = {"numbers": [], "words": []}
        for i, column in enumerate(frame):
            here = hidden[:, i]
            truth, guess = frame[column][here], filled[column][here]
            if column in words:
                found["words"].append(float((truth.to_numpy() == guess.to_numpy()).mean()))
            else:
                apart = truth.to_numpy(np.float64) - guess.to_numpy(np.float64)
                found["numbers"].append(float(np.sqrt(np.mean(apart**2)) / frame[column].std()))
        if found["numbers"]:
            errors[who] = statistics.mean(found["numbers"])
            recorder.add(f"RMSE of numbers, {rate:.0%}", name, who, seed, errors[who], "spreads")
        if found["words"]:
            recorder.add(f"accuracy of words, {rate:.0%}", name, who, seed, statistics.mean(found["words"]), "")
    return errors


def ours(holes: pd.DataFrame, seed: int, options: argparse.Namespace) -> pd.DataFrame:
    settings: dict[str, Any] = {"train.minutes": options.budget, "train.checkpoint": 0.0, "train.threads": 1}
    if not options.mixed:  # few different values are numbers all the same where the error is squared
        settings["data.families"] = dict.fromkeys(holes, "real")
    with tempfile.TemporaryDirectory() as folder:
        model = latelier.fit(
            holes, out=Path(folder, "m"), purpose="imputation", seed=seed, settings=settings, report=False
        )
        return model.impute(holes, draws=options.draws, seed=seed)


def peers() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

    trees = ExtraTreesRegressor(n_estimators=30, min_samples_leaf=2, random_state=0)
    return {
        "mean": SimpleImputer().fit_transform,
        "knn": KNNImputer(n_neighbors=10).fit_transform,
        "mice": IterativeImputer(max_iter=10, random_state=0).fit_transform,
        "trees": IterativeImputer(trees, max_iter=4, random_state=0).fit_transform,
    }


def usual(holes: pd.DataFrame) -> pd.DataFrame:
    """The mean of numbers, the most frequent word."""
    return holes.fillna(
        {c: holes[c].mean() if pd.api.types.is_numeric_dtype(holes[c]) else holes[c].mode().iloc[0] for c in holes}
    )


def forest(holes: pd.DataFrame, rounds: int = 2) -> pd.DataFrame:
    """Chained forests for mixed columns, as missForest: each column from all others, words one-hot, from ``usual`` on."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    filled = usual(holes)
    for _ in range(rounds):
        for column in holes.columns[holes.isna().any()]:
            there = holes[column].notna().to_numpy()
            others = pd.get_dummies(filled.drop(columns=column)).to_numpy(np.float32)
            number = pd.api.types.is_numeric_dtype(holes[column])
            kind = ExtraTreesRegressor if number else ExtraTreesClassifier
            trees = kind(n_estimators=30, min_samples_leaf=2, random_state=0).fit(others[there], holes[column][there])
            filled.loc[~there, column] = trees.predict(others[~there])
    return filled


def hide(generator: np.random.Generator, shape: tuple[int, ...], rate: float) -> np.ndarray:
    """Which cells; no row is hidden altogether."""
    hidden = generator.random(shape) < rate
    whole = hidden.all(1)
    hidden[whole, generator.integers(0, shape[1], whole.sum())] = False
    return hidden


def some_rows(frame: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    return frame if not most or len(frame) <= most else frame.sample(most, random_state=seed)


def tables(path: Path | None, mixed: bool) -> Iterator[tuple[str, pd.DataFrame]]:
    """Names and frames; of numbers alone, whole rows and no identifiers unless ``mixed``."""
    if path is None:
        from sklearn.datasets import load_breast_cancer

        yield "breast", load_breast_cancer(as_frame=True).data
        folder = os.environ.get("LATELIER_DATA")
        path = Path(folder, "uci_small") if folder else None
        if path is None or not path.exists():
            print("SKIPPED uci_small: set LATELIER_DATA to a folder that holds it")
            return
    files = [path] if path.is_file() else sorted(path.iterdir())
    for file in (f for f in files if f.suffix in (".csv", ".txt", ".data", ".npz", ".gz")):
        frame = read(file)
        if not mixed:
            frame = frame.select_dtypes("number").dropna()
            frame = frame[[c for c in frame if not identifier(frame[c])]]
        if frame.shape[1] < 2:
            print(f"SKIPPED {file.name}: fewer than two columns of numbers")
            continue
        yield file.stem.split(".")[0], frame


def identifier(column: pd.Series) -> bool:
    """Whole numbers that are nearly all different: what they number, they do not measure."""
    whole = bool((column % 1 == 0).all())
    return whole and column.nunique() > 0.9 * len(column) and column.abs().max() > 1000


def read(file: Path) -> pd.DataFrame:
    """Text by its own separator and with or without a header, as Latelier recognises them; X of .npz."""
    if file.suffix == ".npz":
        arrays = np.load(file)
        return numbers(np.asarray(arrays["X"] if "X" in arrays else arrays[arrays.files[0]], np.float64))
    from latelier.kinds.cells.files import open_table
    from latelier.kinds.cells.schema import MISSING

    table = open_table(file, "auto")
    blocks = [
        pd.DataFrame({k: v.to_pandas() for k, v in b.items()}) for b in table.blocks(table.names, MISSING, 1 << 16)
    ]
    frame = pd.concat(blocks, ignore_index=True)
    for column in frame:
        try:
            frame[column] = pd.to_numeric(frame[column])
        except (ValueError, TypeError):
            continue  # a column of words
    return frame


def numbers(x: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(x, columns=[f"c{i}" for i in range(x.shape[1])])


if __name__ == "__main__":
    main()
