"""What a set of pictures is, and the likelihood that its levels suggest. C = channels, H, W = pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from latelier.data.schema import Schema
from latelier.data.transforms import AnyTransform, Binarise, Dequantise, Levels
from latelier.errors import BadInput
from latelier.kinds.pictures.arrays import Stretch
from latelier.kinds.pictures.files import CHANNELS, Colour, Frame, Pixels, recolour
from latelier.kinds.pictures.labels import LabelForm
from latelier.wording import percent

NEARLY_BINARY = 0.8  # share of pixels within 5 % of black or white from which grey pictures are drawn as binary ones
MIXTURE_PIXELS = 64 * 64  # beyond, a mixture for every pixel is too slow to train without being asked for


_CENTRES = (np.arange(256) + 0.5) / 256


class ImageSchema(Schema):
    """Pictures (C, height, width) of 8-bit levels in the field ``image``, and ``label`` as a condition if asked for."""

    height: int
    width: int
    colour: Colour = "grey"
    exact: bool = True  # every picture had this size: another one, later, is an error
    form: Literal["folder", "file", "array", "npy", "npz", "idx"] = "folder"
    values: Literal["bool", "uint8", "int", "float"] = "uint8"  # the sort of number that an array held,
    scale: float = 1.0  # and how numbers become levels: level = number * scale + shift
    shift: float = 0.0
    greys: bool = True  # are there levels other than 0 and 255?
    mean: float = 0.5  # of all values, and their standard deviation, in units of 256 levels
    deviation: float = 0.25
    labels: tuple[str, ...] = ()
    label_form: LabelForm = "none"
    label_file: str | None = None
    unlabelled: tuple[str, ...] = ()  # labels that stand for none, where the label is a latent variable
    skipped: tuple[str, ...] = ()  # files that could not be read when the data were scanned, relative to the folder

    @property
    def frame(self) -> Frame:
        return Frame(self.height, self.width, self.colour, self.exact)

    @property
    def stretch(self) -> Stretch:
        return Stretch(self.values, self.scale, self.shift)

    @property
    def channels(self) -> int:
        return CHANNELS[self.colour]

    def transform_for(self, support: str, likelihood: str = "") -> AnyTransform:
        """How 8-bit levels become values of ``support``; BadInput where a picture has none such."""
        if support == "binary":
            return Binarise(dynamic=self.greys)
        if support == "unit":
            return Dequantise()
        if support == "real":
            return Dequantise(loc=self.mean, scale=max(self.deviation, 1 / 256))
        if support == "levels":
            return Levels()
        raise BadInput(
            f"likelihood.image={likelihood}: {support} values are not pixels; choose one of binary, unit, real or levels values, "
            "such as bernoulli, continuous_bernoulli, gaussian, logistic or logistic_mixture"
        )


@dataclass
class Looks:
    """What the pixels say, gathered picture by picture: are there colours, is there transparency, which levels."""

    coloured: bool = False
    transparent: bool = False
    opaque: npt.NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(256, np.int64)
    )  # counts by level, laid on white
    raw: npt.NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(256, np.int64)
    )  # counts by level of all channels

    def add(self, x: Pixels) -> None:
        """(n, C, H, W)"""
        if x.shape[1] == 4:
            self.transparent |= bool((x[:, 3] < 255).any())
            self.raw += np.bincount(x.reshape(-1), minlength=256)
            x = recolour(x, "rgb")
        if x.shape[1] == 3:
            self.coloured |= bool((x[:, :1] != x[:, 1:]).any())
        self.opaque += np.bincount(x.reshape(-1), minlength=256)

    def colour(self) -> tuple[Colour, str]:
        """The fewest channels that lose nothing, and why."""
        if self.transparent:
            return "rgba", "some pixels are transparent; lay them on white with --set data.colour=rgb"
        if self.coloured:
            return "rgb", "override with --set data.colour=grey"
        return "grey", "red, green and blue are equal in every picture; override with --set data.colour=rgb"

    def mean(self, colour: Colour) -> float:
        """Of (level + 1/2) / 256."""
        counts = self.levels(colour)
        return float(counts @ _CENTRES / max(counts.sum(), 1))

    def deviation(self, colour: Colour) -> float:
        """Standard deviation of (level + 1/2) / 256."""
        counts = self.levels(colour)
        return math.sqrt(counts @ (_CENTRES - self.mean(colour)) ** 2 / max(counts.sum(), 1))

    def levels(self, colour: Colour) -> npt.NDArray[np.int64]:
        """(256,) how often each level occurs."""
        return self.raw if colour == "rgba" else self.opaque


def likelihood_for(colour: Colour, pixels: int, levels: npt.NDArray[np.int64]) -> tuple[str, str, str]:
    """(likelihood, its support, why), from how often each level occurs.

    >>> counts = np.zeros(256, int); counts[[0, 128, 255]] = 90, 5, 5
    >>> likelihood_for("grey", 784, counts)[0]
    'bernoulli'
    """
    share = levels / max(levels.sum(), 1)
    extreme = float(share[:13].sum() + share[243:].sum())  # 13 of 256 levels: 5 % of the range
    instead = "logistic" if colour == "grey" or pixels > MIXTURE_PIXELS else "logistic_mixture"
    override = "override with --set likelihood.image="
    if not levels[1:255].any():
        return "bernoulli", "binary", f"every pixel is black or white; {override}{instead}"
    if colour == "grey" and extreme > NEARLY_BINARY:
        return (
            "bernoulli",
            "binary",
            f"{percent(extreme)} of pixels are nearly black or white, drawn as 0 or 1; {override}{instead}",
        )
    what, other = ("grey levels", "bernoulli") if colour == "grey" else ("8-bit colour", "gaussian")
    return instead, "levels", f"{what}, {int((levels > 0).sum())} of 256 occur; {override}{other}"
