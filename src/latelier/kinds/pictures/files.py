"""Picture files brought to one frame. N = rows, C = channels (1 grey, 3 colour, 4 with alpha), H, W = pixels.

Files are decoded one at a time, so memory does not depend on how many there are.
"""

from __future__ import annotations

import copy
import math
import re
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from latelier.errors import BadInput
from latelier.kinds.base import Opened

Pixels = npt.NDArray[np.uint8]
Colour = Literal["grey", "rgb", "rgba"]
CHANNELS: dict[Colour, int] = {"grey": 1, "rgb": 3, "rgba": 4}
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
PART = 32 << 20  # bytes of pixels that are in memory at a time, however many rows were asked for

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")  # no other decoder of Pillow's is ever run on a user's file
_ORIENTATION = 0x0112  # the tag of EXIF; 5 to 8 exchange height and width


@dataclass(frozen=True)
class Frame:
    """What every picture is brought to.

    The rule: the largest centred part with the frame's aspect ratio is cut out, then resized, with Lanczos' filter when
    it shrinks and a bicubic one when it grows. Where ``exact``, a picture of another size is an error instead.
    """

    height: int
    width: int
    colour: Colour
    exact: bool = False

    @property
    def bytes(self) -> int:
        return CHANNELS[self.colour] * self.height * self.width

    def crop(self, height: int, width: int) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of the part that is kept of a picture, pixels.

        >>> Frame(8, 8, "grey").crop(height=10, width=30)
        (10, 0, 20, 10)
        """
        ratio = self.width / self.height
        w, h = (height * ratio, height) if width > height * ratio else (width, width / ratio)
        w, h = max(round(w), 1), max(round(h), 1)
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h

    def fit(self, image: Image.Image, place: str) -> Image.Image:
        """The picture in the frame's size; ``place`` names it in the error."""
        width, height = image.size
        if (height, width) == (self.height, self.width):
            return image
        if self.exact:
            raise BadInput(
                f"{place}: {height} x {width} pixels, but the data were {self.height} x {self.width} (height x width) "
                f"throughout; resize it, or fit again with --set data.pixels=[{self.height},{self.width}]"
            )
        # Cut first: a filter that is only given a box also reads beyond its edges.
        part = image.crop(self.crop(height, width))
        return part.resize((self.width, self.height), _down if part.width >= self.width else _up)


_down, _up = Image.Resampling.LANCZOS, Image.Resampling.BICUBIC


def natural(name: str) -> tuple[str | int, ...]:
    """The key of an order in which 9 comes before 10.

    >>> sorted(["a10.png", "a9.png", "B1.png"], key=natural)
    ['a9.png', 'a10.png', 'B1.png']
    """
    parts = re.split(r"([0-9]+)", name.lower())
    return (*(int(part) if i % 2 else part for i, part in enumerate(parts)), name)


def picture_names(folder: Path) -> tuple[list[str], list[str]]:
    """Names below ``folder``, relative to it: pictures, and other files, in natural order; hidden ones are not."""
    pictures: list[str] = []
    others: list[str] = []
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts) or path.is_dir():
            continue
        (pictures if path.suffix.lower() in SUFFIXES else others).append(relative.as_posix())
    return sorted(pictures, key=natural), sorted(others, key=natural)


def header(path: Path) -> tuple[int, int, str]:
    """(height, width, mode) of a picture as it stands upright, without decoding its pixels."""
    with _opened(path) as image:
        width, height = image.size
        # Asking a PNG for EXIF that its head does not hold would decode the whole file.
        turned = "exif" in image.info and image.getexif().get(_ORIENTATION, 1) >= 5
        return (width, height, image.mode) if turned else (height, width, image.mode)


