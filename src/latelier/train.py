"""The training loop, written to be read: rows in, a model folder out. N = rows of a batch; times in seconds.

Everything that decides the next step is in a checkpoint: weights, their running average, the optimiser, torch's random
state, and (epoch, cursor) in an order of rows that is a function of seed and epoch. So a run that was killed goes on
bit for bit as if it had not been.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.clock import Clock, Pause
from latelier.data.rows import batches, evenly, order, with_labelled
from latelier.data.schema import Schema
from latelier.log import Log
from latelier.machine import choose_device, compiled, memory_kept, threads
from latelier.noise import Keyed
from latelier.objectives.sharpened import Features
from latelier.run import Run, restore, save, start
from latelier.spec import ObjectiveSpec, Spec, TrainSpec
from latelier.step import Diverged, Watch, answer, progress, take_step
from latelier.store import CHECKPOINT, PREVIOUS, sweep
from latelier.tasks.evaluate import held_out

HELD_OUT_ROWS = 10_000  # at most so many rows are looked at after each epoch
EXAMPLE_ROWS = 4096  # so many rows tell the parts how large counts are
Augment = Callable[[Batch], Batch]


@dataclass(frozen=True)
class Data:
    """Settled rows (see ``Schema.settle``) and which of them train; ``held`` are never trained on."""

    rows: Batch
    training: Tensor  # ids into rows
    held: Batch  # settled
    source: Mapping[str, Any] = field(default_factory=dict)  # where they came from, for --resume
    augment: Augment | None = None


def train(
    spec: Spec,
    schema: Schema,
    data: Data,
    folder: Path,
    watch: Watch = lambda event: None,
    resume: bool = False,
    features: Features | None = None,
) -> Run:
    """Trains until the epochs, the minutes or the patience are spent. The best model by held-out bound is in ``folder``; once a
    critic has begun, the newest.

    ``watch`` is told of every epoch and every skipped step. With ``resume`` the run of ``folder`` goes on. Raises Diverged when
    the loss is not finite for many steps in a row (the last checkpoint is good); BadInput when the disk is full. On interruption
    (Ctrl-C) the step is finished and the state saved before KeyboardInterrupt goes on.
    """
    device = choose_device(spec.train.device)
    example = data.rows.take(evenly(data.training, EXAMPLE_ROWS))
    run = start(
        spec, schema, example, device, features
    )  # before the folder: what cannot be built leaves nothing behind
    run.objective.rows = len(data.training)
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    log = Log(folder)
    if resume:
        restore(run, folder)
        log.cut(run.epoch, run.step)
    else:
        log.clear()
        for old in (CHECKPOINT, PREVIOUS):  # of a run that is replaced: nobody shall resume that by mistake
            (folder / old).unlink(missing_ok=True)
        save(run, spec, schema, data.source, folder)
    held = data.held.slices(1024)
    held_batches = [schema.refine(part, Keyed.of(part, spec.train.seed)).to(device) for part in held]
    clock = Clock(run.seconds)
    saved = time.monotonic()
    precision = torch.autocast(device.type, torch.bfloat16, enabled=spec.train.precision == "bfloat16")
    loss_of: Callable[[Batch], Tensor] = partial(run.objective, run.vae)
    if spec.train.compiled == "yes" and run.rival is None:  # whose weight is found by gradients within the step
        loss_of = compiled(loss_of, device, watch)
    improved = False
    with Pause() as pause, threads(spec.train.threads), memory_kept():
        while run.epoch < spec.train.epochs and not finished(run, spec.train):
            ids = ids_of(data, schema, spec.train, run.epoch)
            for batch in batches(data.rows, ids[run.cursor :], spec.train.batch):
                size = len(batch)
                if data.augment is not None:
                    batch = data.augment(batch)
                run.objective.stored = batch = batch.to(device)
                batch = schema.refine(batch)
                run.seconds = clock.seconds()
                run.objective.progress = progress(run, spec.train, len(ids))
                with precision:
                    loss = loss_of(batch)
                try:
                    take_step(run, loss, spec.train, partial(describe, run, ids, size), watch)
                    answer(run, spec)
                except Diverged:
                    save(run, spec, schema, data.source, folder, improved)
                    raise
                run.cursor += size
                # Before anything is saved: a run whose time is spent does not go on, and would not look at these weights.
                if spec.train.minutes and run.seconds > 60 * spec.train.minutes:
                    break
                if pause.asked:
                    save(run, spec, schema, data.source, folder, improved)
                    raise KeyboardInterrupt
                if spec.train.checkpoint and time.monotonic() - saved > spec.train.checkpoint:
                    save(run, spec, schema, data.source, folder, improved)
                    saved, improved = time.monotonic(), False
            else:
                run.epoch, run.cursor = run.epoch + 1, 0
            figures = look(run, held_batches, schema)
            if spec.train.keep == "last":
                run.best = -math.inf
            improved = keep_best(run, figures, spec.objective) or improved
            event = {"epoch": run.epoch, "step": run.step, "seconds": round(clock.seconds(), 3), **figures}
            log.write(event)
            watch({"event": "epoch", "progress": progress(run, spec.train, len(ids)), **event})
    run.objective.stored = None
    if math.isinf(run.best):  # the time was spent before the first look
        improved = keep_best(run, look(run, held_batches, schema), spec.objective)
    run.seconds = clock.seconds()
    save(run, spec, schema, data.source, folder, improved)
    if pause.asked:  # in the last look
        raise KeyboardInterrupt
    if math.isinf(run.best):
        raise Diverged(
            "the held-out bound was never finite, so there is no model to keep; try a smaller train.rate, or look for huge "
            "values in the held-out rows"
        )
    return run


def ids_of(data: Data, schema: Schema, spec: TrainSpec, epoch: int) -> Tensor:
    """The training rows of an epoch in their order; where some have a label, every batch has some of those."""
    ids = data.training[order(len(data.training), spec.seed, epoch)]
    seen = None if schema.label is None else data.rows.seen.get(schema.label.name)
    return ids if seen is None else with_labelled(ids, seen[:, 0], spec.batch, spec.labelled, spec.seed, epoch)


def look(run: Run, held: list[Batch], schema: Schema) -> dict[str, Any]:
    """The held-out bound of the averaged weights, and what the objective tells beside it. Random state is untouched: noise is
    keyed by row."""
    for kept, buffer in zip(run.average.buffers(), run.vae.buffers(), strict=True):
        kept.copy_(buffer)
    figures = held_out(run.average, held, run.objective.bound_draws, dimensions=schema.dimensions)
    return {**figures.plain(), **run.objective.report(run.average, held)}


def keep_best(run: Run, figures: Mapping[str, Any], spec: ObjectiveSpec) -> bool:
    """Whether these are the best weights so far, by the bound that is trained; if so they are remembered.

    A critic spends nats on sharpness, so once it has begun the newest weights are kept, as long as their bound is within
    ``critic_nats`` of the best one.
    """
    bound = figures.get("iw", figures["elbo"])
    allowed = math.inf if spec.critic_nats is None else spec.critic_nats
    near = run.objective.critic_at_work and bound >= run.best - allowed
    if not math.isfinite(bound) or not (bound > run.best or near):
        return False
    run.best, run.best_epoch = max(bound, run.best), run.epoch
    run.figures = {**figures, "epoch": run.epoch, "step": run.step}
    run.best_state = {k: v.clone() for k, v in run.average.state_dict().items()}
    return True


def finished(run: Run, spec: TrainSpec) -> bool:
    """Is the time or the patience spent?"""
    late = spec.minutes is not None and run.seconds >= 60 * spec.minutes
    return late or (spec.patience is not None and run.epoch - run.best_epoch >= spec.patience)


def describe(run: Run, ids: Tensor, size: int) -> str:
    """Names a batch by epoch, step and rows."""
    rows = ids[run.cursor : run.cursor + size].tolist()
    return (
        f"epoch {run.epoch + 1}, step {run.step + 1}, rows {', '.join(map(str, sorted(rows)[:5]))}, ... of {len(rows)}"
    )
