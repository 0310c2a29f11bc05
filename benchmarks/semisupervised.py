"""Digits told apart from few labels: 10 of each class are seen, the other training rows have none; error on the test rows.

Protocol: the last 5,000 training pictures are put aside: their labels are those by which settings were chosen (seeds 0 and 1,
--choose, which measures on them in place of the test rows), and otherwise they are held out without labels. Of the others the
seed draws 10 a class that keep their label. All training pictures, without labels, train a VAE (M1); its codes, with the few
labels, train a VAE whose label is a latent variable (M2), with objective.smooth. Test pictures are looked at once, at the end.
Kingma et al. 2014 print 11.97 % for M2 and 3.33 % for M1+M2 on MNIST with 100 labels.

Peers see the same labels: logistic regression, the nearest neighbour and an SVM on pixels, and on M1's codes.

    python benchmarks/semisupervised.py --budget 6 --json benchmarks/results/semisupervised.jsonl
"""

from __future__ import annotations

import gzip
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from record import Recorder, arguments, machine, spread

import latelier

EACH = 10  # labels of each class
ASIDE = 12  # one in so many training rows is put aside; of MNIST's 60,000 that is the last 5,000
ACTIVE = 0.05  # variance over rows from which a code's dimension is kept: M2 would standardise noise
SHARES = (0.5, 0.45)  # of the budget, for M1 and M2; the rest goes to reading, encoding and peers

M1 = {
    "network.name": "mlp",
    "network.hidden": (500, 500),
    "latent.dims": 50,
    "train.batch": 200,
    "train.epochs": 1000,
    "train.rate": 3e-3,
}
M2 = {
    "likelihood.real": "gaussian",
    "data.choose": "rule",
    "network.hidden": (256, 256),
    "latent.dims": 10,
    "objective.alpha": 10.0,
    "objective.smooth": 10.0,
    "objective.reach": 0.5,
    "train.holes": 0.0,
    "train.labelled": 0.1,
    "train.batch": 256,
    "train.rate": 3e-3,
    "train.epochs": 1000,
    "train.keep": "last",  # what counts are classes, not the bound
}
ALIKE = {"train.checkpoint": 0.0, "train.threads": 1, "train.patience": 1000}


@dataclass(frozen=True)
class Rows:
    """uint8 pictures (N, H, W) and the classes of all, 0, 1, ..."""

    name: str
    x: npt.NDArray[np.uint8]
    y: npt.NDArray[np.int64]
    x_test: npt.NDArray[np.uint8]
    y_test: npt.NDArray[np.int64]


def main() -> None:
    parser = arguments(__doc__, seeds=5, budget=6.0)
    parser.add_argument("--choose", action="store_true", help="measure on the training rows that are put aside")
    asked = parser.parse_args()
    rows = rows_of(asked.data)
    if asked.choose:
        last = len(rows.x) // ASIDE
        rows = replace(rows, name=f"{rows.name}-aside", x_test=rows.x[-last:], y_test=rows.y[-last:])
    labels = EACH * (int(rows.y.max()) + 1)
    print(machine())
    print(
        f"{rows.name}: {len(rows.x):,} training pictures, {labels} with a label, {len(rows.x) // ASIDE:,} put aside; "
        f"{len(rows.x_test):,} test pictures; {asked.budget:g} minutes a seed",
        flush=True,
    )
    recorder, errors = Recorder(asked.json), {}
    for seed in range(asked.seeds):
        for who, error in measured(rows, seed, asked.budget):
            recorder.add(f"error, {labels} labels", rows.name, who, seed, 100 * error, "%")
            errors.setdefault(who, []).append(100 * error)
    for who, values in errors.items():
        mean, deviation = np.mean(values), np.std(values, ddof=1) if len(values) > 1 else 0.0
        print(f"  {who:<28} mean {mean:.2f} %, standard deviation {deviation:.2f}; {spread(values)}")
    own = float(np.mean(errors["latelier M1+M2"]))
    if rows.name == "mnist":
        print(
            f"goal: at most 5 %: {'met' if own <= 5 else 'MISSED'} with {own:.2f} %; published: M2 11.97 %, M1+M2 3.33 %"
        )


