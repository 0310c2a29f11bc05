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
from latelier.means import standard_error_of
from latelier.noise import Keyed
from latelier.tasks.decode import every
from latelier.vae import VAE

ROWS = 1_000  # at most whose z are held against every one's posterior
CHAINED = 200  # the same where that is a walk through networks: of several variables, of which one reads the other
FITTED = 6_000  # rows at most whose z a density is fitted to, chosen on and measured on, a third for each
PARTS = (1, 8)  # of a mixture
OTHERS = "posteriors of other rows"  # a density of z that needs no fit
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Aggregate:
    """KL(q(z | x) || p(z)) told apart (Hoffman & Johnson 2016): the mutual information of z and the number of the row, of N
    rows, and KL(q(z) || p(z)) of their aggregate posterior q(z) = mean of q(z | x_i): the larger, the more holes of the prior.

    The information in N rows is at most log N, which ``mutual_information`` comes near where z tells all rows apart. For
    rows without end it lies between that and ``information_most``, and the KL of the aggregate posterior so between
    ``marginal_kl_least`` and ``marginal_kl``. The least is what a density that was made of other rows (fitted to their z, or
    the mean of their posteriors) gives to z beyond the prior, which no density can do by more than the KL (Barber & Agakov
    2003); ``density`` says which one, and the error is of that one.
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
    if (total := sum(map(len, batches))) < 2 or not all(block.density for block in vae.latents.blocks):
        return None
    n = min(total, ROWS if len(vae.latents.blocks) == 1 else CHAINED)
    places, start = torch.arange(n) * total // n, 0
    parts: list[_Drawn] = []
    kept: list[_Drawn] = []  # of the few rows that are held against each other, features too
    for piece in (piece for batch in batches for piece in batch.slices(rows)):
        drawn = _drawn(vae, piece, seed)
        parts.append(_Drawn(drawn.z, drawn.own, drawn.log_p))
        kept.append(drawn.take(places[(places >= start) & (places < start + len(piece))] - start))
        start += len(piece)
    every_row, few = _together(parts), _together(kept)
    kl = every_row.own - every_row.log_p
    density, gained = _fitted(every_row.z.double().cpu().numpy(), every_row.log_p.double().cpu().numpy(), seed)
    together, apart = _marginal(vae, few, rows)
    told, holes, by_others = few.own - together, together - few.log_p, apart - few.log_p
    if by_others.mean() > gained.mean():
        density, gained = OTHERS, by_others.double().cpu().numpy()
    least = max(float(gained.mean()), 0.0)
    return Aggregate(
        rows=n,
        mutual_information=told.mean().item(),
        mutual_information_error=standard_error_of(told),
        information_most=max(kl.mean().item() - least, 0.0),
        marginal_kl=holes.mean().item(),
        marginal_kl_error=standard_error_of(holes),
        marginal_kl_least=least,
        marginal_kl_least_error=standard_error_of(torch.from_numpy(gained)),
        density=density,
    )


@dataclass(frozen=True)
class _Drawn:
    """z (n, D) of rows, their log-densities (n,) under their own posterior and under the prior, and what the posterior reads."""

    z: Tensor
    own: Tensor
    log_p: Tensor
    features: tuple[Tensor, ...] = ()
    c: Tensor | None = None

    def take(self, ids: Tensor) -> _Drawn:
        ids = ids.to(self.z.device)
        c = None if self.c is None else self.c[ids]
        return _Drawn(self.z[ids], self.own[ids], self.log_p[ids], tuple(h[ids] for h in self.features), c)


def _drawn(vae: VAE, piece: Batch, seed: int) -> _Drawn:
    c = vae.embed(piece)
    features = vae.encoder(piece, c)
    draw = vae.latents(len(piece), c, features, noise=Keyed.of(piece, seed))
    log_p = torch.stack([step.p.log_prob(step.value) for step in draw.steps.values()]).sum(0)
    z = torch.cat([step.value.flatten(1) for step in draw.steps.values()], 1)
    return _Drawn(z, draw.log_ratio() + log_p, log_p, features, c)


def _together(parts: Sequence[_Drawn]) -> _Drawn:
    z, own, log_p = (torch.cat([getattr(part, name) for part in parts]) for name in ("z", "own", "log_p"))
    features = tuple(torch.cat(maps) for maps in zip(*(part.features for part in parts), strict=True))
    c = [part.c for part in parts if part.c is not None]
    return _Drawn(z, own, log_p, features, torch.cat(c) if c else None)


def _marginal(vae: VAE, few: _Drawn, rows: int) -> tuple[Tensor, Tensor]:
    """(N,) log of the mean density of each z under all posteriors, and under those of the other rows."""
    z, features, c, n = few.z, few.features, few.c, len(few.z)
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
