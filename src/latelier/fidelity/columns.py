"""Rows of tables as features: numbers standardised, categories one-hot. N = rows, D = columns, F = features."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from latelier.fidelity.frames import Aligned, Numbers

LEVELS = 50  # of a column that have a feature each, the most frequent ones; rarer ones share one
NAME = "standardised columns"


@dataclass(frozen=True)
class Columns:
    """How columns become features: by the moments and levels of some rows, so that the features of others can be compared.

    A number is one feature with mean 0 and deviation 1, a category one of 0 and 1 for each level, so that two random rows
    are about as far apart in either; a column with missing values has one more that marks them.
    """

    loc: tuple[float, ...]
    scale: tuple[float, ...]
    kept: tuple[tuple[str, ...], ...]  # levels with a feature of their own
    holes: tuple[bool, ...]

    @classmethod
    def of(cls, table: Aligned, rows: Numbers) -> Columns:
        """As these rows (N, D) of the table have them."""
        loc, scale, kept, holes = [], [], [], []
        for i, column in enumerate(rows.T):
            known = column[~np.isnan(column)]
            numeric = table.numeric(i) and len(known) > 0
            loc.append(float(known.mean()) if numeric else 0.0)
            scale.append((float(known.std()) or 1.0) if numeric else 1.0)
            counts = np.bincount(known.astype(np.int64)) if not table.numeric(i) else np.zeros(0)
            most = np.argsort(-counts, kind="stable")[:LEVELS]
            kept.append(tuple(table.levels[i][code] for code in most if counts[code]))
            holes.append(len(known) < len(column))
        return cls(tuple(loc), tuple(scale), tuple(kept), tuple(holes))

    @property
    def digest(self) -> str:
        """Two figures can be compared if these twelve letters are the same."""
        page = json.dumps([self.loc, self.scale, self.kept, self.holes])
        return hashlib.sha256(page.encode()).hexdigest()[:12]

    def features(self, table: Aligned, rows: Numbers) -> Numbers:
        """(N, D) -> (N, F)"""
        out = []
        for i, column in enumerate(rows.T):
            missing = np.isnan(column)
            if table.numeric(i):
                out.append(np.where(missing, 0.0, (column - self.loc[i]) / self.scale[i]))
            else:
                codes = [table.levels[i].index(level) for level in self.kept[i]]
                own = [column == code for code in codes]
                out += [*own, ~np.isin(column, codes) & ~missing]
            if self.holes[i]:
                out.append(missing)
        return np.stack(out, 1).astype(np.float64)
