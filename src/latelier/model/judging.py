"""How good a model is on rows that are given: figures, bounds, obedience, errors. n = rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.build import build
from latelier.data.rows import evenly, hold
from latelier.errors import BadInput, at_least
from latelier.model.drawing import check_guidance
from latelier.model.passage import Fitted, coded, read, told
from latelier.model.predicting import classification
from latelier.model.source import Values
from latelier.noise import seeded
from latelier.tasks.aggregate import FITTED, aggregate
from latelier.tasks.annealed import Ais, Start, beside_the_bound
from latelier.tasks.dissect import Dissection, dissect
from latelier.tasks.evaluate import Figures, held_out
from latelier.tasks.obeyed import Obeyed, Recognised, obeyed, recognised
from latelier.tasks.reconstruct import reconstruct
from latelier.train import HELD_OUT_ROWS


def figures(model: Fitted, x: Values, draws: int = 64) -> Figures:
    """What ``Model.evaluate`` promises."""
    at_least(1, draws=draws)
    kept: list[Batch] = []

    def seen(batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            if sum(map(len, kept)) < HELD_OUT_ROWS:
                kept.append(batch)
            yield batch

    found = held_out(model.vae, seen(read(model, x)), draws, dimensions=model.schema.dimensions)
    latent = aggregate(model.vae, [some(kept, FITTED)])
    return replace(
        found,
        reconstruction=reconstruction_error(model, kept),
        latent=latent,
        classes=None if model.schema.label is None else classification(model, kept),
        obeyed=obedience_under(model, hold(kept)) if model.schema.told else None,
    )


def annealed(
    model: Fitted,
    x: Values,
    chains: int = 16,
    steps: int = 500,
    start: Start = "posterior",
    rows: int = 128,
    draws: int = 64,
) -> Ais:
    """What ``Model.annealed`` promises."""
    at_least(1, chains=chains, steps=steps, rows=rows, draws=draws)
    kept: list[Batch] = []
    for batch in read(model, x):
        kept.append(batch)
        if sum(map(len, kept)) >= HELD_OUT_ROWS:
            break
    return beside_the_bound(model.vae, [some(kept, rows)], chains, steps, start, draws)


def obedience(
    model: Fitted, x: Values, draws: int = 8, guidance: float = 1.0, rows: int = 128, seed: int = 0
) -> dict[str, Obeyed]:
    """What ``Model.obeyed`` promises."""
    check_guidance(model, guidance)
    found = obedience_under(model, hold(read(model, x)), draws, guidance, rows, seed)
    return {name: found[name] for name in model.kind.ordered(found, model.schema)}


def obedience_under(
    model: Fitted, given: Batch, draws: int = 8, guidance: float = 1.0, rows: int = 128, seed: int = 0
) -> dict[str, Obeyed]:
    """``obedience`` under conditions that the model has read."""
    if not model.schema.told:
        raise BadInput("this model can be given nothing, so there is nothing to obey; fit it with --given or --label")
    some = given.only(told(model)).take(evenly(torch.arange(len(given)), rows))
    names = {field.name: field.columns or (field.name,) for field in model.schema.told}
    with seeded(seed):
        return {names[name][i]: o for (name, i), o in obeyed(model.vae, [some], draws, guidance).items()}


def recognition(model: Fitted, x: Values, guidance: float = 1.0, seed: int = 0) -> dict[str, Recognised]:
    """What ``Model.recognised`` promises."""
    check_guidance(model, guidance)
    names = {field.name: field.columns or (field.name,) for field in model.schema.told}
    with seeded(seed):
        found = recognised(model.vae, hold(read(model, x)), guidance, seed)
    return {names[name][i]: r for (name, i), r in found.items()}


def reconstruction_error(model: Fitted, batches: Iterable[Batch]) -> dict[str, float]:
    """Per column, in the data's order (of pictures: all pixels together): root mean squared error in the column's own
    units, or the share of wrong codes where values are names; seen entries only, columns without any left out."""
    fields = model.schema.modelled
    sums: dict[str, Tensor] = {}  # (2, *shape): errors, and how many entries were seen
    for batch in batches:
        truth = model.schema.to_data(batch.only([f.name for f in fields]))
        decoded = model.schema.to_data(next(reconstruct(model.vae, [batch], rows=max(len(batch), 1))))
        for field in fields:
            x, y = (b.fields[field.name].double().cpu() for b in (truth, decoded))
            error = (x.round() != y.round()).double() if coded(field) else (x - y).square()
            seen = truth.seen.get(field.name)
            weight = torch.ones_like(error) if seen is None else seen.cpu().expand_as(error).double()
            part = torch.stack([(error * weight).sum(0), weight.sum(0)])
            sums[field.name] = sums.get(field.name, torch.zeros_like(part)) + part
    errors: dict[str, float] = {}
    for field in fields:
        total = sums[field.name].flatten(1)
        names = field.columns or (field.name,)
        errors |= {
            name: float(error / count) ** (1.0 if coded(field) else 0.5)
            for name, (error, count) in zip(names, (total if field.columns else total.sum(1, True)).T, strict=True)
            if count > 0
        }
    return {name: errors[name] for name in model.kind.ordered(errors, model.schema)}


def dissection(model: Fitted, x: Values, seed: int = 0) -> Dissection:
    """What log p(x | z, c) loses when z, c or a part of the decoder is spoilt, in nats a row. See ``tasks.dissect``."""
    with seeded(model.spec.train.seed):
        fresh = build(model.spec, model.schema)
        fresh.begin(next(read(model, x)).to("cpu"))
    with seeded(seed):
        return dissect(model.vae, read(model, x), fresh.to(model.vae.device), seed=seed)


def some(batches: Sequence[Batch], rows: int) -> Batch:
    """At most so many rows of all batches, evenly."""
    ids, start, parts = evenly(torch.arange(sum(map(len, batches))), rows), 0, []
    for batch in batches:
        parts.append(batch.take(ids[(ids >= start) & (ids < start + len(batch))] - start))
        start += len(batch)
    return hold(parts)
