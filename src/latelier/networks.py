"""What is learnt between data and latents: the networks by name, and the small ones inside latents. N = rows, C = width of the
condition."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latelier.decoders import Autoregressive, Decoder, Factorised, of_columns
from latelier.encoders import FieldInput
from latelier.errors import BadInput
from latelier.latents.base import Level
from latelier.likelihoods.base import Likelihood
from latelier.nets.conv import ConvDecoder, ConvEncoder, Residual, halvings
from latelier.nets.factors import FactorEncoder, StraightMlpDecoder
from latelier.nets.levels import Descent, Entry, MapDecoder, MapRung, Rise
from latelier.nets.masked import MaskedMlp
from latelier.nets.mlp import Head, MlpDecoder, MlpEncoder, Rung
from latelier.spec import NetworkSpec, Spec


@dataclass(frozen=True)
class Network:
    """An encoder's network, the width of its last feature, and how to make the decoder once the shape of the state is known.

    ``levels`` are the resolutions of its maps, coarse to fine, where it has some."""

    encoder: nn.Module
    features: int
    decoder: Callable[[tuple[int, ...], int, Mapping[str, Likelihood]], Decoder]
    levels: Sequence[Level] = ()


def mlp(run: Spec, inputs: Sequence[FieldInput], c: int) -> Network:
    """Every field flattened; the decoder mirrors the encoder."""
    spec = run.network
    width = sum(field.width * math.prod(field.shape[1:]) for field in inputs) + c
    shared = dict(act=spec.activation, norm=spec.norm, gated=spec.gated, residual=spec.residual, dropout=spec.dropout)

    def decoder(state: tuple[int, ...], c: int, heads: Mapping[str, Likelihood]) -> Decoder:
        spaces = {head.shape[1:] for head in heads.values()}
        if len(spaces) > 1:
            raise BadInput("network mlp needs fields of one spatial shape")
        shape = (sum(head.width for head in heads.values()), *spaces.pop())
        net = MlpDecoder(math.prod(state) + c, spec.hidden[::-1], shape, skip=spec.skip, **shared)  # type: ignore[arg-type]
        return Factorised(net, heads)

    encoder = MlpEncoder(width, spec.hidden, **shared)  # type: ignore[arg-type]
    return Network(encoder, encoder.features, decoder)


def factors(run: Spec, inputs: Sequence[FieldInput], c: int) -> Network:
    """An MLP beside factor analysis of what it reads, which finds the posterior of z for any pattern of holes; the decoder
    adds a linear map of z. At first the whole is that linear model."""
    if any(len(field.shape) > 1 for field in inputs):
        raise BadInput("network factors is for columns; use network.name=conv or mlp for pictures")
    plain = mlp(run, inputs, c)
    spec, first = run.network, 0
    values: list[int] = []
    masks: list[int] = []
    for field in inputs:
        columns = field.owner.tolist() if field.codes else list(range(field.shape[0]))
        values += range(first, first + len(columns))
        masks += [first + len(columns) + column if field.masked else -1 for column in columns]
        first += field.width
    assert isinstance(plain.encoder, MlpEncoder)
    shared = dict(act=spec.activation, norm=spec.norm, gated=spec.gated, residual=spec.residual, dropout=spec.dropout)

    def decoder(state: tuple[int, ...], c: int, heads: Mapping[str, Likelihood]) -> Decoder:
        shape = (sum(head.width for head in heads.values()),)
        return Factorised(
            StraightMlpDecoder(math.prod(state) + c, spec.hidden[::-1], shape, skip=spec.skip, **shared), heads
        )

    return Network(FactorEncoder(values, masks, run.latent.dims, plain.encoder), plain.features, decoder)


def conv(run: Spec, inputs: Sequence[FieldInput], c: int) -> Network:
    """Maps that halve at each of ``channels``, then a vector of ``hidden[-1]`` features."""
    spec = run.network
    space = inputs[0].shape[1:]
    if not space or any(field.shape[1:] != space for field in inputs):
        raise BadInput("network conv needs pictures (fields of one spatial shape); use network.name=mlp for columns")
    if min(space) < 2 ** len(spec.channels) // 2:
        raise BadInput(
            f"network.channels has {len(spec.channels)} halvings, too many for {' x '.join(map(str, space))}; name fewer"
        )
    if not spec.hidden:
        raise BadInput("network conv needs network.hidden=[features], the width of the vector after the last map")
    norm = "group" if spec.norm == "none" and spec.blocks else spec.norm
    shared = dict(blocks=spec.blocks, act=spec.activation, norm=norm, dropout=spec.dropout)
    features = spec.hidden[-1]
    encoder = ConvEncoder(sum(f.width for f in inputs), space, spec.channels, features, c, **shared)  # type: ignore[arg-type]

    sizes = halvings(space, len(spec.channels))
    levels = [Level(width, size) for width, size in zip(reversed(spec.channels), reversed(sizes), strict=False)]

    def decoder(state: tuple[int, ...], c: int, heads: Mapping[str, Likelihood]) -> Decoder:
        outputs = sum(head.width for head in heads.values())
        if len(state) > 1:
            finer = len(levels) - levels.index(Level(state[0], state[1:]))
            widths = [*spec.channels[:finer][::-1], spec.channels[0]]
            top = MapDecoder(widths, sizes[: finer + 1][::-1], outputs, c, upsample=spec.upsample, **shared)  # type: ignore[arg-type]
            return Factorised(top, heads)
        net = ConvDecoder(
            state[0] + c,
            space,
            spec.channels,
            outputs,
            skip=spec.skip,
            upsample=spec.upsample,
            **shared,  # type: ignore[arg-type]
        )
        return Factorised(net, heads)

    return Network(encoder, features, decoder, levels)


def autoregressive(run: Spec, inputs: Sequence[FieldInput], c: int) -> Network:
    """An MLP as encoder; in the decoder each column also reads the columns before it."""
    spec = run.network
    of_columns({field.name: field.shape for field in inputs})
    if not spec.hidden:
        raise BadInput("network autoregressive needs network.hidden=[widths], at least one layer between columns")
    width = sum(field.width for field in inputs) + c
    encoder = MlpEncoder(width, spec.hidden, spec.activation, spec.norm, spec.gated, spec.residual, spec.dropout)

    def decoder(state: tuple[int, ...], c: int, heads: Mapping[str, Likelihood]) -> Decoder:
        readers = [FieldInput(f.name, f.shape, f.support, f.sizes, f.masked, spec.hide) for f in inputs]
        reads = side_by_side(readers, [field.shape[0] for field in inputs])
        tells = side_by_side(list(heads.values()), [head.shape[0] for head in heads.values()])
        net = MaskedMlp(reads, tells, math.prod(state) + c, spec.hidden[::-1], spec.activation, spec.dropout)
        return Autoregressive(net, heads, readers)

    return Network(encoder, encoder.features, decoder)


def side_by_side(parts: Sequence[FieldInput | Likelihood], entries: Sequence[int]) -> Tensor:
    """The entry that each channel of each field is about, counted through all fields."""
    first = torch.tensor([0, *entries]).cumsum(0)
    return torch.cat([part.places() + start for part, start in zip(parts, first, strict=False)])


NETWORKS: dict[str, Callable[[Spec, Sequence[FieldInput], int], Network]] = {
    "mlp": mlp,
    "factors": factors,
    "conv": conv,
    "autoregressive": autoregressive,
}


@dataclass(frozen=True)
class Parts:
    """The small networks inside latents."""

    spec: NetworkSpec
    levels: Sequence[Level] = ()

    def head(self, inputs: int, outputs: int) -> nn.Module:
        return Head(inputs, outputs)

    def rung(self, inputs: int, outputs: int) -> nn.Module:
        return Rung(inputs, max(self.spec.hidden, default=64), outputs, self.spec.activation)

    def map_rung(self, level: int, outputs: int, c: int, reads: bool) -> nn.Module:
        at = self.levels[level]
        features = at.channels if reads else 0
        return MapRung(at.channels, outputs, len(at.space), c, features, -2 - level, self.spec.activation, self._norm)

    def descent(self, level: int, value: tuple[int, ...], rises: bool) -> nn.Module:
        at, spec = self.levels[level], self.spec
        blocks = (
            Residual(at.channels, len(at.space), spec.activation, self._norm, spec.dropout) for _ in range(spec.blocks)
        )
        rise = None
        if rises:
            finer = self.levels[level + 1]
            rise = Rise(at.channels, finer.channels, finer.space, spec.upsample)
        return Descent(at.channels, at.space, value, nn.Sequential(*blocks), rise)

    def entry(self, c: int) -> nn.Module:
        return Entry(c, self.levels[0].channels, len(self.levels[0].space))

    @property
    def _norm(self) -> str:
        """A residual walk of maps is not stable without one."""
        return "group" if self.spec.norm == "none" else self.spec.norm
