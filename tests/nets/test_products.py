"""Convolutions as matrix products are the same function, with the same gradients, under the same names."""

import pytest
import torch
from torch import nn

from latelier.nets import products


@pytest.mark.parametrize(
    ("ours", "torchs", "arguments"),
    [
        (products.Conv2d, nn.Conv2d, dict(stride=2, padding=1)),
        (products.Conv2d, nn.Conv2d, dict(padding=(2, 0), dilation=(1, 2), bias=False)),
        (products.ConvTranspose2d, nn.ConvTranspose2d, dict(stride=2, padding=1, output_padding=(1, 0))),
        (products.ConvTranspose2d, nn.ConvTranspose2d, dict(stride=(2, 3), dilation=2, bias=False)),
    ],
)
def test_a_product_is_the_convolution_and_has_its_gradients(monkeypatch, ours, torchs, arguments):
    monkeypatch.setattr(products, "WEIGHTS", 0)
    ours, torchs = ours(3, 5, (3, 2), **arguments).double(), torchs(3, 5, (3, 2), **arguments).double()
    torchs.load_state_dict(ours.state_dict())
    x = torch.randn(4, 3, 4, 3, dtype=torch.float64)
    outcomes = []
    for layer in (ours, torchs):
        point = x.clone().requires_grad_()
        y = layer(point)
        gradients = torch.autograd.grad(y.square().sum(), [point, *layer.parameters()])
        outcomes.append([y, *gradients])
    assert ours.__class__ is not torchs.__class__
    for a, b in zip(*outcomes, strict=True):
        torch.testing.assert_close(a, b)


def test_the_product_is_taken_where_maps_are_small_and_wide(monkeypatch):
    x = torch.zeros(1)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    wide, narrow = torch.empty(512, 512, 3, 3, device="meta"), torch.empty(64, 64, 3, 3, device="meta")
    assert products.by_product(x, wide, (4, 4))
    assert not products.by_product(x, wide, (7, 7)) and not products.by_product(x, narrow, (4, 4))
    assert not products.by_product(x.to("meta"), wide, (4, 4))


def test_on_avx512_the_product_is_faster_in_bfloat16_only(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    x, wide = torch.zeros(1), torch.empty(512, 512, 3, 3, device="meta")
    assert not products.by_product(x, wide, (4, 4))
    with torch.autocast("cpu", torch.bfloat16):
        assert products.by_product(x, wide, (4, 4))
