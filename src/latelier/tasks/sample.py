"""New rows: x ~ p(x | c), by ancestral draws. n = rows of a part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from latelier.batch import Batch
from latelier.latents.chain import Given
from latelier.vae import VAE


@torch.no_grad()
def sample(
    vae: VAE,
    conditions: Iterable[Batch],
    temperature: float = 1.0,
    mean: bool = False,
    given: Given | None = None,
    rows: int | None = None,
) -> Iterator[Batch]:
    """One row per row of ``conditions`` (which may hold nothing but its length).

    ``temperature`` scales the prior's spread; ``mean`` takes the centre of p(x | z, c) in place of a draw from it.
    """
    rows = rows or vae.rows
    for batch in conditions:
        for part in batch.slices(rows):
            px = vae.decode(vae.generate(part, given, temperature=temperature))
            yield px.point_estimate() if mean else px.sample()
