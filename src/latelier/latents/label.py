"""A label: a latent variable of K classes that some rows observe. To supervise a row is to hold its label. N = rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latelier.batch import Batch
from latelier.latents.base import Block, Density
from latelier.latents.chain import Latents
from latelier.noise import Noise

NAME = "label"  # of the field of a batch, and of the variable


class Categorical(Density):
    """One of K classes, as a one-hot vector (N, K); ``log_p`` (N, K) are normalised log-probabilities, nats.

    A draw is a legal value, and no gradient flows through it: who needs one sums over all classes (``objectives.Enumerated``).
    """

    def __init__(self, log_p: Tensor):
        self.log_p = log_p

    def rsample(self, noise: Noise) -> Tensor:
        gumbel = -torch.log(-torch.log(noise.uniform(self.log_p)))
        return one_hot((self.log_p.detach() + gumbel).argmax(1), self.log_p)

    def log_prob(self, value: Tensor) -> Tensor:
        return (value * self.log_p).sum(1)

    def mean(self) -> Tensor:
        """The most probable class: a mean of classes is none."""
        return one_hot(self.log_p.argmax(1), self.log_p)

    def kl(self, p: Density) -> Tensor | None:
        """(N, K): the share of every class, of which single ones may be negative."""
        return self.log_p.exp() * (self.log_p - p.log_p) if isinstance(p, Categorical) else None

    def detach(self) -> Categorical:
        return Categorical(self.log_p.detach())

    def temper(self, temperature: float) -> Categorical:
        return Categorical(F.log_softmax(self.log_p / max(temperature, 1e-9), 1))


class Label(Block):
    """y ~ p(y), uniform or with learned frequencies, and q(y | x, c), a classifier on the features.

    Its value joins the condition, so that whatever stands below it in the chain, and the decoder, read it as they read c
    (Kingma et al. 2014, eq. 6 and 7). Where a batch has a field of its name, the seen entries are held.

    >>> block = Label(3, classifier=lambda state, features, c: features[-1])
    >>> block.given(Batch({"label": torch.tensor([[2], [0]])}, {"label": torch.tensor([[True], [False]])}))[0][0].tolist()
    [0.0, 0.0, 1.0]
    """

    def __init__(self, classes: int, classifier: nn.Module, learned: bool = False):
        super().__init__()
        self.name, self.shape, self.classifier = NAME, (classes,), classifier
        self.register_buffer("every", torch.eye(classes), persistent=False)
        self.frequencies = nn.Parameter(torch.zeros(classes)) if learned else None

    every: Tensor
    density: ClassVar[bool] = False  # of classes there are probabilities

    @property
    def choices(self) -> Tensor:
        return self.every

    def prior(self, state: Tensor, c: Tensor | None) -> Categorical:
        logits = self.every.new_zeros(self.shape) if self.frequencies is None else self.frequencies
        return Categorical(F.log_softmax(logits, 0).expand(len(state), -1))

    def posterior(self, state: Tensor, features: Sequence[Tensor], c: Tensor | None) -> Categorical:
        h = self.classifier(
            state.flatten(1)[:, :0], features, c
        )  # nothing stands above a label, whatever the walk starts from
        return Categorical(F.log_softmax(h.float() if h.dtype in (torch.bfloat16, torch.float16) else h, 1))

    def merge(self, state: Tensor, value: Tensor) -> Tensor:
        return state

    def extend(self, c: Tensor | None, value: Tensor) -> Tensor:
        return value if c is None else torch.cat([c, value.to(c.dtype)], 1)

    def given(self, batch: Batch) -> tuple[Tensor, Tensor] | None:
        if self.name not in batch.fields:
            return None
        codes = batch.fields[self.name][:, 0].long()
        seen = batch.seen.get(self.name)
        held = torch.ones_like(codes, dtype=torch.bool) if seen is None else seen[:, 0]
        return one_hot(codes.clamp(0, self.shape[0] - 1), self.every), held

    def fields(self, value: Tensor) -> dict[str, Tensor]:
        return {self.name: value.argmax(1, keepdim=True)}


def labelled(latents: Latents, classes: int, classifier: nn.Module, learned: bool = False) -> Latents:
    """The same chain below a label, which it was made to read as so many more numbers of c."""
    label = Label(classes, classifier, learned)
    latents.blocks = nn.ModuleList([label, *latents.blocks])  # type: ignore[assignment]
    return latents


def one_hot(codes: Tensor, like: Tensor) -> Tensor:
    """(N,) -> (N, K) in the precision of ``like`` (..., K)."""
    return F.one_hot(codes, like.shape[-1]).to(like.dtype)
