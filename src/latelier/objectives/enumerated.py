"""A bound summed exactly over the classes of a label, of rows that lack it. N = rows, K = classes, D = draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from latelier.batch import Batch
from latelier.latents.chain import Draw, Given
from latelier.latents.label import NAME
from latelier.objectives.base import Bound, Drawn, Objective, below
from latelier.objectives.elbo import Elbo
from latelier.spec import ObjectiveSpec
from latelier.vae import VAE

TRIAL = 0.1  # of ``reach``: how far the step goes by which the worst direction is found
PAIRS = 2048  # classes times rows of a batch, where each is compared with every other: the square of it is held
OWN = ("alpha", "smooth", "reach")


class Enumerated(Objective):
    """Kingma et al. 2014 (doi:10.48550/arXiv.1406.5298), eq. 6 to 9, with whatever else the chain holds below the label.

    With L(x, y) = B(x | y) + log p(y), where B is the ``bound`` on log p(x | y) (the ELBO, or another of the table), a row with
    a label gets L(x, y), a row without sum_y q(y | x) (L(x, y) - log q(y | x)): no draw of y, so no noise of one. Of an
    importance-weighted B that is a bound on log p(x) too, as each B(x | y) is one on log p(x | y). Where B has something of the
    whole batch (free nats, a capacity, parts of the KL, a discrepancy), the classes of a row count in it by q(y | x).

    ``alpha`` is the weight of the mean of log q(y | x) over the batch's rows with a label, as the bound alone teaches the
    classifier nothing of them. ``smooth`` asks that the classes of a row (with or without a label) stay the same when what the
    encoder reads is moved by ``reach`` in the direction that changes them most (virtual adversarial training, Miyato et al.
    2018, doi:10.1109/TPAMI.2018.2858821, eq. 5, by one power iteration).
    """

    reads = (*Elbo.reads, *OWN)

    def __init__(self, bound: Bound | None = None, alpha: float = 1.0, smooth: float = 0.0, reach: float = 1.0):
        super().__init__()
        self.bound = Elbo() if bound is None else bound
        self.bound_draws = self.bound.bound_draws
        self.alpha, self.smooth, self.reach = alpha, smooth, reach

    @classmethod
    def make(cls, spec: ObjectiveSpec) -> Self:
        return cls.over(Elbo, spec)

    @classmethod
    def over(cls, bound: type[Bound], spec: ObjectiveSpec) -> Self:
        """Of that bound, which reads the other options of the spec."""
        usual = {name: ObjectiveSpec.model_fields[name].default for name in OWN}
        return cls(bound.make(spec.model_copy(update=usual)), spec.alpha, spec.smooth, spec.reach)

    def check(self, draw: Draw) -> None:
        self.bound.check(replace(draw, steps={name: step for name, step in draw.steps.items() if name != NAME}))

    def report(self, model: VAE, held: Sequence[Batch]) -> dict[str, float]:
        return self.bound.report(model, held)

    def per_row(self, model: VAE, batch: Batch, given: Given | None = None) -> Tensor:
        label = model.label
        assert label is not None, "build refuses this objective without a label"
        self.bound.progress, self.bound.rows = self.progress, self.rows
        c, read = model.embed(batch), model.encoder.read(batch)
        features = model.encoder.net(read, c)
        log_q = model.classify(features, c)  # (N, K)
        value, held = (given or model.given(batch)).get(label.name, (torch.zeros_like(log_q), None))
        held = log_q.new_zeros(len(batch), dtype=torch.bool) if held is None else held
        terms = model.enumerate(batch, self.bound.draws, features=features)
        log_share = torch.where(held[:, None], value.log(), log_q).T
        drawn = Drawn(terms.log_px, below(model, terms.draw), terms.draw.c, len(batch), self.bound.draws, log_share)
        step = terms.draw.steps[label.name]
        bound = self.bound.of(drawn, model) + drawn.mean(step.p.log_prob(step.value))
        # N times a mean over the rows with a label, so that the mean over all rows has it with the weight alpha.
        taught = (value * log_q).sum(1) * (len(batch) / held.sum().clamp_min(1))
        bound = bound + torch.where(held, self.alpha * taught, -(log_q.exp() * log_q).sum(1))
        return bound - self.smooth * self.unrest(model, read, c, log_q) if self.smooth else bound

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
