"""Frames of figures to .csv, .tsv, .parquet or .npy, streamed and whole or not at all. N = rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from latelier.errors import BadInput
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


def write_rows(frames: Iterable[pd.DataFrame], path: Path, start: int = 0, files: Sequence[str] | None = None) -> None:
    """The same for what is said of rows one by one: before it stand ``row``, the row's number from ``start`` on, and where rows
    are files of their own ``file``. An array (.npy) holds what is said alone.

    >>> write_rows([pd.DataFrame({"z[0]": [0.5]}), pd.DataFrame({"z[0]": [1.5]})], folder / "z.csv", 7, ["a.png", "b.png"])
    >>> (folder / "z.csv").read_text()
    'row,file,z[0]\\n7,a.png,0.5\\n8,b.png,1.5\\n'
    """
    write_frames(frames if path.suffix.lower() == ".npy" else _with_places(frames, start, files), path)


def _with_places(frames: Iterable[pd.DataFrame], start: int, files: Sequence[str] | None) -> Iterator[pd.DataFrame]:
    done = 0
    for frame in frames:
        after = done + len(frame)
        places = {"row": np.arange(start + done, start + after)}
        if files is not None:
            places["file"] = np.array(files[done:after], dtype=object)
        told = [f"{name} (column)" if name in ("row", "file") else name for name in frame.columns]
        yield pd.concat([pd.DataFrame(places), frame.set_axis(told, axis=1)], axis=1)
        done = after


def _write_array(frames: Iterable[pd.DataFrame], path: Path) -> None:
    """(N, columns) float32; numpy leaves room in the head for the number of rows to grow."""
    rows = width = 0
    with beside(path) as unfinished, unfinished.open("wb") as file:

        def head() -> None:
            file.seek(0)
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, width)})

        for frame in frames:
            try:
                values = np.ascontiguousarray(frame.to_numpy(np.float32))
            except ValueError:
                raise BadInput(
                    f"{path}: an array holds numbers, and here are words too; write a .csv or .parquet"
                ) from None
            if rows == 0:
                width = values.shape[1]
                head()
            file.write(values.data)
            rows += len(values)
        head()
