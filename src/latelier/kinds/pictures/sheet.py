"""Many pictures on one sheet, to look at. N = rows, C = channels, H, W = pixels."""

from __future__ import annotations

import math

import numpy as np

from latelier.kinds.pictures.files import Pixels

GAP = 2  # white pixels around every picture
TO_LOOK_AT = 64  # pixels that smaller pictures are enlarged to, at least


def sheet(pictures: Pixels, columns: int | None = None) -> Pixels:
    """(N, H, W) or (N, H, W, C) -> one picture, row-major from the top left, ``columns`` wide or about square.

    >>> sheet(np.zeros((6, 64, 64), np.uint8), columns=3).shape
    (134, 200)
    """
    pictures = enlarged(pictures)
    rows, height, width = pictures.shape[:3]
    columns = columns or math.ceil(math.sqrt(rows))
    lines = math.ceil(rows / columns)
    out = np.full((lines * (height + GAP) + GAP, columns * (width + GAP) + GAP, *pictures.shape[3:]), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = GAP + i // columns * (height + GAP), GAP + i % columns * (width + GAP)
        out[top : top + height, left : left + width] = picture
    return out


def enlarged(pictures: Pixels) -> Pixels:
    """Small pictures with every pixel repeated a whole number of times each way."""
    times = math.ceil(TO_LOOK_AT / max(pictures.shape[1:3]))
    return pictures.repeat(times, 1).repeat(times, 2)
