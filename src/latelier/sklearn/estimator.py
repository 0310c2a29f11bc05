"""What all estimators share: parameters to settings, rows in, a model that is pickled as its own files. N = rows.

The verbs compute in float64, so that a row's result is the same in any batch to twelve digits, as scikit-learn asks.
"""

from __future__ import annotations

import copy
import numbers
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from latelier.kinds.cells.schema import TableSchema
from latelier.model import Model, fit, seeded
from latelier.sklearn.rows import Form, Values, as_frame, check_families, is_number_type, is_table
from latelier.store import Stored

SETTINGS: Mapping[str, Any] = {
    "data.kind": "tables",
    "train.threads": 1,  # as scikit-learn's own n_jobs; and a number that is measured may be another at the next fit
    "train.precision": "float32",
    "train.checkpoint": 0,
}


class Estimator(BaseEstimator):
    """Trains a model of a table on the rows of ``fit``, in a temporary folder of which nothing remains."""

    dims: int | None
    hidden: int | Sequence[int] | None
    epochs: int | None
    batch_size: int | None
    families: str | Mapping[Any, str]
    random_state: Any
    settings: Mapping[str, Any] | None
    missing_values: Any = np.nan
    model_: Model
    _form: Form

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        return {**state, "model_": packed(state["model_"])} if "model_" in state else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "model_": unpacked(state["model_"])} if "model_" in state else state)

    def _fit(self, X: Values) -> pd.DataFrame:
        """Trains, and returns the rows as the model reads them."""
        rows = self._rows(X, fitting=True)
        hidden = [self.hidden] if isinstance(self.hidden, int | np.integer) else self.hidden
        given = {
            "latent.dims": self.dims,
            "network.hidden": None if hidden is None else tuple(hidden),
            "train.epochs": self.epochs,
            "train.batch": self.batch_size,
            "train.seed": self._seed(self.random_state),
        }
        options = {**SETTINGS, **{name: value for name, value in given.items() if value is not None}}
        families = self._form.families(self.families)
        self.model_ = trained(rows, {**options, "data.families": families, **(self.settings or {})})
        return rows

    def _rows(self, X: Values, fitting: bool = False) -> pd.DataFrame:
        """Checked as scikit-learn checks, under the names that the model knows. The first call of ``fit`` decides the form."""
        if not fitting:
            check_is_fitted(self)
        table = self._is_table(X) if fitting else self._form.table
        checks: dict[str, Any] = {"ensure_min_samples": 2 if fitting else 1}
        if table:
            frame = as_frame(X, self.missing_values)
            validate_data(
                self, frame if isinstance(X, pd.DataFrame) else frame.to_numpy(), reset=fitting, skip_check_array=True
            )
            check_array(np.broadcast_to(0.0, frame.shape), estimator=self, **checks)
        else:
            values = validate_data(self, X, reset=fitting, dtype=np.float64, ensure_all_finite="allow-nan", **checks)
            frame = as_frame(values, self.missing_values)
        if fitting:
            self._form = self._form_of(X, frame, table)
        return self._form.read(frame)

    def _is_table(self, X: Values) -> bool:
        check_families(self.families)
        return self.families != "real" and (self.families == "recognise" or is_table(X))

    def _form_of(self, X: Values, frame: pd.DataFrame, table: bool) -> Form:
        names = tuple(getattr(self, "feature_names_in_", (f"x{i}" for i in range(self.n_features_in_))))
        numbers = tuple(n for n, dtype in zip(names, frame.dtypes, strict=True) if is_number_type(dtype))
        numbers = () if self.families == "recognise" else numbers
        if not isinstance(X, pd.DataFrame):
            return Form(names, numbers, table=table)
        dtypes = {name: dtype for name, dtype in zip(names, X.dtypes, strict=True) if name in numbers}
        return Form(names, numbers, X.columns, dtypes, table)

    @property
    def _schema(self) -> TableSchema:
        assert isinstance(self.model_.schema, TableSchema)
        return self.model_.schema

    def _seed(self, random_state: Any) -> int:
        if isinstance(random_state, numbers.Integral):
            return int(random_state)
        return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def trained(rows: pd.DataFrame, settings: Mapping[str, Any]) -> Model:
    """A model in float64, of which nothing is on the disk. Torch's generator stays as it was."""
    with TemporaryDirectory(prefix="latelier-") as folder, seeded(0):
        model = fit(rows, out=Path(folder, "model"), report=False, settings=settings)
    model.folder = None
    model.vae.double()
    return model


def exact(model: Model) -> Model:
    """Numbers that it makes are not rounded to the data's decimals: an estimate may have more of them."""
    assert isinstance(model.schema, TableSchema)
    columns = tuple(column.model_copy(update={"decimals": None}) for column in model.schema.columns)
    model.schema = model.schema.model_copy(update={"columns": columns})
    return model


def packed(model: Model) -> dict[str, bytes]:
    """The files of the model's folder: JSON and safetensors. Weights were trained in float32 and lose nothing."""
    vae = copy.deepcopy(model.vae).float()
    with TemporaryDirectory(prefix="latelier-") as folder:
        Model(vae, Stored(model.spec, model.schema, model.figures)).save(folder)
        return {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}


def unpacked(files: Mapping[str, bytes]) -> Model:
    with TemporaryDirectory(prefix="latelier-") as folder:
        for name, data in files.items():
            Path(folder, Path(name).name).write_bytes(data)
        model = Model.load(folder)
    model.folder = None
    model.vae.double()
    return model
