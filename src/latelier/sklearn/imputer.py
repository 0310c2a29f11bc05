"""What is missing, filled in. N = rows, D = columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import OneToOneFeatureMixin, TransformerMixin

from latelier.sklearn.estimator import ModelEstimator
from latelier.sklearn.rows import Values, as_frame, holes, is_number_type, of_type, without_strangers


class Imputer(OneToOneFeatureMixin, TransformerMixin, ModelEstimator):
    """``transform`` fills NaN, None and ``missing_values``; all else comes back as it was, an array or a frame as it came.

    Numbers get the importance-weighted mean over ``draws`` of z (Mattei & Frellsen 2019), categories the most likely one;
    with ``sample_posterior`` both are drawn, for multiple imputation: one ``random_state``, one completed table. A column
    without any value in ``fit`` is dropped, or, with ``keep_empty_features``, filled with 0 (with "missing_value" where it
    holds no numbers). A column of words that are nearly all different says nothing of others: its holes stay. The other
    parameters are those of ``LatentTransformer``.

    >>> X = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, np.nan], [4.0, 40.0], [np.nan, 50.0]])
    >>> whole = Imputer(epochs=2, random_state=0).fit_transform(X)
    >>> bool(np.isnan(whole).any()), int((whole == X).sum())
    (False, 8)
    """

    def __init__(
        self,
        dims: int | None = None,
        *,
        missing_values: Any = np.nan,
        keep_empty_features: bool = False,
        sample_posterior: bool = False,
        hidden: int | Sequence[int] | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        draws: int = 64,
        families: str | Mapping[Any, str] = "auto",
        random_state: Any = None,
        settings: Mapping[str, Any] | None = None,
    ):
        self.missing_values, self.keep_empty_features = missing_values, keep_empty_features
        self.sample_posterior = sample_posterior
        self.dims, self.hidden, self.epochs, self.batch_size = dims, hidden, epochs, batch_size
        self.draws, self.families, self.random_state, self.settings = draws, families, random_state, settings

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X: Values, y: object = None) -> Imputer:
        rows = self._fit(X)
        self._make_exact()
        self._empty = {name: rows[name].dtype == object for name in rows if rows[name].isna().all()}
        return self

    def transform(self, X: Values) -> Any:
        """(N, D), D less the columns that are dropped."""
        rows = self._rows(X)
        known, _ = without_strangers(rows, self._schema)
        seed = self.model_.spec.train.seed
        filled = self.model_.impute(known, draws=self.draws, copies=int(self.sample_posterior), seed=seed)
        for name, words in self._empty.items():
            filled[name] = "missing_value" if words else 0.0
        missing = holes(rows, self._schema) if self._form.table else rows.isna().to_numpy()
        seen = as_frame(X, self.missing_values) if isinstance(X, pd.DataFrame) else rows
        kept = self._kept()
        whole = [
            completed(seen.iloc[:, i].reset_index(drop=True), filled[name], missing[:, i])
            if name in filled
            else seen.iloc[:, i]
            for i, name in enumerate(rows)
            if kept[i]
        ]
        if isinstance(X, pd.DataFrame):
            return pd.concat([s.set_axis(X.index) for s in whole], axis=1).set_axis(X.columns[kept], axis=1)
        dtype = object if self._form.table else np.float32 if getattr(X, "dtype", None) == np.float32 else np.float64
        return pd.concat(whole, axis=1).to_numpy(dtype)

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """The columns of ``fit`` less those that are dropped."""
        names: npt.NDArray[np.object_] = super().get_feature_names_out(input_features)
        return names[self._kept()]

    def _kept(self) -> npt.NDArray[np.bool_]:
        return np.array([self.keep_empty_features or name not in self._empty for name in self._form.names])


def completed(seen: pd.Series[Any], made: pd.Series[Any], gone: npt.NDArray[np.bool_]) -> pd.Series[Any]:
    """(N,) ``made`` where ``gone``, in the type of what was seen where that can hold it."""
    if not gone.any():
        return seen
    if gone.all():
        return made
    if isinstance(seen.dtype, pd.CategoricalDtype):
        made = made.astype(object)
        seen = seen.cat.add_categories([v for v in made[gone].unique() if v not in seen.cat.categories])
    elif is_number_type(seen.dtype):
        made = of_type(made, seen.dtype)
    return seen.where(~gone, made)
