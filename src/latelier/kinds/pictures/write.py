"""Pictures to files, streamed and whole or not at all. N = rows, C = channels, H, W = pixels.

Everything is written beside its place under another name and moved there at the end.
"""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from latelier.errors import BadInput
from latelier.kinds.pictures.files import Pixels

Parts = Iterable[
    tuple[Pixels, list[str] | None]
]  # pictures (n, H, W) or (n, H, W, C), and their labels where they have any
SECONDS = 0.08  # that a picture of an animation stays


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A name to write under, in the folder of ``path``; moved to ``path`` at the end, removed after an error.

    Nothing that exists is overwritten, save an empty folder.
    """
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise BadInput(f"{path}: already there, and nothing is overwritten; remove it or give another path")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shelter = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror}); give another path") from None
    try:
        yield shelter / path.name
        if (shelter / path.name).is_file():  # on the disk before it has its name, so that no half of a file ever has
            sync(shelter / path.name)
        os.replace(shelter / path.name, path)
        sync(path.parent)
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be written ({error.strerror or error}); make room or give another path"
        ) from None
    finally:
        shutil.rmtree(shelter, ignore_errors=True)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    place = os.open(path, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


def write_folder(parts: Parts, path: Path, by_label: bool) -> None:
    """A file a row: 000000.png, 000001.png, ...

    In sub-folders named by label if ``by_label`` and names can be folders'; other labels go into labels.csv.
    """
    with beside(path) as folder:
        folder.mkdir()
        noted: list[tuple[str, str]] = []
        number = 0
        for pictures, labels in parts:
            for i, picture in enumerate(pictures):
                name = f"{number:06d}.png"
                if labels is not None and by_label and Path(labels[i]).name == labels[i] != "..":
                    (folder / labels[i]).mkdir(exist_ok=True)
                    name = f"{labels[i]}/{name}"
                elif labels is not None:
                    noted.append((name, labels[i]))
                Image.fromarray(picture).save(folder / name)
                number += 1
        if noted:
            with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("file", "label"), *noted])


def write_array(parts: Parts, path: Path) -> None:
    """One .npy, or one .npz with the array ``images`` and, where there are labels, ``labels``."""
    with beside(path) as file:
        raw = file.with_name("images.npy")
        words: list[str] = []
        with raw.open("wb") as out:
            rows, shape = 0, (0, 0)
            _head(out, (0, 0, 0))
            for pictures, labels in parts:
                if rows == 0:
                    shape = pictures.shape[1:]
                    out.seek(0)
                    _head(out, (0, *shape))
                out.write(np.ascontiguousarray(pictures).data)
                rows += len(pictures)
                words += labels or []
            # numpy leaves room in the head for the number of rows to grow.
            out.seek(0)
            _head(out, (rows, *shape))
        if path.suffix == ".npy":
            raw.rename(file)
            return
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(raw, "images.npy")
            if words:
                with archive.open("labels.npy", "w") as member:
                    np.lib.format.write_array(member, np.array(words), allow_pickle=False)


def write_gif(parts: Parts, path: Path, seconds: float = SECONDS) -> None:
    """An endless animation, a picture a row. Pillow keeps the frames until the end: for hundreds, not millions."""
    frames = (Image.fromarray(picture) for pictures, _ in parts for picture in pictures)
    with beside(path) as file:
        first = next(frames, None)
        if first is None:
            raise BadInput(f"{path}: there are no pictures to write")
        first.save(file, save_all=True, append_images=frames, duration=round(seconds * 1000), loop=0)


def write_one(parts: Parts, path: Path) -> None:
    """The only row as one .png."""
    with beside(path) as file:
        rows = 0
        for pictures, _ in parts:
            rows += len(pictures)
            if rows > 1:
                raise BadInput(f"{path}: holds one picture, and there are more; give a folder, .npz, .npy or .gif")
            Image.fromarray(pictures[0]).save(file)
        if rows == 0:
            raise BadInput(f"{path}: there are no pictures to write")


def _head(out: IO[bytes], shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": shape})
