"""A feature network that somebody brings, such as Inception, as an ONNX file. n = rows, C = channels, F = features."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latelier.errors import BadInput

SUFFIX = ".onnx"
VALUES = 1 << 24  # numbers that go in at once: 62 colour pictures of 299 x 299


class Brought(nn.Module):
    """Pictures (n, C, H, W) of levels 0 to 255 -> (n, F), by the first output of the file's graph, flattened.

    An ONNX file says what is computed, not how, and nothing in it is executed but the operators of ONNX Runtime. The graph
    takes pictures (rows, channels, height, width) of floats from 0 to 1, or of levels as uint8. They are brought to the size that
    it asks for (bilinear, smoothed where they shrink); grey ones become three equal channels where it asks for three.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]):
        """``shape`` (C, H, W) of the pictures. BadInput where the file cannot be used for them."""
        super().__init__()
        data = path.read_bytes()
        self.digest = hashlib.sha256(data).hexdigest()[:12]
        self.session = _opened(path, data)
        (name, kind, dims), channels = _input(path, self.session), shape[0]
        self.input, self.levels = name, kind == "tensor(uint8)"
        batch, wanted, height, width = (d if isinstance(d, int) else None for d in dims)
        if wanted not in (None, channels) and (wanted, channels) != (3, 1):
            raise BadInput(f"--features {path}: reads pictures of {wanted} channels, and these have {channels}")
        self.batch, self.channels = batch, channels if wanted is None else wanted
        self.size = (shape[1] if height is None else height, shape[2] if width is None else width)
        self.path = path
        found = self(torch.zeros(2, *shape))
        if found.shape[0] != 2:
            raise BadInput(
                f"--features {path}: its first output has {found.shape[0]} rows for 2 pictures; one row a picture is needed"
            )
        self.name = f"{path.name}, {found.shape[1]:,} features"

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        parts = [self._run(part) for part in self._parts(pictures)]
        found = torch.cat(parts)
        if not bool(found.isfinite().all()):
            raise BadInput(
                f"--features {self.path}: some features are not finite; does it take values from 0 to 1 (or uint8)?"
            )
        return found

    def _parts(self, pictures: Tensor) -> Iterator[Tensor]:
        most = self.batch or max(1, VALUES // (self.channels * self.size[0] * self.size[1]))
        for part in torch.split(pictures.detach().cpu().float(), most):
            if part.shape[-2:] != self.size:
                part = F.interpolate(part, self.size, mode="bilinear", antialias=True)
            yield part.expand(-1, self.channels, -1, -1)

    def _run(self, part: Tensor) -> Tensor:
        rows = len(part)
        if self.batch and rows < self.batch:  # a graph for so many rows and no fewer
            part = torch.cat([part, part[-1:].expand(self.batch - rows, -1, -1, -1)])
        values = part.round().clamp(0, 255).to(torch.uint8) if self.levels else part / 255
        with _told(self.path):
            found = self.session.run(None, {self.input: np.ascontiguousarray(values.numpy())})[0]
        return torch.from_numpy(np.asarray(found, np.float32)).flatten(1)[:rows]


def _opened(path: Path, data: bytes) -> Any:
    """From the bytes, so that the digest is of all that is read."""
    try:
        import onnxruntime
    except ImportError:
        raise BadInput(f"--features {path}: reading it needs ONNX Runtime; pip install 'latelier[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 4
    with _told(path):
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What ONNX Runtime refuses, in one line. Its errors have no class in common."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    errors = tuple(e for e in vars(state).values() if isinstance(e, type) and issubclass(e, Exception))
    try:
        yield
    except errors as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"--features {path}: not an ONNX network that can be run ({reason})") from None


def _input(path: Path, session: Any) -> tuple[str, str, Sequence[object]]:
    """Name, type and dimensions of its one input."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in ("tensor(float)", "tensor(uint8)"):
        told = ", ".join(f"{i.name} {i.type} {'x'.join(map(str, i.shape))}" for i in inputs)
        raise BadInput(
            f"--features {path}: takes {told}; a network with one input is needed, float or uint8, (rows, channels, "
            "height, width)"
        )
    return inputs[0].name, inputs[0].type, inputs[0].shape
