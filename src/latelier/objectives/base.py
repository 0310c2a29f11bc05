"""(model, batch) -> loss, in nats per row. N = rows, D = draws, K = classes of a label that is summed over (else 1)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor, nn

from latelier.batch import Batch
from latelier.errors import BadInput
from latelier.latents.chain import Draw, Given, Step
from latelier.spec import ObjectiveSpec
from latelier.vae import VAE, Terms

ON_TOP = ("name", "critic", "perceptual")  # so begin the options that are read whatever the bound below


class Objective(nn.Module, ABC):
    """What training maximises. ``progress`` in [0, 1] is the share of the run that is done; schedules read it. ``stored`` are the
    rows of the step as they were before what is drawn anew at every step, such as binarisation; None outside training."""

    reads: ClassVar[tuple[str, ...]] = ()  # the options of ``ObjectiveSpec`` that the constructor takes, by name
    progress: float = 1.0
    stored: Batch | None = None
    rows: int = 0  # that are trained on; 0: not told
    bound_draws: int = (
        1  # of the bound by which the best weights are chosen: an importance-weighted one loosens the ELBO
    )

    def opposed(self) -> list[nn.Parameter]:
        """Parameters that are trained against the model, by an optimiser of their own: those of a critic."""
        return []

    @property
    def critic_at_work(self) -> bool:
        """Has a critic begun, so that the bound alone no longer says which weights are best?"""
        return False

    def critic_loss(self) -> Tensor | None:
        """What the critic minimises after the model's step, or None where there is nothing to answer."""
        return None

    @classmethod
    def make(cls, spec: ObjectiveSpec) -> Self:
        """From the plain values of a spec. BadInput for an option that was set and that nothing would read."""
        for name, field in ObjectiveSpec.model_fields.items():
            unread = name not in cls.reads and not name.startswith(ON_TOP)
            if unread and getattr(spec, name) != field.default:
                raise BadInput(
                    f"objective.{name}: objective {spec.name} does not read it; leave it out or name another objective"
                )
        return cls(**spec.model_dump(include=set(cls.reads)))

    def check(self, draw: Draw) -> None:
        """BadInput where latents that draw thus do not suit the objective; asked once, before training."""

    @abstractmethod
    def per_row(self, model: VAE, batch: Batch, given: Given | None = None) -> Tensor:
        """(N,) the objective of each row, nats, larger is better."""

    def forward(self, model: VAE, batch: Batch) -> Tensor:
        """The loss: minus the mean over rows."""
        return -self.per_row(model, batch).mean()

    def report(self, model: VAE, held: Sequence[Batch]) -> dict[str, float]:
        """Figures of held-out rows beside the bound, by name; the same at every call."""
        return {}


@dataclass(frozen=True)
class Drawn:
    """D draws of z for each of N rows, under each class of a label that is summed over: row i of draw d of class k is row
    (k D + d) N + i of ``log_px`` and of ``steps``, those of the variables below the label. ``log_share`` (K, N) is the log of
    what a class counts for in the sum; ``c`` the condition as it was given."""

    log_px: Tensor
    steps: Mapping[str, Step]
    c: Tensor | None
    rows: int
    draws: int
    log_share: Tensor | None = None

    @classmethod
    def of(cls, terms: Terms, rows: int, draws: int) -> Drawn:
        """Of a walk in which no label stands."""
        return cls(terms.log_px, terms.draw.steps, terms.draw.c, rows, draws)

    @property
    def classes(self) -> int:
        return 1 if self.log_share is None else len(self.log_share)

    def each(self, values: Tensor) -> Tensor:
        """(K D N, ...) -> (K, D, N, ...)"""
        return values.reshape(self.classes, self.draws, self.rows, *values.shape[1:])

    def summed(self, values: Tensor) -> Tensor:
        """(K, N, ...) -> (N, ...), every class by its share."""
        if self.log_share is None:
            return values[0]
        share = self.log_share.exp()
        return (share.view(*share.shape, *[1] * (values.ndim - 2)) * values).sum(0)

    def mean(self, values: Tensor) -> Tensor:
        """(K D N, ...) -> (N, ...), over draws and classes."""
        if self.log_share is None and self.draws == 1:
            return values
        return self.summed(self.each(values).mean(1))

    def log_weights(self, detached: bool = False) -> Tensor:
        """(K, D, N) log p(x, z | y) - log q(z | x, y), nats."""
        log_w = self.log_px
        for step in self.steps.values():
            log_w = log_w - step.log_ratio(detached)
        return self.each(log_w)


class Bound(Objective):
    """An objective of one forward pass with ``draws`` of z per row, so that others can be added to what it found, and the
    classes of a label be summed over (``Enumerated``). ``pairs``: it compares every row with every other."""

    draws: int = 1
    pairs: ClassVar[bool] = False

    @abstractmethod
    def of(self, drawn: Drawn, model: VAE) -> Tensor:
        """(N,) nats of what was drawn, given the label where one is summed over."""

    def per_row(self, model: VAE, batch: Batch, given: Given | None = None) -> Tensor:
        return self.of(Drawn.of(model(batch, self.draws, given), len(batch), self.draws), model)


def rise(progress: float, anneal: str, share: float, cycles: int) -> float:
    """The share of its weight that the KL has by now: ``none`` all of it, ``linear`` growing over the first ``share`` of the
    run (Bowman et al. 2016), ``cyclical`` over that of each of the cycles (Fu et al. 2019).

    >>> rise(0.25, "linear", 0.5, 1), rise(0.5, "cyclical", 0.5, 4), rise(1.0, "cyclical", 0.5, 4)
    (0.5, 0.0, 1.0)
    """
    if anneal == "none" or share == 0:
        return 1.0
    if anneal == "cyclical":
        progress = progress * cycles % 1.0 if progress < 1 else 1.0
    return min(1.0, progress / share)


def penalised(bound: Tensor, steps: Mapping[str, Step]) -> Tensor:
    """(K D N,) less what latents ask for beside their KL, such as a commitment to codes."""
    for step in steps.values():
        if step.penalty is not None:
            bound = bound - step.penalty
    return bound


def below(model: VAE, draw: Draw) -> dict[str, Step]:
    """The steps of all variables but a label."""
    return {block.name: draw.steps[block.name] for block in model.latents.movable}