def decode(path: Path, frame: Frame) -> Pixels:
    """(C, H, W) of the frame. Upright as EXIF says; 16-bit grey scaled to 8 bits; of an animation the first frame."""
    with _opened(path) as image:
        if not frame.exact and image.format == "JPEG":
            # JPEG can be decoded at 1/2, 1/4, 1/8 of its size; twice the frame's is kept for the filter.
            longer = max(frame.height, frame.width) * 2
            scale = longer / min(image.size)
            image.draft(None, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
        upright = ImageOps.exif_transpose(image)
        return recolour(planes(frame.fit(plain(upright), str(path))), frame.colour)


def plain(image: Image.Image) -> Image.Image:
    """The picture in mode L, RGB or RGBA, whichever keeps all that 8 bits a channel can hold of it."""
    if image.mode in ("L", "RGB", "RGBA") and not image.has_transparency_data:
        return image
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode.startswith("I"):
        deep = np.asarray(image).astype(np.int64)
        return Image.fromarray(((deep.clip(0, 65535) + 128) // 257).astype(np.uint8))
    return image.convert("L" if image.mode == "1" else "RGB")


def planes(image: Image.Image) -> Pixels:
    """(C, H, W) of a picture in mode L, RGB or RGBA."""
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def recolour(x: Pixels, colour: Colour) -> Pixels:
    """(..., c, H, W) with c = 1, 3 or 4 -> (..., C, H, W). Lost alpha is laid on white; grey is the luma of ITU-R 601.

    >>> recolour(np.array([0, 0, 0, 102], dtype=np.uint8).reshape(4, 1, 1), "grey").item()
    153
    """
    channels, wanted = x.shape[-3], CHANNELS[colour]
    if channels == wanted:
        return x
    if channels == 4:
        alpha = x[..., 3:, :, :].astype(np.uint32)
        over = x[..., :3, :, :] * alpha + 255 * (255 - alpha)
        return recolour(((over + 127) // 255).astype(np.uint8), colour)
    if wanted == 1:
        red, green, blue = (x[..., i : i + 1, :, :].astype(np.uint32) for i in range(3))
        return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)
    rgb = np.repeat(x, 3, axis=-3) if channels == 1 else x
    opaque = np.full_like(rgb[..., :1, :, :], 255)
    return rgb if wanted == 3 else np.concatenate([rgb, opaque], axis=-3)


class Folder(Opened):
    """The pictures of a folder (or one picture file), in natural order of their names.

    ``allowed`` unreadable files are collected in ``bad`` (name -> cause) and passed over; one more is an error.
    """

    form: Literal["folder", "file"]

    def __init__(self, path: Path, allowed: int = 0):
        self.path, self.allowed = path, allowed
        self.bad: dict[str, str] = {}
        if path.is_dir():
            self.form, self.root = "folder", path
            self.names, self.others = picture_names(path)
        else:
            self.form, self.root = "file", path.parent
            self.names, self.others = [path.name], []

    def __len__(self) -> int:
        return len(self.names)

    def piece(self, start: int, rows: int) -> Folder:
        """The same folder as if it held only so many of its pictures, from number ``start`` on."""
        found = copy.copy(self)
        found.names, found.bad = self.names[start : start + rows], {}
        return found

    def drop(self, names: tuple[str, ...]) -> None:
        """Leaves out those of ``names`` that are here and cannot be read, as they could not when they were noted."""
        listed = set(names)
        for name in [n for n in self.names if n in listed]:
            try:
                decode(self.root / name, Frame(8, 8, "grey"))
            except BadInput:
                self.names.remove(name)

    def leave_out_bad(self) -> tuple[str, ...]:
        """Takes the files that could not be read from the names, and returns them."""
        self.names = [name for name in self.names if name not in self.bad]
        return tuple(self.bad)

    def headers(self) -> tuple[Counter[tuple[int, int]], Counter[str]]:
        """How many pictures there are of each (height, width), and of each of Pillow's modes."""
        sizes: Counter[tuple[int, int]] = Counter()
        modes: Counter[str] = Counter()
        for name in self.names:
            with self._tolerant(name):
                height, width, mode = header(self.root / name)
                sizes[height, width] += 1
                modes[mode] += 1
        return sizes, modes

    def read(self, frame: Frame, rows: int) -> Iterator[Pixels]:
        """(n, C, H, W) with n at most ``rows``."""
        rows = max(1, min(rows, PART // frame.bytes))
        part: list[Pixels] = []
        for name in self.names:
            if name in self.bad:
                continue
            with self._tolerant(name):
                part.append(decode(self.root / name, frame))
            if len(part) == rows:
                yield np.stack(part)
                part = []
        if part:
            yield np.stack(part)

    @contextmanager
    def _tolerant(self, name: str) -> Iterator[None]:
        try:
            yield
        except BadInput as error:
            if len(self.bad) >= self.allowed:
                also = f" ({len(self.bad)} more could not be read)" if self.bad else ""
                raise BadInput(f"{error}{also}") from None
            self.bad[name] = str(error)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An open picture; whatever Pillow says of a bad one becomes one line."""
    try:
        if path.stat().st_size == 0:
            raise BadInput(f"{path}: the file is empty (0 bytes); remove it or copy it again")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is no matter of the user's
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadInput(
            f"{path}: more than {Image.MAX_IMAGE_PIXELS:,} pixels when unpacked (a decompression bomb?); "
            "remove it or make it smaller"
        ) from None
    except UnidentifiedImageError:
        raise BadInput(
            f"{path}: not a picture that can be read (PNG, JPEG, WebP, BMP or GIF by its content); remove or convert it"
        ) from None
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except BadInput:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, zlib.error) as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{path}: broken picture ({cause}); remove it or copy it again") from None
