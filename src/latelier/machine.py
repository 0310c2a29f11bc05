"""What the machine at hand is best used as: device, threads, precision, and whether steps are compiled. Times in seconds."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from latelier.errors import BadInput
from latelier.spec import Spec

T = TypeVar("T")

# glibc's mallopt: which blocks come from the system one by one, how much that is free goes back to it, how much is asked for.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_MB = 1 << 20


def choose_device(name: str) -> torch.device:
    """``auto``: the GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(
            f"device {name!r} cannot be used ({str(error).splitlines()[0][:80]}); use --device cpu"
        ) from None
    return device


def settled(spec: Spec) -> Spec:
    """The spec with what ``auto`` means on this machine, so that a resumed run computes as before."""
    device = choose_device(spec.train.device)
    options: dict[str, int | str] = {}
    if spec.train.threads == "auto":
        options["threads"] = choose_threads() if device.type == "cpu" else 1
    if spec.train.precision == "auto":
        options["precision"] = choose_precision(device)
    if (
        spec.train.compiled == "auto" and spec.objective.smooth
    ):  # takes a gradient within the step, which no graph holds
        options["compiled"] = "no"
    elif spec.train.compiled == "auto":  # on a processor it gains nothing for networks of this size
        options["compiled"] = "yes" if device.type == "cuda" and importlib.util.find_spec("triton") else "no"
    return spec.model_copy(update={"train": spec.train.model_copy(update=options)})


def choose_precision(device: torch.device) -> str:
    """bfloat16 where it is measured to be faster on this machine, float32 elsewhere (many CPUs only emulate it)."""
    full = median_seconds(device, torch.float32)
    return "bfloat16" if full > 1.3 * median_seconds(device, torch.bfloat16) else "float32"


def choose_threads() -> int:
    """All of torch's threads where they are measured to be faster than one. They must agree at every layer, so on a
    machine that is busy elsewhere two can be many times slower than one."""
    all_of_them, cpu = torch.get_num_threads(), torch.device("cpu")
    if all_of_them == 1:
        return 1
    try:
        together = median_seconds(cpu, torch.float32, times=15)
        torch.set_num_threads(1)
        alone = median_seconds(cpu, torch.float32, times=15)
    finally:
        torch.set_num_threads(all_of_them)
    return all_of_them if alone > 1.3 * together else 1


def median_seconds(device: torch.device, dtype: torch.dtype, times: int = 5, rows: int = 64, width: int = 256) -> float:
    """Of a layer of a small network."""
    a, b = torch.randn(rows, width, device=device, dtype=dtype), torch.randn(width, width, device=device, dtype=dtype)
    torch.tanh(a @ b)
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        torch.tanh(a @ b)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return sorted(seconds)[times // 2]


@contextmanager
def threads(number: int | str) -> Iterator[None]:
    """Torch's threads for the moment, and put back."""
    before = torch.get_num_threads()
    if isinstance(number, int):
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def memory_kept() -> Iterator[None]:
    """Memory that a step frees stays with this process for the next step, where the C library can be told so (glibc).

    As it is, a tensor of a few megabytes is new memory from the system each time, which has to be cleared page by page.
    benchmarks/speed.py compares: a tenth more pictures a second in training a convolutional network, none in a small MLP.
    """
    allocator = ctypes.CDLL(None) if sys.platform == "linux" else None
    if allocator is None or not hasattr(allocator, "mallopt") or not hasattr(allocator, "malloc_trim"):
        yield
        return
    for option, size in ((_MMAP_THRESHOLD, 1024 * _MB), (_TRIM_THRESHOLD, 2047 * _MB), (_TOP_PAD, 64 * _MB)):
        allocator.mallopt(option, size)
    try:
        yield
    finally:  # where glibc's own adjustment ends up, and what is free goes back
        for option, size in ((_MMAP_THRESHOLD, 32 * _MB), (_TRIM_THRESHOLD, 64 * _MB), (_TOP_PAD, 0)):
            allocator.mallopt(option, size)
        allocator.malloc_trim(0)


def compiled(
    loss: Callable[[T], Tensor], device: torch.device, watch: Callable[[Mapping[str, Any]], None]
) -> Callable[[T], Tensor]:
    """The same function as one graph, forwards and backwards: on a GPU a small network's time is that of launching its
    kernels one by one, and a captured graph is launched at once.

    What changes from step to step (the size of an epoch's last batch, the weight of an annealed KL) becomes an input of the
    graph when it first does. Where this machine has no compiler, ``watch`` is told and the steps are taken one by one.
    """
    # Here: torch's compiler takes a second to load, which no verb but a compiled fit should wait for.
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import InductorError

    mode = "reduce-overhead" if device.type == "cuda" else "default"
    graph: Callable[[T], Tensor] | None = torch.compile(loss, mode=mode)

    def step(batch: T) -> Tensor:
        nonlocal graph
        if graph is None:
            return loss(batch)
        if device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call] # the last step's values may be written over
        try:
            return graph(batch)
        except (TorchDynamoException, InductorError) as error:
            graph = None
            why = next(iter(str(error).strip().splitlines()), type(error).__name__)
            watch({"event": "not compiled", "why": why})
            return loss(batch)

    return step
