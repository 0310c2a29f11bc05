"""(model, batch) -> loss, in nats per row. N = rows, K = draws."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

from torch import Tensor, nn

from latelier.batch import Batch
from latelier.errors import BadInput
from latelier.latents.chain import Draw, Given
from latelier.spec import ObjectiveSpec
from latelier.vae import VAE, Terms

ON_TOP = ("name", "critic", "perceptual")  # so begin the options that are read whatever the bound below


class Objective(nn.Module, ABC):
    """What training maximises. ``progress`` in [0, 1] is the share of the run that is done; schedules read it."""

    reads: ClassVar[tuple[str, ...]] = ()  # the options of ``ObjectiveSpec`` that the constructor takes, by name
    progress: float = 1.0
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


class Bound(Objective):
    """An objective of one forward pass with ``draws`` of z per row, so that others can be added to what it found."""

    draws: int = 1

    @abstractmethod
    def of(self, terms: Terms, model: VAE, batch: Batch) -> Tensor:
        """(N,) nats, from draw-major terms of (draws * N) rows."""

    def per_row(self, model: VAE, batch: Batch, given: Given | None = None) -> Tensor:
        return self.of(model(batch, self.draws, given), model, batch)


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


def penalised(bound: Tensor, draw: Draw) -> Tensor:
    """(draws * N,) less what latents ask for beside their KL, such as a commitment to codes."""
    for step in draw.steps.values():
        if step.penalty is not None:
            bound = bound - step.penalty
    return bound


def over_draws(values: Tensor, draws: int) -> Tensor:
    """(draws * N,) -> (N,) the mean."""
    return values if draws == 1 else values.view(draws, -1).mean(0)
