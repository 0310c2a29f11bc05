"""The density of rows, and new ones. N = rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import DensityMixin
from sklearn.utils.validation import check_is_fitted

from latelier.sklearn.estimator import ModelEstimator
from latelier.sklearn.rows import Values, without_strangers


class Generator(DensityMixin, ModelEstimator):
    """``sample``: new rows, in the form of ``fit``'s. ``score_samples``: a bound on log p(x), nats in the data's own units.

    Each value that did not occur in the n rows of ``fit``, of a column of categories or one that never varied, costs
    log(n + 1) nats, as by the rule of succession. ``draws`` of z per row tighten the bound (Burda et al. 2016). The other
    parameters are those of ``LatentTransformer``.

    >>> from sklearn.datasets import load_wine
    >>> X = load_wine().data
    >>> density = Generator(epochs=2, random_state=0).fit(X)
    >>> density.sample(5).shape, density.score_samples(X).shape
    ((5, 13), (178,))
    """

    def __init__(
        self,
        dims: int | None = None,
        *,
        hidden: int | Sequence[int] | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        draws: int = 16,
        families: str | Mapping[Any, str] = "auto",
        random_state: Any = None,
        settings: Mapping[str, Any] | None = None,
    ):
        self.dims, self.hidden, self.epochs, self.batch_size = dims, hidden, epochs, batch_size
        self.draws, self.families, self.random_state, self.settings = draws, families, random_state, settings

    def fit(self, X: Values, y: object = None) -> Generator:
        self._fit(X)
        return self

    def score_samples(self, X: Values) -> npt.NDArray[np.float64]:
        """(N,) nats; the same at every call."""
        rows, strangers = without_strangers(self._rows(X), self._schema)
        scores: npt.NDArray[np.float64] = self.model_.score(rows, self.draws)
        return scores - strangers * math.log(self._schema.rows + 1)

    def score(self, X: Values, y: object = None) -> float:
        """The mean of ``score_samples``."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """(n_samples, D) rows; by the estimator's own ``random_state`` where none is given."""
        check_is_fitted(self)
        seed = self._seed(self.random_state if random_state is None else random_state)
        return self._form.shown(self.model_.sample(n_samples, seed=seed))
