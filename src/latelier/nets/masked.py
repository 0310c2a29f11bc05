"""A masked multilayer perceptron: numbers about entry i come from z and the entries before i alone. N = rows, D = entries."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latelier.nets.mlp import activation


class MaskedLinear(nn.Linear):
    """A linear map of which only the weights under ``mask`` (outputs, inputs) are there."""

    mask: Tensor

    def __init__(self, mask: Tensor):
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.float(), persistent=False)
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class MaskedMlp(nn.Module):
    """MADE (Germain et al. 2015) with a second input z that everything may read, added to every layer.

    ``reads`` (I,) names the entry that each input tells of, ``tells`` (O,) the entry that each output is about; entries are
    0 ... D - 1. A hidden unit of degree d reads the entries before d; an output about i reads units of degree i at most.
    Layers of one width are added to their inputs.

    >>> net = MaskedMlp(torch.tensor([0, 1, 2]), torch.tensor([0, 1, 2]), 1, (8,))
    >>> x = torch.zeros(1, 3, requires_grad=True)
    >>> torch.nn.init.ones_(net.last.weight)[0, 0].item(), net(x, torch.zeros(1, 1)).shape
    (1.0, torch.Size([1, 3]))
    """

    def __init__(
        self,
        reads: Tensor,
        tells: Tensor,
        z: int,
        hidden: Sequence[int],
        act: str = "silu",
        dropout: float = 0.0,
    ):
        super().__init__()
        entries = int(tells.max()) + 1
        degrees = [torch.arange(width) * entries // width for width in hidden]
        self.degrees = [d.tolist() for d in degrees]
        self.tells = [torch.nonzero(tells == i)[:, 0] for i in range(entries)]
        self.reads = [torch.nonzero(reads == i)[:, 0] for i in range(entries)]
        before: list[Tensor] = [
            reads + 1,
            *degrees,
        ]  # an input about entry j counts as degree j + 1: later ones read it
        self.layers = nn.ModuleList(MaskedLinear(a[:, None] >= b) for b, a in zip(before, degrees, strict=False))
        self.from_z = nn.ModuleList(nn.Linear(z, width, bias=False) for width in hidden)
        self.last = MaskedLinear(tells[:, None] >= before[-1])
        nn.init.zeros_(self.last.weight)  # at first every head says what it says of zeros
        self.act, self.dropout = activation(act), dropout

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """(N, I), (N, Z) -> (N, O)"""
        for layer, from_z in zip(self.layers, self.from_z, strict=True):
            h = self.act(layer(x) + from_z(z))
            h = F.dropout(h, self.dropout, self.training) if self.dropout else h
            x = x + h if self.added(layer) else h
        out: Tensor = self.last(x)
        return out

    def added(self, layer: nn.Module) -> bool:
        """Is the layer's output added to its input?"""
        assert isinstance(layer, MaskedLinear)
        return layer is not self.layers[0] and layer.in_features == layer.out_features

    def walk(self, z: Tensor) -> Walk:
        """The same map, entry after entry, for drawing."""
        return Walk(self, z)


class Walk:
    """A masked net that is told of one entry after the other. A hidden unit is computed once, as soon as all that it reads
    is known, so that drawing all entries costs about as much as one pass."""

    def __init__(self, net: MaskedMlp, z: Tensor):
        self.net = net
        first = net.layers[0]
        assert isinstance(first, MaskedLinear)
        self.x = z.new_zeros(len(z), first.in_features)
        self.from_z = [layer(z) for layer in net.from_z]
        self.hidden = [torch.zeros_like(part) for part in self.from_z]

    def about(self, entry: int) -> Tensor:
        """(N, k) the outputs about an entry, once all entries before it have been told, in the order of channels."""
        x = self.x
        for layer, degrees, from_z, h in zip(self.net.layers, self.net.degrees, self.from_z, self.hidden, strict=True):
            assert isinstance(layer, MaskedLinear)
            new = slice(bisect_left(degrees, entry), bisect_right(degrees, entry))
            weight = layer.weight[new] * layer.mask[new]
            h[:, new] = self.net.act(F.linear(x, weight, layer.bias[new]) + from_z[:, new])
            if self.net.added(layer):
                h[:, new] += x[:, new]
            x = h
        own = self.net.tells[entry]
        return F.linear(x, self.net.last.weight[own] * self.net.last.mask[own], self.net.last.bias[own])

    def tell(self, entry: int, numbers: Tensor) -> None:
        """(N, k) the inputs that tell of an entry, in the order of channels."""
        self.x[:, self.net.reads[entry]] = numbers.to(self.x.dtype)
