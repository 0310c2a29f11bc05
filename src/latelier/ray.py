"""For Ray Data: callables that ``Dataset.map_batches`` runs in actors, each of which opens the model once. n = rows of a batch.

A row's result depends on the row and on the model alone, so it is the same with any number of actors and any batch size, and
the same as ``Model`` gives in one process: scores to the last bit, filled cells but for their last digit. Ray itself is not
needed to import this: ``pip install 'latelier[ray]'``.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from latelier.model import Model


class _Actor:
    """Opens the model on one thread: Ray has an actor for every core."""

    def __init__(self, model: str | Path):
        torch.set_num_threads(1)
        self.model = Model.load(model)


class Score(_Actor):
    """A batch of rows -> the same rows with a column ``score``, nats.

    >>> from sklearn.datasets import load_wine
    >>> from latelier.model import fit
    >>> wine = load_wine(as_frame=True).data
    >>> model = fit(wine, out=folder / "wine", epochs=1, report=False)
    >>> scored = Score(folder / "wine")(wine.head(7))
    >>> bool((scored["score"].to_numpy() == model.score(wine)[:7]).all())
    True
    """

    def __init__(self, model: str | Path, draws: int = 16):
        super().__init__(model)
        self.draws = draws

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(score=self.model.score(rows, self.draws))


class Impute(_Actor):
    """A batch of rows -> the model's columns of them, holes filled with the weighted mean or the heaviest value."""

    def __init__(self, model: str | Path, draws: int | None = None):
        super().__init__(model)
        self.draws = draws  # None: as many as the verb takes

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        filled: pd.DataFrame = self.model.impute(rows, draws=self.draws)
        return filled.set_axis(rows.index)


class Encode(_Actor):
    """A batch of rows -> ``z[0]``, ``z[1]``, ...: the mean of q(z | x)."""

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        z = self.model.encode(rows)
        return pd.DataFrame(z, index=rows.index, columns=[f"z[{i}]" for i in range(z.shape[1])])
