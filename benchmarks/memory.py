"""Resident memory and time of ``latelier score`` and ``latelier impute`` over tables of many rows.

    python benchmarks/memory.py                                       # small: some minutes on one core
    python benchmarks/memory.py --rows 1000000 5000000 --budget 60
    python benchmarks/memory.py --rows 10000000 --verbs score --formats parquet --budget 20
    python benchmarks/memory.py --data adult.csv

Protocol: a table of 10 columns (5 real numbers, one of them heavy-tailed, 2 counts, 2 categories as words, 1 yes or no)
that hang together, 5 % of all cells missing; with ``--data`` that file's rows, over and over. A small model is fitted to
the first 20,000 rows (all of a file) by the command line; then each verb reads a CSV and a Parquet file of so many rows
and writes its own. Every command is a child with one thread of a process that does nothing else: wall time and processor
time are that child's, its greatest resident memory what the kernel says of it (ru_maxrss, which would count the parent's
if that were large). ``--under`` puts words before each, such as "taskset -c 0". The time of starting is that of the same
command on 100 rows; "rows ^ p" is the slope of log(processor time - start) over log(rows). Rows are taken in ascending
order while the minutes last.
Goals: below 700 MB at every size; p at most 1.1.

Then, in this process, what bounds it: rows per second of reading alone, of scoring alone, and of the matrix products alone
(multiplications and additions of the network's layers for one row, over the rate that this machine does them at).
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import torch
from record import Recorder, arguments, machine

from latelier.model import Model
from latelier.tasks.score import score

LIMIT, POWER = 700e6, 1.1  # bytes; of rows
BOUNDED = 100_000  # rows that are read and scored in this process
TINY = 100  # rows that show what starting costs
FITTED = 20_000  # rows that the model has seen
BLOCK = 100_000  # rows written at a time
NAMES = np.array(["red", "green", "blue", "teal", "plum", "sand", "rust"])
PLACES = np.array([f"place {i}" for i in range(30)])
# Runs a command and says what it cost. Small itself: a child's ru_maxrss begins with what its parent holds.
MEASURE = """
import json, os, subprocess, sys, time
begun = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
seconds, size = time.perf_counter() - begun, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([seconds, usage.ru_utime + usage.ru_stime, size]))
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""


@dataclass(frozen=True)
class Used:
    """One command's cost."""

    seconds: float
    processor: float  # seconds
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


def run(under: str, *words: object) -> Used:
    """One command line in a process of its own."""
    line = [
        *shlex.split(under),
        sys.executable,
        "-S",
        "-c",
        MEASURE,
        sys.executable,
        "-m",
        "latelier",
        *map(str, words),
    ]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"latelier {' '.join(map(str, words))}: it failed")
    return Used(*json.loads(done.stdout))


