"""What z tells of the rows, and how far the rows' own z are from the prior's. N = rows, n of them at a time; nats."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from latelier.batch import Batch, repeat
from latelier.data.rows import hold
from latelier.noise import Keyed
from latelier.tasks.decode import every
from latelier.vae import VAE

ROWS = 1_000  # at most whose z are held against every one's posterior
FITTED = 6_000  # rows at most whose z a density is fitted to, chosen on and measured on, a third for each
PARTS = (1, 8)  # of a mixture
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Aggregate:
    """KL(q(z | x) || p(z)) told apart (Hoffman & Johnson 2016): the mutual information of z and the number of the row, of N
    rows, and KL(q(z) || p(z)) of their aggregate posterior q(z) = mean of q(z | x_i): the larger, the more holes of the prior.

    The information in N rows is at most log N, which ``mutual_information`` comes near where z tells all rows apart. For
    rows without end it lies between that and ``information_most``, and the KL of the aggregate posterior so between
    ``marginal_kl_least`` and ``marginal_kl``. The least is what a density that was fitted to z of other rows gives to z beyond
    the prior, which no density can do by more than the KL (Barber & Agakov 2003); ``density`` says which one.
    """

    rows: int
    mutual_information: float
    mutual_information_error: float
    information_most: float
    marginal_kl: float
    marginal_kl_error: float
    marginal_kl_least: float
    marginal_kl_least_error: float
    density: str


@torch.no_grad()
def aggregate(vae: VAE, batches: Sequence[Batch], rows: int | None = None, seed: int = 0) -> Aggregate | None:
    """Of all these rows, by one z of each, of which at most ``ROWS`` are held against each other. None where latents have no
    density, and for fewer than two rows."""
    rows = rows or vae.rows
    if sum(map(len, batches)) < 2 or not all(block.density for block in vae.latents.blocks):
        return None
    pieces = [piece for batch in batches for piece in batch.slices(rows)]
    read = [(vae.encoder(part, c), c) for part in pieces for c in (vae.embed(part),)]
    features = tuple(torch.cat(maps) for maps in zip(*(maps for maps, _ in read), strict=True))
    c = None if read[0][1] is None else torch.cat([part for _, part in read if part is not None])
    whole = hold(pieces)
    draw = vae.latents(len(whole), c, features, noise=Keyed.of(whole, seed))
    z = torch.cat([step.value.flatten(1) for step in draw.steps.values()], 1)
    log_p = torch.stack([step.p.log_prob(step.value) for step in draw.steps.values()]).sum(0)
    own = draw.log_ratio() + log_p
    kl = own - log_p
    density, gained = _fitted(z.double().cpu().numpy(), log_p.double().cpu().numpy(), seed)
    n = min(len(z), ROWS)
    few = torch.arange(n, device=z.device) * len(z) // n
    together, apart = _marginal(vae, z[few], [h[few] for h in features], None if c is None else c[few], rows)
    told, holes = own[few] - together, together - log_p[few]
    least = max(float(gained.mean()), (apart - log_p[few]).mean().item(), 0.0)
    return Aggregate(
        rows=n,
        mutual_information=told.mean().item(),
        mutual_information_error=_error(told),
        information_most=max(kl.mean().item() - least, 0.0),
        marginal_kl=holes.mean().item(),
        marginal_kl_error=_error(holes),
        marginal_kl_least=least,
        marginal_kl_least_error=_error(torch.from_numpy(gained)),
        density=density,
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


def _fitted(z: Numbers, log_p: Numbers, seed: int) -> tuple[str, Numbers]:
    """A density fitted to a third of the z and chosen on another: its name, and what it gives to the last third beyond the
    prior, nats. The prior itself is a candidate, so that the gain is about 0 where nothing better was found."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    order = np.random.default_rng(seed).permutation(len(z))
    third = len(z) // 3
    fit, choose, look = order[:third], order[third : 2 * third], order[2 * third :]
    candidates: list[tuple[float, str, Numbers]] = [(0.0, "the prior", np.zeros(len(look)))]
    for parts in PARTS:
        for form in ("diag", "full"):
            if third < 2 * parts or (form == "full" and parts * z.shape[1] > third):  # too few rows for its covariances
                continue
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", ConvergenceWarning
                )  # a density that is not the best is one all the same
                mixture = GaussianMixture(parts, covariance_type=form, reg_covar=1e-4, random_state=seed).fit(z[fit])
            gain = float((mixture.score_samples(z[choose]) - log_p[choose]).mean())
            name = f"{parts} {'diagonal' if form == 'diag' else 'full'} Gaussian{'s' if parts > 1 else ''}"
            candidates.append((gain, name, mixture.score_samples(z[look]) - log_p[look]))
    _, name, gained = max(candidates, key=lambda candidate: candidate[0])
    return name, gained


def _error(values: Tensor) -> float:
    return float(values.double().std() / math.sqrt(len(values)))
