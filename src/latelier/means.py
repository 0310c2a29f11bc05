"""How far a mean over rows may be off. n = rows."""

from __future__ import annotations

import math

from torch import Tensor


def standard_error(variance: float, rows: int) -> float:
    """Of a mean over rows, from their mean squared distance to it; 0 where there is one row, which has none.

    >>> round(standard_error(0.25, 101), 3), standard_error(0.0, 1)
    (0.05, 0.0)
    """
    return math.sqrt(max(variance, 0.0) / max(rows - 1, 1))


def standard_error_of(values: Tensor) -> float:
    """Of the mean of values (n,)."""
    return standard_error(float(values.double().var(correction=0)), len(values))
