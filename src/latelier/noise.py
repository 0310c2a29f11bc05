"""Where randomness comes from: fresh in training, keyed by the row's own content where figures must repeat."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from latelier.batch import Batch


class Noise(ABC):
    """A source of draws for N rows. Each call gives new numbers; a ``Keyed`` source gives the same sequence again."""

    @abstractmethod
    def uniform(self, like: Tensor) -> Tensor:
        """Uniform on (0, 1), float32, of the shape (N, ...) and on the device of ``like``."""

    @abstractmethod
    def normal(self, like: Tensor) -> Tensor:
        """Standard normal, of the shape and on the device of ``like``."""

    @abstractmethod
    def repeat(self, draws: int, first: int = 0) -> Noise:
        """For draw-major rows (draws * N), the draws being numbers first, first + 1, ..."""


class Fresh(Noise):
    """New numbers at every call, from torch's generator of the device (or the one given)."""

    def __init__(self, generator: torch.Generator | None = None):
        self.generator = generator

    def uniform(self, like: Tensor) -> Tensor:
        u = torch.rand(like.shape, device=like.device, generator=self.generator)
        return u.clamp_min_(1e-7)

    def normal(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, device=like.device, generator=self.generator)

    def repeat(self, draws: int, first: int = 0) -> Noise:
        return self


FRESH = Fresh()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's generators, from which ``Fresh`` draws, set for the moment, and put back."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


class Keyed(Noise):
    """A counter-based generator: number j of row i depends on row i's key and on j alone.

    So a score is the same in another batch, in another order, with other neighbours and on another machine.
    The mixing is SplitMix64's finaliser (Steele et al. 2014, doi:10.1145/2660193.2660195).
    """

    def __init__(self, keys: Tensor):
        self.keys = keys  # (N,) int64
        self.used = 0

    @classmethod
    def of(cls, batch: Batch, seed: int = 0) -> Keyed:
        """Keyed by what the rows contain: equal rows get equal noise."""
        key = torch.full((len(batch),), _SEED + seed, dtype=torch.int64)
        for number, name in enumerate(sorted(batch.fields)):
            values, seen = batch.fields[name], batch.seen.get(name)
            if seen is not None:
                values = torch.where(
                    seen.reshape(seen.shape + (1,) * (values.ndim - seen.ndim)), values, torch.zeros_like(values)
                )
            bits = (values + 0.0).float().view(torch.int32) if values.is_floating_point() else values
            bits = bits.flatten(1).long()
            # Each place has an odd factor of its own (a multilinear hash): one pass over the values, mixed once a row.
            factors = mix(torch.arange(bits.shape[1], device=bits.device) * _ODD + number) | 1
            key = mix(key.to(bits.device) + (bits * factors).sum(1))
        return cls(key)

    def uniform(self, like: Tensor) -> Tensor:
        size = math.prod(like.shape[1:])
        counter = torch.arange(self.used, self.used + size, device=self.keys.device) * _ODD
        self.used += size
        bits = mix(self.keys[:, None] + counter)
        # 23 bits and a half are exact in float32, and keep 0 and 1 out.
        u = ((bits >> 41) & 0x7FFFFF).float().add_(0.5).mul_(2.0**-23)
        return u.view(like.shape).to(like.device)

    def normal(self, like: Tensor) -> Tensor:
        return torch.special.ndtri(self.uniform(like))

    def repeat(self, draws: int, first: int = 0) -> Noise:
        number = torch.arange(first, first + draws, device=self.keys.device)[:, None]
        return Keyed(mix(self.keys + number * _STEP).flatten())


_ODD = -7046029254386353131  # 2^64 / golden ratio, as a signed number
_STEP = -4417276706812531889
_SEED = 88172645463325252


def mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser on int64 tensors (torch shifts are arithmetic, hence the masks): x ^= x >> s, x *= f, in turn."""
    for shift, mask, factor in ((30, 0x3FFFFFFFF, -4658895280553007687), (27, 0x1FFFFFFFFF, -7723592293110705685)):
        x = (x >> shift).bitwise_and_(mask).bitwise_xor_(x).mul_(factor)  # in place: four times as fast
    return (x >> 31).bitwise_and_(0x1FFFFFFFF).bitwise_xor_(x)
