"""What a scikit-learn user hands in, as the frame that a model of a table reads, and back. N = rows, D = columns.

Columns of numbers are numbers, in frames and arrays alike, as scikit-learn has it; words, categories, yes/no and dates are
recognised. The model knows columns by the names that scikit-learn would know them by, or as x0, x1, ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pandas.api.types import is_bool_dtype, is_complex_dtype, is_integer_dtype, is_numeric_dtype

from latelier.errors import BadInput
from latelier.kinds.cells.columns import FAMILIES, Column
from latelier.kinds.cells.files import FrameTable
from latelier.kinds.cells.schema import TableSchema

Values = Any  # whatever scikit-learn takes: arrays, lists, frames


@dataclass(frozen=True)
class Form:
    """How rows looked in ``fit``, so that later ones are read alike and results look the same."""

    names: tuple[str, ...]  # of the columns, as the model knows them
    numbers: tuple[str, ...]  # those that are numbers by their type
    labels: pd.Index[Any] | None = None  # the frame's own; None where rows came as an array
    dtypes: Mapping[str, Any] = field(default_factory=dict)  # the frame's own, of ``numbers``
    table: bool = False  # is there anything but numbers?

    def read(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Under the model's names, numbers as float64. BadInput where they are none."""
        frame = frame.set_axis(list(self.names), axis=1).reset_index(drop=True)
        for name in self.numbers:
            try:
                frame[name] = frame[name].astype(np.float64)
            except (TypeError, ValueError) as error:
                raise BadInput(f"column {name!r}: {error}; it held numbers in fit") from None
        return frame

    def shown(self, frame: pd.DataFrame) -> Any:
        """What the model made, in all columns: a frame where there was one, an array where there was one. Columns that are
        not in the model are empty."""
        whole = frame.reindex(columns=list(self.names))
        if self.labels is None:
            return whole.to_numpy(object if self.table else np.float64)
        return whole.assign(**{k: of_type(whole[k], dtype) for k, dtype in self.dtypes.items()}).set_axis(
            self.labels, axis=1
        )

    def families(self, asked: str | Mapping[Any, str]) -> dict[str, str]:
        """Column -> family, for those that are not to be recognised. ``asked`` names columns by name or place."""
        if isinstance(asked, str):
            return {} if asked == "recognise" else dict.fromkeys(self.numbers, "real")
        named = {self.names[key] if isinstance(key, int) else str(key): family for key, family in asked.items()}
        return dict.fromkeys(self.numbers, "real") | named


def check_families(asked: str | Mapping[Any, str]) -> None:
    if isinstance(asked, str) and asked not in ("auto", "real", "recognise"):
        raise BadInput(
            f"families = {asked!r}: give 'auto', 'real', 'recognise', or a mapping of columns to {', '.join(FAMILIES)}"
        )


def is_table(X: Values) -> bool:
    """Is there anything but numbers in it?"""
    if isinstance(X, pd.DataFrame):
        return not all(map(is_number_type, X.dtypes))
    if not isinstance(X, (list, tuple, np.ndarray)) or (isinstance(X, np.ndarray) and X.dtype.kind not in "OUS"):
        return False
    return any(isinstance(value, str) for row in X if isinstance(row, (list, tuple, np.ndarray)) for value in row)


def is_number_type(dtype: Any) -> bool:
    return is_numeric_dtype(dtype) and not is_bool_dtype(dtype) and not is_complex_dtype(dtype)


def as_frame(X: Values, missing: Any = np.nan) -> pd.DataFrame:
    """Frames as they are, arrays with the types that their columns have; NaN in place of ``missing``."""
    if isinstance(X, pd.DataFrame):
        return X if pd.isna(missing) else X.mask(X.eq(missing))
    numbers = isinstance(X, np.ndarray) and X.dtype.kind in "biuf"
    frame = pd.DataFrame(X if numbers else np.asarray(X, dtype=object))
    return (frame if pd.isna(missing) else frame.mask(frame.eq(missing))).infer_objects()


def of_type(series: pd.Series[Any], dtype: Any) -> pd.Series[Any]:
    """Estimated numbers in another type of numbers, where that can hold them."""
    if is_integer_dtype(dtype):
        series = series.round()
        if series.isna().any() and isinstance(dtype, np.dtype):  # which has no missing value
            return series
    return series.astype(dtype)


def holes(frame: pd.DataFrame, schema: TableSchema) -> npt.NDArray[np.bool_]:
    """(N, D) where there is nothing, or a spelling of "not there"."""
    found = [
        array.is_null().to_numpy(zero_copy_only=False)
        for array in _arrays(frame, schema, [str(name) for name in frame]).values()
    ]
    return np.stack(found, 1)


def without_strangers(frame: pd.DataFrame, schema: TableSchema) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """The rows with values that did not occur in ``fit`` taken out, and (N,) how many each had.

    A category that is new, or anything new in a column that never varied, is in no likelihood. In cross-validation that is
    an everyday event, so it is no error here, as it is for ``Model``.
    """
    count = np.zeros(len(frame), np.int64)
    coded = [c.name for c in schema.columns if c.levels or c.family == "constant"]
    for name, array in _arrays(frame, schema, coded).items() if coded else ():
        column = schema.by_name[name]
        if not _occurred(column, array):
            values = array.dictionary_encode()
            strange = [not _occurred(column, values.dictionary.slice(i, 1)) for i in range(len(values.dictionary))]
            new = np.array([*strange, False])[values.indices.fill_null(len(strange)).to_numpy()]
            frame = frame.assign(**{name: frame[name].mask(new)})
            count += new
    return frame, count


def _occurred(column: Column, array: pa.Array) -> bool:
    try:
        column.encode(array, str)
    except BadInput:
        return False
    return True


def _arrays(frame: pd.DataFrame, schema: TableSchema, names: Sequence[str]) -> dict[str, pa.Array]:
    return next(FrameTable(frame).blocks(names, schema.missing, len(frame)))
