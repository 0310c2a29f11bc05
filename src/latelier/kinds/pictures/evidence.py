"""What was found in pictures and decided about them, in lines that name the override. H, W = pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from latelier.errors import BadInput
from latelier.kinds.pictures.arrays import Grid
from latelier.kinds.pictures.files import Colour, Folder

LONGEST = 64  # pixels of the longer side, unless more are asked for: training is on a CPU as often as not
RULE = "the largest centred part of that shape is cut out and resized"
LISTED = 3  # files that were left out are named so far, then counted


def told_of_pictures(pictures: Folder | Grid, colour: Colour, height: int, width: int) -> str:
    """How many there are of what, and where."""
    words = {"grey": "grey", "rgb": "colour", "rgba": "transparent colour"}
    if isinstance(pictures, Folder):
        kinds = {Path(name).suffix[1:].upper().replace("JPEG", "JPG") for name in pictures.names}
        name = pictures.path.resolve().name if pictures.form == "folder" else pictures.path.name
        place = f"{pictures.form} {name} ({', '.join(sorted(kinds))})"
    elif pictures.form == "array":
        place = f"an array of shape {pictures.table.shape}"
    else:
        place = f"{pictures.form} file {Path(pictures.place).name}"
    return f"images: {len(pictures):,} {words[colour]} pictures of {height} x {width} in {place}; override with --kind"


def one_size(sizes: Counter[tuple[int, int]], asked: tuple[int, int] | None) -> tuple[int, int, str]:
    """(height, width, evidence): the size asked for, or the most common one (of two, the larger), shrunk where large.

    >>> one_size(Counter({(28, 28): 9, (30, 30): 9}), None)[:2], one_size(Counter({(300, 400): 1}), None)[:2]
    ((30, 30), (48, 64))
    """
    if asked is not None:
        if min(asked) < 1:
            raise BadInput(f"data.pixels = {list(asked)}: height and width should be 1 or more")
        told = "" if sizes.keys() == {asked} else f"size: {asked[0]} x {asked[1]} as asked; in other pictures {RULE}"
        return *asked, told
    (height, width), most = max(sizes.items(), key=lambda item: (item[1], item[0][0] * item[0][1]))
    parts = []
    if len(sizes) > 1:
        parts.append(
            f"{most:,} of {sizes.total():,} are {height} x {width} (height x width), the commonest "
            f"of {len(sizes)} sizes; in others {RULE}"
        )
    if max(height, width) > LONGEST:
        scale = LONGEST / max(height, width)
        small = max(round(height * scale), 1), max(round(width * scale), 1)
        parts.append(f"{height} x {width} is brought down to {small[0]} x {small[1]}, to train in reasonable time")
        height, width = small
    return height, width, f"size: {'; '.join(parts)}; override with --set data.pixels=[H,W]" if parts else ""


def told_of_files(modes: Counter[str], pictures: Folder | Grid) -> Iterator[str]:
    """What was passed over, left out or brought to 8 bits."""
    deep = sum(count for mode, count in modes.items() if mode.startswith("I"))
    if deep:
        yield f"depth: {deep:,} pictures of 16-bit grey are scaled to 8 bits"
    if isinstance(pictures, Grid):
        return
    if any(name.lower().endswith(".gif") for name in pictures.names):
        yield "frames: of an animated GIF the first is read"
    if pictures.others:
        yield f"other files: {len(pictures.others):,} no pictures, are passed over (first {pictures.others[0]})"
    for name in list(pictures.bad)[:LISTED]:
        yield f"left out: {pictures.bad[name]}"
    if len(pictures.bad) > LISTED:
        yield f"left out: {len(pictures.bad) - LISTED} more that cannot be read"


def some(names: tuple[str, ...], most: int = 12) -> str:
    """The first few, in words."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
