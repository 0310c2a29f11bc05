"""How odd rows are, and why: by how much less likely they are than usual ones. N = rows, C = columns; nats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latelier.data.margins import Floats
from latelier.detector.density import COLUMNS, MEMBERS, Density, odder_than, usual_in
from latelier.detector.fitting import fitted, read
from latelier.detector.folder import empty, write
from latelier.detector.folder import read as read_folder
from latelier.detector.reading import Reading
from latelier.errors import BadInput, at_least
from latelier.model import Values, as_source, named
from latelier.step import Watch
from latelier.tasks.alarm import Usual


class Detector:
    """Says how odd rows of a table, or of network traffic, are, and why.

    >>> from sklearn.datasets import load_wine
    >>> wine = load_wine(as_frame=True).data
    >>> detector = Detector.fit(wine, members=1, settings={"train.epochs": 2})
    >>> odd = wine.head(2).assign(alcohol=[13.0, 40.0])
    >>> detector.oddness(odd).argmax(), detector.attribution(odd).iloc[1].idxmax()
    (np.int64(1), 'alcohol')
    """

    def __init__(self, reading: Reading, density: Density, usual: Usual, folder: Path | None = None, digest: str = ""):
        """``usual``: of rows that trained nothing, the scores, which are their oddness with the sign turned, and the mean nats of
        each column and of the latents. ``digest`` is that of the folder it was loaded from."""
        self.reading, self.density, self.usual, self.folder, self.digest = reading, density, usual, folder, digest
        self.kind, self.schema = reading.kind, reading.schema

    @classmethod
    def fit(
        cls,
        source: Values,
        *,
        contamination: float = 0.0,
        out: str | Path | None = None,
        seed: int = 0,
        members: int = MEMBERS,
        overwrite: bool = False,
        watch: Watch = lambda event: None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Detector:
        """Of mostly normal rows: a path, an array or a frame; of more than 200,000 rows, or 20 million numbers, a sample.

        ``contamination`` is the share of odd rows expected among them: so many, by a first fit, are left out of training and
        of what p-values are measured against, and most of the say is that of each column by itself.
        ``settings`` and ``options`` are those of ``latelier.fit``; ``data.holdout`` is the share of rows that train nothing.
        With ``out`` the detector is saved there. Raises BadInput, one line, for whatever cannot be used.
        """
        if not 0 <= contamination < 0.5:
            raise BadInput(f"contamination = {contamination}: give a share from 0 to below 0.5")
        at_least(1, members=members)
        asked = named(settings, options)
        if out is not None and not overwrite and Path(out).exists() and not empty(Path(out)):
            raise BadInput(f"{out}: is already there; name another folder, or replace it with --overwrite")
        reading, values = read(source, asked, seed, watch)
        holdout = float(asked["data.holdout"]) if "data.holdout" in asked else None
        density, fresh = fitted(reading, values, contamination, members, holdout, seed, asked, watch)
        detector = cls(reading, density, usual_in(density, fresh))
        if out is not None:
            detector.save(out)
        return detector

    @classmethod
    def load(cls, folder: str | Path) -> Detector:
        """The detector of a folder. Nothing in it is executed. BadInput where it is missing, newer, broken or changed."""
        reading, density, usual, digest = read_folder(Path(folder))
        return cls(reading, density, usual, Path(folder), digest)

    def save(self, folder: str | Path) -> Path:
        """Writes the folder, JSON and safetensors, beside its place and moves it there. A detector that is there already is
        replaced."""
        write(Path(folder), self.reading, self.density, self.usual)
        return Path(folder)

    def __repr__(self) -> str:
        return (
            f"Detector({self.schema.kind}: {len(self.columns)} columns, {len(self.density.members)} members, "
            f"{len(self.usual.scores)} rows for calibration)"
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """(C,) by name."""
        return tuple(column.name for column in self.reading.plain.columns)

    def oddness(self, x: Values) -> Floats:
        """(N,) nats by which a row is less likely than a usual one; larger is odder. Repeatable: a row's own content decides."""
        return np.concatenate(list(self.stream(x)))

    def stream(self, x: Values, rows: int = 4096) -> Iterator[Floats]:
        """The same, at most so many rows at a time and in constant memory."""
        for values in self.reading.rows(as_source(x), rows):
            yield self.oddness_of(values)

    def nats(self, x: Values) -> Floats:
        """(N,) the mean over the members of the importance-weighted bound on log p, in nats of the normal scores; larger is
        more usual. Missing cells cost nothing here; in ``oddness`` they count as usual ones."""
        return np.concatenate([self.density.nats(values) for values in self.reading.rows(as_source(x))])

    def p_values(self, x: Values) -> Floats:
        """(N,) conformal p-values: the share of normal rows that are at least as odd, by rows that trained nothing. Of fresh
        normal rows a share p has a p-value of p or less."""
        return self.p_values_of(self.oddness(x))

    def p_values_of(self, oddness: Floats) -> Floats:
        """(N,) the same for oddness that is at hand."""
        return self.usual.p_values(-oddness)

    def threshold(self, false_alarms: float = 0.01) -> float:
        """The oddness above which at most a share ``false_alarms`` of fresh normal rows lies. BadInput where the rows kept for
        calibration are too few to say."""
        return -self.usual.threshold(false_alarms)

    def attribution(self, x: Values) -> pd.DataFrame:
        """(N, C + 1) nats: what each column, and ``latent``, the unusual combination, adds to the row's ``oddness``, to
        which they sum; 0 is usual. A column called latent is shown as "latent (column)"."""
        return pd.concat(list(self.attribution_stream(x)), ignore_index=True)

    def attribution_stream(self, x: Values, rows: int = 4096) -> Iterator[pd.DataFrame]:
        """The same, at most so many rows at a time."""
        names = ["latent (column)" if name == "latent" else name for name in self.columns]
        for values in self.reading.rows(as_source(x), rows):
            shares, latent = self.attribution_of(values)
            yield pd.DataFrame({**dict(zip(names, shares.T, strict=True)), "latent": latent})

    def oddness_of(self, values: Floats) -> Floats:
        """(N,) of rows as the numbers that ``reading`` makes of them."""
        return odder_than(self.usual, self.density, values)

    def attribution_of(self, values: Floats) -> tuple[Floats, Floats]:
        """(N, C) of columns, (N,) of the latents."""
        shares, latent = self.density.shares(values)
        return self.usual.entries[COLUMNS] * self.density.seen(values) - shares, self.usual.latent - latent

    def measured(self, normal: Values) -> Usual:
        """Other rows that are normal, to measure p-values and thresholds by: scores, and mean shares, with the sign turned."""
        parts = [self.attribution_of(values) for values in self.reading.rows(as_source(normal))]
        shares, latent = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Usual(np.sort(-shares.sum(1) - latent), {COLUMNS: -shares.mean(0)}, -float(latent.mean()))
