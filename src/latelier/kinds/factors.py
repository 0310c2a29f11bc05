"""Known factors of rows: columns of their table, columns of another table beside them, the labels of pictures. N = rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latelier.data.rows import hold
from latelier.data.schema import Schema
from latelier.errors import BadInput, unknown
from latelier.kinds.base import Kind, Source
from latelier.kinds.cells.several import open_table
from latelier.kinds.tables import Tables
from latelier.spec import DataSpec


def factors_of(source: Source, kind: Kind[Any], schema: Schema, names: Sequence[str] | pd.DataFrame) -> pd.DataFrame:
    """Of every row of the source, in its order: the columns named (whether the model knows them or not), ``label`` of pictures,
    all columns of a table whose path is the one name, or a frame as it is."""
    if isinstance(names, pd.DataFrame):
        return names
    beside = Path(names[0]).expanduser() if len(names) == 1 else None
    if beside is not None and beside.is_file():
        return columns_of(beside, None)
    reader = getattr(kind, "labels", None)
    if reader is None:
        return columns_of(source, names)
    known: Sequence[str] = getattr(schema, "labels", ())
    for name in names:
        if name != "label":
            raise BadInput(
                f"--factors {name}: of pictures 'label' is known alone; or name a table of one line a picture"
            )
    parts = reader(source, schema)
    if parts is None:
        raise BadInput(
            "--factors label: these pictures have no labels that the model saw; name a table of factors instead"
        )
    ids = np.concatenate(list(parts))
    return pd.DataFrame({"label": [known[i] if i >= 0 else None for i in ids]})


def columns_of(source: Source, names: Sequence[str] | None) -> pd.DataFrame:
    """These columns of a table, or all of them, in their types."""
    tables, every = Tables(), open_table(source, DataSpec().header).names
    for name in names or ():
        if name not in every:
            raise unknown("factor", name, every)
    schema = tables.scan(source, DataSpec(ignore=tuple(n for n in every if names and n not in names)))
    frame: pd.DataFrame = tables.present(hold(tables.read(source, schema)), schema)
    for name in names or every:
        if name not in frame.columns:
            raise BadInput(f"factor {name!r}: cannot be used as numbers or classes; leave it out")
    return frame[list(names or every)]
