"""What every benchmark shares: options, data, the machine it ran on, and one record a line.

A record is {"what", "data", "who", "seed", "value", "unit"}; peers are other ``who``s of the same ``what``.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import torch

from latelier.errors import BadInput

# One thread here, and in every process that is started from here.
torch.set_num_threads(1)
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# The columns of UCI Adult, whose files have no header.
ADULT = [
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education-num",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital-gain",
    "capital-loss",
    "hours-per-week",
    "native-country",
    "income",
]


def _in_a_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What is wrong with the data is told as the commands tell it."""
    if isinstance(error, BadInput):
        print(f"error: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _in_a_line


def arguments(description: str | None, seeds: int = 1, budget: float = 5.0) -> argparse.ArgumentParser:
    """A parser of the options that every benchmark takes; each adds its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="folder or file (default: in the folder LATELIER_DATA, else sklearn's)"
    )
    parser.add_argument("--seeds", type=int, default=seeds, help=f"how many seeds, 0, 1, ... (default {seeds})")
    parser.add_argument("--budget", type=float, default=budget, help=f"minutes (default {budget:g})")
    parser.add_argument("--json", type=Path, help="file that the records are appended to, one a line")
    return parser


def default_data(name: str) -> Path:
    """``name`` in the folder of data sets that LATELIER_DATA names, else sklearn's 1,797 digits as a file of 28 x 28 pictures."""
    folder = os.environ.get("LATELIER_DATA")
    if folder and Path(folder, name).exists():
        return Path(folder, name)
    print(
        f"SKIPPED {name}: set LATELIER_DATA to a folder that holds it; scikit-learn's digits stand in for it",
        flush=True,
    )
    from sklearn.datasets import load_digits

    small = torch.from_numpy(load_digits().images)[:, None] * (255 / 16)
    large = torch.nn.functional.interpolate(small, size=28, mode="bilinear").round().to(torch.uint8)
    temporary = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    np.save(temporary / "digits.npy", large[:, 0].numpy())
    return temporary / "digits.npy"


def machine() -> str:
    """Processor, threads in use, accelerator, version of torch."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    processor = (
        f"{model} ({torch.backends.cpu.get_cpu_capability()}), {torch.get_num_threads()} of {os.cpu_count()} threads"
    )
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"machine: {processor}, {accelerator}, torch {torch.__version__}"


class Recorder:
    """Prints every figure as it comes, and appends it to a file if there is one."""

    def __init__(self, path: Path | None = None):
        self.path = path

    def add(self, what: str, data: str, who: str, seed: int, value: float | None, unit: str) -> None:
        """One figure; None where it could not be measured."""
        record = {"what": what, "data": data, "who": who, "seed": seed, "value": value, "unit": unit}
        shown = "-" if value is None else f"{value:.5g}"
        print(f"  {what:<34} {data:<12} {who:<16} seed {seed:<3} {shown:>10} {unit}", flush=True)
        if self.path is not None:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")


def spread(values: Sequence[float]) -> str:
    """Median, least and greatest: ``1.52 (1.48 to 1.55, 5 times)``."""
    return f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g}, {len(values)} times)"
