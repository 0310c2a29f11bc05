"""Two clouds of features: FID, KID, precision, recall, density, coverage. N = rows, F = features of a row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latelier.errors import BadInput
from latelier.means import standard_error

Features = npt.NDArray[np.float64]
PART = 1_000  # rows of distances or kernels at a time
NEIGHBOURS = 5  # Naeem et al. 2020, section 3.3


@dataclass(frozen=True)
class Kid:
    """The squared kernel distance, which has no bias and so may be below 0, and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class Prdc:
    """Shares of rows that lie in the other cloud. ``precision``, ``density``: of made rows, are they where real ones are?
    ``recall``, ``coverage``: of real rows, are made ones there? ``errors``: standard errors, as if the balls were fixed."""

    precision: float
    recall: float
    density: float
    coverage: float
    errors: dict[str, float]
    neighbours: int


def fid(real: npt.ArrayLike, made: npt.ArrayLike) -> float:
    """The Fréchet distance of the two Gaussians with the clouds' moments (Heusel et al. 2017, equation 6):
    |m - m'|² + tr(S + S' - 2 (S S')^½). (N, F), (N', F) -> the square, as everybody reports it. Its bias is above 0 and
    falls as 1 / N, so that figures of other numbers of rows cannot be compared.

    >>> round(fid([[0.0], [2.0]], [[5.0], [7.0]]), 6)
    25.0
    """
    x, y = _clouds(real, made)
    (mean_x, cov_x), (mean_y, cov_y) = ((c.mean(0), np.atleast_2d(np.cov(c, rowvar=False))) for c in (x, y))
    values, vectors = np.linalg.eigh(cov_x)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    # tr (S S')^½ is that of the symmetric S^½ S' S^½: eigenvalues stay real however few rows there are.
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov_y @ root).clip(0)).sum()
    return max(float(np.square(mean_x - mean_y).sum() + np.trace(cov_x) + np.trace(cov_y) - 2 * cross), 0.0)


def kid(real: npt.ArrayLike, made: npt.ArrayLike) -> Kid:
    """The squared maximum mean discrepancy under (x·y / F + 1)³, without bias (Bińkowski et al. 2018, section 4), of all rows
    and not of random subsets. The error is that of U-statistics to first order (Sutherland et al. 2017, section 2)."""
    x, y = _clouds(real, made)
    n, m = len(x), len(y)
    within_x, within_y = _kernel_means(x), _kernel_means(y)
    cross_x, cross_y = np.empty(n), np.zeros(m)
    for rows in _parts(n):
        k = _kernel(x[rows], y)
        cross_x[rows] = k.mean(1)
        cross_y += k.sum(0) / n
    value = within_x.mean() + within_y.mean() - 2 * cross_x.mean()
    spread = np.var(within_x - cross_x, ddof=1) / n + np.var(within_y - cross_y, ddof=1) / m
    return Kid(float(value), float(2 * np.sqrt(spread)))


def prdc(real: npt.ArrayLike, made: npt.ArrayLike, neighbours: int = NEIGHBOURS) -> Prdc:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020): the clouds are balls around
    their rows that reach to each row's ``neighbours``-th neighbour of its own cloud."""
    x, y = _clouds(real, made)
    if min(len(x), len(y)) <= neighbours:
        raise BadInput(
            f"{len(x)} real and {len(y)} made rows are too few for neighbourhoods of {neighbours}; "
            f"give more than {neighbours} of each"
        )
    reach_x, reach_y = _reach(x, neighbours), _reach(y, neighbours)
    holders = np.zeros(len(y), np.int64)  # real balls that each made row lies in
    recalled, covered = np.empty(len(x), bool), np.empty(len(x), bool)
    for rows in _parts(len(x)):
        apart = _squares(x[rows], y)
        inside = apart < reach_x[rows, None]
        holders += inside.sum(0)
        covered[rows] = inside.any(1)
        recalled[rows] = (apart < reach_y).any(1)
    told = {"precision": holders > 0, "recall": recalled, "density": holders / neighbours, "coverage": covered}
    means = {name: float(np.mean(values)) for name, values in told.items()}
    errors = {name: standard_error(float(np.var(values)), len(values)) for name, values in told.items()}
    return Prdc(**means, errors=errors, neighbours=neighbours)


def _clouds(real: npt.ArrayLike, made: npt.ArrayLike) -> tuple[Features, Features]:
    x, y = np.asarray(real, np.float64), np.asarray(made, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise BadInput(f"features of shapes {x.shape} and {y.shape}; give (rows, features) twice, of the same features")
    if min(len(x), len(y)) < 2:
        raise BadInput(f"{len(x)} real and {len(y)} made rows are too few to compare; give at least 2 of each")
    for name, cloud in (("real", x), ("made", y)):
        if not np.isfinite(cloud).all():
            raise BadInput(
                f"features of {name} rows are not finite; look at row {np.argwhere(~np.isfinite(cloud))[0, 0]}"
            )
    return x, y


def _parts(rows: int) -> Iterator[slice]:
    return (slice(i, min(i + PART, rows)) for i in range(0, rows, PART))


def _kernel(x: Features, y: Features) -> Features:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _kernel_means(x: Features) -> Features:
    """(N,) of each row with the others of its cloud."""
    own = (np.square(x).sum(1) / x.shape[1] + 1) ** 3
    return np.concatenate([_kernel(x[rows], x).sum(1) - own[rows] for rows in _parts(len(x))]) / (len(x) - 1)


def _squares(x: Features, y: Features) -> Features:
    """(N, N') squared distances."""
    return np.maximum(np.square(x).sum(1)[:, None] + np.square(y).sum(1) - 2 * x @ y.T, 0)


def _reach(x: Features, neighbours: int) -> Features:
    """(N,) squared distance of each row to its so many-th neighbour."""
    out = np.empty(len(x))
    for rows in _parts(len(x)):
        apart = _squares(x[rows], x)
        apart[np.arange(rows.stop - rows.start), np.arange(rows.start, rows.stop)] = (
            np.inf
        )  # a row is not its own neighbour
        out[rows] = np.partition(apart, neighbours - 1, 1)[:, neighbours - 1]
    return out
