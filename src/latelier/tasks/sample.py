"""New rows: x ~ p(x | c), by ancestral draws. n = rows of a part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from latelier.batch import Batch
from latelier.latents.chain import Given
from latelier.tasks.score import ROWS
from latelier.vae import VAE


@torch.no_grad()
def sample(
    vae: VAE,
    conditions: Iterable[Batch],
    temperature: float = 1.0,
    mean: bool = False,
    given: Given | None = None,
    rows: int = ROWS,
) -> Iterator[Batch]:
    """One row per row of ``conditions`` (which may hold nothing but its length).

    ``temperature`` scales the prior's spread; ``mean`` takes the centre of p(x | z, c) in place of a draw from it.
    """
    for batch in conditions:
        for part in batch.slices(rows):
            px = vae.decode(vae.generate(part, given, temperature=temperature))
            yield px.point_estimate() if mean else px.sample()


def nothing(rows: int, at_once: int = ROWS) -> Iterator[Batch]:
    """Rows without conditions."""
    for first in range(0, rows, at_once):
        yield Batch({"": torch.zeros(min(at_once, rows - first), 0)})
