"""Pictures moved and mirrored at random, for training. N = rows, C = channels, H, W = pixels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.noise import FRESH, Noise


def augment(batch: Batch, flip: bool = False, shift: int = 0, noise: Noise = FRESH) -> Batch:
    """Every field (N, C, H, W) with its mask, mirrored with probability 1/2, moved by up to ``shift`` pixels each way.

    What comes in at an edge repeats the edge. One gather, on the stored values.

    >>> row = Batch({"image": torch.arange(4, dtype=torch.uint8).view(1, 1, 1, 4)})
    >>> augment(row) is row, sorted(augment(row, flip=True).fields["image"].flatten().tolist())
    (True, [0, 1, 2, 3])
    """
    like = next((t for t in batch.fields.values() if t.ndim == 4), None)
    if like is None or not (flip or shift):
        return batch
    u = noise.uniform(torch.empty(len(like), 3, device=like.device))
    steps = 2 * shift + 1
    down, across = ((u[:, i : i + 1] * steps).long().clamp_max(steps - 1) - shift for i in (0, 1))
    y, x = (torch.arange(size, device=like.device) for size in like.shape[2:])
    rows = (y + down).clamp(0, like.shape[2] - 1)  # (N, H)
    columns = (x + across).clamp(0, like.shape[3] - 1)  # (N, W)
    if flip:
        columns = torch.where(u[:, 2:] < 0.5, columns, like.shape[3] - 1 - columns)

    def moved(part: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {k: _gather(t, rows, columns) if t.ndim == 4 else t for k, t in part.items()}

    return Batch(moved(batch.fields), moved(batch.seen), moved(batch.log_det))


def _gather(t: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    n = torch.arange(len(t), device=t.device)[:, None, None, None]
    c = torch.arange(t.shape[1], device=t.device)[None, :, None, None]
    return t[n, c, rows[:, None, :, None], columns[:, None, None, :]]
