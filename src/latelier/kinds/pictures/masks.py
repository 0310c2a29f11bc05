"""Which pixels are missing: from words, a picture or an array. H, W = pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from latelier.errors import BadInput, unknown
from latelier.kinds.pictures.files import SUFFIXES, Frame, decode
from latelier.kinds.pictures.schema import ImageSchema

WORDS = ("left", "right", "top", "bottom", "centre", "random:0.5")


def read_mask(what: str | Path | npt.NDArray[Any], schema: ImageSchema, seed: int = 0) -> Tensor:
    """Bool (1, H, W), True where a pixel is missing.

    ``what`` is a half (``left``, ``right``, ``top``, ``bottom``), ``centre`` (half the height by half the width),
    ``random:SHARE``, a picture (white is missing; brought to the size as the data are) or an array (H, W).
    BadInput where it is none of these, or hides nothing.

    >>> schema = ImageSchema(kind="images", fields=(), height=2, width=4)
    >>> read_mask("left", schema)[0].int().tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0]]
    """
    height, width = schema.height, schema.width
    if isinstance(what, np.ndarray):
        if what.shape not in ((height, width), (1, height, width)):
            raise BadInput(f"mask: an array of shape {what.shape}; pictures are {height} x {width} (height x width)")
        cut = 127 if what.dtype == np.uint8 and what.max(initial=0) > 1 else 0
        missing = torch.from_numpy(what.reshape(1, height, width) > cut)
    elif Path(what).suffix.lower() in SUFFIXES:
        missing = torch.from_numpy(decode(Path(what), Frame(height, width, "grey")) > 127)
    else:
        missing = _from_words(str(what), height, width, seed)
    if not missing.any():
        name = "array" if isinstance(what, np.ndarray) else what
        raise BadInput(f"mask {name}: hides no pixel; white (or True) marks the missing ones")
    return missing


def _from_words(word: str, height: int, width: int, seed: int) -> Tensor:
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    halves = {
        "left": x < width // 2,
        "right": x >= (width + 1) // 2,
        "top": y < height // 2,
        "bottom": y >= (height + 1) // 2,
        "centre": (y >= height // 4) & (y < height - height // 4) & (x >= width // 4) & (x < width - width // 4),
    }
    if word in halves:
        return halves[word].expand(1, height, width).clone()
    name, _, share = word.partition(":")
    if name != "random":
        raise unknown("mask", word, WORDS)
    try:
        part = float(share)
    except ValueError:
        part = -1.0
    if not 0 < part <= 1:
        raise BadInput(f"mask {word!r}: the share of missing pixels should be a number in (0, 1], such as random:0.5")
    return torch.rand(1, height, width, generator=torch.Generator().manual_seed(seed)) < part
