"""p(x | z, c): a decoder returns a distribution, never a tensor. N = rows, Z = width of the state, C = of the condition."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from latelier.batch import Batch
from latelier.errors import BadInput
from latelier.likelihoods.base import Joint, Likelihood, full
from latelier.nets.factors import Factors, StraightMlpDecoder
from latelier.nets.masked import MaskedMlp


class Decoder(nn.Module, ABC):
    """p(x | z, c). Its network may run lazily, inside ``log_prob`` or ``sample`` of what it returns."""

    net: nn.Module

    @abstractmethod
    def forward(self, z: Tensor, c: Tensor | None) -> Joint:
        """(N, *state), (N, C) -> a distribution of every modelled field."""

    def guided(self, z: Tensor, c: Tensor, z_bare: Tensor, c_bare: Tensor, strength: float) -> Joint:
        """What heads are told is moved from what the state and condition of a walk under no condition make of the same values,
        ``strength`` times as far as the condition moves it: h = h_bare + strength (h - h_bare). For drawing; its
        log-probabilities are no bound."""
        raise BadInput(
            f"guidance: {type(self).__name__} does not know what it would say without a condition; leave it out"
        )

    def begin(self, batch: Batch, linear: Mapping[str, Factors]) -> None:
        """Told once, before training, of some rows, and of fields for which a linear model is known."""

    def last(self) -> Tensor:
        """The weights of the last layer: a matrix or kernels, in the order in which a network names its parts."""
        return [p for p in self.net.parameters() if p.ndim > 1][-1]


class Factorised(Decoder):
    """One network feeds every field's likelihood; its channels are split by width. Entries are independent given z and c.

    >>> from latelier.likelihoods.binary import Bernoulli
    >>> from latelier.nets.mlp import MlpDecoder
    >>> decoder = Factorised(MlpDecoder(2, [16], (64,)), {"pixels": Bernoulli((64,))})
    >>> decoder(torch.zeros(3, 2), None)["pixels"].sample().shape
    torch.Size([3, 64])
    """

    def __init__(self, net: nn.Module, likelihoods: Mapping[str, Likelihood]):
        super().__init__()
        self.net = net
        self.likelihoods = nn.ModuleDict(likelihoods)
        self.widths = [head.width for head in likelihoods.values()]

    def forward(self, z: Tensor, c: Tensor | None) -> Joint:
        return self._told(full(self.net(z, c)))  # networks may run in bfloat16; probabilities never do

    def guided(self, z: Tensor, c: Tensor, z_bare: Tensor, c_bare: Tensor, strength: float) -> Joint:
        return self._told(torch.lerp(full(self.net(z_bare, c_bare)), full(self.net(z, c)), strength))

    def _told(self, h: Tensor) -> Joint:
        parts = torch.split(h, self.widths, 1) if len(self.widths) > 1 else (h,)
        return Joint({name: head(part) for (name, head), part in zip(self.likelihoods.items(), parts, strict=True)})

    def begin(self, batch: Batch, linear: Mapping[str, Factors]) -> None:
        first = 0
        for name, head in self.likelihoods.items():
            assert isinstance(head, Likelihood)
            head.begin(batch.fields[name], batch.seen.get(name))
            if name in linear and isinstance(self.net, StraightMlpDecoder):
                model = linear[name]
                placed = head.linear(model.mean, model.loadings, model.noise)
                if placed is not None:
                    self.net.place(first, *placed)
            first += head.width


class Reader(Protocol):
    """Reads the values of one field as numbers: the encoder's way of doing so, which this part does not know."""

    name: str
    width: int

    def places(self) -> Tensor:
        """(width,) the entry that each number tells of."""

    def begin(self, x: Tensor, seen: Tensor | None) -> None: ...

    def __call__(self, x: Tensor, seen: Tensor | None) -> Tensor: ...


class Autoregressive(Decoder):
    """p(x | z, c) = prod_i p(x_i | x_<i, z, c): entries one after the other, field by field, each given those before it.

    One pass of a masked network gives all terms of log p (Germain et al. 2015); a draw takes one pass an entry.
    ``net`` lets numbers about an entry see earlier entries only, in the order of ``likelihoods`` and of ``readers``.
    """

    net: MaskedMlp

    def __init__(self, net: MaskedMlp, likelihoods: Mapping[str, Likelihood], readers: Sequence[Reader]):
        super().__init__()
        self.net = net
        self.likelihoods = nn.ModuleDict(likelihoods)
        self.widths = [head.width for head in likelihoods.values()]
        self.readers: Sequence[Reader] = nn.ModuleList(readers)  # type: ignore[assignment, arg-type]

    def forward(self, z: Tensor, c: Tensor | None) -> Joint:
        return Chain(self, z.flatten(1) if c is None else torch.cat([z.flatten(1), c], 1))

    def guided(self, z: Tensor, c: Tensor, z_bare: Tensor, c_bare: Tensor, strength: float) -> Joint:
        own, bare = (torch.cat([state.flatten(1), part], 1) for state, part in ((z, c), (z_bare, c_bare)))
        return GuidedChain(self, own, bare, strength)

    def begin(self, batch: Batch, linear: Mapping[str, Factors]) -> None:
        for name, head in self.likelihoods.items():
            assert isinstance(head, Likelihood)
            head.begin(batch.fields[name], batch.seen.get(name))
        for reader in self.readers:
            reader.begin(batch.fields[reader.name], batch.seen.get(reader.name))

    def terms(self, batch: Batch, z: Tensor) -> Joint:
        """p(x_i | x_<i, z) of every entry at once, for these values of x; what is not seen is not read."""
        x = torch.cat([reader(batch.fields[reader.name], batch.seen.get(reader.name)) for reader in self.readers], 1)
        parts = torch.split(full(self.net(x, z)), self.widths, 1)
        return Joint({name: head(part) for (name, head), part in zip(self.likelihoods.items(), parts, strict=True)})

    def blank(self, like: Tensor) -> dict[str, Tensor]:
        """A legal value in every entry, for as many rows as ``like`` has."""
        rows = len(like)
        codes = ("category", "ordinal")
        return {
            name: like.new_zeros((rows, *head.shape), dtype=torch.int64 if head.support in codes else torch.float32)
            for name, head in self.likelihoods.items()
            if isinstance(head, Likelihood)
        }


