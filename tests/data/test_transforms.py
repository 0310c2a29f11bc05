"""Transforms: there and back, and log-determinants by automatic differentiation."""

import math

import pytest
import torch

from latelier.data.curves import Arcsinh, Curve, Log, Logit
from latelier.data.transforms import Amount, Binarise, Cyclic, Dequantise, Levels, Standardise
from latelier.noise import FRESH

ALL_CURVES = Standardise(
    loc=(3.0, 0.5, 1.0, 0.1),
    scale=(2.0, 0.25, 1.5, 0.8),
    bend=(0.0, 10.0, 0.0, 0.0),
    log=(0.0, 0.0, 0.2, 0.0),
    origin=(0.0, 0.0, -1.0, 0.0),
    margin=(0.0, 0.0, 0.0, 0.02),
    low=(-9.0, -9.0, 0.0, -1.0),
    high=(9.0, 9.0, 50.0, 3.0),
)
VALUES = torch.tensor(
    [[1.0, -40.0, 0.3, -0.9], [5.0, 300.0, 90.0, 2.5], [-2.0, 0.0, -4.0, -1.5], [0.0, 1.0, 0.2, 9.0]],
    dtype=torch.float64,
)
CURVES = [
    Arcsinh(torch.tensor([10.0]).double()),
    Log(torch.tensor([0.2]).double(), torch.tensor([-3.0]).double()),
    Logit(*(torch.tensor([v]).double() for v in (-1.0, 3.0, 0.02))),
]


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: type(curve).__name__)
def test_a_curve_rises_everywhere_with_the_slope_that_it_says(curve: Curve):
    x = torch.linspace(-50, 50, 4001, dtype=torch.float64)[:, None].requires_grad_()
    y = curve.forward(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(curve.log_slope(x), slope.log(), atol=1e-10)
    assert bool((y.diff(dim=0) > 0).all())
    assert torch.allclose(curve.back(y), x, atol=1e-9)


def test_standardise_comes_back_to_double_precision():
    x = torch.tensor([[1e9 + 1, -4e5], [0.0, 0.0], [-7.5, 3e6]], dtype=torch.float64)
    unit = Standardise(loc=(1e9, 0.5), scale=(2.0, 0.25), bend=(0.0, 10.0))
    back = unit.to_data(unit.to_model(x, FRESH))
    assert torch.allclose(back[:1, 0], x[:1, 0], rtol=1e-12)
    assert torch.allclose(back[:, 1], x[:, 1], rtol=1e-5, atol=1e-5)


def test_columns_of_every_curve_come_back():
    back = ALL_CURVES.to_data(ALL_CURVES.to_model(VALUES, FRESH))
    assert torch.allclose(back, VALUES, rtol=1e-5, atol=1e-5)
    part = ALL_CURVES.of([3, 1])
    assert torch.equal(part.to_model(VALUES[:, [3, 1]], FRESH), ALL_CURVES.to_model(VALUES, FRESH)[:, [3, 1]])


def test_log_det_is_the_log_slope_of_every_column():
    step = 1e-3
    rise = ALL_CURVES.to_model(VALUES + step, FRESH).double() - ALL_CURVES.to_model(VALUES - step, FRESH).double()
    away = (VALUES[:, 2] + 0.8).abs() > 0.01  # the slope of a logarithm and its tangent is one, its change is not
    found, truth = ALL_CURVES.log_det(VALUES).double(), (rise / (2 * step)).log()
    assert torch.allclose(found[away], truth[away], atol=1e-2)


def test_a_spike_is_0_and_nothing_else_is():
    paid = Amount(
        loc=(5.0, 1.0), scale=(2.0, 1.0), bend=(0.0, 0.0), spike=(0.0, 40.0), low=(1.0, 0.0), high=(9.0, 99.0)
    )
    x = torch.tensor([[0.0, 40.0], [5.0, 1.0], [9.0, 0.0]], dtype=torch.float64)
    y = paid.to_model(x, FRESH)
    assert y[0].tolist() == [0.0, 0.0] and bool((y[1:] != 0).all())
    assert torch.allclose(paid.to_data(y), x)
    assert paid.log_det(x)[0].tolist() == [0.0, 0.0]
    assert torch.allclose(paid.log_det(x)[1:, 0], torch.tensor(-math.log(2.0)))
    made = torch.tensor([[0.0, 40.0], [0.4, -3.0], [20.0, 120.0]], dtype=torch.float64)
    assert paid.within(made).tolist() == [[0.0, 40.0], [1.0, 0.0], [9.0, 99.0]]


def test_what_comes_round_has_no_seam():
    clock = Cyclic(start=(0.0, -180.0), period=(24.0, 360.0))
    y = clock.to_model(torch.tensor([[23.9, 179.0], [0.1, -179.0], [12.0, 0.0]], dtype=torch.float64), FRESH)
    assert torch.allclose((y[0] - y[1]).cos(), torch.tensor([0.2 / 24, 2 / 360]).mul(2 * math.pi).cos(), atol=1e-6)
    assert torch.allclose(y[2], torch.zeros(2), atol=1e-6)
    assert torch.allclose(clock.to_data(y)[:, 0], torch.tensor([23.9, 0.1, 12.0]).double(), atol=1e-5)
    assert torch.allclose(clock.log_det(y)[0], torch.tensor([2 * math.pi / 24, 2 * math.pi / 360]).log())


@pytest.mark.parametrize("transform", [Levels(), Dequantise(), Dequantise(loc=0.3, scale=0.2)])
def test_all_256_levels_come_back(transform):
    x = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(transform.to_data(transform.to_model(x, FRESH)), x)


def test_dequantised_density_has_the_log_of_the_bin_width():
    x = torch.zeros(2, 1, 3, 3, dtype=torch.uint8)
    assert torch.allclose(Dequantise(scale=0.5).log_det(x), torch.tensor(-math.log(128.0)))


def test_dynamic_binarisation_has_the_grey_level_as_its_mean():
    x = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3).expand(20000, 3)
    mean = Binarise().to_model(x, FRESH).mean(0)
    assert mean[0] == 0 and mean[2] == 1 and abs(mean[1] - 0.2) < 0.02
