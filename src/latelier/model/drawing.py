"""Rows that a model makes, under conditions, holding columns, or in place of classes that are rare. n = rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial

import torch

from latelier.batch import Batch, join
from latelier.data.rows import hold
from latelier.errors import BadInput, at_least, unknown
from latelier.kinds.base import Words
from latelier.model.filling import kept
from latelier.model.latent import rungs_below
from latelier.model.passage import Fitted, conditions_for, read, spelled, stored, told
from latelier.model.source import Values, as_source, named_source
from latelier.tasks.sample import sample, sample_given


def sampled(
    model: Fitted,
    rows: int,
    given: Mapping[str, object] | None = None,
    temperature: float = 1.0,
    mean: bool | None = None,
    balance: str | None = None,
    draws: int = 64,
    level: int | None = None,
    guidance: float = 1.0,
) -> Iterator[Batch]:
    """What ``Model.sample`` draws, as a stream of stored batches."""
    at_least(1, rows=rows, draws=draws)
    at_least(0, temperature=temperature)
    heat = temperature if level is None else rungs_below(model, level, temperature)
    check_guidance(model, guidance)
    words = spelled(given)
    if balance is not None:
        if balance in words:
            raise BadInput(f"--balance {balance}: is given too; leave out one of the two")
        words[balance] = model.kind.classes(balance, model.schema)
    known = {name for f in model.schema.told for name in f.columns or (f.name,)}
    columns = getattr(model.schema, "by_name", {})
    # Only kinds that have columns can hold some; of others such a name is a condition that the model has not.
    held = {name: value for name, value in words.items() if name not in known} if columns else {}
    if held:
        if temperature != 1.0 or mean or level is not None or guidance != 1.0:
            raise BadInput(
                f"given {next(iter(held))}: the rest is drawn as it is likely; leave out temperature, mean, level, guidance"
            )
        for name in held:
            if name not in columns:
                raise unknown("column", name, columns)
        yield from _holding(model, rows, held, {k: v for k, v in words.items() if k in known}, draws)
        return
    mean = model.kind.centre if mean is None else mean
    for conditions in conditions_for(model, rows, words):
        for drawn in sample(model.vae, [conditions], heat, mean, guidance=guidance):
            yield stored(model, drawn, conditions)


def _holding(
    model: Fitted, rows: int, held: Mapping[str, Words], given: Mapping[str, Words], draws: int
) -> Iterator[Batch]:
    """Rows that hold modelled columns, at the values or in the ranges asked for."""
    start = 0
    for conditions in conditions_for(model, rows, given):
        wanted = model.kind.held(held, model.schema, len(conditions), start)
        start += len(conditions)
        known = model.schema.to_model(wanted.batch).to(model.vae.device)
        both = Batch({**conditions.only(told(model)).fields, **known.fields}, {**conditions.seen, **known.seen})
        drawn = join(list(sample_given(model.vae, [both], partial(stored, model), wanted.accept, draws)))
        beside = model.schema.to_data(conditions.only(told(model)).to("cpu"))
        whole = kept(wanted.batch, drawn)  # to the last bit, as what is held need not pass the model
        yield Batch({**beside.fields, **whole.fields}, {k: v for k, v in beside.seen.items() if k not in whole.fields})


def check_guidance(model: Fitted, guidance: float) -> None:
    """BadInput where the model cannot be guided so."""
    if not 0 <= guidance < math.inf:
        raise BadInput(f"guidance {guidance:g}: 0 is no condition, 1 the model's own, 2 twice as far; give 0 or more")
    if guidance != 1.0 and not model.schema.conditions:
        raise BadInput(
            f"guidance {guidance:g}: this model has no condition to make more of (a label is none); fit it with --given"
        )
    if guidance != 1.0 and not model.spec.network.drop_condition:
        raise BadInput(
            f"guidance {guidance:g}: starts from rows without any condition, which this model never saw; fit it with "
            "network.drop_condition above 0"
        )


def balanced(model: Fitted, x: Values, column: str, draws: int = 64) -> Iterator[Batch]:
    """What ``Model.balance`` adds, as a stream of stored batches. BadInput where nothing is wanting."""
    counts = counted(model, x, column)
    lacking = {word: max(counts.values()) - count for word, count in counts.items() if count}
    words = [word for word, missing in lacking.items() for _ in range(missing)]
    if not words:
        raise BadInput(f"--balance {column}: its classes are equally frequent in {named_source(as_source(x))} already")
    yield from sampled(model, len(words), {column: words}, draws=draws)


def counted(model: Fitted, x: Values, column: str) -> dict[str, int]:
    """How often each class of a column of classes occurs."""
    words = model.kind.classes(column, model.schema)
    field = next(f for f in model.schema.fields if column in (*f.columns, f.name))
    place = field.columns.index(column) if column in field.columns else 0
    total = torch.zeros(len(words), dtype=torch.int64)
    for batch in model.kind.read(as_source(x), model.schema):
        codes, seen = batch.fields[field.name][:, place].long(), batch.seen.get(field.name)
        total += torch.bincount(codes if seen is None else codes[seen[:, place]], minlength=len(words))
    return dict(zip(words, total.tolist(), strict=True))


def made_beside(model: Fitted, x: Values) -> Iterator[Batch]:
    """As many new rows as ``x`` has, under the same conditions; stored batches."""
    for batch in read(model, x):
        conditions = (
            batch.only(told(model)) if told(model) else Batch({"": torch.zeros(len(batch), 0)}).to(model.vae.device)
        )
        for part in conditions.slices(model.vae.rows):
            for drawn in sample(model.vae, [part]):
                yield stored(model, drawn, part)


def made_like(model: Fitted, x: Values, rows: int) -> Iterator[Batch]:
    """So many new rows as ``sample`` makes them, given the conditions of the rows of ``x`` in turn; stored batches."""
    if not told(model):
        yield from sampled(model, rows)
        return
    known = hold(batch.only(told(model)) for batch in read(model, x))
    conditions = known.take(torch.arange(rows) % len(known))
    for part in conditions.slices(model.vae.rows):
        for drawn in sample(model.vae, [part], mean=model.kind.centre):
            yield stored(model, drawn, part)
