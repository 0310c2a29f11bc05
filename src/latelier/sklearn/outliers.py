"""Which rows are odd, as scikit-learn says it, and as PyOD says it. N = rows, C = columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import OutlierMixin

from latelier.detector import MEMBERS, Detector
from latelier.errors import BadInput
from latelier.noise import seeded
from latelier.sklearn.estimator import Estimator, in_float64
from latelier.sklearn.rows import Values


class OutlierDetector(OutlierMixin, Estimator):
    """``latelier.Detector`` as an estimator. ``predict``: 1 for usual rows, -1 for odd ones. ``score_samples`` is larger for
    more usual rows, ``decision_function`` the same from the threshold on.

    ``contamination``: the share of ``fit``'s rows that the threshold calls odd. Where they are known to be so, ``robust``
    leaves them out of a second fit. ``members``: models whose scores are averaged. ``dims``, ``hidden``, ``epochs`` and
    ``batch_size`` are those of each; ``settings`` any others of ``Spec``. Where None stands, the data decide. Missing cells
    count as usual ones; a word that was not there in ``fit``, or a change in what never varied, is odd.

    After ``fit``: ``detector_``, with all its verbs; ``offset_``, the threshold of ``score_samples``; and under PyOD's names,
    where larger is odder, ``decision_scores_`` (N,) and ``labels_`` (N,) of ``fit``'s rows, 1 being odd, and ``threshold_``.

    >>> from sklearn.datasets import load_wine
    >>> X = load_wine().data
    >>> detector = OutlierDetector(contamination=0.05, members=1, epochs=2, random_state=0).fit(X)
    >>> int((detector.predict(X) == -1).sum()), int(detector.labels_.sum())
    (9, 9)
    """

    families = "auto"  # a detector takes all numbers as such, and words as words
    detector_: Detector
    _trained: ClassVar[str] = "detector_"
    _least: ClassVar[int] = 10

    def __init__(
        self,
        contamination: float = 0.1,
        *,
        robust: bool = False,
        members: int = MEMBERS,
        dims: int | None = None,
        hidden: int | Sequence[int] | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        random_state: Any = None,
        settings: Mapping[str, Any] | None = None,
    ):
        self.contamination, self.robust, self.members = contamination, robust, members
        self.dims, self.hidden, self.epochs, self.batch_size = dims, hidden, epochs, batch_size
        self.random_state, self.settings = random_state, settings

    def fit(self, X: Values, y: object = None) -> OutlierDetector:
        if not 0 < self.contamination <= 0.5:
            raise BadInput(f"contamination = {self.contamination!r}: give a share of the rows above 0, at most 0.5")
        rows = self._rows(X, fitting=True)
        with seeded(0):
            detector = Detector.fit(
                rows,
                contamination=min(self.contamination, 0.499) if self.robust else 0.0,
                seed=self._seed(self.random_state),
                members=self.members,
                settings=self._settings(),
            )
        members = [in_float64(member) for member in detector.density.members]
        detector.density = replace(detector.density, members=members)
        self.detector_ = detector
        self.decision_scores_ = detector.oddness(rows)
        self.threshold_ = float(np.quantile(self.decision_scores_, 1 - self.contamination))
        self.offset_ = -self.threshold_
        self.labels_ = (self.decision_scores_ > self.threshold_).astype(np.int64)
        return self

    def score_samples(self, X: Values) -> npt.NDArray[np.float64]:
        """(N,) larger is more usual; the same at every call. Nats below a usual row."""
        rows = self._rows(X)
        return -self.detector_.oddness(rows)

    def decision_function(self, X: Values) -> npt.NDArray[np.float64]:
        """(N,) below 0 is odd."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Values) -> npt.NDArray[np.int64]:
        """(N,) 1 or -1."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def p_values(self, X: Values) -> npt.NDArray[np.float64]:
        """(N,) the share of usual rows that are at least as odd, by rows of ``fit`` that trained nothing."""
        rows = self._rows(X)
        return self.detector_.p_values(rows)

    def attribution(self, X: Values) -> pd.DataFrame:
        """(N, C + 1) nats by which each column, and their combination (``latent``), makes the row odd."""
        rows = self._rows(X)
        return self.detector_.attribution(rows).set_axis(X.index if isinstance(X, pd.DataFrame) else rows.index)
