"""A feature network of our own for pictures, trained once on the data at hand and kept in a file. n = rows, C = channels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from latelier.errors import BadInput
from latelier.wording import percent

FORMAT = 1
FEATURES = 64
CHANNELS = (32, 64, 64)
STEPS, BATCH, RATE = 600, 64, 2e-3  # on 18,000 MNIST pictures 98.7 % of held-out labels after 16 s of one thread
ROWS = 20_000  # training rows at most
HELD = 0.1


@dataclass(frozen=True)
class Origin:
    """What a feature network was trained to tell apart, on what, and how well it does so on rows that it has not seen."""

    shape: tuple[int, int, int]
    task: str  # labels, or turns where there are none
    classes: int
    rows: int
    accuracy: float
    seed: int


class Extractor(nn.Module):
    """Pictures (n, C, H, W) of levels 0 to 255 -> (n, 64) features, from which one linear map tells the classes apart."""

    def __init__(self, origin: Origin):
        super().__init__()
        self.origin = origin
        channels, height, width = origin.shape
        body: list[nn.Module] = []
        for stride, out in zip((2 if min(height, width) >= 16 else 1, 2, 2), CHANNELS, strict=True):
            body += [nn.Conv2d(channels, out, 3, stride, 1), nn.GroupNorm(8, out), nn.ReLU()]
            channels = out
        left = [min(4, -(-side // 8)) for side in (height, width)]
        self.body = nn.Sequential(*body, nn.AdaptiveAvgPool2d((left[0], left[1])), nn.Flatten())
        self.neck = nn.Linear(channels * left[0] * left[1], FEATURES)
        self.head = nn.Linear(FEATURES, origin.classes)
        self.register_buffer("loc", torch.zeros(FEATURES))
        self.register_buffer("scale", torch.ones(FEATURES))

    loc: Tensor
    scale: Tensor

    def forward(self, pictures: Tensor) -> Tensor:
        return (self.raw(pictures) - self.loc) / self.scale

    def raw(self, pictures: Tensor) -> Tensor:
        """(n, 64) before they are standardised."""
        return self.neck(self.body(pictures.float() / 127.5 - 1))

    def logits(self, pictures: Tensor) -> Tensor:
        """(n, classes)"""
        return self.head(F.relu(self.raw(pictures)))

    @torch.no_grad()
    def standardise(self, pictures: Tensor) -> None:
        """Each feature gets mean 0 and deviation 1 over these, so that figures of two networks have about one scale."""
        raw = torch.cat([self.raw(part) for part in torch.split(pictures, 512)])
        self.loc.copy_(raw.mean(0))
        self.scale.copy_(raw.std(0).clamp_min(1e-6))

    def features(self, pictures: Iterable[Tensor]) -> npt.NDArray[np.float64]:
        """(N, 64) of all pictures, some at a time."""
        return features_of(self, pictures)

    def packed(self) -> bytes:
        """A safetensors file with the origin in its header."""
        page = {"latelier-features": json.dumps({"format": FORMAT, **asdict(self.origin)})}
        return save({k: v.contiguous() for k, v in sorted(self.state_dict().items())}, page)

    @property
    def name(self) -> str:
        """What it is, in words."""
        o = self.origin
        what = f"{o.classes} labels" if o.task == "labels" else f"{o.classes} turns of a picture"
        return f"own network, {FEATURES} features, told {what} apart on {o.rows:,} rows ({percent(o.accuracy, 1)} held out)"


class Maps(nn.Module):
    """What a feature network sees on its way, from pictures (n, C, H, W) in [0, 1]: its maps, fine to coarse."""

    def __init__(self, network: Extractor):
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> list[Tensor]:
        h, maps = 2 * pictures.float() - 1, []
        for layer in self.network.body:
            h = layer(h)
            if isinstance(layer, nn.ReLU):
                maps.append(h)
        return maps


def trained(
    pictures: Tensor, labels: npt.NDArray[np.int64] | None = None, seed: int = 0, steps: int = STEPS
) -> Extractor:
    """A network that tells apart the ``labels`` (N,) (-1: none) of ``pictures`` (N, C, H, W), levels 0 to 255; without labels
    by how much pictures were turned or mirrored (Gidaris et al. 2018). The same rows and seed give the same network.
    """
    names: npt.NDArray[np.int64] | None = None
    if labels is not None:
        names = np.unique(labels[labels >= 0])
    if labels is not None and names is not None and len(names) > 1:
        pictures = pictures[torch.from_numpy(labels >= 0)]
        classes = torch.from_numpy(np.searchsorted(names, labels[labels >= 0]))
    else:
        names, classes = None, None
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(pictures), generator=generator)[:ROWS]
    if len(order) < 2:
        raise BadInput(
            f"{len(order)} picture(s) are too few to train a feature network on; give more, or --features FILE"
        )
    held, training = order[: max(1, int(HELD * len(order)))], order[max(1, int(HELD * len(order))) :]
    channels, height, width = pictures.shape[1:]
    task, count = ("labels", len(names)) if names is not None else ("turns", 4)
    origin = Origin((channels, height, width), task, count, len(training), 0.0, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Extractor(origin)
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    for some in _some(training, steps, generator):
        x, y = _asked(pictures, classes, some, generator)
        loss = F.cross_entropy(network.logits(_moved(x, generator)), y)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    network.eval().standardise(pictures[training[:2048]])
    right = []
    with torch.no_grad():
        for some in torch.split(held, 512):
            x, y = _asked(pictures, classes, some, generator)
            right.append((network.logits(x).argmax(1) == y).double())
    network.origin = Origin(**{**asdict(origin), "accuracy": float(torch.cat(right).mean())})
    return network


@torch.no_grad()
def features_of(network: nn.Module, pictures: Iterable[Tensor]) -> npt.NDArray[np.float64]:
    """(N, features) by any network that takes pictures (n, C, H, W) of levels 0 to 255, some at a time."""
    parts = [network(part).flatten(1).double().cpu().numpy() for batch in pictures for part in torch.split(batch, 512)]
    return np.concatenate(parts) if parts else np.zeros((0, FEATURES))


def digest_of(network: nn.Module) -> str:
    """Of the weights: two figures can be compared if these twelve letters are the same."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(network.state_dict().items())}
    return hashlib.sha256(save(tensors)).hexdigest()[:12]


