"""Multilayer perceptrons: tensors in, tensors out. N = rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latelier.errors import unknown

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "softplus": F.softplus,
    "tanh": torch.tanh,
}


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda width: nn.Identity(),
    "layer": nn.LayerNorm,
    "batch": nn.BatchNorm1d,
    "group": nn.LayerNorm,  # of a vector, the same as one group, and faster
}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The function of that name; BadInput names the nearest where there is none."""
    if name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


class Layer(nn.Module):
    """One hidden layer: linear (or gated linear, Dauphin et al. 2017), normalised, activated, perhaps added to its input.

    ``extra`` is the width of a second input, z, that enters beside the first.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        act: str = "silu",
        norm: str = "none",
        gated: bool = False,
        residual: bool = False,
        dropout: float = 0.0,
        extra: int = 0,
    ):
        super().__init__()
        self.gated, self.residual = gated, residual and inputs == outputs
        self.linear = nn.Linear(inputs, 2 * outputs if gated else outputs)
        self.extra = nn.Linear(extra, 2 * outputs if gated else outputs, bias=False) if extra else None
        self.norm = NORMS[norm](outputs)
        self.act, self.dropout = activation(act), dropout
        # He et al. 2015: torch's default shrinks activations by a third per layer, which costs epochs at the start.
        nn.init.kaiming_normal_(self.linear.weight, nonlinearity="relu")
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """(N, inputs), (N, extra) -> (N, outputs)"""
        h = self.linear(x)
        if self.extra is not None:
            h = h + self.extra(z)
        if self.gated:
            h, gate = h.chunk(2, 1)
            h = self.norm(h) * torch.sigmoid(gate)
        else:
            h = self.act(self.norm(h))
        if self.dropout:
            h = F.dropout(h, self.dropout, self.training)
        return x + h if self.residual else h


class MlpEncoder(nn.Module):
    """(N, inputs), c -> one tuple of (N, hidden[-1])."""

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        act: str = "silu",
        norm: str = "none",
        gated: bool = False,
        residual: bool = False,
        dropout: float = 0.0,
    ):
        super().__init__()
        sizes = [inputs, *hidden]
        self.layers = nn.ModuleList(Layer(a, b, act, norm, gated, residual, dropout) for a, b in pairwise(sizes))
        self.features = sizes[-1]

    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, ...]:
        h = x.flatten(1) if c is None else torch.cat([x.flatten(1), c], 1)
        for layer in self.layers:
            h = layer(h)
        return (h,)


class MlpDecoder(nn.Module):
    """z (N, inputs), c -> (N, outputs), viewed as (N, *shape) if ``shape`` is given.

    With ``skip``, z enters every hidden layer (Dieng et al. 2019: skip connections keep the decoder from ignoring z).
    """

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        shape: tuple[int, ...],
        act: str = "silu",
        norm: str = "none",
        gated: bool = False,
        residual: bool = False,
        dropout: float = 0.0,
        skip: bool = False,
    ):
        super().__init__()
        sizes = [inputs, *hidden]
        self.layers = nn.ModuleList(
            Layer(a, b, act, norm, gated, residual, dropout, extra=inputs if skip and i else 0)
            for i, (a, b) in enumerate(pairwise(sizes))
        )
        self.skip, self.shape = skip, tuple(shape)
        self.last = nn.Linear(sizes[-1], int(torch.tensor(shape).prod()))

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        start = z.flatten(1) if c is None else torch.cat([z.flatten(1), c], 1)
        h = start
        for i, layer in enumerate(self.layers):
            h = layer(h, start if self.skip and i else None)
        h = self.last(h)
        return h if len(self.shape) == 1 else h.view(len(h), *self.shape)


class Head(nn.Module):
    """A linear map of the state, the deepest features and c to the numbers of one latent: (N, outputs)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        # Small at first: posteriors begin near the prior, so the first bounds are finite whatever the data.
        nn.init.normal_(self.linear.weight, std=0.1 * inputs**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, state: Tensor, features: Sequence[Tensor], c: Tensor | None) -> Tensor:
        above = (
            None if state.ndim > 2 else state
        )  # a map is not read here: it is where a hierarchy starts, the same for all
        parts = [part for part in (above, features[-1].flatten(1), c) if part is not None and part.shape[1]]
        return self.linear(parts[0] if len(parts) == 1 else torch.cat(parts, 1))


class Rung(nn.Module):
    """A small network on the state (and c), or on state and features: what a ladder's prior and posterior read."""

    def __init__(self, inputs: int, hidden: int, outputs: int, act: str = "silu"):
        super().__init__()
        self.hidden, self.out, self.act = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs), activation(act)
        nn.init.zeros_(self.out.bias)
        with torch.no_grad():
            self.out.weight.mul_(0.1)

    def forward(self, state: Tensor, *others: Sequence[Tensor] | Tensor | None) -> Tensor:
        """``others`` is (c,) for a prior and (features, c) for a posterior."""
        parts = [state.flatten(1)]
        for other in others:
            if isinstance(other, Tensor):
                parts.append(other)
            elif other is not None:
                parts.append(other[-1].flatten(1))
        return self.out(self.act(self.hidden(torch.cat(parts, 1))))
