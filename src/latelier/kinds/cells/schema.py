"""What a table is: columns in order, fields by family, and the way between blocks, batches and Arrow tables. N = rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import torch

from latelier.batch import Batch
from latelier.data.schema import Field, Role, Schema
from latelier.data.transforms import Amount, AnyTransform, Curved, Cyclic, Same, Standardise
from latelier.errors import BadInput
from latelier.kinds.cells.columns import FAMILIES, Column, Floats, Place
from latelier.kinds.cells.families import bend_of, spike_of
from latelier.kinds.cells.files import Block
from latelier.kinds.cells.tally import Tally

MISSING = ("", "NA", "N/A", "n/a", "nan", "NaN", "NULL", "null", "None", "?")
MANY_ZEROS = 0.5  # share of zeros in a count column from which the zeros get a probability of their own
LIKELIHOODS = {
    "real": "gaussian",
    "amount": "hurdle_gaussian",
    "cyclic": "von_mises",
    "count": "negative_binomial",
    "category": "categorical",
    "ordinal": "ordinal",
    "binary": "bernoulli",
}
STORED = {
    "real": np.float64,
    "amount": np.float64,
    "cyclic": np.float64,
    "count": np.float32,
    "category": np.int64,
    "ordinal": np.int64,
    "binary": np.float32,
}
# Supports of likelihoods that a family's stored values fit.
FITTING = {
    "real": ("real",),
    "amount": ("amount",),
    "cyclic": ("cyclic",),
    "count": ("count",),
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
) -> Batch:
    values, masks = {}, {}
    for field in fields:
        family = schema.by_name[field.columns[0]].family
        rows = len(block[field.columns[0]])
        x, seen = np.empty((rows, len(field.columns)), STORED[family]), np.empty((rows, len(field.columns)), np.bool_)
        for i, name in enumerate(field.columns):
            x[:, i], seen[:, i] = schema.by_name[name].encode(block[name], place, decimal)
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


def fields_of(columns: Sequence[Column], tallies: dict[str, Tally], given: Sequence[str]) -> Iterator[Field]:
    """One field for the columns of each family, and one for those that are conditions."""
    roles: tuple[tuple[Role, str], ...] = (("model", ""), ("condition", "given_"))
    for role, prefix in roles:
        for family in FAMILIES:
            own = [c for c in columns if c.family == family and (c.name in given) == (role == "condition")]
            if own:
                yield Field(
                    name=prefix + family,
                    shape=(len(own),),
                    support=family,
                    likelihood=_likelihood(family, [tallies[c.name] for c in own]) if role == "model" else "",
                    sizes=tuple(len(c.levels) for c in own) if family in ("category", "ordinal") else (),
                    columns=tuple(c.name for c in own),
                    transform=_transform(family, own, [tallies[c.name] for c in own]),
                    role=role,
                    holes=any(c.missing for c in own),
                )


def told_of_fields(schema: TableSchema) -> list[str]:
    told = []
    for field in schema.modelled:
        how = f"override with --set likelihood.{field.name}=NAME"
        told.append(f"{field.name}: likelihood {field.likelihood} for {len(field.columns)} column(s); {how}")
        if isinstance(field.transform, Curved) and any(field.transform.bend):
            bent = [name for name, bend in zip(field.columns, field.transform.bend, strict=True) if bend]
            told.append(f"{field.name}: heavy tails in {few(bent)}, so modelled as arcsinh(x / bend)")
    return told


def few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f", ... {len(names)} in all" if len(names) > 5 else "")


def _likelihood(family: str, tallies: Sequence[Tally]) -> str:
    many = family == "count" and any(t.zeros > MANY_ZEROS * t.count for t in tallies)
    return "zero_inflated_negative_binomial" if many else LIKELIHOODS[family]


def _transform(family: str, columns: Sequence[Column], tallies: Sequence[Tally]) -> AnyTransform:
    if family == "cyclic":
        return Cyclic(start=tuple(c.start for c in columns), period=tuple(c.period for c in columns))
    if family == "amount":
        spikes = tuple(spike_of(tally) for tally in tallies)
        others = [tally.sample[tally.sample != spike] for tally, spike in zip(tallies, spikes, strict=True)]
        return Amount.model_validate({**_standardised(tallies, others), "spike": spikes})
    if family == "real":
        return Standardise.model_validate(_standardised(tallies, [tally.sample for tally in tallies]))
    return Same()


def _standardised(tallies: Sequence[Tally], samples: Sequence[Floats]) -> dict[str, tuple[float, ...]]:
    """The parameters of a curved transform by which these samples have zero mean and unit deviation."""
    loc, scale, bends = [], [], []
    for tally, sample in zip(tallies, samples, strict=True):
        whole = len(sample) == len(tally.sample)  # then the moments are known of all rows
        bend = bend_of(sample)
        bent = np.arcsinh(sample / bend) if bend else sample
        loc.append(tally.mean if whole and not bend else float(bent.mean()) if len(bent) else 0.0)
        scale.append(tally.deviation if whole and not bend else float(bent.std()) if len(bent) > 1 else 1.0)
        scale[-1] = scale[-1] if whole else scale[-1] or 1.0  # nothing, or one thing, besides the spike
        bends.append(bend)
        if not scale[-1] > 0:
            raise BadInput(
                f"column {tally.name!r}: values between {tally.low!r} and {tally.high!r} are too close to standardise; rescale it"
            )
    low, high = (tuple(float(getattr(tally, end)) for tally in tallies) for end in ("low", "high"))
    return {"loc": tuple(loc), "scale": tuple(scale), "bend": tuple(bends), "low": low, "high": high}
