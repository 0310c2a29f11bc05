"""p(z | c) and q(z | x, c) of one latent variable. N = rows, parts = the shares in which a KL is reported."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, cat, nn

from latelier.batch import Batch
from latelier.noise import Noise


@dataclass(frozen=True)
class Coded:
    """What a discrete variable is in whole numbers: ``codes`` (N, positions, books), each of ``size`` values."""

    codes: Tensor
    size: int


class Density(ABC):
    """The distribution of one latent variable for N rows, values (N, *shape)."""

    @abstractmethod
    def rsample(self, noise: Noise) -> Tensor:
        """(N, *shape), differentiable in the parameters where that is possible."""

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """(N,) nats."""

    @abstractmethod
    def mean(self) -> Tensor:
        """(N, *shape): the centre, used wherever one value must stand for the variable."""

    def kl(self, p: Density) -> Tensor | None:
        """KL(self || p) in nats, (N, parts), where it is known in closed form; None otherwise."""
        return None

    def law(self) -> Density:
        """What is drawn from, where ``log_prob`` does not charge it (a point latent's); else the density itself."""
        return self

    def coded(self) -> Coded | None:
        """The codes on which all mass lies, of a discrete variable's posterior; None otherwise."""
        return None

    def detach(self) -> Density:
        """The same density, cut from the graph (for the doubly reparameterised gradient)."""
        raise TypeError(f"{type(self).__name__} has no parameters that could be detached")

    def temper(self, temperature: float) -> Density:
        """Narrower (< 1) or wider (> 1) around its centre, for sampling."""
        raise TypeError(f"{type(self).__name__} has no temperature")

    def guided(self, base: Density, strength: float) -> Density:
        """As far from ``base``, the same without a condition, as ``strength`` times this is; here, where nothing is known of its
        parameters, this."""
        return self


class Prior(nn.Module, ABC):
    """p(z | c) of a variable above which nothing stands, with parameters of its own: ``latent.prior`` names one in the table of
    priors, and ``refit`` fits one anew to draws of q(z | x)."""

    support: str = "real"  # what it is a law of, as ``Block.support`` has it
    batch: int = 256  # rows of a step of a refit

    def steps(self, rows: int) -> int:
        """At most so many steps of a refit to so many rows."""
        return 4000

    @abstractmethod
    def forward(self, rows: int, c: Tensor | None) -> Density: ...

    def begin(self, inputs: Tensor, c: Tensor | None) -> None:
        """Told once, before training, of what the encoder's network reads of some rows (N, inputs, *space)."""
        return None

    def settle(self, values: Tensor, c: Tensor | None) -> None:
        """Told once, before a refit, of some of the values (N, *shape) that it will be fitted to."""
        return None

    def fit_nats(self, values: Tensor, c: Tensor | None) -> Tensor:
        """(N,) nats of values of the variable, which a refit maximises."""
        return self(len(values), c).log_prob(values)


class Posterior(nn.Module, ABC):
    """A family of densities of ``shape``, one of which the ``outputs`` numbers of a network choose."""

    outputs: int

    @abstractmethod
    def forward(self, h: Tensor) -> Density:
        """(N, outputs) -> q"""


class Block(nn.Module, ABC):
    """One latent variable: its prior, its posterior, and how its value joins the state that the next one reads.

    ``own``: a prior from the table, in place of the block's usual one, where the block is ``free``: where its usual prior reads
    nothing of the state above. Then ``prior`` returns ``self.own(len(state), c)``.
    """

    name: str
    shape: tuple[int, ...]
    density: ClassVar[bool] = (
        True  # have its values densities under p and q, with gradients? codes and points have none
    )
    support: str = "real"  # what its values are; a prior of the table has to be a law of such values
    free: bool = False
    certain: bool = False  # is the posterior's mass at one point?
    awaiting: bool = False  # does its usual prior only stand in for one that is to be fitted to the trained model?

    def __init__(self) -> None:
        super().__init__()
        self.own: Prior | None = None
        self.family: Posterior | None = None  # of q, where ``latent.posterior`` chooses it

    @property
    def parts(self) -> int:
        """In how many parts the KL is reported: one a number, or one a position of codes."""
        return math.prod(self.shape)

    @abstractmethod
    def prior(self, state: Tensor, c: Tensor | None) -> Density: ...

    @abstractmethod
    def posterior(self, state: Tensor, features: Sequence[Tensor], c: Tensor | None) -> Density: ...

    def merge(self, state: Tensor, value: Tensor) -> Tensor:
        """The next state; vectors are appended."""
        value = value.flatten(1)
        return value if state.shape[1] == 0 else cat([state, value], 1)

    def extend(self, c: Tensor | None, value: Tensor) -> Tensor | None:
        """The condition that later variables and the decoder read; a label joins it, others leave it as it is."""
        return c

    @property
    def choices(self) -> Tensor | None:
        """(K, *shape) every value that the variable can have, where they are few enough to be summed over."""
        return None

    def fields(self, value: Tensor) -> dict[str, Tensor]:
        """Fields of the data that a value (N, *shape) stands for, by name: those that ``given`` reads."""
        return {}

    def legal(self, value: Tensor) -> Tensor:
        """The nearest values (N, *shape) that the variable can take; what is given from outside passes through here."""
        return value

    def moved(self, value: Tensor, parts: Tensor, to: Tensor) -> Tensor:
        """The same values (M, *shape) but for one of their ``parts`` (M,) each, which is brought to so many standard deviations
        (M,) of the usual prior."""
        flat = value.flatten(1).clone()
        flat[torch.arange(len(flat), device=flat.device), parts] = to.to(flat.dtype)
        return flat.view_as(value)

    def begin(self, state: Tensor, features: Sequence[Tensor], c: Tensor | None) -> None:
        """Told once, before training, of what the posterior reads of some rows."""
        return None

    def penalty(self, q: Density) -> Tensor | None:
        """(N,) an extra training cost that is not part of the bound, such as a commitment; None if there is none."""
        return None

    def given(self, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """(value, held (N,)) where the batch observes this variable, None where it cannot."""
        return None


@dataclass(frozen=True)
class Level:
    """A resolution at which the encoder has a map of features and the state may be a map: (N, channels, *space)."""

    channels: int
    space: tuple[int, ...]


class Nets(Protocol):
    """Makes the networks that a latent needs; given from outside, so that latents know no network by name."""

    levels: Sequence[Level]  # coarse to fine; none where features are vectors

    def head(self, inputs: int, outputs: int) -> nn.Module:
        """A linear map: (state, features, c) -> (N, outputs)."""

    def rung(self, inputs: int, outputs: int) -> nn.Module:
        """A small network: (state, c) or (state, features, c) -> (N, outputs)."""

    def map_rung(self, level: int, outputs: int, c: int, reads: bool) -> nn.Module:
        """(state, c), or where it ``reads`` the features of that level (state, features, c) -> (N, outputs, *space)."""

    def descent(self, level: int, value: tuple[int, ...], rises: bool) -> nn.Module:
        """(state, value) -> the next state, at the same level or, where it ``rises``, at the next finer one."""

    def entry(self, c: int) -> nn.Module:
        """c (N, C) -> what is added to the first map, of the coarsest level: (N, channels, 1, ...)."""
