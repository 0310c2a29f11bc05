"""Transforms: there and back, and log-determinants by automatic differentiation."""

import math

import pytest
import torch

from latelier.data.transforms import Binarise, Dequantise, Levels, Standardise
from latelier.noise import FRESH

STANDARDISE = Standardise(loc=(3.0, 0.5), scale=(2.0, 0.25), bend=(0.0, 10.0))


def test_standardise_comes_back_to_double_precision():
    x = torch.tensor([[1e9 + 1, -4e5], [0.0, 0.0], [-7.5, 3e6]], dtype=torch.float64)
    unit = Standardise(loc=(1e9, 0.5), scale=(2.0, 0.25), bend=(0.0, 10.0))
    back = unit.to_data(unit.to_model(x, FRESH))
    assert torch.allclose(back[:1, 0], x[:1, 0], rtol=1e-12)
    assert torch.allclose(back[:, 1], x[:, 1], rtol=1e-5, atol=1e-5)


def test_log_det_is_the_log_slope():
    x = torch.tensor([[1.0, -40.0], [5.0, 300.0]], dtype=torch.float64, requires_grad=True)
    loc, scale, bend = STANDARDISE._columns(x)
    y = (torch.where(bend > 0, torch.asinh(x / bend.clamp_min(1e-300)), x) - loc) / scale
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(STANDARDISE.log_det(x.detach()).double(), slope.log(), atol=1e-6)


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
