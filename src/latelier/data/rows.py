"""All rows of a data set, batched by index: in memory, or memory-mapped when they do not fit. N = rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latelier.batch import Batch, join
from latelier.errors import BadInput

IN_MEMORY = 2 << 30  # bytes of stored rows that are kept in RAM; beyond, files are mapped


def hold(batches: Iterable[Batch], limit: int = IN_MEMORY, folder: Path | None = None) -> Batch:
    """Every row as one batch. Past ``limit`` bytes the tensors are memory-mapped files in ``folder``, which have
    no name, so nothing is left behind however the process ends."""
    kept: list[Batch] = []
    size = 0
    batches = iter(batches)
    for batch in batches:
        kept.append(batch)
        size += sum(t.nbytes for part in (batch.fields, batch.seen, batch.log_det) for t in part.values())
        if size > limit:
            return _mapped(kept, batches, folder)
    if not kept or sum(map(len, kept)) == 0:
        raise BadInput("there are no rows to read")
    masked = {name for batch in kept for name in batch.seen}
    return _without_full_masks(join([_with_masks(batch, masked) for batch in kept]))


def split(rows: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """(training ids, held-out ids), the same for the same rows, share and seed; at least one row each.

    >>> [len(part) for part in split(10, 0.2, seed=0)]
    [8, 2]
    """
    if rows < 2:
        raise BadInput(f"{rows} row(s): at least 2 are needed, one to train on and one to hold out")
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    held = min(max(round(rows * share), 1), rows - 1)
    return order[held:].sort().values, order[:held].sort().values


def evenly(ids: Tensor, most: int) -> Tensor:
    """At most so many of the ids, spread from the first to the last: files are often sorted.

    >>> evenly(torch.arange(10), 4)
    tensor([0, 2, 5, 7])
    """
    return ids if len(ids) <= most else ids[torch.arange(most) * len(ids) // most]


def spread(rows: int, most: int) -> Tensor:
    """At most ``most`` of so many places, evenly from the first to the last, both included: for what is looked at.

    >>> spread(10, 4)
    tensor([0, 3, 6, 9])
    """
    return torch.linspace(0, rows - 1, min(rows, most)).round().long()


def order(rows: int, seed: int, epoch: int) -> Tensor:
    """The order of rows in an epoch, a function of seed and epoch alone: resuming needs only a cursor."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(rows, generator=generator)


def with_labelled(ids: Tensor, labelled: Tensor, size: int, share: float, seed: int, epoch: int) -> Tensor:
    """The ``ids`` of an epoch so that every ``size`` of them hold at least ``share`` of rows that are ``labelled`` (N,) bool.

    Those without stay in their order, each once; those with come as often as it takes, one turn after the other. As they are
    where enough have a label anyway, or none has. A function of its arguments alone, as ``order`` is.

    >>> labelled = torch.arange(8) < 1
    >>> with_labelled(torch.arange(8), labelled, size=4, share=0.25, seed=0, epoch=0).tolist()
    [1, 2, 3, 0, 4, 5, 6, 0, 7, 0]
    """
    has = labelled[ids]
    known, others = ids[has], ids[~has]
    if not len(known) or len(known) >= share * len(ids):
        return ids
    each = min(max(1, round(share * size)), size - 1)
    parts = torch.split(others, size - each)
    turns = -(-len(parts) * each // len(known))
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    again = torch.cat([known[torch.randperm(len(known), generator=generator)] for _ in range(turns)])
    return torch.cat([part for pair in zip(parts, torch.split(again, each), strict=False) for part in pair])


def batches(rows: Batch, ids: Tensor, size: int) -> Iterator[Batch]:
    """The rows at ``ids``, ``size`` at a time, the rest included; a rest of one row, of which no batch normalisation can
    take the variance, joins the part before."""
    first = 0
    while first < len(ids):
        last = len(ids) if len(ids) - first <= size + 1 else first + size
        yield rows.take(ids[first:last])
        first = last


def _with_masks(batch: Batch, names: Iterable[str]) -> Batch:
    """These fields get a mask if they have none, so that batches with and without holes can be joined."""
    fields = batch.fields
    seen = {k: batch.seen.get(k, fields[k].new_ones(1, dtype=torch.bool).expand(_mask_shape(fields[k]))) for k in names}
    return Batch(batch.fields, seen, batch.log_det)


def _mask_shape(values: Tensor) -> tuple[int, ...]:
    return tuple(values.shape) if values.ndim <= 2 else (len(values), 1, *values.shape[2:])


def _without_full_masks(batch: Batch) -> Batch:
    return Batch(batch.fields, {k: v for k, v in batch.seen.items() if not bool(v.all())}, batch.log_det)


def _mapped(kept: list[Batch], rest: Iterator[Batch], folder: Path | None) -> Batch:
    """Appends every tensor to a file of its own, then maps the files."""
    parts = ("fields", "seen", "log_det")
    like = _with_masks(kept[0], kept[0].fields)
    names = [(part, name) for part in parts for name in getattr(like, part)]
    rows = 0

    def full(error: OSError) -> BadInput:
        return BadInput(
            f"the rows are too many for memory, and could not be mapped to a file in {folder or tempfile.gettempdir()} "
            f"after {rows:,} of them ({error.strerror or error}); free some space there"
        )

    try:
        files = {name: tempfile.TemporaryFile(dir=folder) for name in names}  # noqa: SIM115 - closed below
    except OSError as error:
        raise full(error) from error

    def append(batch: Batch) -> int:
        batch = _with_masks(batch, batch.fields)
        for (part, name), file in files.items():
            try:
                np.ascontiguousarray(getattr(batch, part)[name].numpy()).tofile(file)
            except OSError as error:
                raise full(error) from error
        return len(batch)

    while kept:
        rows += append(kept.pop(0))
    for batch in rest:
        rows += append(batch)
    mapped: dict[str, dict[str, Tensor]] = {p: {} for p in parts}
    for (part, name), file in files.items():
        file.flush()
        example = getattr(like, part)[name].numpy()
        # Copy-on-write mapping: the tensor may not be written to anyway, and torch warns of read-only memory.
        array = np.memmap(file, dtype=example.dtype, mode="c", shape=(rows, *example.shape[1:]))
        mapped[part][name] = torch.from_numpy(array)
        file.close()  # the map stays
    return _without_full_masks(Batch(mapped["fields"], mapped["seen"], mapped["log_det"]))
