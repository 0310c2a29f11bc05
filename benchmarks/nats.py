"""Held-out likelihood of pictures in nats per picture (and bits per dimension), by the importance-weighted bound.

    python benchmarks/nats.py --data MNIST_FOLDER --budget 5 --who mlp
    python benchmarks/nats.py --data frey_faces.npz --budget 5 --who mlp,conv

Each model is trained by ``latelier.fit`` on one thread for ``--budget`` minutes of training time and then scored on test rows
that nothing was chosen on. Test rows are MNIST's own where the data are an MNIST folder, else a tenth of the rows drawn
by the seed; the best epoch is chosen on a held-out part of the training rows. Grey levels under a Bernoulli are
binarised anew at each step in training and once, by noise keyed to the picture, in the test.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import Recorder, arguments, default_data, machine

import latelier
from latelier.kinds import KINDS

# Chosen on training rows of MNIST that were held out for it (2,000 of the last 10,000), never on a test set.
WHO: dict[str, dict[str, Any]] = {
    "mlp": {
        "network": {"name": "mlp", "hidden": (300, 300), "gated": True, "norm": "none"},
        "latent.dims": 40,
        "objective": {"anneal": "linear", "anneal_share": 0.2},
        "train": {"batch": 200, "rate": 2e-3},
    },
    "ladder": {
        "network": {"name": "mlp", "hidden": (300, 300), "gated": True, "norm": "none"},
        "latent": {"name": "ladder", "rungs": (40, 40)},
        "objective": {"anneal": "linear", "anneal_share": 0.2},
        "train": {"batch": 200, "rate": 2e-3},
    },
    "hierarchy": {
        "network": {
            "name": "conv",
            "channels": (32, 48),
            "hidden": (256,),
            "blocks": 1,
            "norm": "group",
            "upsample": "transposed",
        },
        "latent": {"name": "hierarchy", "rungs": (16, 4, 2), "repeat": 1},
        "train": {"batch": 128, "rate": 2e-3},
    },
    "conv": {
        "network": {"name": "conv", "channels": (16, 32), "hidden": (256,), "blocks": 1, "skip": True},
        "latent.dims": 40,
        "train": {"batch": 128, "rate": 2e-3},
    },
}


def main() -> None:
    parser = arguments(__doc__, seeds=1, budget=5.0)
    parser.add_argument("--who", default="mlp", help=f"comma-separated, of {', '.join(WHO)}")
    parser.add_argument("--draws", type=int, default=1000, help="draws of the importance-weighted bound")
    parser.add_argument("--test-rows", type=int, default=0, help="look at the first so many test rows only (0: all)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = Path(options.data) if options.data else default_data("mnist")
    recorder = Recorder(options.json)
    print(machine())
    for who in options.who.split(","):
        found = [run(who, path, seed, options, recorder) for seed in range(options.seeds)]
        if len(found) > 1:
            print(
                f"{who}: mean of {len(found)} seeds {statistics.mean(found):.2f}, spread {statistics.stdev(found):.2f} nats"
            )


def run(who: str, path: Path, seed: int, options: Any, recorder: Recorder) -> float:
    train, test, protocol = parts(path, seed)
    if options.test_rows:
        test = test[: options.test_rows]
    settings = {**WHO[who], "train.seed": seed, "train.minutes": options.budget}
    settings |= {"train.epochs": 100_000, "train.patience": None}
    with tempfile.TemporaryDirectory() as folder:
        begun, computed = time.monotonic(), time.process_time()
        model = latelier.fit(
            train, out=Path(folder, "model"), settings=settings, holdout=protocol["holdout"], report=False
        )
        fitted, computed = time.monotonic() - begun, time.process_time() - computed
    begun = time.monotonic()
    figures = model.evaluate(test, draws=options.draws)
    assert figures.iw is not None and figures.iw_error is not None
    parameters = sum(p.numel() for p in model.vae.parameters())
    likelihood = model.schema.modelled[0].likelihood
    print(
        f"{path.name} | {who} ({likelihood}, {parameters:,} weights) | seed {seed} | {protocol['text']}, "
        f"{options.budget:g} min of one thread ({fitted / 60:.1f} with reading, "
        f"{computed / 60:.1f} of them on the processor), best of {model.figures['epoch']} epochs\n"
        f"  -log p(x) <= {-figures.iw:.2f} ± {figures.iw_error:.2f} nats (IW-{options.draws}, {figures.rows} test rows, "
        f"{time.monotonic() - begun:.0f} s), {figures.bits_per_dim:.3f} bits/dim; "
        f"-ELBO {-figures.elbo:.2f} ± {figures.elbo_error:.2f}, KL {figures.kl:.2f}, active {figures.active} of {figures.units}",
        flush=True,
    )
    for what, value, unit in [
        (f"-log p(x), IW-{options.draws} bound", -figures.iw, "nats"),
        ("standard error over rows", figures.iw_error, "nats"),
        ("-ELBO", -figures.elbo, "nats"),
        ("bits per dimension", figures.bits_per_dim, "bits/dim"),
        ("active units", figures.active, "units"),
        ("training", options.budget, "minutes"),
    ]:
        recorder.add(what, path.name, who, seed, value, unit)
    return -figures.iw


def parts(path: Path, seed: int) -> tuple[Any, Any, dict[str, Any]]:
    """(training pictures, test pictures, the protocol in words)."""
    images = KINDS["images"]
    schema = images.scan(path, latelier.Spec().data)
    rows = np.concatenate([batch.fields["image"].numpy() for batch in images.read(path, schema)])
    test_file = next(iter(sorted(path.glob("t10k-images*"))), None) if path.is_dir() else None
    if test_file is not None:
        test = np.concatenate([batch.fields["image"].numpy() for batch in images.read(test_file, schema)])
        return (
            rows,
            test,
            {"text": f"{len(rows)} training rows, 1/60 of them held out, own test set", "holdout": 1 / 60},
        )
    order = np.random.default_rng(seed).permutation(len(rows))
    held = max(1, len(rows) // 10)
    text = f"{len(rows) - held} training rows (a tenth held out), {held} test rows drawn by the seed"
    return rows[order[held:]], rows[order[:held]], {"text": text, "holdout": 0.1}


if __name__ == "__main__":
    main()
