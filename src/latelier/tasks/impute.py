"""What is missing, given what is seen: importance-weighted imputation. n = rows of a part, K = draws of z."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.noise import Keyed
from latelier.vae import VAE


@torch.no_grad()
def impute(
    vae: VAE,
    batches: Iterable[Batch],
    draws: int = 64,
    copies: int = 0,
    rounds: int = 0,
    rows: int | None = None,
    seed: int = 0,
) -> Iterator[Batch]:
    """The rows with every unseen entry filled.

    ``draws`` values of z per row are weighed by p(x_seen, z) / q(z | x) (Mattei & Frellsen 2019, MIWAE, eq. 12).
    ``copies`` = 0 fills with the weighted mean (numbers) or the heaviest code; otherwise so many rows per row, draw-major,
    are drawn by sampling-importance-resampling. ``rounds`` of filling and encoding again (pseudo-Gibbs, Rezende et
    al. 2014, appendix F) help a model that was not trained with holes. Seen entries are returned as they are.
    """
    rows = rows or vae.rows
    for batch in batches:
        for part in batch.slices(max(1, rows // draws)):
            proposal = part
            for _ in range(rounds):
                proposal = _filled(part, vae.decode(vae.infer(proposal, centre=True)).point_estimate())
            noise = Keyed.of(part, seed).repeat(draws)
            draw = vae.infer(proposal, draws, noise=noise)
            px = vae.decode(draw)
            log_w = (px.log_prob(part.repeat(draws)) - draw.log_ratio()).view(draws, -1)
            weights = log_w.softmax(0)
            if copies:
                chosen = torch.multinomial(weights.T, copies, replacement=True).T.flatten()  # (copies * n,)
                row = torch.arange(len(part), device=chosen.device).repeat(copies)
                drawn = px.sample().take(chosen * len(part) + row)
                yield _filled(part.repeat(copies), drawn)
            else:
                centres = {}
                for name, values in px.point_estimate().fields.items():
                    values = values.view(draws, len(part), *values.shape[1:])
                    centres[name] = (
                        torch.einsum("kn,kn...->n...", weights, values)
                        if values.is_floating_point()
                        else _vote(values, weights)
                    )
                yield _filled(part, Batch(centres))


def _filled(part: Batch, values: Batch) -> Batch:
    """Seen entries from ``part``, the others from ``values``, and so no masks; conditions pass through with theirs."""
    fields = {
        k: torch.where(part.seen[k], v, values.fields[k]) if k in part.seen and k in values.fields else v
        for k, v in part.fields.items()
    }
    seen = {k: v for k, v in part.seen.items() if k not in values.fields}
    return Batch(fields, seen)


def _vote(codes: Tensor, weights: Tensor) -> Tensor:
    """(K, n, C) codes, (K, n) weights -> (n, C): the code with the largest summed weight."""
    same = codes[:, None] == codes[None]  # (K, K, n, C): does draw j name the code of draw k?
    mass = torch.einsum("jn,kjnc->knc", weights, same.to(weights.dtype))
    return codes.gather(0, mass.argmax(0, keepdim=True))[0]
