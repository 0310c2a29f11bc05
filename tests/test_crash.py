"""Killed or out of disk in the middle of training: what was saved is whole, and the run goes on to the same bits."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from latelier.errors import BadInput
from latelier.model import fit
from latelier.store import CHECKPOINT, MODEL, load_checkpoint, load_model

ROOT = Path(__file__).parents[1]


def test_killed_at_random_moments_a_run_loses_one_interval_at_most_and_ends_bit_for_bit_as_if_it_had_not_been():
    paths = [str(ROOT / "src"), *sys.path]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "crash.py"), "--kills", "10", "--disk", "0"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 kills" in done.stdout
    assert "0 faults" in done.stdout


@pytest.fixture
def largest_file():
    """Sets how large a file may grow: as on a full disk, what is beyond is not written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def go_on(folder: Path, epochs: int, resume: bool = True) -> None:
    settings = {
        "network": {"name": "mlp", "hidden": (16,)},
        "train": {"batch": 32, "precision": "float32", "threads": 1},
    }
    rows = (load_digits().images[:100] * (255 / 16)).round().astype(np.uint8)
    fit(rows, out=folder, resume=resume, report=False, settings=settings, epochs=epochs)


@pytest.mark.parametrize("name", ["log.jsonl", "weights", MODEL, CHECKPOINT])
def test_a_full_disk_leaves_the_old_model_and_says_how_many_bytes_were_needed(tmp_path, largest_file, name):
    run, straight = tmp_path / "run", tmp_path / "straight"
    for folder in (run, straight):
        go_on(folder, 2, resume=False)
    go_on(straight, 4)
    before, _ = load_model(run)
    size = next(file.stat().st_size for file in run.iterdir() if file.name.startswith(name))

    largest_file(size - 1)
    with pytest.raises(BadInput, match=r"cannot be written .* bytes were needed.* free some space"):
        go_on(run, 4)
    largest_file(resource.RLIM_INFINITY)

    after, _ = load_model(run)
    if name != CHECKPOINT:  # which is written last, when the model is a new one already
        states = zip(before.state_dict().values(), after.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in states)
    assert not list(run.glob(".*"))
    go_on(run, 4)
    (tensors, _), (others, _) = load_checkpoint(run), load_checkpoint(straight)
    assert tensors.keys() == others.keys()
    assert all(torch.equal(tensors[k], others[k]) for k in tensors)