def main() -> int:
    parser = arguments(__doc__, budget=30.0)
    parser.add_argument("--rows", nargs="+", type=int, default=[50_000, 100_000, 200_000])
    parser.add_argument("--verbs", nargs="+", choices=["score", "impute"], default=["score", "impute"])
    parser.add_argument("--formats", nargs="+", choices=["csv", "parquet"], default=["csv", "parquet"])
    parser.add_argument("--draws", type=int, default=0, help="draws of z per row (default: the verb's own)")
    parser.add_argument("--under", default="", help="words before each command, such as 'taskset -c 0'")
    given = parser.parse_args()
    print(machine())
    recorder, name = Recorder(given.json), given.data.name if given.data else "made up"
    deadline = time.monotonic() + 60 * given.budget
    used: dict[tuple[str, str], dict[int, Used]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(repeated(given.data) if given.data else made_up(FITTED), folder / "fitted.csv")
        fitted = run(given.under, "fit", folder / "fitted.csv", "--out", folder / "model", "--epochs", 3, "--no-report")
        print(f"  fit: {fitted.seconds:.0f} s, {fitted.bytes / 1e6:.0f} MB")
        more = ["--draws", given.draws] if given.draws else []
        for rows in [TINY, *sorted(given.rows)]:
            blocks = repeated(given.data, rows) if given.data else made_up(rows)
            write(blocks, *(folder / f"rows.{suffix}" for suffix in given.formats))
            for verb, suffix in product(given.verbs, given.formats):
                before = used.setdefault((verb, suffix), {})
                expected = max((u.seconds * rows / n for n, u in before.items() if n > TINY), default=0.0)
                if time.monotonic() + expected > deadline:
                    print(
                        f"SKIPPED {verb} {suffix} of {rows:,} rows: about {expected:.0f} s more than the minutes allow"
                    )
                    continue
                out = folder / f"out.{suffix}"
                line = (verb, folder / "model", folder / f"rows.{suffix}", "--out", out, "--overwrite", *more)
                one = before[rows] = run(given.under, *line)
                check(out, rows)
                what = f"{verb} {suffix}, {rows:,} rows"
                recorder.add(f"{what}: memory", name, "ours", 0, one.bytes / 1e6, "MB")
                recorder.add(f"{what}: wall time", name, "ours", 0, one.seconds, "s")
                recorder.add(f"{what}: processor time", name, "ours", 0, one.processor, "s")
        missed = summary(used, recorder, name)
        write(
            repeated(given.data, BOUNDED) if given.data else made_up(BOUNDED),
            *(folder / f"rows.{s}" for s in given.formats),
        )
        bounds(folder, given.formats, recorder, name)
    return missed


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
        start = by_rows.pop(TINY, None)
        if start is None or not by_rows:
            continue
        most = max(u.bytes for u in by_rows.values())
        text = f"{verb:<7} {suffix:<8} most {most / 1e6:.0f} MB ({'below' if most < LIMIT else 'NOT below'} {LIMIT / 1e6:.0f})"
        missed += most >= LIMIT
        rows = np.array(list(by_rows))
        seconds = np.array([u.processor - start.processor for u in by_rows.values()])
        rate, last = rows[-1] / seconds[-1], by_rows[rows[-1]]
        text += f"; {rate:,.0f} rows per second of processor time, {rows[-1] / last.seconds:,.0f} by the clock"
        recorder.add(f"{verb} {suffix}: rows per processor second", data, "ours", 0, rate, "rows/s")
        if len(rows) > 1 and (seconds > 0).all():
            power = float(np.polyfit(np.log(rows), np.log(seconds), 1)[0])
            grown = (last.bytes - by_rows[rows[0]].bytes) / (rows[-1] - rows[0])
            text += f"; time grows as rows ^ {power:.2f}; memory by {grown:.1f} bytes a row"
            missed += power > POWER
            recorder.add(f"{verb} {suffix}: time ~ rows ^", data, "ours", 0, power, "")
        recorder.add(f"{verb} {suffix}: most memory", data, "ours", 0, most / 1e6, "MB")
        print(" ", text)
    return 1 if missed else 0


def bounds(folder: Path, suffixes: list[str], recorder: Recorder, data: str) -> None:
    """Rows per processor second of each step alone, and of nothing but the products of matrices."""
    model = Model.load(folder / "model")
    for suffix in suffixes:
        begun = time.process_time()
        rows = sum(map(len, model.kind.read(folder / f"rows.{suffix}", model.schema)))
        recorder.add(f"reading {suffix} alone", data, "ours", 0, rows / (time.process_time() - begun), "rows/s")
    ready = list(model.read(folder / f"rows.{suffixes[0]}"))
    begun = time.process_time()
    for _ in score(model.vae, ready, draws=16):
        pass
    recorder.add("scoring alone, 16 draws", data, "ours", 0, rows / (time.process_time() - begun), "rows/s")
    once = products(model.vae.encoder) + products(model.vae.latents)
    each = once + 16 * products(model.vae.decoder)
    recorder.add(
        "products alone, 16 draws", data, "limit", 0, product_rate(model.spec.network.hidden[0]) / each, "rows/s"
    )


def products(part: torch.nn.Module) -> float:
    """Multiplications and additions of a part's layers for one row."""
    return sum(2.0 * m.in_features * m.out_features for m in part.modules() if isinstance(m, torch.nn.Linear))


def product_rate(width: int, rows: int = 4096, times: int = 200) -> float:
    """Multiplications and additions per second of (rows, width) times (width, width)."""
    x, layer = torch.randn(rows, width), torch.nn.Linear(width, width)
    with torch.no_grad():
        layer(x)
        begun = time.process_time()
        for _ in range(times):
            layer(x)
    return times * rows * 2.0 * width * width / (time.process_time() - begun)


if __name__ == "__main__":
    sys.exit(main())
