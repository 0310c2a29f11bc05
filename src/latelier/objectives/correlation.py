"""The KL taken apart (beta-TC-VAE). N = rows of the batch, K = classes of a label that is summed over (else 1), R = values of z
(K * draws * N), Z = dimensions; nats per row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latelier.batch import Batch, join
from latelier.errors import BadInput
from latelier.latents.base import Density
from latelier.latents.chain import Draw
from latelier.latents.gaussian import HALF_LOG_2PI, DiagonalNormal, StandardNormal
from latelier.noise import Keyed
from latelier.objectives.base import Bound, Drawn, below, rise
from latelier.vae import VAE

REPORTED_ROWS = 1024  # of those held out, at most; their parts take rows^2 * dimensions numbers
AT_ONCE = 64  # values of z, so that those numbers are not all held at the same time


@dataclass(frozen=True)
class Parts:
    """KL(q(z|x) || p(z)) at drawn values, (R,) each; the three add up to log q(z|x) - log p(z)."""

    mutual: Tensor  # log q(z|x) - log q(z): of rows and z
    correlation: Tensor  # log q(z) - sum_j log q(z_j): total correlation, of the dimensions with each other
    dimension: Tensor  # sum_j log q(z_j) - log p(z): each dimension's distance from its prior


class BetaTc(Bound):
    """E_q[log p(x|z)] - mutual I(x; z) - beta TC(z) - dimension sum_j KL(q(z_j) || p(z_j)) (Chen et al. 2018, eq. 4), where
    q(z) is the mean of q(z|x) over all rows that are trained on. With weights of 1 it is the ELBO.

    q(z) is estimated from the batch. ``stratified``: a row's own q(z|x) has its true share 1 / rows, the others of the batch
    stand for all others; this is the mean, over the order of the batch, of their stratified estimate (appendix C.2), and exact
    when the batch is the whole. ``weighted``: eq. 5, which is too small by a factor of up to rows. ``anneal`` raises all three.
    Where a label is summed over, a row's q(z|x) in q(z) is sum_y q(y|x) q(z|x,y), and the KL that is taken apart is that of
    q(z|x,y), so the first part is of rows and classes with z.
    """

    pairs = True
    reads = ("beta", "mutual", "dimension", "sampling", "anneal", "anneal_share", "cycles", "draws")

    def __init__(
        self,
        beta: float = 1.0,
        mutual: float = 1.0,
        dimension: float = 1.0,
        sampling: str = "stratified",
        anneal: str = "none",
        anneal_share: float = 0.2,
        cycles: int = 4,
        draws: int = 1,
    ):
        super().__init__()
        self.beta, self.mutual, self.dimension, self.sampling = beta, mutual, dimension, sampling
        self.anneal, self.anneal_share, self.cycles, self.draws = anneal, anneal_share, cycles, draws

    def check(self, draw: Draw) -> None:
        steps = list(draw.steps.values())
        if len(steps) != 1 or not isinstance(steps[0].q, DiagonalNormal) or not isinstance(steps[0].p, StandardNormal):
            raise BadInput(
                "objective beta_tc takes apart the KL of one latent variable with a diagonal Gaussian posterior and a standard "
                "normal prior; use latent.name=gaussian as it is, or another objective"
            )

    def of(self, drawn: Drawn, model: VAE) -> Tensor:
        (step,) = drawn.steps.values()
        assert isinstance(step.q, DiagonalNormal)
        parts = taken_apart(step.value, step.q, step.p, drawn.rows, self.rows, self.sampling, drawn.log_share)
        cost = self.mutual * parts.mutual + self.beta * parts.correlation + self.dimension * parts.dimension
        weight = rise(self.progress, self.anneal, self.anneal_share, self.cycles)
        return drawn.mean(drawn.log_px - weight * cost)

    def report(self, model: VAE, held: Sequence[Batch]) -> dict[str, float]:
        """The parts for held-out rows, whose mean of q(z|x) is taken whole; the first is at most the log of their number. A label
        is drawn once a row."""
        parts = of_rows(model, join(held).each(lambda t: t[:REPORTED_ROWS]))
        return {
            "mutual_information": parts.mutual.mean().item(),
            "total_correlation": parts.correlation.mean().item(),
            "dimension_kl": parts.dimension.mean().item(),
        }


def taken_apart(
    value: Tensor,
    q: DiagonalNormal,
    p: Density,
    n: int,
    rows: int = 0,
    sampling: str = "stratified",
    log_share: Tensor | None = None,
) -> Parts:
    """The parts at ``value`` (R, Z) of ``q``, ordered as ``Drawn`` says; ``rows`` are those that q(z) is the mean over, at least
    the n of this batch. ``log_share`` (K, N): log of what each class of a row counts for."""
    classes = 1 if log_share is None else len(log_share)
    own = torch.arange(classes * n, device=value.device).view(classes, 1, n)
    own = own.expand(-1, len(value) // (classes * n), -1).flatten()  # draws of a row and class have one density

    def once(t: Tensor) -> Tensor:
        return t.reshape(classes, -1, n, t[0].numel())[:, 0].flatten(0, 1)

    centre, log_scale = once(q.centre), once(q.log_scale)
    return _parts(value.flatten(1), own, centre, log_scale, p.log_prob(value), max(rows, n), sampling, log_share)


def _parts(
    value: Tensor,
    own: Tensor,
    centre: Tensor,
    log_scale: Tensor,
    log_p: Tensor,
    rows: int,
    sampling: str,
    log_share: Tensor | None = None,
) -> Parts:
    """``own`` (R,) is the row of (K N, Z) ``centre`` and ``log_scale`` that each value was drawn from."""
    standard = (value[:, None] - centre) * torch.exp(-log_scale)
    log_q = -0.5 * standard.square() - log_scale - HALF_LOG_2PI  # (R, N, Z)
    log_given = log_q.sum(2).gather(1, own[:, None])[:, 0]
    n = len(centre) if log_share is None else log_share.shape[1]
    log_w = _log_shares(own % n, n, rows, sampling).to(value.dtype)
    if log_share is not None:
        log_w = (log_w[:, None] + log_share).flatten(1)
    log_whole = (log_q.sum(2) + log_w).logsumexp(1)
    log_each = (log_q + log_w[:, :, None]).logsumexp(1).sum(1)
    return Parts(log_given - log_whole, log_whole - log_each, log_each - log_p)


def _log_shares(own: Tensor, n: int, rows: int, sampling: str) -> Tensor:
    """(R, N) the log of what each row of the batch counts for in q(z), as seen from a value that row ``own`` gave."""
    if n == 1:  # an epoch's last row by itself tells nothing of the others: q(z) is then taken for its own
        return own.new_zeros((len(own), 1), dtype=torch.float32)
    if sampling == "weighted":
        return own.new_full((len(own), n), -math.log(rows * n), dtype=torch.float32)
    others = math.log((rows - 1) / (rows * (n - 1)))
    mine = torch.nn.functional.one_hot(own, n).bool()
    return torch.where(mine, -math.log(rows), others)


@torch.no_grad()
def of_rows(model: VAE, batch: Batch, seed: int = 0) -> Parts:
    """The parts for these rows, q(z) being the mean of q(z|x) over them, at one draw each, keyed by row. The model's posterior
    is one diagonal Gaussian."""
    (step,) = below(model, model.infer(batch, noise=Keyed.of(batch, seed))).values()
    assert isinstance(step.q, DiagonalNormal)
    value, n, log_p = step.value.flatten(1), len(batch), step.p.log_prob(step.value)
    centre, log_scale = step.q.centre.flatten(1), step.q.log_scale.flatten(1)
    pieces = [
        _parts(value[ids], ids, centre, log_scale, log_p[ids], n, "stratified")
        for ids in torch.split(torch.arange(n, device=value.device), AT_ONCE)
    ]
    return Parts(*(torch.cat([getattr(p, name) for p in pieces]) for name in ("mutual", "correlation", "dimension")))
