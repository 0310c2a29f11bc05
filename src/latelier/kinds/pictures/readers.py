"""Arrays read part by part: from memory, .npy, .npz, and MNIST's IDX (also .gz). N = rows."""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from latelier.errors import BadInput

Numbers = npt.NDArray[Any]
Parts = Callable[[int], Iterator[Numbers]]  # at most so many rows at a time -> raw rows
_IDX = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}  # types in yann.lecun.com/exdb/mnist


@dataclass(frozen=True)
class Table:
    """Raw numbers of any shape (N, ...), wherever they are."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    parts: Parts


def from_memory(array: Numbers, place: str = "array") -> Table:
    """An array in memory, or one mapped from a file."""

    def parts(rows: int) -> Iterator[Numbers]:
        for i in range(0, len(array), rows):
            yield array[i : i + rows]

    return Table(array.shape, _plain(array.dtype, place), parts)


def from_npy(path: Path) -> Table:
    """Read in order, so that a file larger than memory costs a part at a time; columns-first ones are memory-mapped."""

    def parts(rows: int) -> Iterator[Numbers]:
        with clear(path), path.open("rb") as file:
            _npy_head(file)
            yield from _streamed(file, shape, dtype, rows)

    with clear(path), path.open("rb") as file:
        shape, fortran, dtype = _npy_head(file)
        if fortran and not dtype.hasobject:
            return from_memory(np.load(path, mmap_mode="r", allow_pickle=False), str(path))
    return Table(shape, _plain(dtype, str(path)), parts)


def npz_keys(path: Path) -> dict[str, tuple[int, ...]]:
    """The arrays of an .npz and their shapes, without their numbers."""
    with clear(path), zipfile.ZipFile(path) as archive:
        keys = {}
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as file:
                    keys[member[:-4]] = _npy_head(file)[0]
        return keys


def from_npz(path: Path, key: str) -> Table:
    """One array of an .npz, unpacked as it is read."""
    with clear(path), zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as file:
        shape, fortran, dtype = _npy_head(file)

    def parts(rows: int) -> Iterator[Numbers]:
        with clear(path), zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as file:
            if fortran:  # columns first: no row is complete before the end
                yield from from_memory(np.lib.format.read_array(file, allow_pickle=False)).parts(rows)
            else:
                _npy_head(file)
                yield from _streamed(file, shape, dtype, rows)

    return Table(shape, _plain(dtype, f"{path}, {key!r}"), parts)


def from_idx(path: Path) -> Table:
    """MNIST's form, also gzipped: two zero bytes, type, number of dimensions, dimensions, numbers, all big-endian."""
    with clear(path), _idx_open(path) as file:
        shape, dtype = _idx_head(file)
        start = 4 + 4 * len(shape)

    def parts(rows: int) -> Iterator[Numbers]:
        with clear(path), _idx_open(path) as file:
            file.read(start)
            yield from _streamed(file, shape, dtype, rows)

    return Table(shape, dtype, parts)


def is_idx(path: Path) -> bool:
    """Does the file begin as IDX does?"""
    try:
        with _idx_open(path) as file:
            _idx_head(file)
            return True
    except (OSError, EOFError, ValueError, zlib.error):
        return False


def whole(table: Table) -> Numbers:
    """All of it, for labels: a number a row."""
    return (
        np.concatenate(list(table.parts(1 << 20)))
        if table.shape and table.shape[0]
        else np.empty(table.shape, table.dtype)
    )


@contextmanager
def clear(path: Path) -> Iterator[None]:
    """What numpy, zip and gzip say of a bad file becomes one line."""
    try:
        yield
    except BadInput:
        raise
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{path}: cannot be read ({cause}); copy or save it again") from None


def _plain(dtype: np.dtype[Any], place: str) -> np.dtype[Any]:
    if dtype.hasobject:
        raise BadInput(f"{place}: Python objects, which are never unpickled; make it one uint8 array of equal pictures")
    return dtype


def _npy_head(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    head = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = head(file)
    return tuple(shape), bool(fortran), dtype


def _idx_open(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _idx_head(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX or not 1 <= magic[3] <= 4:
        raise ValueError("not in IDX form: the first bytes are " + magic.hex(" "))
    shape = np.frombuffer(file.read(4 * magic[3]), ">u4")
    if len(shape) < magic[3]:
        raise EOFError("the file ends within its head")
    return tuple(int(n) for n in shape), np.dtype(_IDX[magic[2]]).newbyteorder(">" if magic[2] > 9 else "=")


def _streamed(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], rows: int) -> Iterator[Numbers]:
    size = math.prod(shape[1:]) * dtype.itemsize
    for i in range(0, shape[0], rows):
        n = min(rows, shape[0] - i)
        raw = file.read(n * size)
        if len(raw) < n * size:
            raise EOFError(f"truncated: {shape[0]} rows were announced, {i + len(raw) // max(size, 1)} are there")
        yield np.frombuffer(raw, dtype).reshape(n, *shape[1:])
