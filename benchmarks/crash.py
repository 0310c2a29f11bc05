"""What is lost when ``fit`` is killed, and what is left when the disk is full.

    python benchmarks/crash.py --kills 200        # as root also fills a small disk (tmpfs); skipped otherwise
    python benchmarks/crash.py --kills 10 --disk 0

Kills: a process trains on scikit-learn's digits through ``latelier.fit`` and saves every ``--interval`` seconds; SIGKILL
comes at a random moment, before the first step or after it, then the next process resumes in the same folder. After each
kill the newest checkpoint must be readable, a model that is there must load, and the training that is lost must be one
interval at most, the time that saving takes not counted. At the end the run is finished and compared bit for bit with one
that was never killed: weights, running average, optimiser, random state, figures, log, and the rows of every step.

Full disk: ``latelier fit --resume`` on a disk that has room for less and less of what is to be written. It must end with
exit code 2 and one line that says how many bytes were needed, the model must load, nothing may be left over, and with room
again the run must resume to the same bits. The exit code of this script is 1 if anything of this is not so.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch._dynamo  # the optimiser loads it at its first use: once here, and not in every process
from record import Recorder, arguments, machine, spread
from sklearn.datasets import load_digits

import latelier.train
from latelier.cli import main as command_line
from latelier.log import read_log
from latelier.model import fit
from latelier.store import CHECKPOINT, MODEL, PREVIOUS, load_checkpoint, load_model

# A small network, so that there are many steps; dropout and batch normalisation, so that there is more state to keep. A
# constant rate, because the number of epochs is only known at the end.
SETTINGS = {
    "network": {"name": "mlp", "hidden": (64, 64), "norm": "batch", "dropout": 0.1},
    "latent.dims": 8,
    "train": {"batch": 64, "warmup": 0.0, "floor": 1.0, "precision": "float32", "threads": 1, "holes": 0.2},
}
ROWS = 600


@dataclass
class Child:
    """A process that trains, and what it has told of its steps so far: number -> (seconds, rows)."""

    pid: int
    told: int
    steps: dict[int, tuple[float, str]] = field(default_factory=dict)
    rest: bytes = b""

    def listen(self) -> None:
        """Until the child ends."""
        while part := os.read(self.told, 1 << 16):
            *lines, self.rest = (self.rest + part).split(b"\n")
            for line in lines:
                step, seconds, rows = line.decode().split(" ", 2)
                self.steps[int(step)] = (float(seconds), rows)
        os.close(self.told)


def fork(work: Callable[[], int | None], errors: Path | None = None) -> Child:
    """Runs ``work`` in a copy of this process, which has everything imported; the copy tells of each step."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid:
        os.close(tell)
        return Child(pid, told)
    status = 1
    try:
        os.close(told)
        if errors is not None:
            os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        take_step = latelier.train.take_step

        def telling(
            run: latelier.train.Run, loss: torch.Tensor, spec: object, where: Callable[[], str], watch: object
        ) -> None:
            rows = where()
            take_step(run, loss, spec, where, watch)
            os.write(tell, f"{run.step} {time.monotonic()} {rows}\n".encode())

        latelier.train.take_step = telling
        status = work() or 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def train(rows: np.ndarray, folder: Path, epochs: int, interval: float, seed: int) -> Callable[[], None]:
    """Starts, or resumes where there is something to resume."""

    def work() -> None:
        there = any((folder / name).exists() for name in (CHECKPOINT, PREVIOUS))
        settings = {**SETTINGS, "train": {**SETTINGS["train"], "checkpoint": interval, "seed": seed, "epochs": epochs}}
        fit(rows, out=folder, resume=there, overwrite=not there, report=False, settings=settings)

    return work


