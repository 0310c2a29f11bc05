"""Resident memory and time of ``latelier score`` and ``latelier impute`` over tables of millions of rows.

    python benchmarks/memory.py --rows 500000 1000000 2000000 5000000
    python benchmarks/memory.py --data adult.csv --rows 100000 200000

Protocol: a table of 10 columns (5 real numbers, one of them heavy-tailed, 2 counts, 2 categories as words, 1 yes or no)
that hang together, 5 % of all cells missing; with ``--data`` that file's rows, over and over. A small model is fitted to
the first 20,000 rows (all of a file) by the command line; then each verb reads a CSV and a Parquet file of so many rows
and writes its own. Every command is a process of its own with one thread; its greatest resident memory is what the kernel
says of it (ru_maxrss), its time is that of the whole command. Rows are taken in ascending order while the minutes last.
Goals: below 700 MB at every size, and time in proportion to rows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from record import Recorder, arguments, machine

LIMIT = 700e6  # bytes
FITTED = 20_000  # rows that the model has seen
BLOCK = 100_000  # rows written at a time
NAMES = np.array(["red", "green", "blue", "teal", "plum", "sand", "rust"])
PLACES = np.array([f"place {i}" for i in range(30)])


@dataclass(frozen=True)
class Used:
    """One command's cost."""

    seconds: float
    bytes: int


def made_up(rows: int) -> Iterator[pd.DataFrame]:
    """The table, a block at a time. The block of a number is the same in a longer table."""
    for number, first in enumerate(range(0, rows, BLOCK)):
        random = np.random.default_rng(number)
        size = min(BLOCK, rows - first)
        group = random.choice(7, BLOCK, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05])
        hidden = random.standard_normal((BLOCK, 2)) + group[:, None] * 0.5
        real = hidden @ random_map() + 0.3 * random.standard_normal((BLOCK, 5))
        frame = pd.DataFrame((real * [1, 10, 100, 0.1, 1] + [0, 50, 1000, 0, 2]).round(4), columns=list("abcde"))
        frame["e"] = np.exp(frame["e"]).round(2)  # heavy-tailed
        frame["visits"] = random.poisson(20 * np.exp(0.5 * hidden[:, 0].clip(-3, 3))).astype(float)
        frame["items"] = random.poisson(30 + 10 * group).astype(float)
        frame["colour"] = NAMES[group]
        frame["place"] = PLACES[(group * 4 + random.integers(0, 6, BLOCK)) % 30]
        frame["member"] = np.where(random.random(BLOCK) < 1 / (1 + np.exp(-hidden[:, 1])), "yes", "no")
        yield frame.mask(random.random(frame.shape) < 0.05).iloc[:size]


def random_map() -> np.ndarray:
    return np.random.default_rng(12345).standard_normal((2, 5))


