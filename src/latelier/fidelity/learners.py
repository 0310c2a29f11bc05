"""What boosted trees learn: to predict a column from made or from real rows, and to tell made from real. N = rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from latelier.errors import BadInput
from latelier.fidelity.frames import Aligned, Numbers, evenly

CLASSES = 20  # a target of numbers with at most so many different ones is one of classes
CODES = 254  # codes that a tree tells apart; rarer ones are taken together
ROWS = 20_000  # of each side that the discriminator looks at
FOLDS = 3


def predict(table: Aligned, target: int, train: Numbers, test: Numbers, seed: int) -> dict[str, float]:
    """Trained on ``train``, measured on ``test``: macro-F1 and AUC (mean of one class against the rest) of classes, R² of
    numbers. Rows without a target are left out. BadInput where the target does not vary."""
    from sklearn.metrics import f1_score, r2_score, roc_auc_score

    train, test = (part[~np.isnan(part[:, target])] for part in (train, test))
    y, truth = train[:, target], test[:, target]
    name = table.names[target]
    if len(truth) < 2 or len(np.unique(truth)) < 2:
        raise BadInput(f"target {name!r}: has one value in the real rows, so there is nothing to predict; name another")
    x, x_test = (np.delete(part, target, 1) for part in (train, test))
    numeric = [table.numeric(i) for i in range(len(table.names)) if i != target]
    if table.numeric(target) and len(np.unique(truth)) > CLASSES:
        return {
            "R²": float(r2_score(truth, boosted(x, y, numeric, seed, classes=False).predict(few(x_test, numeric, x))))
        }
    classes = np.unique(np.concatenate([y, truth]))
    chances = np.zeros((len(truth), len(classes)))
    if len(np.unique(y)) < 2:
        chances[:, np.searchsorted(classes, y[:1])] = 1.0
    else:
        learnt = boosted(x, y, numeric, seed, classes=True)
        chances[:, np.searchsorted(classes, learnt.classes_)] = learnt.predict_proba(few(x_test, numeric, x))
    guess = classes[chances.argmax(1)]
    kinds = np.unique(truth)
    areas = [
        roc_auc_score(truth == kind, chances[:, np.searchsorted(classes, kind)])
        for kind in (kinds[1:] if len(kinds) == 2 else kinds)
    ]
    return {
        "macro-F1": float(f1_score(truth, guess, average="macro", labels=kinds)),
        "AUC": float(np.mean(areas)),
    }


def discriminator(table: Aligned, real: Numbers, made: Numbers, seed: int) -> float:
    """The AUC with which trees tell made rows from real ones, out of fold: 0.5 is chance, 1 is certainty."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    rows = min(len(real), len(made), ROWS)
    sides = [part[evenly(len(part), rows, seed)] for part in (real, made)]
    x, y = np.concatenate(sides), np.repeat([0.0, 1.0], rows)
    numeric = [table.numeric(i) for i in range(len(table.names))]
    if rows < FOLDS:
        raise BadInput(f"{rows} row(s) are too few to tell made rows from real ones; give at least {FOLDS}")
    chances = np.zeros(len(y))
    for fit, look in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, y):
        learnt = boosted(x[fit], y[fit], numeric, seed, classes=True)
        chances[look] = learnt.predict_proba(few(x[look], numeric, x[fit]))[:, 1]
    return float(roc_auc_score(y, chances))


def boosted(x: Numbers, y: Numbers, numeric: list[bool], seed: int, classes: bool) -> Any:
    """Histogram gradient boosting on numbers and categories; missing values are a way of their own."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    learner = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    trees = learner(max_iter=200, early_stopping=False, random_state=seed, categorical_features=~np.array(numeric))
    return trees.fit(few(x, numeric, x), y)


def few(x: Numbers, numeric: list[bool], known: Numbers) -> Numbers:
    """Codes by their rank of frequency in ``known``, at most ``CODES`` of them: so no more than a tree can tell apart."""
    out = x.copy()
    for i in np.flatnonzero(~np.array(numeric)):
        codes = known[:, i][~np.isnan(known[:, i])].astype(np.int64)
        order = np.argsort(-np.bincount(codes, minlength=1), kind="stable")
        rank: npt.NDArray[np.float64] = np.full(max(len(order), int(np.nanmax(x[:, i], initial=0)) + 1), CODES - 1.0)
        rank[order] = np.minimum(np.arange(len(order)), CODES - 1)
        there = ~np.isnan(x[:, i])
        out[there, i] = rank[x[there, i].astype(np.int64)]
    return out
