"""A trained model's prior fitted anew to what its encoder makes of training rows. N = rows, M = draws of z per row; nats.

Of a bound only E_q[log p(z)] depends on the prior, so whatever raises that on rows that are held out raises the bound by as much,
and new rows are drawn from where the decoder was trained. Encoder and decoder stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.build import build, choose
from latelier.clock import Limit
from latelier.data.rows import batches, evenly
from latelier.data.schema import Schema
from latelier.errors import BadInput
from latelier.latents.base import Prior
from latelier.latents.priors import PRIORS, REFITTED
from latelier.means import standard_error_of
from latelier.noise import FRESH, Keyed
from latelier.spec import Spec, TrainSpec
from latelier.step import rate
from latelier.tasks.evaluate import Figures, held_out
from latelier.train import EXAMPLE_ROWS, Data
from latelier.vae import VAE

DRAWS = 8  # of z per row
NUMBERS = 1 << 25  # of all draws together: 128 MB
STEPS = 4000  # of Adam, at most
FALLING = TrainSpec(rate=2e-3, warmup=0.0, floor=0.01)  # its rate, as it falls
DRAWING = 1 / 3  # of a limit of time, at most, goes to draws
EVERY, PATIENCE = 100, 8  # steps between looks at rows set apart, and looks without a better one before it stops
WATCHED = 1000  # rows set apart: a tenth, and at most so many
SURE = 2.0  # a prior is better if it is by so many standard errors of the difference over rows
Watch = Callable[[Mapping[str, Any]], None]
Nats = Callable[[Tensor, Tensor | None], Tensor]  # values (N, *shape), c (N, C) -> (N,)


@dataclass(frozen=True)
class Candidate:
    """A prior and what it is worth on held-out rows: E_q[log p(z)], nats per row, and how much more than that of the prior
    before, with the standard error of that difference."""

    prior: str
    nats: float
    gain: float
    error: float
    cut: bool = False  # was its time spent before it was done?

    @property
    def better(self) -> bool:
        return self.gain > SURE * self.error


@dataclass(frozen=True)
class Refit:
    """What came of it: the model with the best prior, or the one before where ``changed`` is False. ``candidates`` are the prior
    before and then those that were fitted; ``bounds`` on the held-out rows, nats per row, before and after."""

    spec: Spec
    vae: VAE
    changed: bool
    candidates: Sequence[Candidate]
    bounds: tuple[float, float]
    figures: Figures

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"candidates": [asdict(c) for c in self.candidates], "bounds": list(self.bounds)}

    def evidence(self) -> list[str]:
        """Lines for a person."""
        width = max(len(c.prior) for c in self.candidates)
        told = [f"{'prior':<{width}}  held-out E_q[log p(z)]"]
        for number, c in enumerate(self.candidates):
            gain = f"{c.gain:+.3f} +- {c.error:.3f}" if number else "now"
            gain += ", in the time that it had" if c.cut else ""
            told.append(f"{c.prior:<{width}}  {c.nats:.3f} nats/row  {gain}")
        before, after = self.bounds
        name = "bound" if self.figures.kl else "log p(x | z)"  # of a plain autoencoder
        if not self.changed:
            return [*told, f"none is better: nothing was changed; held-out {name} {before:.3f} nats/row"]
        return [*told, f"the prior is {self.spec.latent.prior}; held-out {name} {before:.3f} -> {after:.3f} nats/row"]


@dataclass(frozen=True)
class Draws:
    """M values of the first variable that is no label for each of N rows: z (N, M, *shape), c (N, M, C) as the prior reads it,
    with the label that was drawn or seen, and (N,) what the model's prior makes of them, E_q[log p(z)]."""

    z: Tensor
    c: Tensor | None
    nats: Tensor

    def some(self, rows: Tensor, draws: Tensor) -> tuple[Tensor, Tensor | None]:
        """One draw of each of these rows."""
        return self.z[rows, draws], None if self.c is None else self.c[rows, draws]

    @torch.no_grad()
    def mean(self, nats: Nats, at_once: int) -> Tensor:
        """(N,) means over draws."""
        found = []
        for first in range(0, len(self.z), max(1, at_once // self.z.shape[1])):
            part = slice(first, first + max(1, at_once // self.z.shape[1]))
            z = self.z[part].transpose(0, 1)
            c = None if self.c is None else self.c[part].transpose(0, 1).flatten(0, 1)
            found.append(nats(z.flatten(0, 1), c).view(z.shape[:2]).mean(0))
        return torch.cat(found)


def refit(
    spec: Spec,
    schema: Schema,
    vae: VAE,
    data: Data,
    prior: str = "auto",
    draws: int = 1,
    watch: Watch = lambda event: None,
    seconds: float | None = None,  # that it may take, besides what the held-out rows need
) -> Refit:
    """Priors (``auto``: those that suit the variable) are fitted to draws of q(z | x) of training rows by maximum likelihood, and
    the best on held-out rows is taken if it is better than the one before. Below a label draws are of q(y | x) q(z | x, y), y
    held where it is seen, and priors are p(z | y). ``draws`` are of the bound that is measured before and after. BadInput where
    none can be fitted."""
    block, seed = vae.latents.first, spec.train.seed
    names = REFITTED.get(block.support, ()) if prior == "auto" else (prior,)
    if not block.free or not names:
        raise BadInput(f"latent {spec.latent.name}: its prior cannot be fitted anew; leave refit out")
    if prior == "auto" and spec.latent.prior != "standard":
        names = ("standard", *names)
    choose("prior", names[0], PRIORS)
    ids = data.training[torch.randperm(len(data.training), generator=torch.Generator().manual_seed(seed))]
    ids = ids[: max(2, NUMBERS // (draws_of(vae) * (math.prod(block.shape) + vae.read)))]
    apart = min(len(ids) // 10, WATCHED) + 1
    limit = Limit(seconds)
    watched = drawn(vae, schema, data.rows, ids[:apart])
    learnt = drawn(vae, schema, data.rows, ids[apart:], limit=limit.part(DRAWING))
    held = drawn(vae, schema, data.held, torch.arange(len(data.held)), seed)
    best, candidates = (spec, vae), [Candidate(spec.latent.prior, float(held.nats.mean()), 0.0, 0.0)]
    for number, name in enumerate(names):
        own = limit.part(1 / (len(names) - number))
        watch({"event": "refitting", "prior": name, "rows": len(learnt.z), "seconds": own.allowed})
        other = with_prior(name, spec, schema, vae, data)
        law = fitted(other[1], learnt, watched, seed, lambda event, name=name: watch({"prior": name, **event}), own)  # type: ignore[misc]
        cut = own.spent() >= 1
        candidates.append(compared(name, held.mean(law, vae.rows), held.nats, cut))
        if candidates[-1].better and candidates[-1].gain > max(c.gain for c in candidates[:-1]):
            best = other
    before, after = (measured(model, spec, schema, data, draws) for model in (vae, best[1]))
    bounds = tuple(f.elbo if f.iw is None else f.iw for f in (before, after))
    if bounds[1] < bounds[0]:
        best, after, bounds = (spec, vae), before, (bounds[0], bounds[0])
    return Refit(*best, best[1] is not vae, candidates, (bounds[0], bounds[1]), after)


@torch.no_grad()
def drawn(
    vae: VAE, schema: Schema, rows: Batch, ids: Tensor, seed: int | None = None, limit: Limit | None = None
) -> Draws:
    """Draws for these rows, or the first of them where the time is spent; with a ``seed`` they repeat, keyed by the row."""
    z, c, nats, draws = [], [], [], draws_of(vae)
    for number, batch in enumerate(batches(rows, ids, max(1, vae.rows // draws))):
        if number and limit is not None and limit.spent() >= 1:
            break
        part = vae.own(schema.refine(batch, FRESH if seed is None else Keyed.of(batch, seed)))
        noise = FRESH if seed is None else Keyed.of(part, seed).repeat(draws)
        draw = vae.infer(part, draws, noise=noise)
        step = draw.steps[vae.latents.first.name]
        z.append(by_row(step.value, draws))
        nats.append(by_row(step.p.law().log_prob(step.value), draws).mean(1))
        if draw.read is not None:
            c.append(by_row(draw.read, draws))
    return Draws(torch.cat(z), torch.cat(c) if c else None, torch.cat(nats))


def by_row(values: Tensor, draws: int) -> Tensor:
    """(M N, ...), draw-major -> (N, M, ...)"""
    return values.reshape(draws, len(values) // draws, *values.shape[1:]).transpose(0, 1)


def draws_of(vae: VAE) -> int:
    """Of z per row; one where further ones are the same."""
    return 1 if vae.latents.certain else DRAWS


def with_prior(name: str, spec: Spec, schema: Schema, vae: VAE, data: Data) -> tuple[Spec, VAE]:
    """The same model with that prior, not fitted yet, in place of its own."""
    changed = Spec.of({"latent.prior": name}, spec.model_dump())
    other = build(changed, schema)
    own = f"latents.blocks.{vae.latents.names.index(vae.latents.first.name)}.own."
    state = {k: v for k, v in vae.state_dict().items() if not k.startswith(own)}
    missing, _ = other.load_state_dict(state, strict=False)
    assert all(key.startswith(own) for key in missing)
    example = data.rows.take(evenly(data.training, EXAMPLE_ROWS))
    other.begin_priors(schema.refine(example, Keyed.of(example)))
    return changed, other.to(vae.device, vae.dtype).eval()


def fitted(vae: VAE, learnt: Draws, watched: Draws, seed: int, watch: Watch, limit: Limit) -> Nats:
    """Fits the first variable's own prior, whose weights are then those that were best on the draws that are ``watched``, and
    gives what makes nats of values. A prior without weights is left as it is."""
    block = vae.latents.first

    def nats(z: Tensor, c: Tensor | None) -> Tensor:
        return block.prior(vae.latents.begun(len(z), c), c).law().log_prob(z)

    if block.own is not None:
        vae.requires_grad_(False)
        maximise(block.own.requires_grad_(True), nats, learnt, watched, seed, watch, limit)
    return nats


def maximise(prior: Prior, nats: Nats, learnt: Draws, watched: Draws, seed: int, watch: Watch, limit: Limit) -> None:
    """Maximum likelihood by Adam, the rate falling by a cosine with steps or time, whichever is nearer to its end; stopped there,
    or when ``watched`` draws get no likelier."""
    order = torch.Generator().manual_seed(seed)

    def some(rows: int) -> tuple[Tensor, Tensor | None]:
        chosen = torch.randint(len(learnt.z), (rows,), generator=order)
        return learnt.some(chosen, torch.randint(learnt.z.shape[1], (rows,), generator=order))

    prior.settle(*some(EXAMPLE_ROWS))
    steps = min(STEPS, prior.steps(len(learnt.z)))
    optimiser = torch.optim.Adam([p for p in prior.parameters() if p.numel()], lr=FALLING.rate, fused=True)
    best, state, since = -math.inf, prior.state_dict(), 0
    for step in range(steps + 1):
        done = min(1.0, max(step / steps, limit.spent()))
        if step % EVERY == 0 or done == 1:
            found = float(watched.mean(nats, EXAMPLE_ROWS).mean())
            watch({"event": "refit", "step": step, "nats": found, "progress": done})
            since += 1
            if found > best:
                best, state, since = found, {k: v.clone() for k, v in prior.state_dict().items()}, 0
            if since >= PATIENCE or done == 1:
                break
        prior.train()
        optimiser.param_groups[0]["lr"] = rate(FALLING, done)
        loss = -prior.fit_nats(*some(prior.batch)).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        if torch.nn.utils.clip_grad_norm_(prior.parameters(), 100.0).isfinite():
            optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        prior.eval()
    prior.load_state_dict(state)


def compared(name: str, nats: Tensor, before: Tensor, cut: bool = False) -> Candidate:
    """Both (N,), of the same draws."""
    gain = (nats - before).double()
    return Candidate(name, float(nats.mean()), float(gain.mean()), standard_error_of(gain), cut)


def measured(vae: VAE, spec: Spec, schema: Schema, data: Data, draws: int) -> Figures:
    """The held-out bound, as training looks at it."""
    seed = spec.train.seed
    held = (vae.own(schema.refine(part, Keyed.of(part, seed))) for part in data.held.slices(1024))
    return held_out(vae, held, draws, dimensions=schema.dimensions)
