"""Pictures in arrays: their layout, and how their numbers become levels. N = rows, C = channels, H, W = pixels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from latelier.errors import BadInput
from latelier.kinds.pictures.files import PART, Frame, Pixels, plain, planes, recolour
from latelier.kinds.pictures.readers import Numbers, Table


@dataclass(frozen=True)
class Stretch:
    """How numbers of the sort ``values`` become levels: level = number * scale + shift, rounded, 0..255."""

    values: Literal["bool", "uint8", "int", "float"] = "uint8"
    scale: float = 1.0
    shift: float = 0.0


class Grid:
    """The pictures of one array: (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1, 3 or 4."""

    def __init__(
        self, table: Table, place: str, form: Literal["array", "npy", "npz", "idx"], labels: Numbers | None = None
    ):
        self.table, self.place, self.form, self.labels = table, place, form, labels
        shape = table.shape
        if table.dtype.kind not in "buif":
            raise BadInput(
                f"{place}: holds {table.dtype} values, not numbers; save it as uint8 of shape (N, H, W) or (N, H, W, C)"
            )
        last, first = len(shape) == 4 and shape[3] in (1, 3, 4), len(shape) == 4 and shape[1] in (1, 3, 4)
        if not (len(shape) == 3 or last or first) or 0 in shape[1:]:
            raise BadInput(
                f"{place}: shape {shape}, but pictures are (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1, 3 or 4"
            )
        if shape[0] == 0:
            raise BadInput(f"{place}: holds no pictures (shape {shape})")
        self.first = first and not (last and shape[1] > shape[3])
        self.height, self.width = shape[2:] if self.first else shape[1:3]
        if self.height * self.width > (Image.MAX_IMAGE_PIXELS or math.inf):
            raise BadInput(f"{place}: pictures of {self.height} x {self.width} pixels are too large; make them smaller")

    def __len__(self) -> int:
        return self.table.shape[0]

    def headers(self) -> tuple[Counter[tuple[int, int]], Counter[str]]:
        """How many pictures there are of each (height, width), and of each of Pillow's modes."""
        shape = self.table.shape
        mode = "L" if len(shape) == 3 else {1: "L", 3: "RGB", 4: "RGBA"}[shape[1] if self.first else shape[3]]
        return Counter({(self.height, self.width): len(self)}), Counter({mode: len(self)})

    @property
    def values(self) -> Literal["bool", "uint8", "int", "float"]:
        """The sort of number, as ``Stretch`` has it."""
        if self.table.dtype == np.uint8:
            return "uint8"
        return "bool" if self.table.dtype.kind == "b" else "float" if self.table.dtype.kind == "f" else "int"

    def measure(self) -> tuple[Stretch, str]:
        """How its numbers become levels, and the evidence in one line ('' where they are levels already)."""
        if self.values == "bool":
            return Stretch("bool", 255.0), ""
        low, high = self.range()
        return stretch_of(self.values, low, high, self.place)

    def range(self) -> tuple[float, float]:
        """(lowest, highest) of all numbers; NaN and infinity are errors that name the row."""
        low, high, row = math.inf, -math.inf, 0
        for part in self._parts():
            least, most = float(part.min()), float(part.max())
            if not math.isfinite(least + most):
                bad = row + int(np.argwhere(~np.isfinite(part))[0, 0])
                raise BadInput(f"{self.place}: row {bad} holds a value that is not a finite number; fill or remove it")
            low, high, row = min(low, least), max(high, most), row + len(part)
        return low, high

    def read(self, frame: Frame, rows: int, stretch: Stretch | None = None) -> Iterator[Pixels]:
        """(n, C, H, W) with n at most ``rows``."""
        stretch = stretch or Stretch(self.values)
        row = 0
        for part in self._parts(min(rows, max(1, PART // frame.bytes))):
            x = self._levels(part, stretch, row)
            x = x[:, None] if x.ndim == 3 else x if self.first else x.transpose(0, 3, 1, 2)
            if (self.height, self.width) != (frame.height, frame.width):
                x = np.stack([self._fitted(picture, frame, row + i) for i, picture in enumerate(x)])
            yield np.array(recolour(x, frame.colour), order="C")  # a copy: the source may be mapped read-only
            row += len(part)

    def _parts(self, rows: int = 1 << 30) -> Iterator[Numbers]:
        return self.table.parts(
            max(1, min(rows, PART // (math.prod(self.table.shape[1:]) * self.table.dtype.itemsize)))
        )

    def _levels(self, part: Numbers, stretch: Stretch, row: int) -> Pixels:
        if self.values == "uint8" and stretch.scale == 1:
            return part
        x = part.astype(np.float64) * stretch.scale + stretch.shift
        wrong = ~((x >= -0.5) & (x <= 255.5))  # so that NaN is wrong too
        if wrong.any():
            at = np.argwhere(wrong)[0]
            low, high = ((level - stretch.shift) / stretch.scale for level in (0, 255))
            raise BadInput(
                f"{self.place}: row {row + int(at[0])} holds {float(part[tuple(at)]):.6g}, "
                f"outside the range {low:g} to {high:g} of the data that were fitted; rescale it"
            )
        return np.rint(x).clip(0, 255).astype(np.uint8)

    def _fitted(self, picture: Pixels, frame: Frame, row: int) -> Pixels:
        image = Image.fromarray(np.ascontiguousarray(picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)))
        return planes(frame.fit(plain(image), f"{self.place}, row {row}"))


def stretch_of(values: Literal["uint8", "int", "float"], low: float, high: float, place: str) -> tuple[Stretch, str]:
    """The stretch that suits numbers from ``low`` to ``high``, and the evidence.

    >>> stretch_of("float", 0.0, 16.0, "digits")
    (Stretch(values='float', scale=15.9375, shift=0.0), 'values: 0 to 16 are read as levels 0 to 255')
    """
    if high <= low and not 0 <= low <= 255:
        raise BadInput(f"{place}: every value is {low:g}; there is nothing to learn")
    if low >= 0 and high <= 1:
        # Whole numbers or not, 0 is black and 1 is white; an all-black array of uint8 stays as it is.
        scale = 1.0 if high == 0 else 255.0
        return Stretch(values, scale), "" if scale == 1 else "values: 0 to 1 are read as levels 0 to 255"
    if values == "uint8":
        return Stretch(), ""
    if -1 <= low < 0 and high <= 1:
        return Stretch(values, 127.5, 127.5), "values: -1 to 1 are read as levels 0 to 255"
    if low >= 0 and high < 128:
        return Stretch(values, 255 / high), f"values: 0 to {high:g} are read as levels 0 to 255"
    if low >= 0 and high <= 255:
        return Stretch(values), "values: read as levels 0 to 255, rounded"
    if low >= 0 and high <= 65535:
        return Stretch(values, 1 / 257), "values: 0 to 65535 (16 bits) are scaled to levels 0 to 255"
    raise BadInput(
        f"{place}: values from {low:g} to {high:g} are no picture's; pass 0 to 255, 0 to 1, -1 to 1 or 0 to 65535"
    )
