"""Batches: draws are rows, and stretch sums what is seen."""

import torch

from latelier.batch import Batch, join


def test_repeat_is_draw_major_and_slices_cover_every_row():
    batch = Batch({"x": torch.arange(3.0)[:, None]}, {"x": torch.tensor([[True], [False], [True]])})
    again = batch.repeat(2)
    assert again.fields["x"].flatten().tolist() == [0, 1, 2, 0, 1, 2]
    assert torch.equal(join(list(again.slices(4))).seen["x"], again.seen["x"])


def test_stretch_counts_seen_entries_only():
    batch = Batch(
        {"x": torch.zeros(2, 2)},
        {"x": torch.tensor([[True, False], [True, True]])},
        {"x": torch.tensor([[1.0, 5.0]] * 2)},
    )
    assert batch.stretch().tolist() == [1.0, 6.0]
