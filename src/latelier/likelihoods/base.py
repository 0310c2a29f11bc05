"""p(x | h) of one field. N = rows, width = decoder channels, entries = the parts of x that can be seen or missing."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, arange, float32, float64, nn, where

from latelier.batch import Batch
from latelier.errors import BadInput, unknown

Options = Mapping[str, float | int | str | bool]


class Distribution(ABC):
    """p(x | z, c) of one field. Log-probabilities and log-densities are in nats.

    The entries of a vector are its values, (D,). The entries of an image are (C, H, W), or (1, H, W) where the channels
    of a pixel hang together; so one mask of (N, 1, H, W), "this pixel is seen", serves every likelihood of images.
    """

    @abstractmethod
    def entry_log_prob(self, x: Tensor) -> Tensor:
        """(N, *shape) -> (N, *entries)."""

    @abstractmethod
    def sample(self) -> Tensor:
        """(N, *shape), drawn from torch's global generator; no gradient flows through it."""

    @abstractmethod
    def point_estimate(self) -> Tensor:
        """(N, *shape): the mean of numbers, the mode of codes."""

    def relaxed(self) -> Tensor:
        """(N, *shape) as somebody would see it, with a gradient: the mean of numbers, not rounded; of values that are 0 or 1 a
        draw whose gradient is that of the probability (straight-through: Bengio et al. 2013)."""
        return self.point_estimate()

    def log_prob(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """(N,): summed over entries; entries not seen cost nothing."""
        terms = self.entry_log_prob(x)
        if seen is not None:
            terms = seen_terms(terms, seen)
        return terms.flatten(1).sum(1)


class Ordered(Distribution):
    """A distribution of numbers, which have an order and so quantiles."""

    @abstractmethod
    def quantile(self, level: float) -> Tensor:
        """(N, *shape): the smallest value that is not exceeded with probability ``level``, which lies in (0, 1)."""


def seen_terms(terms: Tensor, seen: Tensor) -> Tensor:
    """(N, *entries) with 0 where not seen. A pixel whose channels are one entry is seen when all of them are."""
    if seen.shape[1] > terms.shape[1] == 1:
        seen = seen.all(1, keepdim=True)
    return where(seen, terms, 0.0)


class Joint(dict[str, Distribution]):
    """p(x | z, c) of every modelled field, independent given z and c."""

    def log_prob(self, batch: Batch) -> Tensor:
        """(N,) nats."""
        terms = [d.log_prob(batch.fields[k], batch.seen.get(k)) for k, d in self.items()]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total

    def entry_log_prob(self, batch: Batch) -> dict[str, Tensor]:
        """Per field (N, *entries) nats, 0 where not seen."""
        terms = {k: d.entry_log_prob(batch.fields[k]) for k, d in self.items()}
        return {k: seen_terms(t, batch.seen[k]) if k in batch.seen else t for k, t in terms.items()}

    def sample(self) -> Batch:
        return Batch({k: d.sample() for k, d in self.items()})

    def given(self, batch: Batch) -> Joint:
        """The same with the seen entries known, for decoders whose entries lean on each other; here they do not."""
        return self

    def complete(self, batch: Batch) -> tuple[Batch, Tensor]:
        """The rows with what is not seen (entries, or whole fields) drawn; and (N,) log-weights, nats, under which draws are
        those of p(x_unseen | x_seen, z): the log-probability of what is seen beside what was drawn."""
        px = self.given(batch)
        drawn = px.sample().fields
        whole = {
            k: where(batch.seen[k], batch.fields[k], v) if k in batch.seen else batch.fields.get(k, v)
            for k, v in drawn.items()
        }
        own = Joint({k: d for k, d in px.items() if k in batch.fields})
        return Batch(whole), own.log_prob(batch) if own else next(iter(drawn.values())).new_zeros(len(batch)).float()

    def point_estimate(self) -> Batch:
        return Batch({k: d.point_estimate() for k, d in self.items()})


class Likelihood(nn.Module, ABC):
    """A head: ``width`` decoder channels (N, width, *space) become the distribution of one field of shape ``shape``.

    ``per_value`` numbers are supplied by the network per value of x. ``support`` says which values are possible, and
    with it how data are brought there and how an encoder reads them:
    ``binary`` 0 or 1; ``unit`` [0, 1]; ``real``; ``levels`` 0..255 brought to [-1, 1]; ``count`` 0, 1, 2, ... as
    floats; ``category`` and ``ordinal``: int64 codes, ``sizes`` of them per entry.
    Numbers near 0 from the network, as at the start of training, mean a broad distribution in every head.
    """

    support: ClassVar[str]
    per_value: int

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.shape = tuple(shape)

    @classmethod
    def make(cls, shape: tuple[int, ...], sizes: tuple[int, ...], options: Options) -> Likelihood:
        """The head of a field: of ``shape``, or of ``sizes`` where the support is codes, with its keyword options.

        Raises BadInput for an option that this head does not have, or that should be a number and is none.
        """
        signature = inspect.signature(cls)
        defaults = {p.name: p.default for p in list(signature.parameters.values())[1:]}
        for name, value in options.items():
            if not defaults:
                raise BadInput(f"{cls.__name__} takes no options; remove {name!r}")
            if name not in defaults:
                raise unknown(f"option of {cls.__name__}", name, defaults)
            wanted = {float: (int, float), int: (int,)}.get(type(defaults[name]))
            if wanted and (isinstance(value, bool) or not isinstance(value, wanted)):
                kind = "whole number" if wanted == (int,) else "number"
                raise BadInput(
                    f"option {name!r} of {cls.__name__} is {value!r}; give a {kind}, such as {defaults[name]}"
                )
        return cls(sizes if cls.support in ("category", "ordinal") else shape, **options)

    def begin(self, x: Tensor, seen: Tensor | None) -> None:
        """Told once, before training, of some rows (N, *shape), so that numbers near 0 can mean what is usual there."""

    def linear(self, mean: Tensor, loadings: Tensor, noise: Tensor) -> tuple[Tensor, Tensor] | None:
        """What the network has to supply so that x = mean + loadings z + noise, for mean (D,), loadings (D, Z) and variances
        noise (D,): bias (width,) and weights (width, Z), told once before training. None where the head has no such form."""
        return None

    def at_floor(self, px: Distribution) -> Tensor | None:
        """(N, *entries) bool: where this head's distribution is as narrow as the head lets it be. None: it has no such limit."""
        return None

    @property
    def width(self) -> int:
        """Channels that the decoder's network supplies."""
        return self.per_value * self.shape[0]

    def places(self) -> Tensor:
        """(width,) which of the ``shape[0]`` entries (or channels) each of the decoder's channels is about."""
        return arange(self.width) % self.shape[0]

    def unpack(self, h: Tensor) -> Tensor:
        """(N, width, *space) -> (per_value, N, *shape), in float32 at least."""
        return full(h).reshape(len(h), self.per_value, *self.shape).movedim(1, 0)

    @abstractmethod
    def forward(self, h: Tensor) -> Distribution: ...


def full(h: Tensor) -> Tensor:
    """In float32 at least: sums of hundreds of nats need more than bfloat16's three digits."""
    return h if h.dtype in (float32, float64) else h.float()
