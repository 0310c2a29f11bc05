"""Where pictures come from: a path or an array becomes a ``Folder`` or a ``Grid``, with the labels that it holds."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from latelier.errors import BadInput
from latelier.kinds.base import Opened, Source
from latelier.kinds.pictures.arrays import Grid
from latelier.kinds.pictures.files import SUFFIXES, Folder, picture_names
from latelier.kinds.pictures.readers import (
    Numbers,
    from_idx,
    from_memory,
    from_npy,
    from_npz,
    is_idx,
    npz_keys,
    whole,
)

PICTURE_KEYS = ("images", "image", "x", "X", "x_train", "X_train", "train_images", "data", "arr_0")
WORDS = (".md", ".txt", ".rst", "")  # of files that may lie beside the one array that a folder is recognised by
LABEL_KEYS = ("y", "labels", "label", "Y", "y_train", "train_labels")


def pictures_in(source: Source, allowed: int = 0) -> Folder | Grid:
    """The pictures of a path or an array; what is open already stays as it is. BadInput says what was looked for."""
    if isinstance(source, Folder):
        return source
    if isinstance(source, (pd.DataFrame, Opened)):
        raise BadInput("a data frame is a table, not pictures; pass an array of shape (N, H, W) or a folder")
    if isinstance(source, np.ndarray):
        return Grid(from_memory(source), "array", "array")
    path = Path(source)
    if not path.exists():
        near = get_close_matches(path.name, [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else [], 1)
        raise BadInput(
            f"{path}: no such file or folder"
            + (f"; did you mean {path.parent / near[0]}?" if near else "; check the path")
        )
    if path.is_dir():
        return _folder(path, allowed)
    if path.suffix.lower() in SUFFIXES:
        return Folder(path)
    if path.suffix.lower() == ".npy":
        return Grid(from_npy(path), str(path), "npy")
    if path.suffix.lower() == ".npz":
        return _npz(path)
    if is_idx(path):
        return _idx(path)
    raise BadInput(
        f"{path}: not pictures; pass a folder of PNG, JPEG, WebP, BMP or GIF files, one such file, "
        ".npz, .npy, or MNIST's IDX (also .gz)"
    )


def source_evidence(source: Source) -> str | None:
    """What makes the source look like pictures, from names and heads alone; None where nothing does."""
    if isinstance(source, (pd.DataFrame, Opened)):
        return None
    if isinstance(source, np.ndarray):
        return f"an array of shape {source.shape}" if source.ndim in (3, 4) and source.dtype.kind in "buif" else None
    path = Path(source)
    if path.is_dir():
        names, others = picture_names(path)
        if names:
            return f"{len(names):,} picture file(s) in folder {path.name}"
        idx = _idx_pictures(path, others)
        if idx:
            return f"{idx[0]}, pictures in IDX form, in folder {path.name}"
        arrays = _arrays(others)
        alone = len(arrays) == 1 and all(name in arrays or Path(name).suffix.lower() in WORDS for name in others)
        return source_evidence(path / arrays[0]) if alone else None
    if not path.is_file():
        return None
    if path.suffix.lower() in SUFFIXES:
        return f"{path.name} is a picture file"
    try:
        if path.suffix.lower() in (".npy", ".npz") or is_idx(path):
            grid = pictures_in(path)
            return f"{path.name} holds an array of shape {grid.table.shape}" if isinstance(grid, Grid) else None
    except BadInput:
        return None
    return None


def _folder(path: Path, allowed: int) -> Folder | Grid:
    folder = Folder(path, allowed)
    if folder.names:
        return folder
    idx = _idx_pictures(path, folder.others)
    if len(idx) == 1:
        return _idx(path / idx[0])
    if idx:
        raise BadInput(f"{path}: several files of pictures ({', '.join(idx[:4])}); pass one of them")
    arrays = _arrays(folder.others)
    if len(arrays) == 1:
        return pictures_in(path / arrays[0])
    if arrays:
        raise BadInput(f"{path}: several files of arrays ({', '.join(arrays[:4])}); pass one of them")
    looked = f"looked for {', '.join(SUFFIXES)}, .npz, .npy and IDX files"
    raise BadInput(f"{path}: the folder holds no pictures; {looked}; check the path")


def _arrays(names: list[str]) -> list[str]:
    return [name for name in names if name.lower().endswith((".npz", ".npy"))]


def _idx_pictures(path: Path, names: list[str]) -> list[str]:
    """Files in IDX form with at least three dimensions; those for training where names say so."""
    likely = [name for name in names if "idx" in name.lower() or "ubyte" in name.lower()]
    pictures = [name for name in likely if is_idx(path / name) and len(from_idx(path / name).shape) >= 3]
    return [name for name in pictures if "train" in name.lower()] or pictures


def _idx(path: Path) -> Grid:
    """With the labels whose file's name differs in 'labels' for 'images' and '1' for the dimensions."""
    table = from_idx(path)
    beside = path.name.replace("images", "labels").replace("idx3", "idx1")
    bare = beside.removesuffix(".gz")
    labels = next(
        (p for p in (path.with_name(beside), path.with_name(bare), path.with_name(bare + ".gz")) if p.is_file()), None
    )
    if labels is None or labels == path or not is_idx(labels):
        return Grid(table, str(path), "idx")
    return Grid(table, str(path), "idx", _matched(labels, None, table.shape))


def _npz(path: Path) -> Grid:
    keys = npz_keys(path)
    fitting = [key for key, shape in keys.items() if len(shape) in (3, 4)]
    key = next((k for k in PICTURE_KEYS if k in fitting), fitting[0] if len(fitting) == 1 else None)
    # An array named as pictures are is taken even where its shape is wrong, so that the error speaks of it.
    key = key or next((k for k in PICTURE_KEYS if k in keys), None) or (next(iter(keys)) if len(keys) == 1 else None)
    if key is None:
        held = ", ".join(f"{k} {shape}" for k, shape in keys.items()) or "nothing"
        raise BadInput(
            f"{path}: no array of pictures; it holds {held}; call it 'images', of shape (N, H, W) or (N, H, W, C)"
        )
    label = next((k for k in LABEL_KEYS if k in keys and k != key), None)
    table = from_npz(path, key)
    return Grid(table, str(path), "npz", None if label is None else _matched(path, label, table.shape))


def _matched(path: Path, key: str | None, pictures: tuple[int, ...]) -> Numbers | None:
    """One label a picture, or None: another array may well be called 'y', and labels are not always wanted."""
    try:
        table = from_idx(path) if key is None else from_npz(path, key)
    except BadInput:
        return None
    return whole(table).reshape(-1) if table.shape in (pictures[:1], (*pictures[:1], 1)) else None
