"""Are known factors of the data told apart by the dimensions of z? MIG, DCI, SAP. N = rows, D = dimensions, K = factors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from latelier.errors import BadInput

Numbers = npt.NDArray[np.float64]
BINS = 20  # into which numbers are cut for MIG, as Locatello et al. 2019 do
CLASSES = 20  # a factor of whole numbers with at most so many different ones is one of classes
ROWS = 10_000  # at most, at random
TREES = 50


@dataclass(frozen=True)
class Disentanglement:
    """Each from 0 to 1, 1 for codes of which each dimension is one factor. None where it is not defined: of one factor alone
    ``disentanglement``, of one dimension ``mig``, ``sap`` and ``completeness``.

    ``mig`` (Chen et al. 2018): the gap between the two dimensions with the most mutual information with a factor, over the
    factor's entropy. ``sap`` (Kumar et al. 2018): the gap between the two best in predicting it alone (R² of numbers, balanced
    accuracy of classes). DCI (Eastwood & Williams 2018): does each dimension serve one factor (``disentanglement``), is each
    factor served by one dimension (``completeness``), and how well do all dimensions together predict it
    (``informativeness``, R² or balanced accuracy on held-out rows; of a constant guess R² is 0 and accuracy 1 / classes).
    """

    rows: int
    mig: float | None
    sap: float | None
    disentanglement: float | None
    completeness: float | None
    informativeness: float
    factors: dict[str, dict[str, float | None]]  # of each: mig, sap, completeness, informativeness, its best dimension


def disentangled(codes: npt.ArrayLike, factors: pd.DataFrame, seed: int = 0) -> Disentanglement:
    """``codes`` (N, D), such as posterior means, beside K ``factors`` of the same rows; rows with an unknown factor are left
    out. Words, truth values and whole numbers of few values are classes. BadInput where a factor does not vary."""
    z = np.asarray(codes, np.float64).reshape(len(factors), -1) if len(factors) else np.zeros((0, 1))
    known = factors.notna().all(axis=1).to_numpy()
    z, factors = z[known], factors[known]
    if len(z) < 10:
        raise BadInput(
            f"factors are known of {len(z)} rows, which are too few to learn anything from; give at least 10"
        )
    order = np.random.default_rng(seed).permutation(len(z))[:ROWS]
    z, factors = z[order], factors.iloc[order]
    read = {str(name): _read(str(name), factors[name]) for name in factors.columns}
    bins = [values if classes else _cut(values) for values, classes in read.values()]
    informed = np.array([[_information(code, factor) for factor in bins] for code in map(_cut, z.T)])
    entropy = np.array([_information(factor, factor) for factor in bins])
    alone = np.array([[_alone(column, *factor, seed) for factor in read.values()] for column in z.T])
    together = [_together(z, *factor, seed) for factor in read.values()]
    weights = np.stack([importance for importance, _ in together], 1)
    informativeness = [score for _, score in together]
    whole, parts = dci(weights)
    several = z.shape[1] > 1
    mig, sap = _gaps(informed) / entropy, _gaps(alone)
    told = {
        name: {
            "mig": float(mig[k]) if several else None,
            "sap": float(sap[k]) if several else None,
            "completeness": float(parts[k]) if several else None,
            "informativeness": informativeness[k],
            "dimension": float(informed[:, k].argmax()),
        }
        for k, name in enumerate(read)
    }
    return Disentanglement(
        rows=len(z),
        mig=float(mig.mean()) if several else None,
        sap=float(sap.mean()) if several else None,
        disentanglement=whole if len(read) > 1 else None,
        completeness=float(parts.mean()) if several else None,
        informativeness=float(np.mean(informativeness)),
        factors=told,
    )


def dci(weights: Numbers) -> tuple[float, Numbers]:
    """(D, K) importances of dimensions for factors -> (disentanglement, (K,) completeness of each factor): 1 - entropy of
    rows (with their share of all importance as weights) and of columns, in units of its largest value.

    >>> dci(np.eye(2))
    (1.0, array([1., 1.]))
    """
    total = max(float(weights.sum()), 1e-12)
    rows = 1 - _entropy(weights / np.maximum(weights.sum(1, keepdims=True), 1e-12), weights.shape[1])
    columns = 1 - _entropy((weights / np.maximum(weights.sum(0), 1e-12)).T, weights.shape[0])
    return float((rows * weights.sum(1) / total).sum()), columns


def _entropy(shares: Numbers, kinds: int) -> Numbers:
    """(M, kinds) -> (M,), in units of log kinds."""
    logs = np.log(np.where(shares > 0, shares, 1.0))
    return -(shares * logs).sum(1) / np.log(max(kinds, 2))


def _read(name: str, series: pd.Series) -> tuple[Numbers, bool]:
    """Values, and whether they are classes."""
    if series.nunique() < 2:
        raise BadInput(f"factor {name!r}: has one value in these rows, so nothing can tell of it; leave it out")
    numeric = pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series)
    if numeric and bool(np.isinf(series.to_numpy(np.float64)).any()):
        raise BadInput(f"factor {name!r}: holds infinite values; correct them, or leave it out")
    whole = numeric and bool((series == series.round()).all())
    if not numeric or (whole and series.nunique() <= CLASSES):
        codes = pd.factorize(series, sort=True)[0].astype(np.float64)
        return codes, True
    return series.to_numpy(np.float64), False


def _cut(values: Numbers) -> Numbers:
    """Numbers as one of ``BINS`` bins of equal width."""
    edges = np.histogram_bin_edges(values, BINS)[1:-1]
    return np.searchsorted(edges, values, side="right").astype(np.float64)


def _information(code: Numbers, factor: Numbers) -> float:
    """Mutual information of two columns of bins, nats; with itself a column's entropy."""
    from sklearn.metrics import mutual_info_score

    return float(mutual_info_score(code, factor))


def _gaps(scores: Numbers) -> Numbers:
    """(D, K) -> (K,): the best dimension's score less the second best's."""
    best = np.sort(scores, 0)[::-1]
    return best[0] - best[1] if len(best) > 1 else np.zeros(scores.shape[1])


def _alone(column: Numbers, values: Numbers, classes: bool, seed: int) -> float:
    """How well one dimension predicts a factor: squared correlation, or the balanced accuracy of thresholds."""
    if not classes:
        spread = column.std() * values.std()
        return float(np.mean((column - column.mean()) * (values - values.mean())) / spread) ** 2 if spread > 0 else 0.0
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_leaf_nodes=len(np.unique(values)), class_weight="balanced", random_state=seed)
    half = len(values) // 2
    tree.fit(column[:half, None], values[:half])
    return _accuracy(values[half:], tree.predict(column[half:, None]))


def _together(z: Numbers, values: Numbers, classes: bool, seed: int) -> tuple[Numbers, float]:
    """(D,) importances in a forest that predicts a factor, and how well it does on rows that it has not seen."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.metrics import r2_score

    half = len(z) // 2
    forest = RandomForestClassifier if classes else RandomForestRegressor
    learnt = forest(TREES, max_features=None, min_samples_leaf=2, random_state=seed).fit(z[:half], values[:half])
    guess = learnt.predict(z[half:])
    score = _accuracy(values[half:], guess) if classes else float(r2_score(values[half:], guess))
    return np.asarray(learnt.feature_importances_, np.float64), score


def _accuracy(truth: Numbers, guess: Numbers) -> float:
    """The mean over classes of the share that is right."""
    return float(np.mean([(guess[truth == kind] == kind).mean() for kind in np.unique(truth)]))
