"""Tables with known odd rows in ADBench's form, cut from sets that everybody has: for benchmarks/anomaly.py.

    python benchmarks/odd_sets.py --data DATA_FOLDER --out FOLDER
    python benchmarks/anomaly.py --data FOLDER --protocol normals --seeds 3

Of scikit-learn: breast cancer (malignant), wine (first cultivar), digits (0, and 8). Of the folder, where it has them: UCI breast
cancer (malignant), yeast (five rare classes), white wine (graded 4 or less), bank notes (forged), the numbers of NSL-KDD
(attacks) and of Adult (the rich). The odd class is thinned as ADBench does, so that rows of it are few.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from record import arguments
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

RARE = ("ME1", "EXC", "VAC", "POX", "ERL")  # of yeast


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder that the files are written to")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    root = options.data or (Path(os.environ["LATELIER_DATA"]) if os.environ.get("LATELIER_DATA") else None)
    random = np.random.default_rng(0)
    for number, (name, x, odd, most) in enumerate(sets(root), 1):
        values, y = np.asarray(x, np.float64), np.asarray(odd).astype(int)
        if most is not None:
            few = random.permutation(np.flatnonzero(y))[:most]
            kept = np.sort(np.concatenate([np.flatnonzero(y == 0), few]))
            values, y = values[kept], y[kept]
        whole = np.isfinite(values).all(1)
        np.savez(options.out / f"{number}_{name}.npz", X=values[whole], y=y[whole])
        print(f"{name}: {int(whole.sum()):,} rows, {values.shape[1]} columns, {y[whole].mean():.1%} odd")


def sets(root: Path | None) -> Any:
    """(name, rows, which are odd, at most so many odd ones)"""
    cancer, wine, digits = load_breast_cancer(), load_wine(), load_digits()
    yield "WDBC", cancer.data, cancer.target == 0, 10
    yield "wine", wine.data, wine.target == 0, 10
    yield "digits0", digits.data, digits.target == 0, 60
    yield "digits8", digits.data, digits.target == 8, 60
    if root is None:
        print("SKIPPED six sets: name the folder of data sets with --data or LATELIER_DATA")
        return
    uci = root / "uci_small"
    table = pd.read_csv(uci / "breast-cancer-wisconsin.data", header=None, na_values="?")
    yield "breastw", table.iloc[:, 1:-1], table.iloc[:, -1] == 4, None
    table = pd.read_csv(uci / "yeast.data", sep=r"\s+", header=None)
    yield "yeast", table.iloc[:, 1:-1], table.iloc[:, -1].isin(RARE), None
    table = pd.read_csv(uci / "winequality-white.csv", sep=";")
    yield "winewhite", table.iloc[:, :-1], table.iloc[:, -1] <= 4, None
    table = pd.read_csv(uci / "banknote_authentication.csv", header=None)
    yield "banknote", table.iloc[:, :-1], table.iloc[:, -1] == 1, 100
    names = (root / "nsl_kdd" / "columns.txt").read_text().split()
    table = pd.read_csv(root / "nsl_kdd" / "KDDTrain+.txt.gz", header=None, names=names).sample(8000, random_state=0)
    numbers = table.drop(columns=["label", "difficulty"]).select_dtypes("number")
    yield "nslnum", numbers.loc[:, numbers.std() > 0], table.label != "normal", None
    table = pd.read_csv(root / "uci_adult" / "adult.data.gz", header=None, skipinitialspace=True)
    table = table.sample(6000, random_state=0)
    yield "adult", table[[0, 2, 4, 10, 11, 12]], table.iloc[:, -1] == ">50K", 300


if __name__ == "__main__":
    main()
