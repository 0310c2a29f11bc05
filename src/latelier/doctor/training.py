"""Faults of training: too short, too fast, too slow, steps that were not finite, rows learnt by heart or not learnt at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from latelier.doctor.evidence import Evidence
from latelier.doctor.finding import Finding, NotLooked
from latelier.doctor.verdicts import SLIGHT, of_length
from latelier.spec import TrainSpec
from latelier.wording import measured, number, percent

# Thresholds were set on models of other seeds than those of benchmarks/doctor.py (its --seed0 1000).
BY_HEART = 0.3  # nats of gap for each nat that held-out rows are above independent values
FAST, SLOW = 2e-2, 1e-4  # rates that are taken for too high or too low, where the log shows trouble
LATE, LATE_IF_SHORT = 0.15, 0.01  # share of the whole rise of the bound that came in the last third of the epochs
SHORT = 500  # steps, below which a run is short; late ones then have a small rate, and bring little for that
MOVED = 28  # pixels of a side for each by which pictures are moved: one for those of MNIST
FALL = 0.5  # share of the whole rise that the held-out bound fell again


def overfitting(e: Evidence) -> Iterator[Finding]:
    """Training rows are much likelier than held-out ones."""
    trained, held = e.trained_figures, e.held_figures
    gap = trained.elbo - held.elbo
    error = math.hypot(trained.elbo_error, held.elbo_error)
    learnt = max(trained.elbo - e.baseline, 1.0) if e.baseline is not None else max(abs(held.elbo), 1.0)
    if not math.isfinite(gap) or gap < 2 * error or gap < BY_HEART * learnt:
        return
    changes: dict[str, Any] = {"train.patience": 10}
    also = ""
    if moved := _moved(e):
        also = ", and so would pictures moved a little at random, or mirrored (data.flip=true) where that is natural"
        changes |= {"data.shift": moved}
    else:
        changes |= {"network.dropout": max(0.2, e.spec.network.dropout)}
    yield Finding(
        "overfitting",
        "poor",
        f"Training rows are {measured(gap, error)} nats likelier than held-out ones, {percent(gap / learnt)} of what was learnt "
        "of them beyond independent values.",
        "The model learns rows by heart.",
        f"More rows, dropout, holes made in training or a smaller network would narrow the gap{also}; and stop when held-out "
        "rows gain no more.",
        changes,
        {"gap": gap, "error": error, "learnt": learnt},
    )


def _moved(e: Evidence) -> int:
    """By how many pixels pictures may be moved at random, where they are not yet; 0: they are too small, or no pictures."""
    asked = e.spec.data.model_copy(update={"shift": 1})
    if e.spec.data.shift or e.model.kind.augmentation(asked, e.schema) is None:
        return 0
    return round(min(e.schema.modelled[0].shape[-2:]) / MOVED)


def underfitting(e: Evidence) -> Iterator[Finding]:
    """Held-out rows are hardly likelier than under a model whose values know nothing of each other."""
    gain, error = e.gain, e.held_figures.elbo_error
    if gain >= SLIGHT:
        return
    steps = int(e.log[-1].get("step", 0)) if e.log else 0
    yield Finding(
        "underfitting",
        "poor" if gain < 0 else "fair",
        f"A held-out row is {number(gain, 2)} nats above independent values (the bound's standard error is {number(error, 2)})"
        + (f", after {steps:,} steps." if steps else "."),
        "Hardly anything was learnt beyond each value by itself: training was too short, the network is too small, or there is "
        "nothing to learn.",
        "Train longer, with a larger network.",
        {
            "train.epochs": max(2 * e.spec.train.epochs, 20),
            "network.hidden": [max(128, w) for w in e.spec.network.hidden] or [128],
        },
        {"gain": gain, "error": error},
    )


def pace(e: Evidence) -> Iterator[Finding]:
    """What the held-out bound of every epoch says of the learning rate and of the number of epochs."""
    if not e.log:
        raise NotLooked("the log of the run (log.jsonl) is not there")
    train = e.spec.train
    bounds = [float(event["elbo"]) for event in e.log]
    finite = [b for b in bounds if math.isfinite(b)]
    if len(finite) < 4:
        yield Finding(
            "too few epochs",
            "fair",
            f"{len(bounds)} epoch{'s' * (len(bounds) != 1)}.",
            of_length(bounds, len(bounds), train.epochs).text,
            "Train longer.",
            _longer(train, max(20, 10 * train.epochs)),
            {"epochs": float(len(bounds))},
        )
        return
    best = max(range(len(bounds)), key=lambda i: bounds[i] if math.isfinite(bounds[i]) else -math.inf)
    rise = max(finite) - finite[0]
    fall = max((max(bounds[: i + 1]) - b for i, b in enumerate(bounds)), default=0.0)
    jumps = sum(b < a - 0.1 * max(rise, 1.0) for a, b in pairwise(finite))
    lost = int(e.figures["active"]) == 0 or bounds[best] < bounds[0] + 1.0
    if train.rate >= FAST and (jumps >= 2 or fall > FALL * max(rise, 1.0) or lost):
        yield Finding(
            "learning rate too high",
            "poor",
            f"At a rate of {train.rate:g} the held-out bound fell {jumps} time(s) by a tenth of its rise or more, at most by "
            f"{number(fall)} nats; its best epoch is {best + 1} of {len(bounds)}, and {int(e.figures['active'])} units are "
            "active.",
            "Steps are so large that the weights jump over what they should settle in.",
            "A smaller rate.",
            {"train.rate": 1e-3},
            {"rate": train.rate, "jumps": float(jumps), "fall": fall},
        )
        return
    third = max(1, len(finite) // 3)
    late = max(finite) - max(finite[:-third])
    steps = int(e.log[-1].get("step", 0))
    slow = train.rate <= SLOW
    if rise <= 0 or late < (LATE_IF_SHORT if slow or steps < SHORT else LATE) * rise:
        return
    yield Finding(
        "learning rate too low" if slow else "too few epochs",
        "fair",
        f"The last third of {len(bounds)} epochs ({steps:,} steps at a rate of {train.rate:g}) brought {number(late)} nats, "
        f"{percent(late / rise)} of the whole rise of the held-out bound.",
        "The bound was still rising when training ended.",
        "A larger rate." if slow else "Train longer.",
        {"train.rate": 1e-3} if slow else _longer(train, 3 * max(len(bounds), 1)),
        {"late": late, "rise": rise, "steps": float(steps)},
    )


def not_finite(e: Evidence) -> Iterator[Finding]:
    """Steps that were skipped because their loss or gradient was no number."""
    if not e.log and e.lost is None:
        raise NotLooked("the log of the run (log.jsonl) and its checkpoint are not there")
    skipped = e.lost or 0
    broken = [int(event["epoch"]) for event in e.log if not math.isfinite(float(event["elbo"]))]
    if not skipped and not broken:
        return
    told = f"{skipped} step(s) were skipped because their loss or gradient was not finite" if skipped else ""
    also = f"the held-out bound was not finite after epoch {broken[0]}" if broken else ""
    also = also or ("" if e.log else "the run broke off before its first look at held-out rows")
    high = e.spec.train.rate >= FAST
    yield Finding(
        "NaN in training",
        "poor",
        "; ".join(part for part in (told, also) if part) + ".",
        "Either values are so large that the loss of their rows overflows, or steps are so large that the weights do.",
        "A smaller rate, and a limit on gradients that is met."
        if high
        else "A limit on gradients that is met; see huge values.",
        {"train.rate": 1e-3 if high else e.spec.train.rate / 3, "train.clip": 10.0},
        {"skipped": float(skipped), "broken": float(len(broken))},
    )


def _longer(train: TrainSpec, epochs: int) -> dict[str, Any]:
    """So many epochs, and no limit of minutes where there was one."""
    return {"train.epochs": epochs} | ({"train.minutes": None} if train.minutes is not None else {})