def read_extractor(path: Path, shape: tuple[int, ...]) -> Extractor:
    """The network of a file, for pictures of ``shape``. BadInput where it is none, or for pictures of another shape."""
    try:
        with safe_open(path, framework="pt") as file:
            page = json.loads((file.metadata() or {})["latelier-features"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if page.pop("format") != FORMAT:
            raise ValueError("another format")
        origin = Origin(**{**page, "shape": tuple(page["shape"])})
        network = Extractor(origin)
        network.load_state_dict(tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError):
        raise BadInput(
            f"{path}: not a feature network that evaluate wrote (any other can be brought as .onnx); name "
            "a .safetensors file that is not there yet, and one is trained"
        ) from None
    if origin.shape != tuple(shape):
        raise BadInput(
            f"{path}: reads pictures of {'x'.join(map(str, origin.shape))}, and these are "
            f"{'x'.join(map(str, shape))}; name another file"
        )
    return network.eval()


def _some(rows: Tensor, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches without repetition within an epoch."""
    batch, order = min(BATCH, len(rows)), rows[:0]
    for _ in range(steps):
        if len(order) < batch:
            order = rows[torch.randperm(len(rows), generator=generator)]
        yield order[:batch]
        order = order[batch:]


def _asked(pictures: Tensor, classes: Tensor | None, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures and what is to be said of them: their labels, or one of four turns."""
    x = pictures[rows]
    if classes is not None:
        return x, classes[rows]
    y = torch.randint(0, 4, (len(x),), generator=generator)
    return torch.stack([_turned(one, int(turn)) for one, turn in zip(x, y, strict=True)]), y


def _turned(x: Tensor, turn: int) -> Tensor:
    """By quarters of a circle; pictures that are not square are mirrored (left-right, upside down, both) in their place."""
    if x.shape[-1] == x.shape[-2]:
        return torch.rot90(x, turn, (-2, -1))
    return x.flip([axis for axis, bit in ((-1, 1), (-2, 2)) if turn & bit])


def _moved(x: Tensor, generator: torch.Generator) -> Tensor:
    """All pictures of a batch by up to a sixteenth of their side, so that features do not hang on exact places."""
    most = [side // 16 for side in x.shape[-2:]]
    by = [int(torch.randint(-m, m + 1, (), generator=generator)) for m in most]
    return torch.roll(x, by, (-2, -1))
