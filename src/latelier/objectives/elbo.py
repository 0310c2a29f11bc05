"""The evidence lower bound and the usual ways of weighing its KL. N = rows; nats per row."""

from __future__ import annotations

import torch
from torch import Tensor

from latelier.objectives.base import Bound, Drawn, penalised, rise
from latelier.vae import VAE


class Elbo(Bound):
    """E_q[log p(x | z)] - beta KL(q(z | x) || p(z)) (Kingma & Welling 2014, eq. 3; beta: Higgins et al. 2017).

    ``anneal`` raises the weight from 0 to beta over ``anneal_share`` of the run (``linear``: Bowman et al. 2016) or of each
    of ``cycles`` cycles (``cyclical``: Fu et al. 2019). ``free_nats`` per dimension, or per latent variable (``group``), cost
    nothing (Kingma et al. 2016, eq. 15: the floor is on the batch mean). ``capacity``: the KL is drawn towards a target
    that rises to so many nats (Burgess et al. 2018, eq. 8), with beta as the strength.

    >>> Elbo(beta=4, anneal="linear", anneal_share=0.5).weight(0.25)
    2.0
    """

    reads = ("beta", "anneal", "anneal_share", "cycles", "free_nats", "free_by", "capacity", "draws")

    def __init__(
        self,
        beta: float = 1.0,
        anneal: str = "none",
        anneal_share: float = 0.2,
        cycles: int = 4,
        free_nats: float = 0.0,
        free_by: str = "dimension",
        capacity: float | None = None,
        draws: int = 1,
    ):
        super().__init__()
        self.beta, self.anneal, self.anneal_share, self.cycles = beta, anneal, anneal_share, cycles
        self.free_nats, self.free_by, self.capacity, self.draws = free_nats, free_by, capacity, draws

    def weight(self, progress: float) -> float:
        """The factor of the KL when ``progress`` of the run is done."""
        return self.beta * rise(progress, self.anneal, self.anneal_share, self.cycles)

    def of(self, drawn: Drawn, model: VAE) -> Tensor:
        explained = drawn.mean(penalised(drawn.log_px, drawn.steps))
        return explained - self.cost([drawn.mean(step.kl()) for step in drawn.steps.values()])

    def cost(self, parts: list[Tensor]) -> Tensor:
        """KLs of each variable, (N, parts) each -> (N,) what they cost now."""
        if self.free_nats:
            total = torch.stack([self._beyond_free(part) for part in parts]).sum(0)
        else:
            total = parts[0].sum(1)
            for part in parts[1:]:
                total = total + part.sum(1)
        if self.capacity is not None:
            return self.beta * (total.mean() - self.capacity * self.progress).abs().expand_as(total)
        return self.weight(self.progress) * total

    def _beyond_free(self, part: Tensor) -> Tensor:
        """The floor is on the batch mean, shared out equally, so that single rows may still be below it."""
        mean = part.mean(0) if self.free_by == "dimension" else part.sum(1).mean(0, keepdim=True)
        return mean.clamp_min(self.free_nats).sum().expand(len(part))
