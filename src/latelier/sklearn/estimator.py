"""What all estimators share: parameters to settings, rows in, models that are pickled as their own files. N = rows.

The verbs compute in float64, so that a row's result is the same in any batch to twelve digits, as scikit-learn asks.
"""

from __future__ import annotations

import copy
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from latelier.detector import PAGE, Detector
from latelier.kinds.cells.schema import TableSchema
from latelier.model import Model, fit
from latelier.noise import seeded
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
    _form: Form
    _trained: ClassVar[str] = "model_"  # the attribute that holds what is pickled as files
    _least: ClassVar[int] = 2  # rows to train on

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        return {**state, self._trained: packed(state[self._trained])} if self._trained in state else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        whole = {**state, self._trained: unpacked(state[self._trained])} if self._trained in state else state
        super().__setstate__(whole)

    def _settings(self) -> dict[str, Any]:
        """What the parameters say, in the words of ``Spec``; to be asked once the form of the rows is known."""
        hidden = [self.hidden] if isinstance(self.hidden, int | np.integer) else self.hidden
        given = {
            "latent.dims": self.dims,
            "network.hidden": None if hidden is None else tuple(hidden),
            "train.epochs": self.epochs,
            "train.batch": self.batch_size,
            "data.families": self._form.families(self.families),
        }
        return {**SETTINGS, **{k: v for k, v in given.items() if v is not None}, **(self.settings or {})}

    def _rows(self, X: Values, fitting: bool = False) -> pd.DataFrame:
        """Checked as scikit-learn checks, under the names that the model knows. The first call of ``fit`` decides the form."""
        if not fitting:
            check_is_fitted(self)
        table = self._is_table(X) if fitting else self._form.table
        checks: dict[str, Any] = {"ensure_min_samples": self._least if fitting else 1}
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

    def _seed(self, random_state: Any) -> int:
        if isinstance(random_state, numbers.Integral):
            return int(random_state)
        return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


class ModelEstimator(Estimator):
    """With one model, ``model_``."""

    model_: Model

    def _fit(self, X: Values) -> pd.DataFrame:
        """Trains, and returns the rows as the model reads them. Torch's generator stays as it was."""
        rows = self._rows(X, fitting=True)
        settings = {"train.seed": self._seed(self.random_state), **self._settings()}
        with TemporaryDirectory(prefix="latelier-") as folder, seeded(0):
            model = fit(rows, out=Path(folder, "model"), report=False, settings=settings)
        self.model_ = in_float64(model)
        return rows

    def _make_exact(self) -> None:
        """Numbers that the model makes are not rounded to the data's decimals: an estimate may have more of them."""
        columns = tuple(column.model_copy(update={"decimals": None}) for column in self._schema.columns)
        self.model_.schema = self._schema.model_copy(update={"columns": columns})

    @property
    def _schema(self) -> TableSchema:
        assert isinstance(self.model_.schema, TableSchema)
        return self.model_.schema


def in_float64(model: Model) -> Model:
    """The model itself, of which nothing is on the disk any more."""
    model.folder = None
    model.vae.double()
    return model


def in_float32(model: Model) -> Model:
    """A copy. Weights were trained so and lose nothing."""
    return Model(copy.deepcopy(model.vae).float(), Stored(model.spec, model.schema, model.figures))


def packed(trained: Model | Detector) -> dict[str, bytes]:
    """The files of its folder, JSON and safetensors, by their paths in it."""
    if isinstance(trained, Detector):
        members = [in_float32(member) for member in trained.density.members]
        density = replace(trained.density, members=members)
        single: Model | Detector = Detector(trained.reading, density, trained.usual)
    else:
        single = in_float32(trained)
    with TemporaryDirectory(prefix="latelier-") as outer:
        folder = single.save(Path(outer, "saved"))
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def unpacked(files: Mapping[str, bytes]) -> Model | Detector:
    with TemporaryDirectory(prefix="latelier-") as folder:
        for name, data in files.items():
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        if PAGE not in files:
            return in_float64(Model.load(folder))
        detector = Detector.load(folder)
    members = [in_float64(member) for member in detector.density.members]
    detector.density = replace(detector.density, members=members)
    return detector
