"""Networks: shapes for every combination of options, rows apart."""

import itertools

import pytest
import torch

from latelier.errors import BadInput
from latelier.nets.conv import ConvDecoder, ConvEncoder
from latelier.nets.mlp import ACTIVATIONS, MlpDecoder, MlpEncoder, activation


@pytest.mark.parametrize(
    "norm,gated,residual,skip", list(itertools.product(["none", "layer", "batch", "group"], [0, 1], [0, 1], [0, 1]))
)
def test_mlp_shapes_and_depth(norm, gated, residual, skip):
    encoder = MlpEncoder(10, (8, 8, 8), norm=norm, gated=bool(gated), residual=bool(residual))
    decoder = MlpDecoder(4, (8, 8, 8), (2, 5), norm=norm, gated=bool(gated), residual=bool(residual), skip=bool(skip))
    assert encoder(torch.randn(3, 10))[-1].shape == (3, 8)
    assert decoder(torch.randn(3, 3), torch.randn(3, 1)).shape == (3, 2, 5)


@pytest.mark.parametrize("space", [(17,), (12, 9), (28, 28), (7, 5, 6)])
@pytest.mark.parametrize(
    "upsample,skip,blocks", [("resize", True, 1), ("transposed", False, 0), ("transposed", True, 2)]
)
def test_conv_shapes_in_one_two_and_three_dimensions(space, upsample, skip, blocks):
    encoder = ConvEncoder(2, space, (8, 16), 10, c=3, blocks=blocks)
    decoder = ConvDecoder(6, space, (8, 16), 4, blocks=blocks, skip=skip, upsample=upsample)
    features = encoder(torch.randn(2, 2, *space), torch.randn(2, 3))
    assert features[-1].shape == (2, 10) and features[0].shape[1] == 8 and features[1].shape[1] == 16
    assert decoder(torch.randn(2, 5), torch.randn(2, 1)).shape == (2, 4, *space)


@pytest.mark.parametrize("skip", [False, True])
def test_z_reaches_every_layer_only_with_skip(skip):
    decoder = MlpDecoder(4, (8, 8), (5,), skip=skip)
    torch.nn.init.zeros_(decoder.layers[0].linear.weight)  # cut the way through the first layer
    z = torch.randn(2, 4, requires_grad=True)
    decoder(z).sum().backward()
    assert bool((z.grad != 0).any()) == skip


def test_rows_do_not_mix():
    encoder = ConvEncoder(1, (8, 8), (4, 8), 6).eval()
    x = torch.randn(4, 1, 8, 8)
    assert torch.allclose(encoder(x)[-1][2:3], encoder(x[2:3])[-1], atol=1e-6)


def test_unknown_activation_names_the_nearest():
    assert all(callable(activation(name)) for name in ACTIVATIONS)
    with pytest.raises(BadInput, match="did you mean 'silu'"):
        activation("slu")
