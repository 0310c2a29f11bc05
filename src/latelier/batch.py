"""Rows of named fields. N counts rows; a draw is a row, so nothing below has a sample axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Rows of named fields, each (N, *shape).

    ``seen`` marks observed entries with a bool (N, *entries); a name left out is fully observed. A value under a
    mask is a legal placeholder, never NaN, and changing it changes no figure.
    ``log_det`` holds log |d model / d data| in nats, (N, *entries), of the fields whose values were stretched on their
    way in; a name left out was not.

    >>> batch = Batch({"age": torch.tensor([[0.3], [1.2]])})
    >>> len(batch), len(batch.repeat(5)), [len(part) for part in batch.repeat(5).slices(4)]
    (2, 10, [4, 4, 2])
    """

    fields: Mapping[str, Tensor]
    seen: Mapping[str, Tensor] = field(default_factory=dict)
    log_det: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.fields.values()), ()))

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same fields with ``change`` applied to every tensor."""
        return Batch(
            {k: change(v) for k, v in self.fields.items()},
            {k: change(v) for k, v in self.seen.items()},
            {k: change(v) for k, v in self.log_det.items()},
        )

    def repeat(self, draws: int) -> Batch:
        """Draw-major copies: row i of draw k is row k * N + i."""
        return self if draws == 1 else self.each(lambda t: repeat(t, draws))

    def slices(self, rows: int) -> Iterator[Batch]:
        """Consecutive parts of at most ``rows`` rows."""
        for i in range(0, len(self), rows):
            yield self.each(lambda t, i=i: t[i : i + rows])  # type: ignore[misc]

    def take(self, ids: Tensor) -> Batch:
        """The rows at ``ids`` (M,)."""
        return self.each(lambda t: t.index_select(0, ids.to(t.device)))  # copies whole rows, which t[ids] does not

    def padded(self, multiple: int) -> Batch:
        """The last row over and over until their number is a multiple."""
        more = -len(self) % multiple
        return self.take(torch.arange(len(self) + more).clamp_max(len(self) - 1)) if more else self

    def only(self, names: Sequence[str]) -> Batch:
        """The same rows with these fields alone."""
        return Batch(
            *({k: v for k, v in part.items() if k in names} for part in (self.fields, self.seen, self.log_det))
        )

    def to(self, device: torch.device | str) -> Batch:
        return self.each(lambda t: t.to(device, non_blocking=True))

    def stretch(self) -> Tensor:
        """(N,) summed log-determinant of the seen entries, nats: add it to a log-density to speak of the data's own units."""
        total = torch.zeros(len(self))
        for name, part in self.log_det.items():
            seen = self.seen.get(name)
            total = total.to(part.device) + (part if seen is None else torch.where(seen, part, 0.0)).flatten(1).sum(1)
        return total


def repeat(t: Tensor, draws: int) -> Tensor:
    """(N, ...) -> (draws * N, ...), draw-major."""
    return t if draws == 1 else t.repeat(draws, *[1] * (t.ndim - 1))


def join(batches: Sequence[Batch]) -> Batch:
    """One batch of all the rows. Masks must be there in all or in none."""
    first = batches[0]

    def together(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {k: torch.cat([p[k] for p in parts]) for k in parts[0]}

    return (
        first
        if len(batches) == 1
        else Batch(*(together([getattr(b, p) for b in batches]) for p in ("fields", "seen", "log_det")))
    )
