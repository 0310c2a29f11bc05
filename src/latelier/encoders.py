"""Batch -> features: the one place where masks become inputs. N = rows, C = width of the condition."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from latelier.batch import Batch
from latelier.nets.factors import FactorEncoder, Factors


class FieldInput(nn.Module):
    """One field as numbers a network can read: (N, *shape) -> (N, width, *space).

    Codes become one-hot vectors, counts their log1p brought to zero mean and unit scale, angles their cosine and sine,
    amounts stay beside a mark of those that are the spike, all else stays. Where the field may have holes (``masked``) or
    holes are made in training (``holes``, a share), unseen entries become 0 and the mask is appended.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        support: str,
        sizes: tuple[int, ...] = (),
        masked: bool = False,
        holes: float = 0.0,
    ):
        super().__init__()
        self.name, self.shape, self.support, self.holes = name, tuple(shape), support, holes
        self.masked = masked or holes > 0
        self.codes = support in ("category", "ordinal")
        self.sizes = sizes
        self.register_buffer("one", torch.ones(()), persistent=False)  # of the precision that the network has
        mask_channels = shape[0] if len(shape) == 1 else 1
        per_value = 2 if support in ("amount", "cyclic") else 1
        self.width = (sum(sizes) if self.codes else per_value * shape[0]) + (mask_channels if self.masked else 0)
        if self.codes:
            owner = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
            first = torch.tensor(sizes).cumsum(0) - torch.tensor(sizes)
            self.register_buffer("owner", owner, persistent=False)  # the column of each one-hot place
            self.register_buffer("code", torch.arange(sum(sizes)) - first[owner], persistent=False)

        elif support == "count":
            self.register_buffer("loc", torch.zeros(shape))
            self.register_buffer("scale", torch.ones(shape))

    one: Tensor
    owner: Tensor
    code: Tensor
    loc: Tensor
    scale: Tensor

    def places(self) -> Tensor:
        """(width,) which of the ``shape[0]`` entries (or channels) each number tells of."""
        own = torch.arange(self.shape[0])
        values = self.owner.cpu() if self.codes else own
        return torch.cat([values, own if len(self.shape) == 1 else own[:1]]) if self.masked else values

    def begin(self, x: Tensor, seen: Tensor | None) -> None:
        """Told once, before training, of some rows, so that counts of any size come in near 0."""
        if self.support == "count":
            weight = torch.ones_like(x) if seen is None else seen.to(x.dtype)
            rows = weight.sum(0).clamp_min(1)
            self.loc.copy_((torch.log1p(x) * weight).sum(0) / rows)
            self.scale.copy_((((torch.log1p(x) - self.loc).square() * weight).sum(0) / rows).sqrt().clamp_min(1e-2))

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        if self.holes and self.training:
            seen = self._with_holes(x, seen)
        if self.codes:
            values = (x[:, self.owner] == self.code).to(self.one.dtype)
            if seen is not None:
                values = values * seen[:, self.owner]
        else:
            values = (torch.log1p(x) - self.loc) / self.scale if self.support == "count" else x
            if self.support == "cyclic":
                values = torch.cat([x.cos(), x.sin()], 1)
            elif self.support == "amount":
                values = torch.cat([x, (x == 0).to(x.dtype)], 1)
            if seen is not None:
                values = torch.where(seen if values.shape[1] == x.shape[1] else seen.repeat(1, 2), values, 0.0)
        if not self.masked:
            return values
        if seen is None:
            seen = x.new_ones((), dtype=torch.bool).expand(len(x), *self._mask_shape())
        return torch.cat([values, seen.to(values.dtype)], 1)

    def _mask_shape(self) -> tuple[int, ...]:
        return self.shape if len(self.shape) == 1 else (1, *self.shape[1:])

    def _with_holes(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """Hides a random share of entries, a share drawn per row so that every degree of missingness is met."""
        share = 2 * self.holes * torch.rand(len(x), *[1] * len(self.shape), device=x.device)
        kept = torch.rand(len(x), *self._mask_shape(), device=x.device) >= share
        return kept if seen is None else kept & seen


class FieldInputs(nn.Module):
    """The inputs of some fields."""

    def __init__(self, inputs: Iterable[FieldInput]):
        super().__init__()
        self.inputs: Sequence[FieldInput] = nn.ModuleList(inputs)  # type: ignore[assignment]

    def begin(self, batch: Batch) -> None:
        """Tells every input of some rows, once, before training."""
        for field in self.inputs:
            field.begin(batch.fields[field.name], batch.seen.get(field.name))


class Encoder(FieldInputs):
    """The modelled fields, side by side, through one network: Batch, c (N, C) -> features, the last a vector.

    Fields of one spatial shape are stacked as channels; otherwise all are flattened.
    """

    def __init__(self, inputs: Iterable[FieldInput], net: nn.Module):
        super().__init__(inputs)
        self.net = net
        self.stacked = len({field.shape[1:] for field in self.inputs}) == 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a row as the network reads it: (inputs, *space)."""
        space = self.inputs[0].shape[1:] if self.stacked else ()
        return (sum(f.width * (1 if self.stacked else math.prod(f.shape[1:])) for f in self.inputs), *space)

    def linear(self, batch: Batch) -> dict[str, Factors]:
        """Told of some rows before training, a network that starts from a linear model fits it, and this is it for every
        field that comes in as it is; nothing for other networks."""
        if not isinstance(self.net, FactorEncoder):
            return {}
        training = self.training
        self.eval()  # no holes are made in what is read here
        found, linear, first = self.net.begin(self.read(batch)), {}, 0
        self.train(training)
        for field in self.inputs:
            width = len(field.code) if field.codes else field.shape[0]
            if not field.codes and field.support != "count":
                linear[field.name] = found.of(slice(first, first + width))
            first += width
        return linear

    def forward(self, batch: Batch, c: Tensor | None = None) -> tuple[Tensor, ...]:
        features: tuple[Tensor, ...] = self.net(self.read(batch), c)
        return features

    def read(self, batch: Batch) -> Tensor:
        """(N, inputs, *space): what the network is given."""
        parts = [field(batch.fields[field.name], batch.seen.get(field.name)) for field in self.inputs]
        if len(parts) > 1:
            return torch.cat(parts if self.stacked else [p.flatten(1) for p in parts], 1)
        return parts[0]


class Condition(FieldInputs):
    """The condition fields, side by side and flat: Batch -> c (N, C). A condition that is not given reads as all unseen: zeros.

    In training so large a share of rows as ``dropped`` has all of them hidden at once, so that the model also knows rows of
    which nothing is given, which guided sampling starts from.
    """

    def __init__(self, inputs: Iterable[FieldInput], dropped: float = 0.0):
        super().__init__(inputs)
        self.width = sum(field.width for field in self.inputs)
        self.dropped = dropped

    def forward(self, batch: Batch) -> Tensor:
        c = torch.cat([field(batch.fields[field.name], batch.seen.get(field.name)) for field in self.inputs], 1)
        if self.dropped and self.training:
            c = c * (torch.rand(len(c), 1, device=c.device) >= self.dropped)
        return c
