"""Which rows are odd, as scikit-learn says it, and as PyOD says it. N = rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import OutlierMixin

from latelier.errors import BadInput
from latelier.sklearn.estimator import Estimator
from latelier.sklearn.rows import Values, without_strangers


class OutlierDetector(OutlierMixin, Estimator):
    """``predict``: 1 for usual rows, -1 for odd ones. ``score_samples`` is larger for more usual rows, ``decision_function``
    the same from the threshold on.

    ``contamination``: the share of ``fit``'s rows that the threshold calls odd; ``draws``: of z per row. The other parameters
    are those of ``LatentTransformer``.

    After ``fit``: ``offset_``, the threshold of ``score_samples``; and under PyOD's names, where larger is odder,
    ``decision_scores_`` (N,) and ``labels_`` (N,) of ``fit``'s rows, 1 being odd, and ``threshold_``.

    >>> from sklearn.datasets import load_wine
    >>> X = load_wine().data
    >>> detector = OutlierDetector(contamination=0.05, epochs=2, random_state=0).fit(X)
    >>> (detector.predict(X) == -1).sum(), detector.labels_.sum()
    (9, 9)
    """

    def __init__(
        self,
        contamination: float = 0.1,
        *,
        dims: int | None = None,
        hidden: int | Sequence[int] | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        draws: int = 16,
        families: str | Mapping[Any, str] = "auto",
        random_state: Any = None,
        settings: Mapping[str, Any] | None = None,
    ):
        self.contamination = contamination
        self.dims, self.hidden, self.epochs, self.batch_size = dims, hidden, epochs, batch_size
        self.draws, self.families, self.random_state, self.settings = draws, families, random_state, settings

    def fit(self, X: Values, y: object = None) -> OutlierDetector:
        if not 0 < self.contamination <= 0.5:
            raise BadInput(f"contamination = {self.contamination!r}: give a share of the rows above 0, at most 0.5")
        rows = self._fit(X)
        self.decision_scores_ = self._oddness(rows)
        self.threshold_ = float(np.quantile(self.decision_scores_, 1 - self.contamination))
        self.offset_ = -self.threshold_
        self.labels_ = (self.decision_scores_ > self.threshold_).astype(np.int64)
        return self

    def score_samples(self, X: Values) -> npt.NDArray[np.float64]:
        """(N,) larger is more usual; the same at every call."""
        return -self._oddness(self._rows(X))

    def decision_function(self, X: Values) -> npt.NDArray[np.float64]:
        """(N,) below 0 is odd."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Values) -> npt.NDArray[np.int64]:
        """(N,) 1 or -1."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def _oddness(self, rows: pd.DataFrame) -> npt.NDArray[np.float64]:
        known, strangers = without_strangers(rows, self._schema)
        oddness: npt.NDArray[np.float64] = -self.model_.score(known, self.draws)
        return oddness + strangers * math.log(self._schema.rows + 1)
