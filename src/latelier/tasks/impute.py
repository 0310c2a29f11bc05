"""What is missing, given what is seen: importance-weighted imputation. n = rows of a part, K = draws of z."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

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
    al. 2014, appendix F) help a model that was not trained with holes. Seen entries are returned as they are, and only rows
    with holes are asked for.
    """
    rows, times = rows or vae.rows, max(copies, 1)
    for batch in batches:
        for part in batch.slices(max(1, rows // times)):
            holed = [~seen.flatten(1).all(1) for seen in part.seen.values()]
            ids = torch.stack(holed).any(0).nonzero()[:, 0] if holed else torch.arange(0)
            here = torch.split(ids, max(1, rows // draws)) if len(ids) else ()
            pieces = [_values(vae, part.take(some), draws, copies, rounds, seed) for some in here]
            places = [some + draw * len(part) for some in here for draw in range(times)]
            yield _replaced(part.repeat(times), places, pieces)


def _values(vae: VAE, part: Batch, draws: int, copies: int, rounds: int, seed: int) -> Batch:
    """What the holes of these rows are filled with, draw-major where there are ``copies``; seen entries as they were."""
    proposal = part
    for _ in range(rounds):
        proposal = _filled(part, vae.decode(vae.infer(proposal, centre=True)).point_estimate())
    draw = vae.infer(proposal, draws, noise=Keyed.of(part, seed).repeat(draws))
    px = vae.decode(draw)
    log_w = (px.log_prob(part.repeat(draws)) - draw.log_ratio()).view(draws, -1)
    weights = log_w.softmax(0)
    if copies:
        chosen = torch.multinomial(weights.T, copies, replacement=True).T.flatten()  # (copies * n,)
        row = torch.arange(len(part), device=chosen.device).repeat(copies)
        return _filled(part.repeat(copies), px.sample().take(chosen * len(part) + row))
    centres = {}
    for name, values in px.point_estimate().fields.items():
        values = values.view(draws, len(part), *values.shape[1:])
        numbers = values.is_floating_point()
        centres[name] = torch.einsum("kn,kn...->n...", weights, values) if numbers else _vote(values, weights)
    return _filled(part, Batch(centres))


def _replaced(whole: Batch, places: Sequence[Tensor], pieces: Sequence[Batch]) -> Batch:
    """The rows at ``places`` from ``pieces``, the others from ``whole``, where they have no holes."""
    if not pieces:
        return Batch(whole.fields)
    ids = torch.cat(list(places))
    fields = {k: v.index_copy(0, ids, torch.cat([p.fields[k] for p in pieces])) for k, v in whole.fields.items()}
    return Batch(fields, {k: v for k, v in whole.seen.items() if k in pieces[0].seen})


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
    mass = weights.new_zeros(*codes.shape[1:], int(codes.max()) + 1)
    mass.scatter_add_(2, codes.permute(1, 2, 0), weights.T[:, None].expand(-1, codes.shape[2], -1))
    return mass.argmax(2)
