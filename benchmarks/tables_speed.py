"""Time to fit and to score a table, beside PyOD's VAE and kNN and CTGAN's TVAE, and how it grows with rows and columns.

    python benchmarks/tables_speed.py                       # 50,000 rows x 60 columns, and growth
    python benchmarks/tables_speed.py --only growth
    python benchmarks/tables_speed.py --data flows.csv      # the numbers of that file in place of made-up rows

Protocol: rows of 60 numbers, a mixture of 5 Gaussians of 8 hidden dimensions with noise; one thread; who comes first turns with
the seed; medians over seeds. Each fits and then scores all rows, and must come out with one finite score a row. Everyone as it
comes but for the passes over the data, which are the same 5 for all that have passes (kNN has none, and PyOD's kNN scores
its own rows while fitting; TVAE has no score, so 50,000 rows are drawn from it instead). Ours scores with 16 draws;
``ours, detector`` is ``latelier.Detector`` as it comes, small models of a fixed number of steps. Times are
of the processor, with the clock's beside them where the two differ, since other work on the machine stretches only the latter.

Growth: rows are doubled at 60 columns, columns at 2,000 rows; p is the slope of log time over log size between the two largest.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from record import Recorder, arguments, machine

import latelier
from latelier.kinds.cells.files import suffix_of

EPOCHS = 5
Steps = tuple[Callable[[], object], Callable[[], np.ndarray]]  # fit; one number a row


def made_up(rows: int, columns: int, seed: int) -> pd.DataFrame:
    """A mixture of 5 Gaussians of 8 hidden dimensions, seen through a random map with noise."""
    random = np.random.default_rng(seed)
    hidden = random.standard_normal((rows, 8)) + 2 * random.standard_normal((5, 8))[random.integers(0, 5, rows)]
    values = hidden @ random.standard_normal((8, columns)) + 0.5 * random.standard_normal((rows, columns))
    return pd.DataFrame(values.astype(np.float32), columns=[f"x{i}" for i in range(columns)])


def ours(frame: pd.DataFrame, seed: int) -> Steps:
    folder, made = tempfile.TemporaryDirectory(), []
    # precision and threads are settled by trial otherwise: seconds that do not grow with the data.
    options = {"epochs": EPOCHS, "seed": seed, "threads": 1, "precision": "float32", "report": False}

    def fit() -> None:
        made.append(latelier.fit(frame, out=Path(folder.name, "model"), **options))

    return fit, lambda: made[0].score(frame)


def detector(frame: pd.DataFrame, seed: int) -> Steps:
    made = []
    return lambda: made.append(latelier.Detector.fit(frame, seed=seed)), lambda: made[0].oddness(frame)


def pyod_vae(frame: pd.DataFrame, seed: int) -> Steps:
    from pyod.models.vae import VAE

    detector = VAE(epoch_num=EPOCHS, random_state=seed, verbose=0)
    return lambda: detector.fit(frame.to_numpy()), lambda: detector.decision_function(frame.to_numpy())


def pyod_knn(frame: pd.DataFrame, seed: int) -> Steps:
    from pyod.models.knn import KNN

    detector = KNN()
    return lambda: detector.fit(frame.to_numpy()), lambda: detector.decision_scores_


def tvae(frame: pd.DataFrame, seed: int) -> Steps:
    from ctgan import TVAE

    model = TVAE(epochs=EPOCHS, cuda=False)
    return lambda: model.fit(frame), lambda: model.sample(len(frame)).to_numpy()[:, 0]


WHO = {"ours": ours, "ours, detector": detector, "PyOD VAE": pyod_vae, "PyOD kNN": pyod_knn, "CTGAN TVAE": tvae}


def timed(work: Callable[[], object]) -> tuple[object, float, float]:
    """(what it returned, processor seconds, seconds by the clock)"""
    cpu, clock = time.process_time(), time.perf_counter()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        found = work()
    return found, time.process_time() - cpu, time.perf_counter() - clock


def compare(
    frame: pd.DataFrame, name: str, everyone: list[str], seeds: int, deadline: float, recorder: Recorder
) -> None:
    """Everyone on the same rows, in turns."""
    missing: set[str] = set()
    taken: dict[str, list[float]] = {}
    for seed in range(seeds):
        turn = seed % len(everyone)
        order = everyone[turn:] + everyone[:turn]
        for who in order:
            if who in missing:
                continue
            if time.monotonic() + max(taken.get(who, [0.0])) > deadline:
                print(f"SKIPPED {who}, seed {seed}: the minutes are over")
                continue
            try:
                if seed == 0:
                    timed(WHO[who](frame.head(500), seed)[0])  # what is loaded at the first use is no part of the time
                fit, score = WHO[who](frame, seed)
                _, fitting, fitting_clock = timed(fit)
                scores, scoring, scoring_clock = timed(score)
            except ImportError as error:
                print(f"SKIPPED {who}: {error}")
                missing.add(who)
                continue
            assert len(scores) == len(frame) and np.isfinite(np.asarray(scores, float)).all(), who
            recorder.add("fit, processor", name, who, seed, fitting, "s")
            recorder.add("score, processor", name, who, seed, scoring, "s")
            recorder.add("fit + score, clock", name, who, seed, fitting_clock + scoring_clock, "s")
            taken.setdefault(who, []).append(fitting + scoring)
    for who, seconds in taken.items():
        ratio = statistics.median(taken["ours"]) / statistics.median(seconds) if "ours" in taken else float("nan")
        print(f"  {who:<12} median {statistics.median(seconds):.1f} s of processor; ours takes {ratio:.2f} of it")


def growth(deadline: float, recorder: Recorder) -> None:
    """Ours alone: rows doubled, then columns."""
    for what, sizes in (("rows", (12_500, 25_000, 50_000)), ("columns", (125, 250, 500, 1_000, 2_000))):
        seconds: dict[int, tuple[float, float]] = {}
        for size in sizes:
            before = list(seconds.values())
            if before and time.monotonic() + 3 * sum(before[-1]) > deadline:
                print(f"SKIPPED {size} {what}: the minutes are over")
                break
            if not seconds:
                timed(ours(made_up(500, 60, 0), 0)[0])
            frame = made_up(size, 60, 0) if what == "rows" else made_up(2_000, size, 0)
            fit, score = ours(frame, 0)
            seconds[size] = timed(fit)[1], timed(score)[1]
            for step, value in zip(("fit", "score"), seconds[size], strict=True):
                recorder.add(f"{step}, {size:,} {what}, processor", "made up", "ours", 0, value, "s")
        for number, step in enumerate(("fit", "score")):
            if len(seconds) > 1:
                (a, first), (b, last) = list(seconds.items())[-2:]
                power = float(np.log(last[number] / first[number]) / np.log(b / a))
                recorder.add(f"{step}: time ~ {what} ^", "made up", "ours", 0, power, "")


def main() -> int:
    parser = arguments(__doc__, seeds=3, budget=15.0)
    parser.add_argument("--size", nargs=2, type=int, default=[50_000, 60], help="rows and columns of the comparison")
    parser.add_argument("--who", nargs="+", choices=list(WHO), default=list(WHO))
    parser.add_argument("--only", choices=["compare", "growth"])
    given = parser.parse_args()
    print(machine())
    recorder, deadline = Recorder(given.json), time.monotonic() + 60 * given.budget
    if given.data:
        parquet = suffix_of(given.data) == ".parquet"
        frame = (pd.read_parquet if parquet else pd.read_csv)(given.data).select_dtypes("number").dropna()
        name = given.data.name
    else:
        frame, name = made_up(*given.size, seed=0), f"{given.size[0]} x {given.size[1]}"
    if given.only != "growth":
        compare(frame, name, given.who, given.seeds, deadline, recorder)
    if given.only != "compare":
        growth(deadline, recorder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