def measured(rows: Rows, seed: int, budget: float) -> Iterator[tuple[str, float]]:
    """(who, share of wrong test rows) of everyone, from the labels that the seed draws."""
    begun = time.monotonic()
    first = len(rows.x) - len(rows.x) // ASIDE
    generator = np.random.default_rng(seed)
    known = np.concatenate(
        [
            generator.choice(np.flatnonzero(rows.y[:first] == k), EACH, replace=False)
            for k in range(int(rows.y.max()) + 1)
        ]
    )
    yield from peers("pixels", flat(rows.x[known]), rows.y[known], flat(rows.x_test), rows.y_test)
    with tempfile.TemporaryDirectory() as folder:
        options = {**ALIKE, **M1, "train.seed": seed, "train.minutes": SHARES[0] * budget}
        m1 = latelier.fit(rows.x[:first], test=rows.x[first:], out=Path(folder, "m1"), report=False, settings=options)
        codes, codes_test = m1.encode(rows.x), m1.encode(rows.x_test)
        kept = codes[:first].var(0) > ACTIVE
        codes, codes_test = codes[:, kept], codes_test[:, kept]
        print(
            f"  M1: {m1.figures['elbo']:.2f} nats, epoch {m1.figures['epoch']}, {kept.sum()} dimensions kept",
            flush=True,
        )
        yield from peers("codes", codes[known], rows.y[known], codes_test, rows.y_test)
        table = pd.DataFrame(codes).add_prefix("z")
        words = np.full(len(table), None, dtype=object)
        words[known] = [f"class {k}" for k in rows.y[known]]
        table["class"] = words  # rows that are put aside have none
        left = min(SHARES[1] * budget, max(0.1, budget - (time.monotonic() - begun) / 60))
        options = {**ALIKE, **M2, "train.seed": seed, "train.minutes": left, "data.label": "class"}
        m2 = latelier.fit(table[:first], test=table[first:], out=Path(folder, "m2"), report=False, settings=options)
        truth = np.array([f"class {k}" for k in rows.y_test], dtype=object)
        for who, by in (("latelier M1+M2", "classifier"), ("latelier M1+M2, by bound", "bound")):
            found = m2.predict(pd.DataFrame(codes_test).add_prefix("z"), by)["class"].to_numpy()
            yield who, float((found != truth).mean())
    print(
        f"  seed {seed}: M2 to epoch {m2.figures['epoch']}, {(time.monotonic() - begun) / 60:.1f} minutes in all",
        flush=True,
    )


def peers(what: str, x: Any, y: Any, x_test: Any, y_test: Any) -> Iterator[tuple[str, float]]:
    """Classifiers of scikit-learn that see rows with a label alone."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    for name, model in (
        ("logistic", LogisticRegression(max_iter=2000)),
        ("nearest", KNeighborsClassifier(1)),
        ("SVM", SVC(C=10.0)),
    ):
        yield f"{name} on {what}", 1.0 - float(model.fit(x, y).score(x_test, y_test))


def flat(x: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    return x.reshape(len(x), -1) / 255.0


def rows_of(path: Path | None) -> Rows:
    """A folder in MNIST's form, or an .npz with images, labels, test_images, test_labels; without any scikit-learn's digits."""
    folder = os.environ.get("LATELIER_DATA")
    path = path or (Path(folder, "mnist") if folder and Path(folder, "mnist").exists() else None)
    if path is None:
        from sklearn.datasets import load_digits

        print("SKIPPED mnist: set LATELIER_DATA to a folder that holds it; scikit-learn's digits stand in for it")
        digits = load_digits()
        x, y = (digits.images * 15.9375).astype(np.uint8), digits.target.astype(np.int64)
        return Rows("digits", x[:1200], y[:1200], x[1200:], y[1200:])
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            parts = [file[name] for name in ("images", "labels", "test_images", "test_labels")]
        return Rows(path.stem, parts[0], parts[1].astype(np.int64), parts[2], parts[3].astype(np.int64))
    x, x_test = (idx(path / f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28) for part in ("train", "t10k"))
    y, y_test = (idx(path / f"{part}-labels-idx1-ubyte.gz", 8).astype(np.int64) for part in ("train", "t10k"))
    return Rows(path.name, x, y, x_test, y_test)


def idx(path: Path, head: int) -> npt.NDArray[np.uint8]:
    with gzip.open(path) as file:
        return np.frombuffer(file.read()[head:], np.uint8)


if __name__ == "__main__":
    main()