def repeated(path: Path, rows: int | None = None) -> Iterator[pd.DataFrame]:
    """The rows of a file, over and over, or once."""
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, skipinitialspace=True)
    block = frame if rows is None else pd.concat([frame] * -(-BLOCK // len(frame)), ignore_index=True)
    for first in range(0, len(frame) if rows is None else rows, len(block)):
        yield block if rows is None else block.iloc[: rows - first]


def write(blocks: Iterator[pd.DataFrame], *paths: Path) -> None:
    """The same rows to a CSV and a Parquet file, in constant memory."""
    writers: list[pa.csv.CSVWriter | pa.parquet.ParquetWriter] = []
    for frame in blocks:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        if not writers:
            kinds = {".csv": pa.csv.CSVWriter, ".parquet": pa.parquet.ParquetWriter}
            writers = [kinds[path.suffix](path, table.schema) for path in paths]
        for writer in writers:
            writer.write_table(table.cast(writer.schema) if hasattr(writer, "schema") else table)
    for writer in writers:
        writer.close()


def run(*words: object) -> Used:
    """One command line in a process of its own."""
    begun = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "latelier", *map(str, words)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)  # it is waited for already
    if child.returncode:
        raise SystemExit(f"latelier {' '.join(map(str, words))}: exit code {child.returncode}")
    return Used(time.perf_counter() - begun, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def main() -> int:
    parser = arguments(__doc__, budget=30.0)
    parser.add_argument("--rows", nargs="+", type=int, default=[500_000, 1_000_000, 2_000_000, 5_000_000])
    parser.add_argument("--verbs", nargs="+", choices=["score", "impute"], default=["score", "impute"])
    parser.add_argument("--formats", nargs="+", choices=["csv", "parquet"], default=["csv", "parquet"])
    parser.add_argument("--draws", type=int, default=0, help="draws of z per row (default: the verb's own)")
    given = parser.parse_args()
    print(machine())
    recorder, name = Recorder(given.json), given.data.name if given.data else "made up"
    deadline = time.monotonic() + 60 * given.budget
    used: dict[tuple[str, str], dict[int, Used]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(repeated(given.data) if given.data else made_up(FITTED), folder / "fitted.csv")
        fitted = run("fit", folder / "fitted.csv", "--out", folder / "model", "--epochs", 3, "--no-report")
        print(f"  fit: {fitted.seconds:.0f} s, {fitted.bytes / 1e6:.0f} MB")
        for rows in sorted(given.rows):
            blocks = repeated(given.data, rows) if given.data else made_up(rows)
            write(blocks, *(folder / f"rows.{suffix}" for suffix in given.formats))
            for verb in given.verbs:
                for suffix in given.formats:
                    before = used.setdefault((verb, suffix), {})
                    expected = max((u.seconds * rows / n for n, u in before.items()), default=0.0)
                    if time.monotonic() + expected > deadline:
                        print(
                            f"SKIPPED {verb} {suffix} of {rows:,} rows: about {expected:.0f} s more than the minutes allow"
                        )
                        continue
                    out = folder / f"out.{suffix}"
                    more = ["--draws", given.draws] if given.draws else []
                    before[rows] = run(
                        verb, folder / "model", folder / f"rows.{suffix}", "--out", out, "--overwrite", *more
                    )
                    check(out, rows)
                    what = f"{verb} {suffix}, {rows:,} rows"
                    recorder.add(f"{what}: memory", name, "ours", 0, before[rows].bytes / 1e6, "MB")
                    recorder.add(f"{what}: time", name, "ours", 0, before[rows].seconds, "s")
    return summary(used, recorder, name)


def check(out: Path, rows: int) -> None:
    """Every row came out."""
    if out.suffix == ".parquet":
        found = pa.parquet.ParquetFile(out).metadata.num_rows
    else:
        with open(out, "rb") as file:
            found = sum(part.count(b"\n") for part in iter(lambda: file.read(1 << 20), b"")) - 1
    assert found == rows, f"{out.name}: {found} rows of {rows}"


def summary(used: dict[tuple[str, str], dict[int, Used]], recorder: Recorder, data: str) -> int:
    """Growth of memory and time with rows; 1 if a goal is missed."""
    missed = 0
    for (verb, suffix), by_rows in used.items():
        if not by_rows:
            continue
        most = max(u.bytes for u in by_rows.values())
        rows, seconds = np.array(list(by_rows)), np.array([u.seconds for u in by_rows.values()])
        text = f"{verb:<7} {suffix:<8} most {most / 1e6:.0f} MB ({'below' if most < LIMIT else 'NOT below'} {LIMIT / 1e6:.0f})"
        missed += most >= LIMIT
        if len(rows) > 1:
            slope, start = np.polyfit(rows, seconds, 1)
            # Time per row of the longest table against the shortest, each without the time of starting.
            power = np.polyfit(np.log(rows), np.log(np.maximum(seconds - max(start, 0.0), 1e-3)), 1)[0]
            grown = (by_rows[rows.max()].bytes - by_rows[rows.min()].bytes) / (rows.max() - rows.min())
            text += (
                f"; {1 / slope:,.0f} rows/s and {start:.1f} s to start; time grows as rows ^ {power:.2f}; "
                f"memory by {grown:.0f} bytes a row"
            )
            recorder.add(f"{verb} {suffix}: rows per second", data, "ours", 0, 1 / slope, "rows/s")
            recorder.add(f"{verb} {suffix}: time ~ rows ^", data, "ours", 0, power, "")
        recorder.add(f"{verb} {suffix}: most memory", data, "ours", 0, most / 1e6, "MB")
        print(" ", text)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
