"""(model, batch) -> loss, in nats per row. N = rows, K = draws."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from latelier.batch import Batch
from latelier.latents.chain import Given
from latelier.spec import ObjectiveSpec
from latelier.vae import VAE


class Objective(nn.Module, ABC):
    """What training maximises. ``progress`` in [0, 1] is the share of the run that is done; schedules read it."""

    progress: float = 1.0
    bound_draws: int = (
        1  # of the bound by which the best weights are chosen: an importance-weighted one loosens the ELBO
    )

    @classmethod
    @abstractmethod
    def make(cls, spec: ObjectiveSpec) -> Objective:
        """From the plain values of a spec."""

    @abstractmethod
    def per_row(self, model: VAE, batch: Batch, given: Given | None = None) -> Tensor:
        """(N,) the objective of each row, nats, larger is better."""

    def forward(self, model: VAE, batch: Batch) -> Tensor:
        """The loss: minus the mean over rows."""
        return -self.per_row(model, batch).mean()
