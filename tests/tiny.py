"""Small real data in files, and models of them that took a moment: what tests of the command line start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits, load_wine

from latelier.cli import main


def write_digits(folder: Path, rows: int = 60) -> Path:
    """The first digits, 8 x 8 and grey, in sub-folders named for their labels."""
    digits = load_digits()
    for i, (picture, label) in enumerate(zip(digits.images[:rows] * 15, digits.target[:rows], strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.astype(np.uint8)).save(folder / str(label) / f"{i:03}.png")
    return folder


def wines(holes: float = 0.1) -> pd.DataFrame:
    """178 wines: 13 numbers, of which some are missing, and a word."""
    wine = load_wine(as_frame=True)
    frame = wine.data.mask(np.random.default_rng(0).random(wine.data.shape) < holes)
    frame["cultivar"] = wine.target_names[wine.target]
    return frame


def write_wines(file: Path, holes: float = 0.1) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    wines(holes).to_csv(file, index=False)
    return file


def fitted(out: Path, data: Path, *options: str) -> Path:
    """A model of one epoch and without a report, made by the command line."""
    status = main(["fit", str(data), "--out", str(out), "--epochs", "1", "--dims", "3", "--no-report", *options])
    assert status == 0
    return out
