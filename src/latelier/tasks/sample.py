"""New rows: x ~ p(x | c) by ancestral draws, or x ~ p(x | some entries, c). n = rows of a part, K = draws for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor

from latelier.batch import Batch, join
from latelier.errors import BadInput
from latelier.latents.chain import Given
from latelier.likelihoods.logistic import standard_gumbel
from latelier.vae import VAE

ROUNDS = 100  # of K draws for a row of which none was accepted, before it is given up


@torch.no_grad()
def sample(
    vae: VAE,
    conditions: Iterable[Batch],
    temperature: float | Mapping[str, float] = 1.0,
    mean: bool = False,
    given: Given | None = None,
    rows: int | None = None,
    guidance: float = 1.0,
) -> Iterator[Batch]:
    """One row per row of ``conditions`` (which may hold nothing but its length), with its label where the model has one.

    ``temperature`` scales the prior's spread, of all variables or by name; ``mean`` takes the centre of p(x | z, c) in place
    of a draw from it; ``guidance`` above 1 makes more of the condition than p(x | c) does, below 1 less: such rows are draws of
    no p(x | c).
    """
    rows = rows or vae.rows
    for batch in conditions:
        for part in batch.slices(rows):
            draw = vae.generate(part, given, temperature=temperature, guidance=guidance)
            px = vae.decode(draw)
            made = px.point_estimate() if mean else px.sample()
            yield Batch({**made.fields, **vae.found(draw)}, made.seen)


@torch.no_grad()
def sample_given(
    vae: VAE,
    held: Iterable[Batch],
    shown: Callable[[Batch], Batch],
    accept: Callable[[Batch], Tensor] | None = None,
    draws: int = 64,
    rows: int | None = None,
) -> Iterator[Batch]:
    """One row per row of ``held``: x ~ p(x | the entries seen there, c), as ``shown`` turns the model's values into others.

    By sampling-importance-resampling (Rubin 1987): of K draws of (z, x unseen) one is taken with probability in proportion to
    its weight p(x, z) / r(x unseen, z). Half of the z come from q(z | x seen), half from p(z), and r is their mixture, so that
    no weight exceeds twice p(x seen | z) however poor q is. ``accept`` (of shown rows) sets the weight of others to 0.
    """
    at_once = max(1, (rows or vae.rows) // draws)
    for batch in held:
        for part in batch.slices(at_once):
            yield _accepted(vae, part, shown, accept, draws)


def _accepted(
    vae: VAE, part: Batch, shown: Callable[[Batch], Batch], accept: Callable[[Batch], Tensor] | None, draws: int
) -> Batch:
    """Rows without an accepted draw are drawn for again."""
    left = torch.arange(len(part))
    places, pieces = [], []
    for done in range(ROUNDS):
        whole, log_w = _weighted(vae, part.take(left), draws)
        values = shown(whole)
        if accept is not None:
            log_w = torch.where(accept(values).to(log_w.device), log_w, -math.inf)
        log_w = log_w.view(draws, -1)
        some = (log_w > -math.inf).any(0).cpu()
        best = (log_w + standard_gumbel(log_w)).argmax(0).cpu()  # in proportion to the weights (Gumbel 1954)
        pieces.append(values.take((best * len(left) + torch.arange(len(left)))[some]))
        places.append(left[some])
        left = left[~some]
        if not len(left):
            return join(pieces).take(torch.cat(places).argsort())
        if done >= ROUNDS // 4 and not any(map(len, places)):
            break
    raise BadInput(
        f"--given: {draws * (done + 1):,} draws for a row found none in the ranges asked for, under the other values asked "
        "for; widen the ranges"
    )


def _weighted(vae: VAE, part: Batch, draws: int) -> tuple[Batch, Tensor]:
    """Draw-major: whole rows, and (K * n,) the logs of their weights."""
    many = part.repeat(draws)
    if not any(bool(seen.any()) for name, seen in part.seen.items() if not _is_condition(vae, name)):
        draw = vae.generate(many)
        whole, log_w = vae.decode(draw).complete(many)
        return Batch({**whole.fields, **vae.found(draw)}, whole.seen), log_w
    features = vae.encoder(part, vae.embed(part))
    near, far = vae.infer(part, draws, features=features), vae.generate(many)
    half = torch.arange(len(many), device=vae.device) < len(many) // 2
    every = torch.ones_like(half)
    fixed = {
        name: (torch.where(half.view(-1, *[1] * (step.value.ndim - 1)), step.value, far.steps[name].value), every)
        for name, step in near.steps.items()
    }
    repeated = tuple(h.repeat(draws, *[1] * (h.ndim - 1)) for h in features)
    draw = vae.latents(len(many), near.c, repeated, fixed)
    # A label that the row has is held in both halves, and its probability is that of none of the draws.
    drawn = [(step, near.steps[name].held) for name, step in draw.steps.items() if step.q is not None]
    log_p = torch.stack([free(step.p.log_prob(step.value), held) for step, held in drawn]).sum(0)
    log_q = torch.stack([free(step.q.log_prob(step.value), held) for step, held in drawn if step.q is not None]).sum(0)
    whole, log_w = vae.decode(draw).complete(many)
    whole = Batch({**whole.fields, **vae.found(draw)}, whole.seen)
    return whole, log_w + log_p - torch.logaddexp(log_q, log_p) + math.log(2)


def free(log_p: Tensor, held: Tensor | None) -> Tensor:
    """(N,) nats, 0 where the value was given."""
    return log_p if held is None else torch.where(held, 0.0, log_p)


def _is_condition(vae: VAE, name: str) -> bool:
    return vae.condition is not None and any(field.name == name for field in vae.condition.inputs)
