"""Walks through the latent space: interpolation between rows, traversals, a grid. S = steps."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.vae import VAE


@torch.no_grad()
def interpolate(vae: VAE, ends: Batch, steps: int = 8, spherical: bool = False) -> Batch:
    """Rows on the way from row i to row i + 1 of ``ends``: (len(ends) - 1) * steps of them, both ends included.

    Means of q(z | x, c) are joined by a straight line, or on the sphere (Shoemake 1985; White 2016): for a Gaussian prior the
    straight line passes nearer to 0 than draws do. The condition is that of the nearer end.
    """
    draw = vae.infer(ends, centre=True)
    t = torch.linspace(0, 1, steps, device=vae.device)
    pairs = len(ends) - 1
    along = {name: _between(step.value, t, spherical) for name, step in draw.steps.items()}
    nearer = torch.stack([torch.arange(pairs), torch.arange(1, pairs + 1)], 1)[:, (t.cpu() > 0.5).long()].flatten()
    c = None if draw.c is None else draw.c[nearer.to(draw.c.device)]
    return _decode(vae, along, c)


@torch.no_grad()
def traverse(
    vae: VAE,
    centre: Batch | None,
    rows: int,
    steps: int = 9,
    reach: float = 2.5,
    dims: list[int] | None = None,
    conditions: Batch | None = None,
) -> Batch:
    """Row d * steps + s: dimension ``dims[d]`` of the first latent (of codes: position), a label passed over, at ``reach`` *
    (-1 ... 1), all else as in ``centre``.

    ``centre`` is one row (its posterior mean), or None for the prior's mean under ``conditions`` (one row; none: c = 0).
    ``rows`` gives how many dimensions at most.
    """
    values, c = _centre(vae, centre, conditions)
    block = vae.latents.first
    dims = (dims or list(range(block.parts)))[:rows]
    along = {k: v.expand(len(dims) * steps, *v.shape[1:]).clone() for k, v in values.items()}
    where = torch.tensor(dims, device=vae.device).repeat_interleave(steps)
    to = torch.linspace(-reach, reach, steps, device=vae.device).repeat(len(dims))
    along[block.name] = block.moved(along[block.name], where, to)
    return _decode(vae, along, None if c is None else c.expand(len(where), -1))


@torch.no_grad()
def grid(
    vae: VAE,
    side: int = 12,
    dims: tuple[int, int] = (0, 1),
    centre: Batch | None = None,
    conditions: Batch | None = None,
) -> Batch:
    """Side x side rows, row-major from the top: two dimensions of the first latent at equal quantiles of N(0, 1); all else
    as ``traverse`` has it."""
    values, c = _centre(vae, centre, conditions)
    block = vae.latents.first
    marks = torch.special.ndtri((torch.arange(side, device=vae.device) + 0.5) / side)
    along = {k: v.expand(side * side, *v.shape[1:]).clone() for k, v in values.items()}
    across, up = (torch.full((side * side,), dim, device=vae.device) for dim in dims)
    along[block.name] = block.moved(along[block.name], across, marks.repeat(side))
    if block.parts > 1:
        along[block.name] = block.moved(along[block.name], up, marks.flip(0).repeat_interleave(side))
    return _decode(vae, along, None if c is None else c.expand(side * side, -1))


def _centre(vae: VAE, centre: Batch | None, conditions: Batch | None) -> tuple[dict[str, Tensor], Tensor | None]:
    if centre is not None:
        draw = vae.infer(centre, centre=True)
        return {name: step.value for name, step in draw.steps.items()}, draw.c
    c = None if vae.condition is None else torch.zeros(1, vae.condition.width, device=vae.device)
    if conditions is not None:
        c = vae.embed(conditions)
    given = None if conditions is None else vae.given(conditions)
    return {name: step.value for name, step in vae.latents(1, c, given=given, centre=True).steps.items()}, c


def _decode(vae: VAE, values: Mapping[str, Tensor], c: Tensor | None) -> Batch:
    rows = len(next(iter(values.values())))
    held = torch.ones(rows, dtype=torch.bool, device=vae.device)
    draw = vae.latents(rows, c, given={name: (value, held) for name, value in values.items()}, centre=True)
    return vae.decode(draw).point_estimate()


def _between(ends: Tensor, t: Tensor, spherical: bool) -> Tensor:
    """(R, *shape), (S,) -> ((R - 1) * S, *shape)"""
    a, b = ends[:-1].flatten(1)[:, None], ends[1:].flatten(1)[:, None]
    s = t[None, :, None]
    line = a + (b - a) * s
    if spherical:
        cosine = (torch.nn.functional.normalize(a, dim=-1) * torch.nn.functional.normalize(b, dim=-1)).sum(
            -1, keepdim=True
        )
        angle = torch.acos(cosine.clamp(-1, 1))
        arc = (torch.sin((1 - s) * angle) * a + torch.sin(s * angle) * b) / torch.sin(angle).clamp_min(1e-6)
        line = torch.where(angle > 1e-3, arc, line)
    return line.reshape(-1, *ends.shape[1:])