def kills(options: Options, recorder: Recorder) -> list[str]:
    """Kills and resumes; what was not as promised."""
    faults: list[str] = []
    rows = load_digits().images[:ROWS] * (255 / 16)
    rows = rows.round().astype(np.uint8)
    moments = random.Random(options.seed)
    lost_steps, lost_seconds, partial, older, saved_at, last_step = [], [], 0, 0, 0, 0
    rows_of: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "run")
        begun = time.monotonic()
        first = fork(train(rows, Path(place, "first"), 1, options.interval, options.seed))
        first.listen()
        os.waitpid(first.pid, 0)
        start = first.steps[1][0] - begun  # seconds from the fork to the first step
        for kill in range(options.kills):
            child = fork(train(rows, folder, 10**6, options.interval, options.seed))
            time.sleep(moments.uniform(0.0, start + options.longest))
            os.kill(child.pid, signal.SIGKILL)
            child.listen()
            _, status = os.waitpid(child.pid, 0)
            if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
                faults.append(f"kill {kill}: the process had ended by itself, with status {status}")
                break
            partial += any(folder.glob(".*.partial")) if folder.exists() else 0
            if (folder / MODEL).exists():
                load_model(folder)
            for step, (_, where) in child.steps.items():
                if rows_of.setdefault(step, where) != where:
                    faults.append(f"kill {kill}: step {step} trained on {where}, before on {rows_of[step]}")
            last_step = max([last_step, *child.steps])
            if not any((folder / name).exists() for name in (CHECKPOINT, PREVIOUS)):
                if saved_at or child.steps:
                    faults.append(f"kill {kill}: no checkpoint")
                continue
            older += not (folder / CHECKPOINT).exists()
            _, state = load_checkpoint(folder)
            if state["step"] < saved_at:
                faults.append(f"kill {kill}: the checkpoint went back from step {saved_at} to {state['step']}")
            saved_at = state["step"]
            after = sorted(step for step in child.steps if step > saved_at)
            lost_steps.append(len(after))
            # From the end of the first lost step, so that the time of saving itself is not counted.
            seconds = child.steps[after[-1]][0] - child.steps[after[0]][0] if after else 0.0
            lost_seconds.append(seconds)
            if seconds > options.interval + options.slack:
                faults.append(
                    f"kill {kill}: {seconds:.3f} s of training lost, more than the interval of {options.interval} s"
                )
        took = time.monotonic() - begun
        faults += finish(rows, Path(place), rows_of, last_step, options)
    print(
        f"  {len(lost_steps)} kills within {start + options.longest:.2f} s, in {took:.0f} s; saving every {options.interval} s\n"
        f"  {partial} left a file half written, {older} fell between two renames\n"
        f"  lost {spread(lost_steps)} steps, {spread(lost_seconds)} s of training; reached step {last_step}"
    )
    recorder.add("most training lost by a kill", "digits", "ours", options.seed, max(lost_seconds), "s")
    recorder.add("most steps lost by a kill", "digits", "ours", options.seed, max(lost_steps), "steps")
    recorder.add("interval between checkpoints", "digits", "ours", options.seed, options.interval, "s")
    recorder.add("kills", "digits", "ours", options.seed, len(lost_steps), "")
    recorder.add("faults after kills", "digits", "ours", options.seed, len(faults), "")
    return faults


def finish(rows: np.ndarray, place: Path, rows_of: dict[int, str], last_step: int, options: Options) -> list[str]:
    """Ends the killed run, trains another in one go, and compares."""
    faults = []
    epochs = last_step // steps_of_epoch(place / "run") + 2
    told = {}
    for name, interval in (("run", options.interval), ("straight", 1e9)):
        child = fork(train(rows, place / name, epochs, interval, options.seed))
        child.listen()
        if os.waitpid(child.pid, 0)[1] != 0:
            return [f"{name} did not end well"]
        told[name] = {step: where for step, (_, where) in child.steps.items()}
    if told["straight"] != {**rows_of, **told["run"]}:
        faults.append("the rows of a step differ from those of a run that was never killed")
    return faults + differences(place / "run", place / "straight")


def steps_of_epoch(folder: Path) -> int:
    _, state = load_checkpoint(folder)
    return -(-round(state["source"]["rows"] * 0.9) // SETTINGS["train"]["batch"])


def differences(killed: Path, straight: Path) -> list[str]:
    """Bits in which two finished runs differ: weights, average, optimiser, random state, figures, log, model."""
    (tensors, state), (others, other) = load_checkpoint(killed), load_checkpoint(straight)
    found = sorted(tensors.keys() ^ others.keys())
    found += [k for k in tensors.keys() & others.keys() if not same_bits(tensors[k], others[k])]
    found += [k for k in state if k not in ("seconds", "spec") and state[k] != other[k]]
    pages = [json.loads((folder / MODEL).read_text()) for folder in (killed, straight)]
    found += [k for k in ("weights", "figures", "schema") if pages[0][k] != pages[1][k]]
    logs = [[{**event, "seconds": 0} for event in read_log(folder)] for folder in (killed, straight)]
    found += ["log.jsonl"] if logs[0] != logs[1] else []
    numbers = sum(t.numel() for t in tensors.values())
    print(f"  compared {len(tensors)} tensors of {numbers:,} numbers, and {len(logs[0])} lines of log")
    return [f"differs from the run that was never stopped: {name}" for name in found]


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()


# --- full disk


@contextmanager
def small_disk(size: int) -> Iterator[Path | None]:
    """A disk of so many bytes in memory, or None where this user may not make one."""
    place = Path(tempfile.mkdtemp())
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, text=True
    )
    try:
        if done.returncode:
            print(f"SKIPPED full disk: making a small one takes root ({done.stderr.strip()})")
        yield None if done.returncode else place
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", str(place)], check=True)
        place.rmdir()


