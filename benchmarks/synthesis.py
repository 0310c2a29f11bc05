"""Made rows in place of real ones: trees trained on them and tested on real rows, and how like real rows they are.

    python benchmarks/synthesis.py --data uci_adult --seeds 3
    python benchmarks/synthesis.py --data table.csv --target income

``latelier`` is ``fit --for synthesis`` with nothing else set; ``tvae`` is CTGAN's TVAE with its defaults, and ``real`` the
training rows themselves, in the same run. As many rows are made as there are training rows. The test rows are the data's
own (Adult, recognised by its files) or a fifth drawn by the seed, and are not looked at before the end: the settings were
chosen on a fifth of Adult's training rows. CatBoost: depth 6, 500 rounds, categories as such. Missing words are a word of
their own, and rows that miss a number are left out, as TVAE takes neither. The peers: ``pip install --no-deps ctgan rdt
catboost`` and ``pip install faker six``, with ``-c constraints.txt`` (rdt declares pandas < 3, and works with 3 here).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from record import ADULT, Recorder, arguments, machine

import latelier
from latelier.fidelity.closest import closest
from latelier.fidelity.frames import align, is_number
from latelier.fidelity.learners import CLASSES, discriminator
from latelier.fidelity.shapes import column_shapes, pair_trends

MISSING = "not stated"
GOALS = (
    "goals on Adult: macro-F1 at least .795 and AUC at least .910 (published: TabDDPM .795 / .914, TVAE .781 / .902)"
)


def main() -> None:
    parser = arguments(__doc__, seeds=3, budget=0.0)
    parser.add_argument("--target", help="column that is predicted (the last one if not named)")
    parser.add_argument("--first", type=int, default=0, help="the first seed, to go on with a run that was cut")
    parser.add_argument("--who", default="real,latelier,tvae", help="comma-separated, of real, latelier, tvae")
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = Path(options.data) if options.data else Path(os.environ.get("LATELIER_DATA", ""), "uci_adult")
    if not path.exists() or path == Path("uci_adult"):
        print("SKIPPED: name a table with --data, or set LATELIER_DATA to a folder that holds uci_adult")
        return
    recorder = Recorder(options.json)
    found = before(options.json)
    print(machine())
    print((__doc__ or "").split("\n\n", 2)[2])
    if options.budget:
        print(f"training of latelier and tvae is cut at {options.budget:g} minutes each")
    for seed in range(options.first, options.first + options.seeds):
        train, test = parts(path, seed)
        target = options.target or train.columns[-1]
        if seed == options.first:
            print(
                f"{path.name}: {len(train)} training rows, {len(test)} test rows, target {target}; {GOALS}", flush=True
            )
        for who in options.who.split(","):
            begun = time.monotonic()
            made = MAKERS[who](train, seed, options.budget)
            seconds = time.monotonic() - begun
            for name, (value, unit) in figures(train, test, made, target, seed).items():
                recorder.add(name, path.name, who, seed, value, unit)
                found.setdefault(name, {}).setdefault(who, []).append(value)
            recorder.add("fit and sample", path.name, who, seed, seconds, "s")
            found.setdefault("fit and sample, seconds", {}).setdefault(who, []).append(seconds)
    summary(found, options.who.split(","))


def summary(found: dict[str, dict[str, list[float]]], whos: list[str]) -> None:
    """A line a figure."""
    print("\nmean ± standard deviation over seeds")
    print(f"  {'':<42}" + "".join(f"{who:>20}" for who in whos))
    for name, by_who in found.items():
        cells = [
            f"{statistics.mean(values):.4f}" + (f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else "")
            for values in map(by_who.get, whos)
            if values
        ]
        print(f"  {name:<42}" + "".join(f"{cell:>20}" for cell in cells))


def before(path: Path | None) -> dict[str, dict[str, list[float]]]:
    """What earlier seeds of this run found, if the file of records is there."""
    found: dict[str, dict[str, list[float]]] = {}
    for line in path.read_text("utf-8").splitlines() if path is not None and path.exists() else ():
        record = json.loads(line)
        name = "fit and sample, seconds" if record["what"] == "fit and sample" else record["what"]
        found.setdefault(name, {}).setdefault(record["who"], []).append(record["value"])
    return found


def figures(
    train: pd.DataFrame, test: pd.DataFrame, made: pd.DataFrame, target: str, seed: int
) -> dict[str, tuple[float, str]]:
    """Name -> (value, unit). Distances: of made rows and of test rows to the closest training row."""
    table = align([test, made, train])
    real, x, learnt = table.parts
    pairs = pair_trends(table, real, x)
    near = closest(table, learnt, real, x, seed)
    (middle, middle_real), (low, low_real) = near.at(0.5), near.at(0.05)
    return {
        **predicted(made, test, target, seed),
        "pair-trend error": (float(1 - np.nanmean(pairs)), "0 is the same"),
        "column-shape error": (1 - statistics.mean(column_shapes(table, real, x).values()), "0 is the same"),
        "discriminator AUC": (discriminator(table, real, x, seed), "0.5 is chance"),
        "closest training row, median": (middle, "Gower"),
        "closest training row, median, test rows": (middle_real, "Gower"),
        "closest training row, 5 %": (low, "Gower"),
        "closest training row, 5 %, test rows": (low_real, "Gower"),
        "copies of training rows": (near.copies[0], "share"),
        "copies of training rows, test rows": (near.copies[1], "share"),
    }


def predicted(made: pd.DataFrame, test: pd.DataFrame, target: str, seed: int) -> dict[str, tuple[float, str]]:
    """CatBoost trained on made rows, on the test rows: macro-F1 and AUC of classes, R² of numbers."""
    from catboost import CatBoostClassifier, CatBoostRegressor
    from sklearn.metrics import f1_score, r2_score, roc_auc_score

    x, x_test = made.drop(columns=target), test.drop(columns=target)
    words = [name for name in x if not is_number(test[name])]
    x, x_test = (part.astype(dict.fromkeys(words, str)) for part in (x, x_test))
    settings: dict[str, Any] = {
        "iterations": 500,
        "depth": 6,
        "random_seed": seed,
        "thread_count": 1,
        "verbose": 0,
        "allow_writing_files": False,
        "cat_features": words,
    }
    if is_number(test[target]) and test[target].nunique() > CLASSES:
        learnt = CatBoostRegressor(**settings).fit(x, made[target])
        return {"R²": (r2_score(test[target], learnt.predict(x_test)), "1 is best")}
    truth = test[target].astype(str).to_numpy()
    learnt = CatBoostClassifier(**settings).fit(x, made[target].astype(str))
    chances, classes = learnt.predict_proba(x_test), learnt.classes_.astype(str)
    kinds = np.unique(truth)
    areas = [
        roc_auc_score(truth == kind, chances[:, list(classes).index(kind)] if kind in classes else np.zeros(len(truth)))
        for kind in (kinds[1:] if len(kinds) == 2 else kinds)
    ]
    guess = classes[chances.argmax(1)]
    return {
        "macro-F1, trained on these rows": (f1_score(truth, guess, average="macro", labels=kinds), "1 is best"),
        "AUC, trained on these rows": (statistics.mean(areas), "1 is best"),
    }


def by_latelier(train: pd.DataFrame, seed: int, budget: float) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        model = latelier.fit(
            train,
            out=Path(folder, "model"),
            report=False,
            settings={"purpose": "synthesis"},
            seed=seed,
            threads=1,
            minutes=budget or None,
        )
    told = model.figures
    print(
        f"  latelier, seed {seed}: held-out ELBO {told['elbo']:.2f} nats, KL {told['kl']:.2f}, active {told['active']} of "
        f"{told['units']} latent units, best of epoch {told['epoch']}",
        flush=True,
    )
    made: pd.DataFrame = model.sample(len(train), seed=seed)
    return made


def by_tvae(train: pd.DataFrame, seed: int, budget: float) -> pd.DataFrame:
    """CTGAN's TVAE as it comes; a budget cuts its 300 epochs to as many as the first one's time allows."""
    from ctgan.synthesizers.tvae import TVAE

    words = [name for name in train if not is_number(train[name])]
    settings: dict[str, Any] = {"enable_gpu": False}
    if budget:
        begun = time.monotonic()
        TVAE(epochs=1, **settings).fit(train, words)
        settings["epochs"] = max(1, min(300, int(60 * budget / (time.monotonic() - begun))))
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what it draws from
    learnt = TVAE(**settings)
    learnt.fit(train, words)
    made: pd.DataFrame = learnt.sample(len(train))
    return made


def real(train: pd.DataFrame, seed: int, budget: float) -> pd.DataFrame:
    return train


MAKERS = {"real": real, "latelier": by_latelier, "tvae": by_tvae}


def parts(path: Path, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(training rows, test rows)"""
    if path.is_dir() and (file := next(iter(sorted(path.glob("adult.data*"))), None)):
        test_file = next(iter(sorted(path.glob("adult.test*"))))
        train = pd.read_csv(file, names=ADULT, skipinitialspace=True, na_values="?")
        test = pd.read_csv(test_file, names=ADULT, skiprows=1, skipinitialspace=True, na_values="?")
        test["income"] = test["income"].str.rstrip(".")
        return whole(train), whole(test)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.name.endswith((".csv", ".csv.gz", ".parquet")))
        if not files:
            raise SystemExit(f"{path}: holds no .csv, .csv.gz or .parquet; name a file")
        path = files[0]
    frame = whole(pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, skipinitialspace=True))
    order = np.random.default_rng(seed).permutation(len(frame))
    held = max(1, len(frame) // 5)
    return tuple(frame.iloc[ids].reset_index(drop=True) for ids in (order[held:], order[:held]))  # type: ignore[return-value]


def whole(frame: pd.DataFrame) -> pd.DataFrame:
    """Without holes, words as words, constant columns left out."""
    frame = frame[[name for name in frame if frame[name].nunique() > 1]]
    words = [name for name in frame if not is_number(frame[name])]
    filled = frame.assign(**{name: frame[name].astype("object").fillna(MISSING).astype(str) for name in words})
    return filled.dropna().reset_index(drop=True)


if __name__ == "__main__":
    main()
