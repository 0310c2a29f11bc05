"""Frames of figures to .csv, .tsv, .parquet or .npy, streamed and whole or not at all. N = rows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from latelier.kinds.cells.writer import write_table
from latelier.kinds.pictures.write import beside


def write_frames(frames: Iterable[pd.DataFrame], path: Path) -> None:
    """Frames of the same columns, one after the other, as one file. BadInput where it is there already or its suffix is unknown.

    >>> write_frames([pd.DataFrame({"score": [-1.5]}), pd.DataFrame({"score": [-2.0]})], folder / "scores.csv")
    >>> (folder / "scores.csv").read_text()
    'score\\n-1.5\\n-2.0\\n'
    """
    if path.suffix.lower() == ".npy":
        _write_array(frames, path)
    else:
        write_table((pa.Table.from_pandas(frame, preserve_index=False) for frame in frames), path)


def _write_array(frames: Iterable[pd.DataFrame], path: Path) -> None:
    """(N, columns) float32; numpy leaves room in the head for the number of rows to grow."""
    rows = width = 0
    with beside(path) as unfinished, unfinished.open("wb") as file:

        def head() -> None:
            file.seek(0)
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, width)})

        for frame in frames:
            values = np.ascontiguousarray(frame.to_numpy(np.float32))
            if rows == 0:
                width = values.shape[1]
                head()
            file.write(values.data)
            rows += len(values)
        head()
