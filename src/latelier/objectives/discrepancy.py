"""Maximum mean discrepancy of q(z) and p(z) (InfoVAE, WAE). N = rows, K = classes of a label (else 1), Z = dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from latelier.batch import Batch, join
from latelier.latents.chain import Step
from latelier.noise import FRESH, Keyed, Noise
from latelier.objectives.base import Bound, Drawn, below, penalised, rise
from latelier.vae import VAE

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # of the kernel's width, as in the code of Tolstikhin et al. 2018
REPORTED_ROWS = 1024  # of those held out, at most


class Mmd(Bound):
    """E_q[log p(x|z)] - beta KL(q(z|x) || p(z)) - mmd MMD^2(q(z), p(z)), where q(z) is the mean of q(z|x) over rows.

    InfoVAE (Zhao et al. 2019, eq. 6) of their alpha and lambda is beta = 1 - alpha, mmd = alpha + lambda - 1. WAE-MMD
    (Tolstikhin et al. 2018, eq. 4) of their lambda is beta = 0, mmd = lambda, with a point latent where the encoder is
    deterministic. For z of several variables the whole chain is compared with a chain drawn from its prior, given the same c.
    Where a label is summed over, q(z) is the mean over rows of sum_y q(y|x) q(z|x,y), with no draw of y.
    """

    pairs = True
    reads = ("beta", "mmd", "kernel", "anneal", "anneal_share", "cycles", "draws")

    def __init__(
        self,
        beta: float = 1.0,
        mmd: float = 10.0,
        kernel: str = "imq",
        anneal: str = "none",
        anneal_share: float = 0.2,
        cycles: int = 4,
        draws: int = 1,
    ):
        super().__init__()
        self.beta, self.mmd, self.kernel, self.draws = beta, mmd, kernel, draws
        self.anneal, self.anneal_share, self.cycles = anneal, anneal_share, cycles

    def of(self, drawn: Drawn, model: VAE) -> Tensor:
        weight = self.beta * rise(self.progress, self.anneal, self.anneal_share, self.cycles)
        kl = torch.stack([step.kl().sum(1) for step in drawn.steps.values()]).sum(0)
        bound = drawn.mean(penalised(drawn.log_px - weight * kl, drawn.steps))
        first = drawn.each(values(drawn.steps))[:, 0].flatten(0, 1)
        return bound - self.mmd * self.distance(first, drawn.c, model, drawn.rows, drawn.log_share)

    def distance(
        self,
        z: Tensor,
        c: Tensor | None,
        model: VAE,
        n: int,
        log_share: Tensor | None = None,
        noise: Noise = FRESH,
    ) -> Tensor:
        """MMD^2 of one draw (K N, Z) of each row (and class) and as many rows from the prior; 0 for one row, which shows no
        spread."""
        if n < 2:
            return z.new_zeros(())
        prior = model.latents(n, None if c is None else c[:n], noise=noise)
        return mmd_squared(z, values(below(model, prior)), self.kernel, None if log_share is None else log_share.exp())

    def report(self, model: VAE, held: Sequence[Batch]) -> dict[str, float]:
        batch = join(held).each(lambda t: t[:REPORTED_ROWS])
        with torch.no_grad():
            draw = model.infer(batch, noise=Keyed.of(batch))
            z, noise = values(below(model, draw)), Keyed.of(batch, seed=1)
            return {"mmd": self.distance(z, draw.c, model, len(batch), noise=noise).item()}


def values(steps: Mapping[str, Step]) -> Tensor:
    """(N, Z) every variable of the chain, side by side, in float32 at least."""
    z = torch.cat([step.value.flatten(1) for step in steps.values()], 1)
    return z if z.dtype == torch.float64 else z.float()


def mmd_squared(x: Tensor, y: Tensor, kernel: str = "imq", share: Tensor | None = None) -> Tensor:
    """The unbiased estimate (Gretton et al. 2012, eq. 3) from (N, Z) and (M, Z), so it may be below 0. With a ``share`` (K, N) of
    each of K classes, x is (K N, Z), and a pair of different rows counts with the product of the shares of their classes.

    The kernel is summed over SCALES s of its width w = 2 Z s, 2 Z being the mean squared distance of two standard normal
    draws: ``imq`` w / (w + d^2), whose tails still pull a z that is far away, or ``rbf`` exp(-d^2 / w).

    >>> x = torch.zeros(2, 1)
    >>> mmd_squared(x, x)
    tensor(0.)
    """
    share = x.new_ones(1, len(x)) if share is None else share.to(x.dtype)
    with torch.autocast(x.device.type, enabled=False):  # bfloat16's three digits are too few for differences
        own, across = _similar(x, x, kernel), _similar(x, y, kernel)
        across = (share.flatten() * across.mean(1)).sum() / share.shape[1]
        return _others(own, share) + _others(_similar(y, y, kernel), y.new_ones(1, len(y))) - 2 * across


def _similar(x: Tensor, y: Tensor, kernel: str) -> Tensor:
    """(N, M)"""
    squares = (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).clamp_min(0)
    total = torch.zeros_like(squares)
    for scale in SCALES:
        width = 2 * x.shape[1] * scale
        total = total + (width / (width + squares) if kernel == "imq" else torch.exp(-squares / width))
    return total


def _others(similar: Tensor, share: Tensor) -> Tensor:
    """The mean of (K N, K N) over pairs of rows, of rows with themselves left out."""
    k, n = share.shape
    each = share.flatten()
    itself = similar.view(k, n, k, n).diagonal(dim1=1, dim2=3)  # (K, K, N)
    itself = (share[:, None] * share * itself).sum()
    return (each @ (similar @ each) - itself) / (n * (n - 1))
