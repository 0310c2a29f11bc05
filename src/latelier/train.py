"""The training loop, written to be read: rows in, a model folder out. N = rows of a batch; times in seconds.

Everything that decides the next step is in a checkpoint: weights, their running average, the optimiser, torch's random
state, and (epoch, cursor) in an order of rows that is a function of seed and epoch. So a run that was killed goes on
bit for bit as if it had not been.
"""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.build import build, make_objective
from latelier.clock import Clock
from latelier.data.rows import batches, evenly, order, with_labelled
from latelier.data.schema import Schema
from latelier.errors import BadInput
from latelier.log import Log
from latelier.machine import choose_device, compiled, memory_kept, threads
from latelier.noise import Keyed
from latelier.objectives import Objective
from latelier.objectives.sharpened import Features
from latelier.spec import ObjectiveSpec, Spec, TrainSpec
from latelier.store import (
    CHECKPOINT,
    PREVIOUS,
    Stored,
    load_checkpoint,
    save_checkpoint,
    save_state,
    sweep,
)
from latelier.tasks.evaluate import held_out
from latelier.vae import VAE

HELD_OUT_ROWS = 10_000  # at most so many rows are looked at after each epoch
EXAMPLE_ROWS = 4096  # so many rows tell the parts how large counts are
PATIENCE_WITH_NANS = 20  # skipped steps in a row before the run stops
AVERAGED = 4  # steps between updates of the running average, each of which moves as much memory as Adam's
Watch = Callable[[Mapping[str, Any]], None]
Augment = Callable[[Batch], Batch]


@dataclass(frozen=True)
class Data:
    """Settled rows (see ``Schema.settle``) and which of them train; ``held`` are never trained on."""

    rows: Batch
    training: Tensor  # ids into rows
    held: Batch  # settled
    source: Mapping[str, Any] = field(default_factory=dict)  # where they came from, for --resume
    augment: Augment | None = None


class Diverged(BadInput):
    """The loss or its gradient was not finite for too many steps in a row."""


@dataclass
class Run:
    """What changes from step to step."""

    vae: VAE
    average: VAE  # running average of the weights: the model that is kept
    objective: Objective
    optimiser: torch.optim.Optimizer
    rival: torch.optim.Optimizer | None = None  # of a critic, which is trained against the model
    epoch: int = 0
    cursor: int = 0  # rows of this epoch that are done
    step: int = 0
    seconds: float = 0.0
    skipped: int = 0  # steps in a row, just now
    lost: int = 0  # steps that were skipped, in all
    best: float = -math.inf
    best_epoch: int = 0
    best_state: dict[str, Tensor] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def weights(self) -> tuple[list[Tensor], list[Tensor]]:
        """The running average and the weights, in one order; listed once, as walking through the modules takes time."""
        return list(self.average.parameters()), list(self.vae.parameters())


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
        save(run, spec, schema, data, folder)
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
                batch = schema.refine(batch.to(device))
                run.seconds = clock.seconds()
                run.objective.progress = progress(run, spec.train, len(ids))
                with precision:
                    loss = loss_of(batch)
                try:
                    take_step(run, loss, spec.train, partial(describe, run, ids, size), watch)
                    answer(run, spec)
                except Diverged:
                    save(run, spec, schema, data, folder, improved)
                    raise
                run.cursor += size
                # Before anything is saved: a run whose time is spent does not go on, and would not look at these weights.
                if spec.train.minutes and run.seconds > 60 * spec.train.minutes:
                    break
                if pause.asked:
                    save(run, spec, schema, data, folder, improved)
                    raise KeyboardInterrupt
                if spec.train.checkpoint and time.monotonic() - saved > spec.train.checkpoint:
                    save(run, spec, schema, data, folder, improved)
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
    if math.isinf(run.best):  # the time was spent before the first look
        improved = keep_best(run, look(run, held_batches, schema), spec.objective)
    run.seconds = clock.seconds()
    save(run, spec, schema, data, folder, improved)
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


