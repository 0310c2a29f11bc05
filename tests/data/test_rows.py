"""Rows in memory or mapped, deterministic splits and orders."""

import pytest
import torch

from latelier.batch import Batch
from latelier.data.rows import batches, hold, order, split
from latelier.errors import BadInput


def parts():
    for i in range(5):
        seen = {"x": torch.tensor([[True, False]] * 4)} if i == 2 else {}
        yield Batch({"x": torch.full((4, 2), float(i)), "image": torch.full((4, 1, 3, 3), i, dtype=torch.uint8)}, seen)


@pytest.mark.parametrize("limit", [1 << 30, 100])
def test_mapped_and_in_memory_rows_are_the_same(limit, tmp_path):
    rows = hold(parts(), limit=limit, folder=tmp_path)
    assert len(rows) == 20 and rows.fields["image"].dtype == torch.uint8
    assert rows.take(torch.tensor([19, 0, 9])).fields["x"][:, 0].tolist() == [4, 0, 2]
    assert rows.seen["x"].sum() == 36 and "image" not in rows.seen
    assert list(tmp_path.iterdir()) == []


def test_rows_that_cannot_be_mapped_are_one_line(tmp_path):
    with pytest.raises(BadInput, match=r"could not be mapped to a file in .*absent after 0 of them"):
        hold(parts(), limit=100, folder=tmp_path / "absent")


def test_split_is_deterministic_and_covers_every_row_once():
    training, held = split(100, 0.1, seed=3)
    assert torch.equal(torch.cat([training, held]).sort().values, torch.arange(100)) and len(held) == 10
    assert torch.equal(held, split(100, 0.1, seed=3)[1]) and not torch.equal(held, split(100, 0.1, seed=4)[1])
    with pytest.raises(BadInput, match="at least 2"):
        split(1, 0.1, 0)


def test_an_epoch_is_a_permutation_that_changes_with_the_epoch():
    assert torch.equal(order(50, 1, 2).sort().values, torch.arange(50))
    assert not torch.equal(order(50, 1, 2), order(50, 1, 3))


def test_batches_from_the_end_of_an_epoch_are_none():
    rows = Batch({"x": torch.arange(10.0)[:, None]})
    assert [len(b) for b in batches(rows, torch.arange(10), 4)] == [4, 4, 2]
    assert [len(b) for b in batches(rows, torch.arange(9), 4)] == [4, 5]
    assert list(batches(rows, torch.arange(0), 4)) == []


def test_no_rows_is_an_error():
    with pytest.raises(BadInput, match="no rows"):
        hold([])
