"""score and impute over files of many rows: peak resident memory, and time as a function of rows.

    python benchmarks/memory.py --budget 20

A model is fitted to 20,000 rows. Then the command line, as a process of its own, scores and imputes CSV and Parquet files
of growing length, up to 5 million rows or as many as fit the budget. Memory should stay under 700 MB and time grow
linearly. Without --data the rows are made: 10 columns, real, count and category, a tenth of the cells empty. With --data
(a CSV or Parquet file) that file's rows are written again and again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as parquet
from record import Recorder, arguments, machine

import latelier

STEPS = (500_000, 1_000_000, 2_000_000, 5_000_000)
LIMIT = 700.0  # MB


def main() -> None:
    parser = arguments(__doc__, seeds=1, budget=20)
    parser.add_argument("--draws", type=int, default=1, help="draws of z per row; memory does not depend on it")
    options = parser.parse_args()
    print(machine())
    recorder = Recorder(options.json)
    name = options.data.name if options.data else "made"
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            example = read(options.data) if options.data else made(100_000, seed)
            model = folder / "model"
            latelier.fit(example[:20_000], out=model, epochs=2, report=False, threads=1, seed=seed)
            measure(example, model, folder, name, seed, options, recorder)


def measure(
    example: pd.DataFrame, model: Path, folder: Path, name: str, seed: int, options, recorder: Recorder
) -> None:
    until = time.monotonic() + 60 * options.budget
    found: dict[tuple[str, str], list[tuple[int, float, float]]] = {}
    last, previous = 0.0, 1
    for rows in STEPS:
        begun = time.monotonic()
        if last and begun + last * rows / previous > until:
            print(f"SKIPPED {rows:,} rows: they would not fit the budget of {options.budget:g} minutes")
            break
        for suffix in (".csv", ".parquet"):
            path = folder / f"rows{suffix}"
            write(example, rows, path)
            for verb in ("score", "impute"):
                out = folder / f"out{suffix}"
                seconds, memory = run(["latelier", verb, model, path, "--out", out, "--draws", options.draws])
                found.setdefault((verb, suffix), []).append((rows, seconds, memory))
                who = f"{verb} {suffix[1:]}"
                print(
                    f"{who:>16} {rows:>9,} rows: {memory:4.0f} MB, {seconds:6.1f} s, {rows / seconds:9,.0f} rows/s",
                    flush=True,
                )
                recorder.add(f"peak memory, {rows:,} rows", name, who, seed, memory, "MB")
                recorder.add(f"time, {rows:,} rows", name, who, seed, seconds, "seconds")
                out.unlink()
            path.unlink()
        last, previous = time.monotonic() - begun, rows
    for (verb, suffix), points in found.items():
        if len(points) > 1:
            (few, quick, _), (many, slow, _) = points[0], points[-1]
            growth = (slow / quick) / (many / few)
            highest = max(memory for *_, memory in points)
            verdict = "under" if highest < LIMIT else "OVER"
            print(
                f"{verb} {suffix[1:]}: {few:,} to {many:,} rows; time grew {growth:.2f} times as fast as rows (1 is linear, "
                f"less is a fixed start); peak {highest:.0f} MB, {verdict} {LIMIT:.0f}"
            )
            recorder.add("growth of time over growth of rows", name, f"{verb} {suffix[1:]}", seed, growth, "ratio")


def run(words: list[object]) -> tuple[float, float]:
    """(seconds, peak resident MB) of a command of its own."""
    command = [sys.executable, "-m", *map(str, words)]
    begun = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    peak = 0.0
    while child.poll() is None:
        # The kernel's own high-water mark of the process; what wait4 reports would include this parent, forked.
        peak = max(peak, high_water(child.pid))
        time.sleep(0.02)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} left with {child.returncode}")
    return time.monotonic() - begun, peak


def high_water(pid: int) -> float:
    """MB; 0 where the process is gone or not there yet."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return max((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), default=0.0)


def made(rows: int, seed: int) -> pd.DataFrame:
    """Ten columns that depend on three hidden numbers, a tenth of the cells empty."""
    chance = np.random.default_rng(seed)
    z = chance.normal(size=(rows, 3))
    columns: dict[str, np.ndarray] = {}
    for i in range(6):
        columns[f"real{i}"] = (z @ chance.normal(size=3) + 0.3 * chance.normal(size=rows)).round(4)
    for i in range(2):
        columns[f"count{i}"] = chance.poisson(np.exp(1 + 0.5 * z[:, i])).astype(float)
    frame = pd.DataFrame(columns)
    for i in range(2):
        level = np.digitize(z[:, i] + 0.5 * chance.normal(size=rows), [-1, 0, 1])
        frame[f"kind{i}"] = np.array(["low", "middle", "high", "top"], dtype=object)[level]
    return frame.mask(chance.random(frame.shape) < 0.1)


def read(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


def write(example: pd.DataFrame, rows: int, path: Path) -> None:
    """The example's rows again and again, in parts."""
    table = pa.Table.from_pandas(example, preserve_index=False)
    writer = csv.CSVWriter(path, table.schema) if path.suffix == ".csv" else parquet.ParquetWriter(path, table.schema)
    with writer:
        for first in range(0, rows, len(example)):
            writer.write_table(table.slice(0, min(len(example), rows - first)))


if __name__ == "__main__":
    main()
