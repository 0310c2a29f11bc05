"""Figures of two clouds of features: closed forms, a second library, the published formulas by brute force."""

import numpy as np
import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from latelier.errors import BadInput
from latelier.fidelity import clouds, fid, kid, prdc


def cloud(rows: int, features: int = 4, seed: int = 0, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, scale, (rows, features))


def exact(mean: np.ndarray, covariance: np.ndarray, rows: int = 400, seed: int = 0) -> np.ndarray:
    """Rows whose sample moments are these to the last digits."""
    x = cloud(rows, len(mean), seed)
    white = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_fid_is_the_closed_form_of_two_gaussians():
    scales, others = np.array([1.0, 2.0, 0.5]), np.array([3.0, 1.0, 0.5])
    turn = np.linalg.qr(cloud(3, 3, 7))[0]  # covariances that commute have the root of each axis
    one = exact(np.zeros(3), turn @ np.diag(scales**2) @ turn.T)
    two = exact(np.array([1.0, -2.0, 0.0]), turn @ np.diag(others**2) @ turn.T, seed=1)
    assert fid(one, two) == pytest.approx(5.0 + np.square(scales - others).sum(), abs=1e-8)
    assert fid(one, one) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.filterwarnings("ignore:Metric")
def test_fid_and_kid_are_those_of_a_second_library():
    x, y = cloud(60, 5).astype(np.float32), cloud(60, 5, 1, shift=0.7, scale=1.5).astype(np.float32)

    class Same(torch.nn.Module):
        num_features = 5

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return rows.flatten(1).float()

    frechet = FrechetInceptionDistance(feature=Same(), input_img_size=(1, 1, 5))
    frechet.set_dtype(torch.float64)
    kernel = KernelInceptionDistance(feature=Same(), subsets=1, subset_size=60)
    for metric in (frechet, kernel):
        metric.update(torch.from_numpy(x).view(-1, 1, 1, 5), real=True)
        metric.update(torch.from_numpy(y).view(-1, 1, 1, 5), real=False)
    assert fid(x, y) == pytest.approx(frechet.compute().item(), rel=1e-4)
    assert kid(x, y).value == pytest.approx(kernel.compute()[0].item(), rel=1e-4)


def test_the_kernel_distance_has_no_bias_and_its_error_is_its_spread(monkeypatch):
    monkeypatch.setattr(clouds, "PART", 17)
    same = [kid(cloud(40, seed=i), cloud(50, seed=1000 + i)).value for i in range(200)]
    assert abs(np.mean(same)) < 3 * np.std(same) / 200**0.5
    apart = [kid(cloud(40, seed=i), cloud(50, seed=1000 + i, shift=0.6)) for i in range(200)]
    assert np.mean([k.error for k in apart]) == pytest.approx(np.std([k.value for k in apart]), rel=0.2)


def brute_force(real: np.ndarray, made: np.ndarray, k: int) -> dict[str, float]:
    """The published formulas, row by row (Naeem et al. 2020, equations 1 to 4)."""

    def radius(rows, i):
        return np.sort([np.linalg.norm(rows[i] - other) for other in rows])[k]  # place 0 is the row itself

    def ball(rows, i, point):
        return np.linalg.norm(rows[i] - point) < radius(rows, i)

    n, m = len(real), len(made)
    return {
        "precision": np.mean([any(ball(real, i, made[j]) for i in range(n)) for j in range(m)]),
        "recall": np.mean([any(ball(made, j, real[i]) for j in range(m)) for i in range(n)]),
        "density": np.sum([[ball(real, i, made[j]) for i in range(n)] for j in range(m)]) / (k * m),
        "coverage": np.mean([any(ball(real, i, made[j]) for j in range(m)) for i in range(n)]),
    }


@pytest.mark.parametrize("k", [1, 3])
def test_precision_recall_density_and_coverage_are_the_published_formulas(k, monkeypatch):
    monkeypatch.setattr(clouds, "PART", 7)
    real, made = cloud(30, 3), cloud(25, 3, 1, shift=0.8)
    found = prdc(real, made, k)
    for name, value in brute_force(real, made, k).items():
        assert getattr(found, name) == pytest.approx(value), name
    assert found.errors["coverage"] == pytest.approx((found.coverage * (1 - found.coverage) / 29) ** 0.5)


def test_a_dropped_mode_shows_in_recall_and_coverage_and_not_in_precision():
    real = np.concatenate([cloud(100, seed=0), cloud(100, seed=1, shift=20.0)])
    half = prdc(real, cloud(200, seed=2))
    assert half.precision > 0.9 and half.recall < 0.55 and half.coverage < 0.55
    whole = prdc(real, np.concatenate([cloud(100, seed=2), cloud(100, seed=3, shift=20.0)]))
    assert whole.recall > 0.9 and whole.coverage > 0.9


@pytest.mark.parametrize(
    ("real", "made", "words"),
    [
        (np.zeros((5, 2)), np.zeros((5, 3)), "the same features"),
        (np.zeros((5, 2)), np.zeros((1, 2)), "at least 2"),
        (np.zeros((5, 2)), np.array([[0.0, 1.0], [np.nan, 0.0]]), "row 1"),
    ],
)
def test_features_that_cannot_be_compared_are_told_of(real, made, words):
    for figure in (fid, kid, prdc):
        with pytest.raises(BadInput, match=words):
            figure(real, made)
    with pytest.raises(BadInput, match="more than 5"):
        prdc(np.zeros((5, 2)), np.zeros((9, 2)))
