"""Importance-weighted bounds: tighter with more draws. N = rows, K = draws; nats per row."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from latelier.objectives.base import Bound, Drawn
from latelier.spec import ObjectiveSpec
from latelier.vae import VAE


class Iwae(Bound):
    """E[log 1/K sum_k p(x, z_k) / q(z_k | x)] (Burda et al. 2016, eq. 8): non-decreasing in K, the ELBO at K = 1."""

    reads = ("draws",)

    def __init__(self, draws: int = 5):
        super().__init__()
        self.draws = self.bound_draws = draws

    @classmethod
    def make(cls, spec: ObjectiveSpec) -> Self:
        return super().make(spec.model_copy(update={"draws": max(spec.draws, 2)}))

    def of(self, drawn: Drawn, model: VAE) -> Tensor:
        return drawn.summed(drawn.log_weights().logsumexp(1) - math.log(self.draws))


class Dreg(Iwae):
    """The same bound with the doubly reparameterised gradient of the encoder (Tucker et al. 2019, eq. 8).

    Its signal-to-noise ratio grows with K where IWAE's falls. The value returned is the bound; only gradients differ: those
    of the decoder are weighed by w_k / sum w, those that reach the encoder through z by its square.
    """

    def of(self, drawn: Drawn, model: VAE) -> Tensor:
        log_w = drawn.log_weights(detached=True)
        with torch.no_grad():
            weights = log_w.softmax(1)
        for step in drawn.steps.values():
            if step.value.requires_grad:
                step.value.register_hook(_weigh(weights))  # type: ignore[no-untyped-call]
        bound = log_w.detach().logsumexp(1) - math.log(self.draws)
        surrogate = (weights * log_w).sum(1)
        return drawn.summed(bound + surrogate - surrogate.detach())


def _weigh(weights: Tensor):  # type: ignore[no-untyped-def]
    """A hook that multiplies the gradient of draw k of row i by its normalised weight once more."""

    def hook(gradient: Tensor) -> Tensor:
        return gradient * weights.flatten().view(-1, *[1] * (gradient.ndim - 1))

    return hook