def start(spec: Spec, schema: Schema, example: Batch, device: torch.device, features: Features | None = None) -> Run:
    """A fresh model and optimiser; the seed and the ``example`` rows (settled) are the whole of what decides them."""
    torch.manual_seed(spec.train.seed)
    vae = build(spec, schema)
    rows = schema.refine(example, Keyed.of(example))
    vae.begin(rows)
    objective = make_objective(spec.objective, schema, features).to(device)
    few = rows.take(torch.arange(min(2, len(rows))))
    with torch.no_grad():
        objective.check(vae.eval().infer(few, noise=Keyed.of(few)))
    vae = vae.to(device).train()
    opposed = objective.opposed()
    own = {id(p) for p in opposed}
    parameters = [p for p in (*vae.parameters(), *objective.parameters()) if p.numel() and id(p) not in own]
    optimiser = torch.optim.AdamW(parameters, lr=spec.train.rate, weight_decay=spec.train.decay, fused=True)
    # A short memory of gradients, as what a critic shall tell apart moves under it (Radford et al. 2016).
    how: dict[str, Any] = dict(lr=spec.objective.critic_rate, betas=(0.5, 0.9), weight_decay=0.0, fused=True)
    rival = torch.optim.AdamW(opposed, **how) if opposed else None
    average = copy.deepcopy(vae).eval().requires_grad_(False)
    return Run(vae, average, objective, optimiser, rival)


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
        average(run, spec.ema)
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


def average(run: Run, decay: float) -> None:
    """The running average of weights (Polyak & Juditsky 1992), with a shorter memory at first; buffers are copied."""
    every = AVERAGED if decay else 1
    if run.step % every == 0:
        decay = min(decay, (1 + run.step) / (10 + run.step)) ** every
        with torch.no_grad():
            torch._foreach_lerp_(*run.weights, 1 - decay)


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


def save(run: Run, spec: Spec, schema: Schema, data: Data, folder: Path, improved: bool = False) -> None:
    """The best model if it is new, then everything that training needs to go on."""
    if improved:
        save_state(folder, run.best_state, Stored(spec, schema, run.figures))
    tensors: dict[str, Tensor] = {"random.cpu": torch.get_rng_state()}
    if run.vae.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(run.vae.device)
    for name, module in (("vae", run.vae), ("average", run.average), ("objective", run.objective)):
        tensors |= {f"{name}.{k}": v for k, v in module.state_dict().items()}
    for name, optimiser in optimisers(run).items():
        for number, moments in optimiser.state_dict()["state"].items():
            tensors |= {f"{name}.{number}.{k}": v for k, v in moments.items()}
    state = {
        **{k: getattr(run, k) for k in ("epoch", "cursor", "step", "seconds", "lost", "best_epoch", "figures")},
        "best": None if math.isinf(run.best) else run.best,
        "spec": spec.model_dump(mode="json"),
        "schema": schema.model_dump(mode="json"),
        "source": dict(data.source),
    }
    save_checkpoint(folder, tensors, state)


def restore(run: Run, folder: Path) -> None:
    """Puts a checkpoint back into a freshly started run, the random state last."""
    tensors, state = load_checkpoint(folder)
    for name, module in (("vae", run.vae), ("average", run.average), ("objective", run.objective)):
        module.load_state_dict({k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")})
    for owner, optimiser in optimisers(run).items():
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(f"{owner}."):
                _, number, name = key.split(".", 2)
                moments.setdefault(int(number), {})[name] = value
        optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
    for key in ("epoch", "cursor", "step", "seconds", "best_epoch", "figures"):
        setattr(run, key, state[key])
    run.lost = state.get("lost", 0)  # which older checkpoints did not count
    run.best = -math.inf if state["best"] is None else state["best"]
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and run.vae.device.type == "cuda":
        torch.cuda.set_rng_state(tensors["random.cuda"], run.vae.device)


def optimisers(run: Run) -> dict[str, torch.optim.Optimizer]:
    """By the name under which a checkpoint holds their state."""
    return {"optimiser": run.optimiser} | ({} if run.rival is None else {"rival": run.rival})


class Pause:
    """Ctrl-C (and SIGTERM) wait for the end of the step, so that what is saved is a state that training passes through.

    A second Ctrl-C does not wait.
    """

    def __init__(self) -> None:
        self.asked = False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Pause:
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
