"""What a table is: columns in order, fields by family, and the way between blocks, batches and Arrow tables. N = rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa
import torch

from latelier.batch import Batch
from latelier.data.bins import Binned
from latelier.data.schema import Field, Role, Schema
from latelier.data.transforms import Amount, AnyTransform, Curved, Cyclic, Same, Standardise
from latelier.errors import BadInput
from latelier.kinds.cells.columns import FAMILIES, Column, Floats, New, Place
from latelier.kinds.cells.curves import curve_of
from latelier.kinds.cells.families import spike_of
from latelier.kinds.cells.files import Block
from latelier.kinds.cells.tally import Tally

MISSING = ("", "NA", "N/A", "n/a", "nan", "NaN", "NULL", "null", "None", "?")
MANY_ZEROS = 0.5  # share of zeros in a count column from which the zeros get a probability of their own
LIKELIHOODS = {
    "real": "gaussian",
    "amount": "hurdle_gaussian",
    "cyclic": "von_mises",
    "count": "negative_binomial",
    "binned": "categorical",
    "category": "categorical",
    "ordinal": "ordinal",
    "binary": "bernoulli",
}
STORED = {
    "real": np.float64,
    "amount": np.float64,
    "cyclic": np.float64,
    "count": np.float32,
    "binned": np.float64,
    "category": np.int64,
    "ordinal": np.int64,
    "binary": np.float32,
}
BINS = 64  # of a column, where nothing else is asked for
# Supports of likelihoods that a family's stored values fit.
FITTING = {
    "real": ("real",),
    "amount": ("amount",),
    "cyclic": ("cyclic",),
    "count": ("count",),
    "binned": ("category", "ordinal"),
    "category": ("category",),
    "ordinal": ("ordinal", "category"),
    "binary": ("binary",),
}


class TableSchema(Schema):
    """The columns in their original order, and how the file said them."""

    kind: str = "tables"
    columns: tuple[Column, ...]
    form: str = "frame"  # text, parquet, frame or array
    separator: str = ","
    decimal: str = "."
    header: bool = True
    missing: tuple[str, ...] = MISSING  # spellings of "not there"
    encoding: str = "utf-8"
    whole_labels: bool = False  # were a frame's column labels whole numbers?
    new_categories: Literal["error", "missing"] = "error"  # what words that training did not have are

    @cached_property
    def by_name(self) -> dict[str, Column]:
        return {c.name: c for c in self.columns}


def batch_of(
    block: Block,
    schema: TableSchema,
    fields: Sequence[Field],
    place: Place,
    decimal: str = ".",
    always_masked: bool = False,
    new: New | None = None,
) -> Batch:
    values, masks = {}, {}
    for field in fields:
        family = schema.by_name[field.columns[0]].family
        rows = len(block[field.columns[0]])
        x, seen = np.empty((rows, len(field.columns)), STORED[family]), np.empty((rows, len(field.columns)), np.bool_)
        for i, name in enumerate(field.columns):
            x[:, i], seen[:, i] = schema.by_name[name].encode(block[name], place, decimal, new)
        if always_masked or field.holes or not seen.all():
            # A placeholder is a legal value: the middle of a column, in its own units.
            centre = field.transform.to_data(torch.zeros(1, len(field.columns))).numpy()
            x = np.where(seen, x, centre).astype(x.dtype)
            masks[field.name] = torch.from_numpy(seen)
        values[field.name] = torch.from_numpy(x)
    return Batch(values, masks)


def to_arrow(batch: Batch, schema: TableSchema) -> pa.Table:
    """Stored values -> the original columns, in order, as far as the batch has them."""
    arrays: dict[str, pa.Array] = {}
    for field in schema.fields:
        if field.name in batch.fields:
            values = batch.fields[field.name].cpu().numpy()
            seen = batch.seen.get(field.name)
            for i, name in enumerate(field.columns):
                there = None if seen is None else seen[:, i].cpu().numpy()
                arrays[name] = schema.by_name[name].decode(values[:, i], there)
    arrays |= {c.name: c.same(len(batch)) for c in schema.columns if c.family == "constant"}
    return pa.table({c.name: arrays[c.name] for c in schema.columns if c.name in arrays})


def spelled(table: pa.Table, schema: TableSchema) -> pa.Table:
    """The same as the text file that was scanned would say it."""
    names = table.column_names
    return pa.table({name: schema.by_name[name].spelled(table[name]) for name in names})


def fields_of(
    columns: Sequence[Column],
    tallies: dict[str, Tally],
    given: Sequence[str],
    held_out: bool = True,
    bins: int = BINS,
    label: str | None = None,
) -> Iterator[Field]:
    """One field for the columns of each family, one for those that are conditions, and one for the ``label``. ``held_out``: are
    curves chosen by a held-out fit, or by a rule?"""
    roles: tuple[tuple[Role, str], ...] = (("model", ""), ("condition", "given_"))
    for role, prefix in roles:
        for family in FAMILIES:
            own = [
                c
                for c in columns
                if c.family == family and c.name != label and (c.name in given) == (role == "condition")
            ]
            if own:
                transform = _transform(family, own, [tallies[c.name] for c in own], held_out, bins)
                codes = tuple(len(c.levels) for c in own) if family in ("category", "ordinal") else ()
                yield Field(
                    name=prefix + family,
                    shape=(len(own),),
                    support="category" if isinstance(transform, Binned) else family,
                    likelihood=_likelihood(family, [tallies[c.name] for c in own]) if role == "model" else "",
                    sizes=transform.sizes if isinstance(transform, Binned) else codes,
                    columns=tuple(c.name for c in own),
                    transform=transform,
                    role=role,
                    holes=any(c.missing for c in own),
                )
    yield from (_label(c) for c in columns if c.name == label)


def _label(column: Column) -> Field:
    sizes = (len(column.levels),)
    return Field(name="label", shape=(1,), support="category", sizes=sizes, columns=(column.name,), role="label")


def likelihoods_of(schema: TableSchema) -> list[str]:
    """A line a field."""
    how = "override with --set likelihood"
    return [
        f"{f.name}: likelihood {f.likelihood} for {len(f.columns)} column(s); {how}.{f.name}=NAME"
        for f in schema.modelled
    ]


def told_of_fields(schema: TableSchema) -> list[str]:
    told = likelihoods_of(schema)
    for field in schema.modelled:
        if not isinstance(field.transform, Curved):
            continue
        for parameters, what in (
            (field.transform.bend, "heavy tails in {}, so modelled as arcsinh(x / bend)"),
            (field.transform.log, "skew in {}, so modelled by the logarithm"),
            (field.transform.margin, "bounds of {}, so modelled by the logit of the share of the range"),
        ):
            found = [name for name, value in zip(field.columns, parameters, strict=False) if value]
            if found:
                told.append(f"{field.name}: {what.format(few(found))}")
    return told


def few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f", ... {len(names)} in all" if len(names) > 5 else "")


def _likelihood(family: str, tallies: Sequence[Tally]) -> str:
    many = family == "count" and any(t.zeros > MANY_ZEROS * t.count for t in tallies)
    return "zero_inflated_negative_binomial" if many else LIKELIHOODS[family]


def _transform(
    family: str, columns: Sequence[Column], tallies: Sequence[Tally], held_out: bool, bins: int
) -> AnyTransform | Binned:
    if family == "binned":
        return Binned.cut([tally.sample for tally in tallies], bins)
    if family == "cyclic":
        return Cyclic(start=tuple(c.start for c in columns), period=tuple(c.period for c in columns))
    if family == "amount":
        spikes = tuple(spike_of(tally) for tally in tallies)
        others = [tally.sample[tally.sample != spike] for tally, spike in zip(tallies, spikes, strict=True)]
        origins = [spike if len(x) and x.min() > spike else 0.0 for x, spike in zip(others, spikes, strict=True)]
        return Amount.model_validate({**_standardised(tallies, others, origins, held_out), "spike": spikes})
    if family == "real":
        return Standardise.model_validate(
            _standardised(tallies, [tally.sample for tally in tallies], [0.0] * len(tallies), held_out)
        )
    return Same()


def _standardised(
    tallies: Sequence[Tally], samples: Sequence[Floats], origins: Sequence[float], held_out: bool
) -> dict[str, tuple[float, ...]]:
    """The parameters by which these samples, bent by the curves that suit them, have zero mean and unit deviation."""
    columns = []
    for tally, sample, origin in zip(tallies, samples, origins, strict=True):
        whole = len(sample) == len(tally.sample)  # then the moments are known of all rows
        low = float(sample.min()) if not whole and len(sample) and tally.low not in sample else float(tally.low)
        high = float(sample.max()) if not whole and len(sample) and tally.high not in sample else float(tally.high)
        curve = curve_of(sample, low, high, origin, held_out and not tally.dated)
        if whole and not (curve.bend or curve.log or curve.margin):
            loc, scale = tally.mean, tally.deviation
        else:
            bent, _ = curve.bent(sample, low, high)
            loc, scale = (float(bent.mean()), float(bent.std())) if len(bent) else (0.0, 0.0)
        if not scale > 0 and whole:
            raise BadInput(
                f"column {tally.name!r}: values between {tally.low!r} and {tally.high!r} are too close to standardise; rescale it"
            )
        # Besides the spike of an amount there may be nothing, or one thing.
        scale = scale if scale > 0 else 1.0
        columns.append((loc, scale, curve.bend, low, high, curve.log, curve.origin, curve.margin))
    names = ("loc", "scale", "bend", "low", "high", "log", "origin", "margin")
    return dict(zip(names, zip(*columns, strict=True), strict=True))
