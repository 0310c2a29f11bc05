"""Model folders: what is saved is what is loaded; what was changed, cut or is newer is refused in one line."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
import torch

from latelier.build import build
from latelier.errors import BadInput
from latelier.kinds import KINDS
from latelier.spec import DataSpec, Spec
from latelier.store import (
    CHECKPOINT,
    MODEL,
    PREVIOUS,
    Stored,
    load_checkpoint,
    load_model,
    save_checkpoint,
    save_model,
    sweep,
    write_atomically,
)
from latelier.tasks.score import score


@pytest.fixture
def saved(tmp_path):
    frame = pd.DataFrame({"a": torch.randn(40).tolist(), "b": ["x", "y", "z", "x"] * 10})
    schema = KINDS["tables"].scan(frame, DataSpec())
    spec = Spec.of({"network.hidden": (8,), "latent.dims": 2})
    torch.manual_seed(0)
    vae = build(spec, schema).eval()
    save_model(tmp_path / "model", vae, Stored(spec, schema, {"elbo": -1.5}))
    batch = schema.to_model(next(KINDS["tables"].read(frame, schema)))
    return tmp_path / "model", vae, batch


def test_a_loaded_model_scores_as_the_saved_one_also_from_another_place(saved):
    folder, vae, batch = saved
    moved = folder.rename(folder.parent / "elsewhere")
    loaded, stored = load_model(moved)
    assert stored.figures == {"elbo": -1.5}
    assert torch.equal(next(score(vae, [batch])), next(score(loaded, [batch])))
    assert not loaded.training


def test_saving_again_leaves_one_weights_file(saved):
    folder, vae, _ = saved
    page = json.loads((folder / MODEL).read_text())
    with torch.no_grad():
        next(p for p in vae.parameters() if p.numel()).add_(1)
    save_model(folder, vae, load_model(folder)[1])
    assert len(list(folder.glob("weights-*"))) == 1
    assert json.loads((folder / MODEL).read_text())["weights"] != page["weights"]


def change(**new):
    def edit(folder: Path) -> None:
        page = json.loads((folder / MODEL).read_text())
        (folder / MODEL).write_text(json.dumps(page | new))

    return edit


def flip(folder: Path) -> None:
    path = next(folder.glob("weights-*"))
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))


def cut(folder: Path) -> None:
    (folder / MODEL).write_text((folder / MODEL).read_text()[:200])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (change(format=99), "newer latelier"),
        (change(format="one"), "not a readable model page"),
        (change(weights={"file": "../weights.safetensors", "sha256": ""}), "own folder"),
        (change(weights={"file": "weights-0.safetensors", "sha256": ""}), "missing"),
        (change(weights={}), "not a readable model page"),
        (change(schema={"kind": "smells"}), "unknown kind of data 'smells'"),
        (change(schema=["tables"]), "not a readable model page"),
        (change(schema={"kind": "tables"}), "changed by hand"),
        (change(spec={"size": "huge"}), "changed by hand"),
        (flip, "digest differs"),
        (cut, "not a readable model page"),
        (lambda folder: next(folder.glob("weights-*")).unlink(), "missing"),
        (lambda folder: (folder / MODEL).unlink(), "not a model folder"),
    ],
)
def test_a_spoilt_folder_is_refused_with_its_cause(saved, spoil, words):
    folder, _, _ = saved
    spoil(folder)
    with pytest.raises(BadInput, match=words) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_weights_of_another_model_are_refused(saved):
    folder, _, _ = saved
    page = json.loads((folder / MODEL).read_text())
    page["spec"]["latent"]["dims"] = 5
    (folder / MODEL).write_text(json.dumps(page))
    with pytest.raises(BadInput, match="do not fit"):
        load_model(folder)


def test_weights_that_are_not_finite_are_not_written(saved, tmp_path):
    folder, vae, _ = saved
    before = (folder / MODEL).read_bytes()
    with torch.no_grad():
        next(p for p in vae.parameters() if p.numel()).fill_(float("nan"))
    with pytest.raises(FloatingPointError):
        save_model(folder, vae, load_model(folder)[1])
    assert (folder / MODEL).read_bytes() == before


def test_a_full_disk_leaves_the_old_file_and_says_how_many_bytes_were_needed(tmp_path, monkeypatch):
    path = tmp_path / "page"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInput, match=r"No space left on device.*5,000 bytes"):
        write_atomically(path, b"x" * 5000)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["page"]


@pytest.mark.parametrize("place", ["no/page", "file/page"])
def test_a_place_that_cannot_be_written_to_is_not_told_to_be_full(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"page: cannot be written .*; name a place that can be written to") as told:
        write_atomically(tmp_path / place, b"new")
    assert "space" not in str(told.value)


def test_an_unreadable_checkpoint_gives_way_to_the_one_before(tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path, {"x": torch.full((3,), float(step))}, {"step": step})
    assert load_checkpoint(tmp_path)[1] == {"step": 2}
    (tmp_path / CHECKPOINT).write_bytes(b"\x00" * 100)
    tensors, state = load_checkpoint(tmp_path)
    assert state == {"step": 1} and tensors["x"].tolist() == [1, 1, 1]
    (tmp_path / PREVIOUS).unlink()
    with pytest.raises(BadInput, match="no checkpoint to resume from"):
        load_checkpoint(tmp_path)


def test_what_a_killed_process_left_is_swept(tmp_path):
    (tmp_path / ".model.json.123.partial").write_text("half")
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_model_names_a_pickle(saved):
    folder, _, _ = saved
    assert {p.suffix for p in folder.iterdir()} == {".json", ".safetensors"}


def test_a_checkpoint_of_a_newer_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("latelier.store.FORMAT", 2)
    save_checkpoint(tmp_path, {"a": torch.zeros(1)}, {"step": 1})
    monkeypatch.undo()
    with pytest.raises(BadInput, match="newer latelier"):
        load_checkpoint(tmp_path)


def test_checkpoints_leave_two_files_also_after_a_crash_between_their_names(tmp_path):
    save_checkpoint(tmp_path, {"a": torch.zeros(1)}, {"step": 1})
    os.link(tmp_path / CHECKPOINT, tmp_path / PREVIOUS)
    save_checkpoint(tmp_path, {"a": torch.ones(1)}, {"step": 2})
    assert {p.name for p in tmp_path.iterdir()} == {CHECKPOINT, PREVIOUS}
    assert load_checkpoint(tmp_path)[1]["step"] == 2
