"""The bound of a model with a label, summed exactly over the classes of rows without one. N = rows, K = classes, D = draws."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from latelier.batch import Batch
from latelier.latents.chain import Given
from latelier.objectives.base import Objective, penalised, rise
from latelier.vae import VAE, Terms

TRIAL = 0.1  # of ``reach``: how far the step goes by which the worst direction is found


class Enumerated(Objective):
    """Kingma et al. 2014 (doi:10.48550/arXiv.1406.5298), eq. 6 to 9, with whatever else the chain holds below the label.

    With L(x, y) = E_q(z | x, y)[log p(x | y, z)] - KL(q(z | x, y) || p(z | y)) + log p(y), the KL weighed as in ``Elbo``, a row
    that has a label gets L(x, y), a row without sum_y q(y | x) (L(x, y) - log q(y | x)): no draw of y, so no noise of one.

    ``alpha`` is the weight of the mean of log q(y | x) over the batch's rows with a label, as the bound alone teaches the
    classifier nothing of them. ``smooth`` asks that the classes of a row (with or without a label) stay the same when what the
    encoder reads is moved by ``reach`` in the direction that changes them most (virtual adversarial training, Miyato et al.
    2018, doi:10.1109/TPAMI.2018.2858821, eq. 5, by one power iteration).
    """

    reads = ("beta", "anneal", "anneal_share", "cycles", "draws", "alpha", "smooth", "reach")

    def __init__(
        self,
        beta: float = 1.0,
        anneal: str = "none",
        anneal_share: float = 0.2,
        cycles: int = 4,
        draws: int = 1,
        alpha: float = 1.0,
        smooth: float = 0.0,
        reach: float = 1.0,
    ):
        super().__init__()
        self.beta, self.anneal, self.anneal_share, self.cycles, self.draws = beta, anneal, anneal_share, cycles, draws
        self.alpha, self.smooth, self.reach = alpha, smooth, reach

    def per_row(self, model: VAE, batch: Batch, given: Given | None = None) -> Tensor:
        label = model.label
        assert label is not None, "build refuses this objective without a label"
        c, read = model.embed(batch), model.encoder.read(batch)
        features = model.encoder.net(read, c)
        log_q = model.classify(features, c)  # (N, K)
        value, held = (given or model.given(batch)).get(label.name, (torch.zeros_like(log_q), None))
        held = log_q.new_zeros(len(batch), dtype=torch.bool) if held is None else held
        joint = self.by_class(model.enumerate(batch, self.draws, features=features), label.name, log_q.shape[1])
        summed = (log_q.exp() * (joint - log_q)).sum(1)
        known = (value * joint).sum(1)
        # N times a mean over the rows with a label, so that the mean over all rows has it with the weight alpha.
        taught = (value * log_q).sum(1) * (len(batch) / held.sum().clamp_min(1))
        bound = torch.where(held, known + self.alpha * taught, summed)
        return bound - self.smooth * self.unrest(model, read, c, log_q) if self.smooth else bound

    def by_class(self, terms: Terms, label: str, classes: int) -> Tensor:
        """(N, K) L(x, y) for every class y, nats."""
        below = torch.stack([step.kl().sum(1) for name, step in terms.draw.steps.items() if name != label]).sum(0)
        weight = self.beta * rise(self.progress, self.anneal, self.anneal_share, self.cycles)
        step = terms.draw.steps[label]
        bound = penalised(terms.log_px - weight * below, terms.draw) + step.p.log_prob(step.value)
        return bound.view(classes, self.draws, -1).mean(1).T

    def unrest(self, model: VAE, read: Tensor, c: Tensor | None, log_q: Tensor) -> Tensor:
        """(N,) nats of KL between the classes of a row and those at the worst place within ``reach`` of it."""

        def apart(step: Tensor) -> Tensor:
            moved = model.classify(model.encoder.net(read.detach() + step, c), c)
            return F.kl_div(moved, log_q.detach(), log_target=True, reduction="none").sum(1)

        step = (TRIAL * self.reach * unit(torch.randn_like(read))).requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(apart(step).sum(), step)
        return apart(self.reach * unit(slope.detach()))


def unit(t: Tensor) -> Tensor:
    """(N, ...) every row at length 1."""
    return t / t.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, *[1] * (t.ndim - 1))
