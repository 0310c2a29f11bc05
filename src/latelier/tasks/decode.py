"""From z to rows: the centre of p(x | z). n = rows of a part."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.vae import VAE


@torch.no_grad()
def decode(vae: VAE, values: Iterable[Tensor], rows: int | None = None) -> Iterator[Batch]:
    """(n, dimensions) values of all latent variables, flat and side by side in the order of the walk -> rows.

    Where the model has conditions, none is given.
    """
    blocks = vae.latents.blocks
    for z in values:
        for part in torch.split(z, rows or vae.rows):
            held = torch.ones(len(part), dtype=torch.bool, device=part.device)
            flat = torch.split(part, [math.prod(block.shape) for block in blocks], 1)
            given = {b.name: (v.reshape(len(part), *b.shape), held) for b, v in zip(blocks, flat, strict=True)}
            c = None if vae.condition is None else part.new_zeros(len(part), vae.condition.width)
            yield vae.decode(vae.latents(len(part), c, given=given, centre=True)).point_estimate()
