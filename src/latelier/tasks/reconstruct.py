"""From rows through z and back: encode, reconstruct, denoise, augment. n = rows of a part, K = draws."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import torch
from torch import Tensor

from latelier.batch import Batch, repeat
from latelier.vae import VAE


@torch.no_grad()
def encode(vae: VAE, batches: Iterable[Batch], rows: int | None = None) -> Iterator[dict[str, Tensor]]:
    """The mean of q(z | x, c) of every latent variable, (n, *shape) each; later ones given the means above them. Of a label the
    most probable class, as a one-hot vector."""
    rows = rows or vae.rows
    for batch in batches:
        for part in batch.slices(rows):
            yield {name: step.value for name, step in vae.infer(part, centre=True).steps.items()}


@torch.no_grad()
def reconstruct(
    vae: VAE,
    batches: Iterable[Batch],
    draws: int = 0,
    mean: bool = True,
    temperature: float = 1.0,
    rows: int | None = None,
) -> Iterator[Batch]:
    """The decode of each row's z, draw-major (max(draws, 1) * n).

    ``draws`` = 0 decodes the posterior's mean; otherwise so many values of z are drawn. ``mean`` takes the centre of
    p(x | z, c), else x is drawn from it. ``temperature`` widens q(z | x, c) for more variety.
    """
    rows = rows or vae.rows
    for batch in batches:
        for part in batch.slices(max(1, rows // max(draws, 1))):
            px = vae.decode(vae.infer(part, centre=True) if draws == 0 else _near(vae, part, draws, temperature))
            yield px.point_estimate() if mean else px.sample()


@torch.no_grad()
def redraw(
    vae: VAE,
    batches: Iterable[Batch],
    names: Collection[str],
    draws: int = 0,
    mean: bool = True,
    temperature: float = 1.0,
    rows: int | None = None,
) -> Iterator[Batch]:
    """The decode of each row with the variables of these ``names`` made anew from their priors, given the others, which are
    held at the centres of q(z | x, c); draw-major (max(draws, 1) * n).

    ``draws`` = 0 takes the priors' means: with the finer rungs of a ladder named, what the coarser ones alone know of the row.
    """
    rows = rows or vae.rows
    for batch in batches:
        for part in batch.slices(max(1, rows // max(draws, 1))):
            once = vae.infer(part, centre=True)
            many = part.repeat(max(draws, 1))
            every = torch.ones(len(many), dtype=torch.bool, device=vae.device)
            held = {
                name: (repeat(step.value, max(draws, 1)), every)
                for name, step in once.steps.items()
                if name not in names
            }
            px = vae.decode(vae.generate(many, held, temperature=temperature, centre=draws == 0))
            yield px.point_estimate() if mean else px.sample()


@torch.no_grad()
def denoise(vae: VAE, batches: Iterable[Batch], draws: int = 16, rows: int | None = None) -> Iterator[Batch]:
    """E[x | z] averaged over z ~ q(z | noisy x, c): numbers are averaged, codes take the most frequent."""
    rows = rows or vae.rows
    for part, drawn in _drawn(vae, batches, draws, rows):
        yield Batch(
            {name: centre_of(values.view(draws, len(part), *values.shape[1:])) for name, values in drawn.fields.items()}
        )


@torch.no_grad()
def augment(
    vae: VAE, batches: Iterable[Batch], copies: int = 1, temperature: float = 1.0, rows: int | None = None
) -> Iterator[Batch]:
    """``copies`` new rows beside each row, draw-major: drawn from p(x | z, c) with z near the row's own."""
    rows = rows or vae.rows
    yield from reconstruct(vae, batches, copies, mean=False, temperature=temperature, rows=rows)


def centre_of(draws: Tensor) -> Tensor:
    """(K, n, ...) -> (n, ...): the mean of numbers, the most frequent code."""
    return draws.mean(0) if draws.is_floating_point() else draws.mode(0).values


def _drawn(vae: VAE, batches: Iterable[Batch], draws: int, rows: int) -> Iterator[tuple[Batch, Batch]]:
    for batch in batches:
        for part in batch.slices(max(1, rows // draws)):
            yield part, vae.decode(vae.infer(part, draws)).point_estimate()


def _near(vae: VAE, part: Batch, draws: int, temperature: float):  # type: ignore[no-untyped-def]
    """z ~ q(z | x, c) with its spread scaled: each variable is drawn, moved from its mean, and held."""
    draw = vae.infer(part, draws)
    if temperature == 1.0:
        return draw
    held = torch.ones(len(part) * draws, dtype=torch.bool, device=vae.device)
    moved = {}
    for name, step in draw.steps.items():
        assert step.q is not None
        centre = step.q.mean()
        tempered = name != (vae.label.name if vae.label else None)  # between two classes there is none
        moved[name] = (centre + temperature * (step.value - centre) if tempered else step.value, held)
    return vae.latents(len(held), draw.c, given=moved)
