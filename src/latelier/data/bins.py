"""Numbers as codes: columns cut into bins, so that any shape of p(x), with spikes and gaps, is a histogram. N = rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from latelier.data.transforms import Transform
from latelier.noise import FRESH, Noise

Floats = npt.NDArray[np.float64]
FREQUENT = 0.1  # of a bin's share of rows: a value that is repeated so often has a bin of its own


class Binned(Transform):
    """The code of the bin that holds x; back, a value drawn evenly from the bin, or the one value of a narrow one.

    ``edges`` of every column are increasing, one more than it has bins; bin k holds edges[k] <= x < edges[k + 1], and the outer
    bins also what lies beyond. ``spikes`` has the value of a bin that holds one value, and NaN (None) elsewhere.
    The density within a bin is even: log |d model / d stored| is -log of its width, so that nats stay those of a density.

    >>> ages = Binned.cut([np.array([20.0, 20.0, 20.0, 30.0, 41.0, 44.0])], 2)
    >>> ages.to_model(torch.tensor([[20.0], [43.0]]), None), ages.sizes
    (tensor([[0],
            [1]]), (2,))
    """

    type: Literal["binned"] = "binned"
    edges: tuple[tuple[float, ...], ...]
    spikes: tuple[tuple[float | None, ...], ...]
    low: tuple[float, ...]  # the range of the data
    high: tuple[float, ...]

    @classmethod
    def cut(cls, samples: Sequence[Floats], bins: int) -> Binned:
        """About ``bins`` bins of equally many of each column's ``samples``, and one for each value that is often repeated."""
        cuts = [bins_of(sample, bins) for sample in samples]
        return cls(
            edges=tuple(tuple(map(float, edges)) for edges, _ in cuts),
            spikes=tuple(tuple(spikes) for _, spikes in cuts),
            low=tuple(float(sample.min()) for sample in samples),
            high=tuple(float(sample.max()) for sample in samples),
        )

    def of(self, columns: Sequence[int]) -> Binned:
        """The same of some columns, in that order."""
        own = ("edges", "spikes", "low", "high")
        return self.model_copy(update={name: tuple(getattr(self, name)[i] for i in columns) for name in own})

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bins of each column."""
        return tuple(map(len, self.spikes))

    def to_model(self, x: Tensor, noise: Noise) -> Tensor:
        inner = [torch.tensor(edges[1:-1], dtype=torch.float64, device=x.device) for edges in self.edges]
        columns = [torch.bucketize(x[:, i].double().contiguous(), cuts, right=True) for i, cuts in enumerate(inner)]
        return torch.stack(columns, 1)

    def to_data(self, x: Tensor) -> Tensor:
        columns = []
        for i, (edges, spikes) in enumerate(zip(self.edges, self.spikes, strict=True)):
            cuts = torch.tensor(edges, dtype=torch.float64, device=x.device)
            value = torch.tensor([np.nan if s is None else s for s in spikes], dtype=torch.float64, device=x.device)
            code = x[:, i].long().clamp(0, len(spikes) - 1)
            even = cuts[code] + torch.rand_like(cuts[code]) * (cuts[code + 1] - cuts[code])
            columns.append(torch.where(value[code].isnan(), even, value[code]))
        return torch.stack(columns, 1)

    def log_det(self, x: Tensor) -> Tensor:
        code = self.to_model(x, FRESH)
        widths = [torch.tensor(edges, dtype=torch.float64, device=x.device).diff() for edges in self.edges]
        return torch.stack([-width[code[:, i]].log() for i, width in enumerate(widths)], 1).float()

    def within(self, x: Tensor) -> Tensor:
        low, high = (torch.tensor(end, dtype=torch.float64, device=x.device) for end in (self.low, self.high))
        return torch.minimum(torch.maximum(x, low), high)


def bins_of(sample: Floats, bins: int) -> tuple[Floats, list[float | None]]:
    """(bins + 1,) edges half-way between neighbours, and the value of bins that hold one only.

    >>> bins_of(np.array([0.0, 0.0, 0.0, 1.0, 2.0, 3.0]), 2)
    (array([-0.5,  0.5,  3.5]), [0.0, None])
    """
    values, counts = np.unique(sample, return_counts=True)
    if len(values) == 1:
        return np.array([values[0] - 0.5, values[0] + 0.5]), [float(values[0])]
    frequent = counts >= max(2.0, FREQUENT * len(sample) / bins)
    first, filled = [0], counts[0]  # the place in ``values`` at which each bin begins, and the rows of the last one
    for i in range(1, len(values)):
        if frequent[i] or frequent[i - 1] or filled >= len(sample) / bins:
            first.append(i)
            filled = 0
        filled += counts[i]
    middle = (values[1:] + values[:-1]) / 2
    ends = [values[0] - (values[1] - values[0]) / 2, values[-1] + (values[-1] - values[-2]) / 2]
    edges = np.array([ends[0], *(middle[i - 1] for i in first[1:]), ends[1]])
    last = [*(i - 1 for i in first[1:]), len(values) - 1]
    return edges, [float(values[a]) if a == b else None for a, b in zip(first, last, strict=True)]