class Chain(Joint):
    """What an autoregressive decoder says given z (N, Z); its network runs when it is asked."""

    def __init__(self, decoder: Autoregressive, z: Tensor):
        super().__init__()
        self.decoder, self.z = decoder, z

    def log_prob(self, batch: Batch) -> Tensor:
        return self.decoder.terms(batch, self.z).log_prob(batch)

    def entry_log_prob(self, batch: Batch) -> dict[str, Tensor]:
        return self.decoder.terms(batch, self.z).entry_log_prob(batch)

    def sample(self) -> Batch:
        return self._walk(Batch({}), centre=False)

    def point_estimate(self) -> Batch:
        """Each entry's centre given the centres before it."""
        return self._walk(Batch({}), centre=True)

    @torch.no_grad()
    def given(self, batch: Batch) -> Joint:
        """What is not seen is drawn, given the seen entries before it; what is seen after it enters by its probability."""
        whole = self._walk(batch, centre=False)
        return Completed(self.decoder.terms(whole, self.z), whole)

    @torch.no_grad()
    def _walk(self, batch: Batch, centre: bool) -> Batch:
        """Entry after entry: what is seen as it is, else drawn."""
        walk, values = self._begin(), self.decoder.blank(self.z)
        entry = 0
        for (name, own), reader in zip(values.items(), self.decoder.readers, strict=True):
            head = self.decoder.likelihoods[name]
            assert isinstance(head, Likelihood)
            seen = batch.seen.get(name, own.new_ones(1, dtype=torch.bool).expand(own.shape))
            if name in batch.fields:
                own.copy_(batch.fields[name])
            else:
                seen = own.new_zeros(1, dtype=torch.bool).expand(own.shape)
            tells, reads = head.places(), reader.places()
            for i in range(own.shape[1]):
                if not bool(seen[:, i].all()):
                    h = self.z.new_zeros(len(own), head.width)
                    h[:, tells == i] = full(walk.about(entry))
                    px = head(h)
                    drawn = (px.point_estimate() if centre else px.sample())[:, i]
                    own[:, i] = torch.where(seen[:, i], own[:, i], drawn)
                else:
                    walk.about(entry)
                walk.tell(entry, reader(own, None)[:, reads == i])
                entry += 1
        return Batch(values)

    def _begin(self) -> EntryWalk:
        return self.decoder.net.walk(self.z)


class GuidedChain(Chain):
    """The same, moved away from what ``bare`` in place of z (N, Z) says of every entry, after the same entries."""

    def __init__(self, decoder: Autoregressive, z: Tensor, bare: Tensor, strength: float):
        super().__init__(decoder, z)
        self.bare, self.strength = bare, strength

    def _begin(self) -> EntryWalk:
        return GuidedWalk(self.decoder.net.walk(self.z), self.decoder.net.walk(self.bare), self.strength)


class EntryWalk(Protocol):
    """A network that is told of one entry after the other."""

    def about(self, entry: int) -> Tensor: ...

    def tell(self, entry: int, numbers: Tensor) -> None: ...


@dataclass(frozen=True)
class GuidedWalk:
    """Two walks told the same."""

    walk: EntryWalk
    bare: EntryWalk
    strength: float

    def about(self, entry: int) -> Tensor:
        return torch.lerp(self.bare.about(entry), self.walk.about(entry), self.strength)

    def tell(self, entry: int, numbers: Tensor) -> None:
        self.walk.tell(entry, numbers)
        self.bare.tell(entry, numbers)


class Completed(Joint):
    """p(x_i | x_<i, z) of every entry of rows that were completed; a draw of all entries together is those rows."""

    def __init__(self, terms: Joint, whole: Batch):
        super().__init__(terms)
        self.whole = whole

    def sample(self) -> Batch:
        return self.whole


def of_columns(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """BadInput where a field is not a row of entries, which alone have one order."""
    for name, shape in shapes.items():
        if len(shape) != 1:
            raise BadInput(
                f"network autoregressive is for columns, and {name} is {' x '.join(map(str, shape))}; use network.name=conv"
            )
