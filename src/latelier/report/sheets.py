"""Sheets of pictures, many on one image, inline. N = pictures, H, W = pixels, C = channels."""

from __future__ import annotations

import io
import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from latelier.batch import Batch
from latelier.report.elements import Html, picture
from latelier.report.study import Study

Pixels = npt.NDArray[np.uint8]
SMALL_PIXELS = 32  # larger pictures are shown larger, fewer in a row
SMALL, LARGE = 40, 61  # pixels of the page that a picture gets on its longer side
GAP = 3


def sheet(pictures: Pixels, columns: int, alt: str, gap: int = GAP) -> Html:
    """Pictures (N, H, W) or (N, H, W, C) side by side on a clear ground, ``columns`` in a row.

    They are stored twice as large as shown, for fine screens.
    """
    n, height, width = pictures.shape[:3]
    columns = max(1, min(columns, n))
    side = max(height, width)
    shown = SMALL if side <= SMALL_PIXELS else LARGE
    grow = math.ceil(2 * shown / side) if side < 2 * shown else 2 * shown / side
    tall, broad = (max(1, round(edge * grow)) for edge in (height, width))
    ratio = max(tall, broad) / shown  # pixels stored for a pixel shown
    space = round(gap * ratio)
    lines = math.ceil(n / columns)
    clear = "LA" if pictures.ndim == 3 else "RGBA"
    page = Image.new(clear, (columns * (broad + space) - space, lines * (tall + space) - space))
    for i, cells in enumerate(pictures):
        cell = Image.fromarray(cells).convert(clear)
        cell = cell.resize((broad, tall), Image.Resampling.NEAREST if grow >= 1 else Image.Resampling.LANCZOS)
        page.paste(cell, ((i % columns) * (broad + space), (i // columns) * (tall + space)))
    out = io.BytesIO()
    photo = clear == "RGBA" and side > SMALL_PIXELS
    if photo:
        page.save(out, "WEBP", quality=85)
    else:
        page.save(out, "PNG")
    return picture(out.getvalue(), "image/webp" if photo else "image/png", alt, round(page.width / ratio))


def shot(s: Study, stored: Batch) -> Pixels:
    """Stored values -> pictures (N, H, W) or (N, H, W, C)."""
    pixels: Pixels = s.model.kind.present(stored.only([f.name for f in s.schema.modelled]).to("cpu"), s.schema)
    return pixels


def strip_of(s: Study) -> int:
    """Pictures in a row that has its name beside it."""
    return _fitting(s, 384)


def row_of(s: Study) -> int:
    """Pictures in a row that has a card to itself."""
    return _fitting(s, 470)


def _fitting(s: Study, room: int) -> int:
    height, width = s.schema.modelled[0].shape[1:]
    side = max(height, width)
    shown = (SMALL if side <= SMALL_PIXELS else LARGE) * width / side
    return int(min(max((room + GAP) / (shown + GAP), 4), 16))
