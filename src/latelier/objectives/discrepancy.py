"""Maximum mean discrepancy of q(z) and p(z) (InfoVAE, WAE). N = rows, Z = dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from latelier.batch import Batch, join
from latelier.latents.chain import Draw
from latelier.noise import FRESH, Keyed, Noise
from latelier.objectives.base import Bound, over_draws, penalised, rise
from latelier.vae import VAE, Terms

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # of the kernel's width, as in the code of Tolstikhin et al. 2018
REPORTED_ROWS = 1024  # of those held out, at most


class Mmd(Bound):
    """E_q[log p(x|z)] - beta KL(q(z|x) || p(z)) - mmd MMD^2(q(z), p(z)), where q(z) is the mean of q(z|x) over rows.

    InfoVAE (Zhao et al. 2019, eq. 6) of their alpha and lambda is beta = 1 - alpha, mmd = alpha + lambda - 1. WAE-MMD
    (Tolstikhin et al. 2018, eq. 4) of their lambda is beta = 0, mmd = lambda, with a point latent where the encoder is
    deterministic. For z of several variables the whole chain is compared with a chain drawn from its prior, given the same c.
    """

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

    def of(self, terms: Terms, model: VAE, batch: Batch) -> Tensor:
        weight = self.beta * rise(self.progress, self.anneal, self.anneal_share, self.cycles)
        bound = over_draws(penalised(terms.log_px - weight * terms.draw.kl(), terms.draw), self.draws)
        return bound - self.mmd * self.distance(terms.draw, model, len(batch))

    def distance(self, draw: Draw, model: VAE, n: int, noise: Noise = FRESH) -> Tensor:
        """MMD^2 of the first draw of each row and as many draws from the prior; 0 for one row, which shows no spread."""
        z = values(draw)[:n]
        if n < 2:
            return z.new_zeros(())
        prior = model.latents(n, None if draw.c is None else draw.c[:n], noise=noise)
        return mmd_squared(z, values(prior), self.kernel)

    def report(self, model: VAE, held: Sequence[Batch]) -> dict[str, float]:
        batch = join(held).each(lambda t: t[:REPORTED_ROWS])
        with torch.no_grad():
            draw = model.infer(batch, noise=Keyed.of(batch))
            return {"mmd": self.distance(draw, model, len(batch), Keyed.of(batch, seed=1)).item()}


def values(draw: Draw) -> Tensor:
    """(N, Z) every variable of the chain, side by side, in float32 at least."""
    z = torch.cat([step.value.flatten(1) for step in draw.steps.values()], 1)
    return z if z.dtype == torch.float64 else z.float()


def mmd_squared(x: Tensor, y: Tensor, kernel: str = "imq") -> Tensor:
    """The unbiased estimate (Gretton et al. 2012, eq. 3) from (N, Z) and (M, Z), so it may be below 0.

    The kernel is summed over SCALES s of its width w = 2 Z s, 2 Z being the mean squared distance of two standard normal
    draws: ``imq`` w / (w + d^2), whose tails still pull a z that is far away, or ``rbf`` exp(-d^2 / w).

    >>> x = torch.zeros(2, 1)
    >>> mmd_squared(x, x)
    tensor(0.)
    """
    return _mean(_similar(x, x, kernel), True) + _mean(_similar(y, y, kernel), True) - 2 * _mean(_similar(x, y, kernel))


def _similar(x: Tensor, y: Tensor, kernel: str) -> Tensor:
    """(N, M)"""
    with torch.autocast(
        x.device.type, enabled=False
    ):  # bfloat16's three digits are too few for a difference of squares
        squares = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    squares = squares.clamp_min(0)
    total = torch.zeros_like(squares)
    for scale in SCALES:
        width = 2 * x.shape[1] * scale
        total = total + (width / (width + squares) if kernel == "imq" else torch.exp(-squares / width))
    return total


def _mean(similar: Tensor, of_itself: bool = False) -> Tensor:
    """Over all pairs, of rows with themselves left out."""
    if not of_itself:
        return similar.mean()
    n = len(similar)
    return (similar.sum() - similar.diagonal().sum()) / (n * (n - 1))
