"""Rows to latent means and back. N = rows, Z = latent dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from latelier.sklearn.estimator import ModelEstimator
from latelier.sklearn.rows import Values, without_strangers


class LatentTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ModelEstimator):
    """``transform``: the mean of q(z | x), (N, Z). ``inverse_transform``: the centre of p(x | z), in the form of ``fit``'s rows.

    ``dims`` is Z, the dimensions of z; ``hidden`` the widths of the network's layers; ``families`` says what columns are
    ("auto": numbers are real, what is no number is recognised; "recognise": counts, levels and yes/no among numbers too;
    "real": all are numbers; or a mapping of columns to families); ``settings`` are any others of ``Spec``. Where None stands,
    the data decide. Missing values are read as such, and so are values that did not occur in ``fit``.

    >>> from sklearn.datasets import load_wine
    >>> X = load_wine().data
    >>> latent = LatentTransformer(dims=2, epochs=2, random_state=0).fit(X)
    >>> latent.transform(X).shape, latent.inverse_transform(latent.transform(X)).shape
    ((178, 2), (178, 13))
    """

    def __init__(
        self,
        dims: int | None = None,
        *,
        hidden: int | Sequence[int] | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        families: str | Mapping[Any, str] = "auto",
        random_state: Any = None,
        settings: Mapping[str, Any] | None = None,
    ):
        self.dims, self.hidden, self.epochs, self.batch_size = dims, hidden, epochs, batch_size
        self.families, self.random_state, self.settings = families, random_state, settings

    def fit(self, X: Values, y: object = None) -> LatentTransformer:
        rows = self._fit(X)
        self._make_exact()
        self._n_features_out = self.model_.encode(rows.head(1)).shape[1]
        return self

    def transform(self, X: Values) -> npt.NDArray[np.float64]:
        """(N, Z)"""
        rows, _ = without_strangers(self._rows(X), self._schema)
        return self.model_.encode(rows)

    def inverse_transform(self, X: Values) -> Any:
        """(N, Z) -> rows; columns that are not in the model are empty."""
        check_is_fitted(self)
        return self._form.shown(self.model_.decode(check_array(X, dtype=np.float64, input_name="X", estimator=self)))
