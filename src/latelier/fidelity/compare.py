"""All figures of a comparison of made with real rows. N = rows, D = columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from latelier.errors import BadInput, unknown
from latelier.fidelity.closest import Distances, closest
from latelier.fidelity.frames import Aligned, Numbers, align
from latelier.fidelity.learners import discriminator, predict
from latelier.fidelity.shapes import column_shapes, pair_trends


@dataclass(frozen=True)
class Fidelity:
    """``columns``: the likeness of each column's shape, ``pairs`` (D, D) of every two columns' trend; 1 is the same.

    ``on_made`` and ``on_real``: figures on real test rows of trees that learnt ``target`` from made and from real rows.
    ``discriminator``: the AUC with which trees tell made from real rows, 0.5 if they cannot.
    ``distances``: to the closest training row. ``table``: the rows themselves; ``split`` says whether training and test rows
    are two halves of one table.
    """

    columns: dict[str, float]
    pairs: Numbers
    target: str
    on_made: dict[str, float]
    on_real: dict[str, float]
    discriminator: float
    distances: Distances
    table: Aligned  # parts: real rows, made rows
    split: bool

    @property
    def column_likeness(self) -> float:
        return float(np.mean(list(self.columns.values())))

    @property
    def pair_likeness(self) -> float:
        """NaN where there is one column."""
        known = self.pairs[~np.isnan(self.pairs)]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def rows(self) -> int:
        return len(self.table.parts[1])

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        (middle, middle_real), (low, low_real) = self.distances.at(0.5), self.distances.at(0.05)
        copies, copies_real = self.distances.copies
        return {
            "rows": self.rows,
            "column_shapes": self.column_likeness,
            "pair_trends": self.pair_likeness,
            "target": self.target,
            "trained_on_made": self.on_made,
            "trained_on_real": self.on_real,
            "discriminator_auc": self.discriminator,
            "distance_to_closest": {
                "made": {"median": middle, "5th percentile": low, "copies": copies},
                "held-out real": {"median": middle_real, "5th percentile": low_real, "copies": copies_real},
            },
            "columns": self.columns,
        }


def compare(
    real: pd.DataFrame,
    made: pd.DataFrame,
    train: pd.DataFrame | None = None,
    target: str | None = None,
    seed: int = 0,
) -> Fidelity:
    """``made`` rows against ``real`` ones, of the same columns.

    ``train`` are the rows that the model learnt from; ``real`` then are held out. Without them ``real`` is cut in two
    halves at random, of which the first stands for the training rows. ``target`` is the column that is predicted, the last
    one if not named. BadInput for a target that is not there or does not vary, and for too few rows.
    """
    names = list(map(str, real.columns))
    if target is not None and target not in names:
        raise unknown("column", target, names)
    if len(real) < 6 or len(made) < 6 or (train is not None and len(train) < 2):
        raise BadInput(f"{len(real)} real and {len(made)} made rows are too few to compare; give at least 6 of each")
    table = align([real, made] if train is None else [real, made, train])
    whole, x = table.parts[0], table.parts[1]
    if train is None:
        order = np.random.default_rng(seed).permutation(len(whole))
        learnt, held = whole[order[: len(whole) // 2]], whole[order[len(whole) // 2 :]]
    else:
        learnt, held = table.parts[2], whole
    goal = table.column(target) if target is not None else len(names) - 1
    return Fidelity(
        columns=column_shapes(table, whole, x),
        pairs=pair_trends(table, whole, x),
        target=table.names[goal],
        on_made=predict(table, goal, x[: len(learnt)], held, seed),
        on_real=predict(table, goal, learnt, held, seed),
        discriminator=discriminator(table, whole, x, seed),
        distances=closest(table, learnt, held, x, seed),
        table=Aligned(table.names, table.levels, (whole, x)),
        split=train is None,
    )