def full_disk(options: Options, recorder: Recorder) -> list[str]:
    """Resumes with less and less room; what was not as promised."""
    faults: list[str] = []
    with small_disk(64 << 20) as disk, tempfile.TemporaryDirectory() as elsewhere:
        if disk is None:
            return faults
        data, errors = Path(elsewhere, "digits.npy"), Path(elsewhere, "errors.txt")
        np.save(data, (load_digits().images[:ROWS] * (255 / 16)).round().astype(np.uint8))
        first, straight = disk / "first", Path(elsewhere, "straight")
        settings = ["--no-report", "--batch", "64", "--set", "network.hidden=128,128", "--set", "network.name=mlp"]
        begin, go_on = (
            ["fit", str(data), *settings, "--epochs", "2"],
            ["fit", "--no-report", "--epochs", "4", "--resume"],
        )
        for words in ([*begin, "--out", str(first)], [*begin, "--out", str(straight)], [*go_on, str(straight)]):
            status, lines = run_command(words, errors)
            if status:
                return [f"latelier {' '.join(words)}: exit code {status}, {lines}"]
        # What a resumed run writes at its end: the log, the model, its page and a checkpoint, each beside the one before.
        needed = sum(file.stat().st_size for file in straight.iterdir() if file.name != PREVIOUS) + 8 * 4096
        told = 0
        for room in np.linspace(0, needed, options.disk).astype(int).tolist():
            folder = disk / "run"
            shutil.copytree(first, folder)
            fill(disk, room)
            status, lines = run_command([*go_on, str(folder)], errors)
            left = [file.name for file in folder.glob(".*")]
            load_model(folder)
            (disk / "ballast").unlink()
            said = [line for line in lines if line.startswith("error:")]
            if status == 0:
                print(f"  room for {room:,} bytes: was enough")
            else:
                told += 1
                print(f"  room for {room:,} bytes: exit code {status}, {said[-1] if said else lines}")
                if status != 2 or len(said) != 1 or "bytes were needed" not in said[0]:
                    faults.append(f"room for {room:,} bytes: status {status}, {lines}")
            if left:
                faults.append(f"room for {room:,} bytes: left over {left}")
            status, lines = run_command([*go_on, str(folder)], errors)
            if status != 0:
                faults.append(f"room for {room:,} bytes: with room again it did not resume: {lines}")
            else:
                faults += differences(folder, straight)
            shutil.rmtree(folder)
    recorder.add("full disks survived", "digits", "ours", 0, told, "")
    recorder.add("faults after full disks", "digits", "ours", 0, len(faults), "")
    return faults


def run_command(words: list[str], errors: Path) -> tuple[int, list[str]]:
    """(exit code, lines on stderr) of one command line, in a copy of this process."""
    child = fork(lambda: command_line(words), errors)
    child.listen()
    _, status = os.waitpid(child.pid, 0)
    return os.waitstatus_to_exitcode(status), errors.read_text().splitlines()


def fill(disk: Path, room: int) -> None:
    """A file that leaves ``room`` bytes, to the page."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with open(disk / "ballast", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(free - room, 1))


@dataclass(frozen=True)
class Options:
    kills: int
    interval: float
    longest: float
    disk: int
    seed: int
    slack: float = 0.05  # of a machine that has other work to do


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--interval", type=float, default=0.05, help="seconds between checkpoints (default 0.05)")
    parser.add_argument(
        "--longest", type=float, default=0.6, help="kill within so many seconds of the first step (default 0.6)"
    )
    parser.add_argument("--disk", type=int, default=8, help="how many degrees of a full disk; 0 for none (default 8)")
    given = parser.parse_args()
    print(machine())
    recorder, faults = Recorder(given.json), []
    for seed in range(given.seeds):
        options = Options(given.kills, given.interval, given.longest, given.disk, seed)
        faults += kills(options, recorder)
        if options.disk:
            faults += full_disk(options, recorder)
    print(*(f"FAULT {fault}" for fault in faults), f"{len(faults)} faults", sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
