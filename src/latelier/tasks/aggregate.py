"""What z tells of the rows, and how far the rows' own z are from the prior's. N = rows, n of them at a time; nats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latelier.batch import Batch, join, repeat
from latelier.noise import Keyed
from latelier.tasks.decode import every
from latelier.vae import VAE

ROWS = 1_000  # at most, as every row's z is held against every row's posterior


@dataclass(frozen=True)
class Aggregate:
    """KL(q(z | x) || p(z)) told apart (Hoffman & Johnson 2016): the mutual information of z and the number of the row, of N
    rows, and KL(q(z) || p(z)) of their aggregate posterior q(z) = mean of q(z | x_i): the larger, the more holes of the prior.

    The information in N rows is at most log N, which ``mutual_information`` comes near where z tells all rows apart. For
    rows without end it lies between that and ``information_most`` (Poole et al. 2019, sections 2.2 and 2.4), and the KL of
    the aggregate posterior so between ``marginal_kl_least`` and ``marginal_kl``.
    """

    rows: int
    mutual_information: float
    mutual_information_error: float
    information_most: float
    marginal_kl: float
    marginal_kl_error: float
    marginal_kl_least: float


@torch.no_grad()
def aggregate(vae: VAE, batches: Sequence[Batch], rows: int | None = None, seed: int = 0) -> Aggregate | None:
    """Of all these rows, by one z of each. None where latents have no density, and for fewer than two rows."""
    rows = rows or vae.rows
    if sum(map(len, batches)) < 2 or not all(block.density for block in vae.latents.blocks):
        return None
    pieces = [piece for batch in batches for piece in batch.slices(rows)]
    read = [(vae.encoder(part, c), c) for part in pieces for c in (vae.embed(part),)]
    features = tuple(torch.cat(maps) for maps in zip(*(maps for maps, _ in read), strict=True))
    c = None if read[0][1] is None else torch.cat([part for _, part in read if part is not None])
    whole = join(pieces)
    draw = vae.latents(len(whole), c, features, noise=Keyed.of(whole, seed))
    z = torch.cat([step.value.flatten(1) for step in draw.steps.values()], 1)
    log_p = torch.stack([step.p.log_prob(step.value) for step in draw.steps.values()]).sum(0)
    own = draw.log_ratio() + log_p
    together, apart = _marginal(vae, z, features, c, rows)
    n, told = len(z), own - together
    return Aggregate(
        rows=n,
        mutual_information=told.mean().item(),
        mutual_information_error=_error(told),
        information_most=min((own - apart).mean().item(), (own - log_p).mean().item()),
        marginal_kl=(together - log_p).mean().item(),
        marginal_kl_error=_error(together - log_p),
        marginal_kl_least=max((apart - log_p).mean().item(), 0.0),
    )


def _marginal(vae: VAE, z: Tensor, features: Sequence[Tensor], c: Tensor | None, rows: int) -> tuple[Tensor, Tensor]:
    """(N,) log of the mean density of each z under all posteriors, and under those of the other rows."""
    n = len(z)
    at_once, beside = max(1, rows // n), min(rows, n)  # values of z, and posteriors that each is held against
    together, apart = z.new_full((n,), -math.inf), z.new_full((n,), -math.inf)
    for first in range(0, n, at_once):
        some = torch.arange(first, min(first + at_once, n), device=z.device)
        for start in range(0, n, beside):
            part = torch.arange(start, min(start + beside, n), device=z.device)
            pairs = vae.latents(
                len(some) * len(part),
                None if c is None else repeat(c[part], len(some)),
                tuple(repeat(h[part], len(some)) for h in features),
                every(vae, z[some].repeat_interleave(len(part), 0)),
                centre=True,
            )
            steps = pairs.steps.values()
            log_q = torch.stack([step.q.log_prob(step.value) for step in steps if step.q is not None]).sum(0)
            log_q = log_q.view(len(some), len(part))
            together[some] = torch.logaddexp(together[some], log_q.logsumexp(1))
            others = log_q.masked_fill(some[:, None] == part, -math.inf)
            apart[some] = torch.logaddexp(apart[some], others.logsumexp(1))
    return together - math.log(n), apart - math.log(n - 1)


def _error(values: Tensor) -> float:
    return float(values.double().std() / math.sqrt(len(values)))
