"""Made rows beside real ones by their features, and real ones beside real ones: the floor. N = rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor, nn

from latelier.fidelity.brought import Brought
from latelier.fidelity.clouds import Features, Prdc, fid, kid, prdc
from latelier.fidelity.columns import NAME, Columns
from latelier.fidelity.extractor import Extractor, digest_of, features_of
from latelier.fidelity.frames import align


@dataclass(frozen=True)
class Beside:
    """``rows`` of one sort beside ``real`` ones. Figures of other numbers of rows cannot be compared: FID falls with them."""

    rows: int
    real: int
    fid: float
    kid: float
    kid_error: float
    prdc: Prdc

    @classmethod
    def of(cls, real: Features, rows: Features) -> Beside:
        distance = kid(real, rows)
        return cls(len(rows), len(real), fid(real, rows), distance.value, distance.error, prdc(real, rows))


@dataclass(frozen=True)
class Likeness:
    """``made`` rows beside real ones, and the ``floor``: real rows beside other real rows, the figures of a perfect model.

    ``features`` says by which features, ``digest`` identifies them. ``halves``: the floor is one half of the real rows beside
    the other, for want of training rows, and so of other numbers of rows than ``made``.
    """

    features: str
    digest: str
    made: Beside
    floor: Beside
    halves: bool

    @classmethod
    def of(
        cls, real: Features, made: Features, train: Features | None, features: str, digest: str, seed: int = 0
    ) -> Likeness:
        """``train`` are rows that the model learnt from, of which the floor takes as many as were made."""
        random = np.random.default_rng(seed)
        order = random.permutation(len(real))
        half = len(real) // 2
        floor = (
            Beside.of(real[order[half:]], real[order[:half]])
            if train is None
            else Beside.of(real, train[random.permutation(len(train))[: len(made)]])
        )
        return cls(features, digest, Beside.of(real, made), floor, train is None)


def like_pictures(
    network: nn.Module,
    real: Iterable[Tensor],
    made: Iterable[Tensor],
    train: Iterable[Tensor] | None = None,
    seed: int = 0,
) -> Likeness:
    """Of pictures (n, C, H, W) of levels 0 to 255, by the features of a network: ours, or any that takes such pictures."""
    clouds = [features_of(network, part) for part in (real, made, *(() if train is None else (train,)))]
    name = network.name if isinstance(network, Extractor | Brought) else type(network).__name__
    digest = network.digest if isinstance(network, Brought) else digest_of(network)
    return Likeness.of(clouds[0], clouds[1], clouds[2] if train is not None else None, name, digest, seed)


def like_frames(real: pd.DataFrame, made: pd.DataFrame, train: pd.DataFrame | None = None, seed: int = 0) -> Likeness:
    """Of tables, by their columns, standardised as they are in ``real``."""
    table = align([real, made] if train is None else [real, made, train])
    columns = Columns.of(table, table.parts[0])
    clouds: list[npt.NDArray[np.float64]] = [columns.features(table, part) for part in table.parts]
    return Likeness.of(clouds[0], clouds[1], clouds[2] if len(clouds) > 2 else None, NAME, columns.digest, seed)
