"""One thread; one seed before every test; for every example an empty folder and the names that it may use."""

from __future__ import annotations

import os

# Before numpy and torch are loaded, which read these once.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pytest
import torch

from latelier.batch import Batch

torch.set_num_threads(1)

# The same examples at every run: a failure in a change is a failure of that change.
hypothesis.settings.register_profile("quick", deadline=None, derandomize=True, max_examples=30, print_blob=True)
hypothesis.settings.register_profile("long", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    """Every test starts from the same state of every generator, whatever ran before it."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True)
def _example_names(
    request: pytest.FixtureRequest, doctest_namespace: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Docstring examples run in an empty folder and know these names."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    folder = tmp_path_factory.mktemp("example")
    doctest_namespace.update(torch=torch, np=np, pd=pd, Batch=Batch, Path=Path, folder=folder)
    before = Path.cwd()
    os.chdir(folder)
    yield
    os.chdir(before)


@pytest.fixture
def data() -> Path:
    """The folder of real data that do not ship with any package: named by LATELIER_DATA, or the test is skipped."""
    folder = os.environ.get("LATELIER_DATA")
    if not folder:
        pytest.skip("set LATELIER_DATA to a folder of data sets to run this")
    return Path(folder)
