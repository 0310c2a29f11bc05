"""How like test pictures the samples of one decoder are, under N(0, I) and under priors fitted anew to its codes.

    python benchmarks/fid.py --data MNIST_FOLDER --budget 10
    python benchmarks/fid.py --data MNIST_FOLDER --budget 10 --also vamp,critic

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

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nats import WHO, parts
from record import Recorder, arguments, default_data, machine

import latelier
from latelier.fidelity.extractor import Extractor, trained
from latelier.fidelity.likeness import Beside
from latelier.kinds import KINDS
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
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = Path(options.data) if options.data else default_data("mnist")
    recorder = Recorder(options.json)
    print(machine())
    for seed in range(options.seeds):
        run(path, seed, options, recorder)


def run(path: Path, seed: int, options: Any, recorder: Recorder) -> None:
    train, test, protocol = parts(path, seed)
    network = feature_network(path, train, seed)
    test = test[np.random.default_rng(seed).permutation(len(test))[: options.rows]]
    real = network.features([torch.from_numpy(test)])
    print(f"{path.name} | {options.net} | seed {seed} | {protocol['text']}, {options.budget:g} min of one thread")
    print(f"features: {network.name}; {len(test)} pictures of either sort", flush=True)
    some = train[np.random.default_rng(seed).permutation(len(train))[: len(test)]]
    report("training rows", None, Beside.of(real, network.features([torch.from_numpy(some)])), path, seed, recorder)
    settings = {**WHO[options.net], "train.seed": seed, "train.minutes": options.budget}
    settings |= {"train.epochs": 100_000, "train.patience": None}

    def shown(who: str, model: latelier.Model) -> None:
        samples = model.sample(len(test), seed=seed)
        beside = Beside.of(real, network.features([pictures(samples)]))
        report(who, float(model.figures["elbo"]), beside, path, seed, recorder)

    with tempfile.TemporaryDirectory() as folder:
        fitted = dict(holdout=protocol["holdout"], report=False)
        model = latelier.fit(train, out=Path(folder, "model"), settings=settings, **fitted)
        shown("N(0, I)", model)
        for name in filter(None, options.priors.split(",")):
            other, begun = latelier.load(Path(folder, "model")), time.monotonic()
            other.folder = None  # the next begins with N(0, I) again
            found = other.refit(train, prior=name)
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


def feature_network(path: Path, train: np.ndarray[Any, Any], seed: int) -> Extractor:
    """Trained on the training pictures of the path; on their labels where the path has some for exactly these rows."""
    images = KINDS["images"]
    schema = images.scan(path, latelier.Spec().data)
    found = images.labels(path, schema)
    labels = None if found is None else np.concatenate(list(found))
    return trained(torch.from_numpy(train), labels if labels is not None and len(labels) == len(train) else None, seed)


if __name__ == "__main__":
    main()
