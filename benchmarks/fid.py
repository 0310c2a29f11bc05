"""How like test pictures the samples of one decoder are, under N(0, I) and under priors fitted anew to its codes.

    python benchmarks/fid.py --data MNIST_FOLDER --budget 10
    python benchmarks/fid.py --data MNIST_FOLDER --budget 10 --also vamp,critic
    python benchmarks/fid.py --data MNIST_FOLDER --budget 10 --net codes --priors transformer --pictures samples

One model is trained by ``latelier.fit`` on one thread for ``--budget`` minutes. Its samples (the centre of p(x | z), z from the
prior) are compared with as many test pictures, which nothing was trained or chosen on: FID, KID, density and coverage, by the
features of a network of ours that tells the labels of training pictures apart (or their turns where there are none; Inception's
weights are not at hand, so these FIDs compare rows of this table and are not those of papers). Then the prior is fitted anew,
each candidate by itself and ``auto``, chosen by held-out training rows; encoder and decoder are the same for all of these.
``--also`` names models that are trained anew for as long. The floor is as many training pictures in place of samples.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import re
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nats import WHO, parts
from PIL import Image
from record import Recorder, arguments, default_data, machine

import latelier
from latelier.fidelity.extractor import Extractor, trained
from latelier.fidelity.likeness import Beside
from latelier.kinds import KINDS
from latelier.kinds.images import Images
from latelier.latents.priors import REFITTED

ALSO: dict[str, dict[str, Any]] = {  # trained anew, the rest as the model that is refitted
    "vamp": {"latent.prior": "vamp", "latent.components": 500},
    "mixture-joint": {"latent.prior": "mixture", "latent.components": 500},
    "mmd": {"objective.name": "mmd"},
    "critic": {"objective.critic": 1.0},
}


def main() -> None:
    parser = arguments(__doc__, seeds=1, budget=5.0)
    parser.add_argument("--net", default="mlp", help=f"of {', '.join(WHO)}, as in nats.py")
    parser.add_argument("--priors", default=f"{','.join(REFITTED['real'])},auto", help="fitted anew, between commas")
    parser.add_argument("--also", default="", help=f"trained anew, between commas, of {', '.join(ALSO)}")
    parser.add_argument("--rows", type=int, default=10_000, help="pictures of either sort")
    parser.add_argument("--pictures", type=Path, help="folder for 10 x 20 samples of each, as PNG")
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = Path(options.data) if options.data else default_data("mnist")
    recorder = Recorder(options.json)
    print(machine())
    for seed in range(options.seeds):
        run(path, seed, options, recorder)


def run(path: Path, seed: int, options: Any, recorder: Recorder) -> None:
    train, held, test, protocol = parts(path, seed)
    network = feature_network(path, np.concatenate([train, held]), seed)
    test = test[np.random.default_rng(seed).permutation(len(test))[: options.rows]]
    real = network.features([torch.from_numpy(test)])
    print(f"{path.name} | {options.net} | seed {seed} | {protocol}, {options.budget:g} min of one thread")
    print(f"features: {network.name}; {len(test)} pictures of either sort", flush=True)
    some = train[np.random.default_rng(seed).permutation(len(train))[: len(test)]]
    report("training rows", None, Beside.of(real, network.features([torch.from_numpy(some)])), path, seed, recorder)
    settings = {**WHO[options.net], "train.seed": seed, "train.minutes": options.budget}
    settings |= {"train.epochs": 100_000, "train.patience": None, "latent.refit": "no"}

    def shown(who: str, model: latelier.Model) -> None:
        samples = model.sample(len(test), seed=seed)
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            name = "-".join(re.findall(r"\w+", f"{path.stem} {who}"))
            sheet(samples[:200]).save(options.pictures / f"{name}.png")
        beside = Beside.of(real, network.features([pictures(samples)]))
        report(who, float(model.figures["elbo"]), beside, path, seed, recorder)

    with tempfile.TemporaryDirectory() as folder:
        fitted: dict[str, Any] = dict(test=held, report=False)
        model = latelier.fit(train, out=Path(folder, "model"), settings=settings, **fitted)
        shown("every code alike" if model.spec.latent.name == "codes" else "N(0, I)", model)
        for name in filter(None, options.priors.split(",")):
            other, begun = latelier.load(Path(folder, "model")), time.monotonic()
            other.folder = None  # the next begins with N(0, I) again
            found = other.refit(train, held, name)
            print(*(f"    {line}" for line in found.evidence()), f"    ({time.monotonic() - begun:.0f} s)", sep="\n")
            shown(f"refit {name}" + (f" ({other.spec.latent.prior})" if name == "auto" else ""), other)
        for name in filter(None, options.also.split(",")):
            shown(name, latelier.fit(train, out=Path(folder, name), settings={**settings, **ALSO[name]}, **fitted))


def report(who: str, elbo: float | None, beside: Beside, path: Path, seed: int, recorder: Recorder) -> None:
    for what, value, unit in [
        ("FID, own features", beside.fid, ""),
        ("KID, own features", beside.kid, ""),
        ("precision", beside.prdc.precision, "share"),
        ("recall", beside.prdc.recall, "share"),
        ("density", beside.prdc.density, ""),
        ("coverage", beside.prdc.coverage, "share"),
        *([] if elbo is None else [("-ELBO, held-out training rows", -elbo, "nats")]),
    ]:
        recorder.add(what, path.name, who, seed, value, unit)


def pictures(rows: np.ndarray[Any, Any]) -> torch.Tensor:
    """(N, H, W) or (N, H, W, C), levels 0 to 255, as ``sample`` gives them -> (N, C, H, W)"""
    x = torch.from_numpy(np.asarray(rows))
    return x[:, None] if x.ndim == 3 else x.movedim(-1, 1)


def sheet(rows: np.ndarray[Any, Any]) -> Image.Image:
    """(N, H, W) or (N, H, W, C) -> twenty in a row; what fills no row is left out."""
    across = min(20, len(rows))
    rows = rows[: len(rows) // across * across]
    padded = np.pad(rows, [(0, 0), (1, 1), (1, 1)] + [(0, 0)] * (rows.ndim - 3), constant_values=128)
    cells = padded.reshape(-1, across, *padded.shape[1:]).swapaxes(1, 2)
    return Image.fromarray(cells.reshape(-1, across * padded.shape[2], *padded.shape[3:]))


def feature_network(path: Path, train: np.ndarray[Any, Any], seed: int) -> Extractor:
    """Trained on the training pictures; on their labels where all rows of the path are those, and it has some."""
    images = KINDS["images"]
    assert isinstance(images, Images)
    schema = images.scan(path, latelier.Spec().data)
    labels = images.labels(path, schema)
    if labels is None or schema.rows != len(train):
        return trained(torch.from_numpy(train), None, seed)
    rows = np.concatenate([batch.fields["image"].numpy() for batch in images.read(path, schema)])
    return trained(torch.from_numpy(rows), np.concatenate(list(labels)), seed)


if __name__ == "__main__":
    main()
