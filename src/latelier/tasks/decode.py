"""From z to rows: the centre of p(x | z). n = rows of a part."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.latents.chain import Given
from latelier.vae import VAE


@torch.no_grad()
def decode(vae: VAE, values: Iterable[Tensor], rows: int | None = None) -> Iterator[Batch]:
    """(n, dimensions) values of all latent variables, flat and side by side in the order of the walk -> rows.

    Where the model has conditions, none is given.
    """
    for z in values:
        for part in torch.split(z, rows or vae.rows):
            c = None if vae.condition is None else part.new_zeros(len(part), vae.condition.width)
            yield vae.decode(vae.latents(len(part), c, given=every(vae, part), centre=True)).point_estimate()


@torch.no_grad()
def decode_under(vae: VAE, name: str, values: Tensor, conditions: Batch) -> Batch:
    """Values (n, *shape) of the variable of that name, under the conditions and labels of n rows -> rows."""
    held = torch.ones(len(values), dtype=torch.bool, device=values.device)
    given = {**vae.given(conditions), name: (values, held)}
    return vae.decode(vae.latents(len(values), vae.embed(conditions), given=given, centre=True)).point_estimate()


def every(vae: VAE, z: Tensor) -> Given:
    """Flat values (n, dimensions) of all latent variables as ones that a walk is given; gradients flow through them."""
    held = torch.ones(len(z), dtype=torch.bool, device=z.device)
    flat = torch.split(z, [math.prod(block.shape) for block in vae.latents.blocks], 1)
    return {b.name: (v.reshape(len(z), *b.shape), held) for b, v in zip(vae.latents.blocks, flat, strict=True)}
