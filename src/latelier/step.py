"""One step of training: the rate, the update of weights and running average, the critic's turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from latelier.errors import BadInput
from latelier.run import Run
from latelier.spec import Spec, TrainSpec

PATIENCE_WITH_NANS = 20  # skipped steps in a row before the run stops
AVERAGED = 4  # steps between updates of the running average, each of which moves as much memory as Adam's
Watch = Callable[[Mapping[str, Any]], None]


class Diverged(BadInput):
    """The loss or its gradient was not finite for too many steps in a row."""


def progress(run: Run, spec: TrainSpec, rows: int) -> float:
    """The share of the run that is done, by epochs or by minutes, whichever is nearer to its end."""
    by_rows = (run.epoch + run.cursor / rows) / spec.epochs
    by_time = run.seconds / (60 * spec.minutes) if spec.minutes else 0.0
    return min(1.0, max(by_rows, by_time))


def rate(spec: TrainSpec, done: float) -> float:
    """The learning rate: a linear rise over ``warmup``, then a cosine down to ``floor`` of it (Loshchilov & Hutter 2017)."""
    rise = min(1.0, (done + 1e-4) / spec.warmup) if spec.warmup else 1.0
    return spec.rate * rise * (spec.floor + (1 - spec.floor) * 0.5 * (1 + math.cos(math.pi * done)))


def take_step(run: Run, loss: Tensor, spec: TrainSpec, where: Callable[[], str], watch: Watch) -> None:
    """One update of weights and running average. A loss or gradient that is not finite changes nothing."""
    optimiser = run.optimiser
    parameters = optimiser.param_groups[0]["params"]
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None], foreach=True)
    size, cost = norm.item(), loss.item()  # once: on a GPU each asking waits for all that was launched
    if math.isfinite(size) and math.isfinite(cost):
        if size > spec.clip:  # asked first: scaling is one more pass over all gradients, which most steps do without
            torch.nn.utils.clip_grads_with_norm_(parameters, spec.clip, norm, foreach=True)
        optimiser.param_groups[0]["lr"] = rate(spec, run.objective.progress)
        optimiser.step()
        average(run, spec.ema, min(AVERAGED, math.ceil(run.objective.rows / spec.batch) or AVERAGED))
        run.skipped = 0
    else:
        for buffer, kept in zip(run.vae.buffers(), run.average.buffers(), strict=True):
            if not bool(torch.isfinite(buffer).all()):
                buffer.copy_(kept)  # running statistics of a normalisation were spoilt by the forward pass
        run.skipped, run.lost = run.skipped + 1, run.lost + 1
        watch({"event": "skipped", "where": where(), "loss": cost, "norm": size})
        if run.skipped > PATIENCE_WITH_NANS:
            raise Diverged(
                f"the loss is not finite for {run.skipped} steps in a row ({where()}); the last good weights are kept; "
                "try a smaller train.rate, a smaller train.clip, or look for huge values in these rows"
            )
    optimiser.zero_grad(set_to_none=True)
    run.step += 1


def answer(run: Run, spec: Spec) -> None:
    """The critic's turn, on the pictures that the model's step has just been judged by. What is not finite changes nothing."""
    if run.rival is None or (loss := run.objective.critic_loss()) is None:
        return
    group = run.rival.param_groups[0]
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.get_total_norm([p.grad for p in group["params"] if p.grad is not None], foreach=True)
    if math.isfinite(norm.item()) and math.isfinite(loss.item()):
        group["lr"] = spec.objective.critic_rate * rate(spec.train, run.objective.progress) / spec.train.rate
        run.rival.step()
    run.rival.zero_grad(set_to_none=True)


def average(run: Run, decay: float, every: int) -> None:
    """The running average of weights (Polyak & Juditsky 1992), with a shorter memory at first; buffers are copied. It moves
    ``every`` so many steps, of an epoch's once at least: else its look would be at the weights of the epoch before."""
    every = every if decay else 1
    if run.step % every == 0:
        decay = min(decay, (1 + run.step) / (10 + run.step)) ** every
        with torch.no_grad():
            torch._foreach_lerp_(*run.weights, 1 - decay)
