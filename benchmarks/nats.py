"""Held-out likelihood of pictures in nats per picture (and bits per dimension), by the importance-weighted bound.

    python benchmarks/nats.py --data MNIST_FOLDER --budget 5 --who mlp
    python benchmarks/nats.py --data frey_faces.npz --budget 5 --who mlp,conv

Each model is trained by ``latelier.fit`` on one thread for ``--budget`` minutes of training time and then scored on test rows
that nothing was chosen on. Test rows are MNIST's own where the data are an MNIST folder, those of the file where it is a .mat
with train_data, val_data and test_data (Caltech silhouettes), else a tenth of the rows drawn by the seed; the best epoch is
chosen on a held-out part of the training rows, or the file's val_data. Grey levels under a Bernoulli are binarised anew at
each step in training and once, by noise keyed to the picture, in the test.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import contextlib
import io
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import Recorder, arguments, default_data, machine

import latelier
from latelier.build import build, fit_to_data
from latelier.kinds import KINDS
from latelier.store import Stored

FEW = 5_000  # below so many rows batches are of 32 (tried on held-out training rows of CIFAR-10, Frey faces and silhouettes)
# Chosen on training rows of MNIST that were held out for it, never on a test set.
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
    "vamp": {
        "network": {"name": "mlp", "hidden": (300, 300), "gated": True, "norm": "none"},
        "latent": {"dims": 40, "prior": "vamp", "components": 300},
        "objective": {"anneal": "linear", "anneal_share": 0.2},
        "train": {"batch": 200, "rate": 2e-3},
    },
    "ladder-vamp": {
        "network": {"name": "mlp", "hidden": (300, 300), "gated": True, "norm": "none"},
        "latent": {"name": "ladder", "rungs": (40, 40), "prior": "vamp", "components": 300},
        "objective": {"anneal": "linear", "anneal_share": 0.2},
        "train": {"batch": 200, "rate": 2e-3},
    },
    # After the minutes a transformer over codes is fitted, in a quarter of them at most; more draws leave the bound as it is.
    "codes": {
        "network": {
            "name": "conv",
            "channels": (16, 32, 64),
            "hidden": (64,),
            "norm": "group",
            "upsample": "transposed",
        },
        "latent": {"name": "codes", "codes": 256, "code_dims": 16, "attention": 96, "layers": 2},
        "train": {"batch": 128, "rate": 2e-3},
    },
    "hierarchy": {
        "network": {
            "name": "conv",
            "channels": (16, 32, 64),
            "hidden": (256,),
            "blocks": 1,
            "norm": "group",
            "upsample": "transposed",
        },
        "latent": {"name": "hierarchy", "rungs": (16, 8, 4, 2), "repeat": 1},
        "train": {"batch": 64, "rate": 2e-3},
    },
    # The networks of the hierarchy, below one vector.
    "level": {
        "network": {
            "name": "conv",
            "channels": (16, 32, 64),
            "hidden": (256,),
            "blocks": 1,
            "norm": "group",
            "upsample": "transposed",
            "skip": True,
        },
        "latent.dims": 40,
        "train": {"batch": 64, "rate": 2e-3},
    },
    "conv": {
        "network": {"name": "conv", "channels": (16, 32), "hidden": (256,), "blocks": 1, "skip": True},
        "latent.dims": 40,
        "train": {"batch": 128, "rate": 2e-3},
    },
}


def main() -> None:
    parser = arguments(__doc__, seeds=1, budget=5.0)
    parser.add_argument(
        "--who", default="mlp", help=f"comma-separated, of {', '.join(WHO)}, and pythae-mlp, pythae-conv for the peer"
    )
    parser.add_argument("--draws", type=int, default=1000, help="draws of the importance-weighted bound")
    parser.add_argument("--dropout", type=float, default=0.0, help="of the networks, for few rows")
    parser.add_argument(
        "--shift", type=int, default=0, help="move training pictures at random by at most so many pixels"
    )
    parser.add_argument("--flip", action="store_true", help="mirror training pictures at random")
    parser.add_argument(
        "--batch", type=int, default=0, help=f"rows of a batch; 0: each model's own, 32 below {FEW:,} rows"
    )
    parser.add_argument("--rate", type=float, default=0.0, help="of learning; 0: each model's own")
    parser.add_argument("--test-rows", type=int, default=0, help="look at the first so many test rows only (0: all)")
    options = parser.parse_args()
    if (options.shift or options.flip) and "pythae" in options.who:
        parser.error("the peer reads pictures as they are: leave out --shift and --flip")
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
    train, held, test, protocol = parts(path, seed)
    if options.test_rows:
        test = test[: options.test_rows]
    mine = who.removeprefix("pythae-")
    settings = {**WHO[mine], "train.seed": seed, "train.minutes": options.budget}
    settings |= {"train.epochs": 100_000, "train.patience": None}
    if options.batch or len(train) < FEW:
        settings["train.batch"] = options.batch or 32
    if options.rate:
        settings["train.rate"] = options.rate
    if options.dropout:
        settings["network.dropout"] = options.dropout
        protocol += f", dropout {options.dropout:g}"
    if options.shift or options.flip:
        settings |= {"data.shift": options.shift, "data.flip": options.flip}
        protocol += f", moved by {options.shift} pixels at most" + ", mirrored" * options.flip
    with tempfile.TemporaryDirectory() as folder:
        begun, computed = time.monotonic(), time.process_time()
        if who == mine:
            model = latelier.fit(train, test=held, out=Path(folder, "model"), settings=settings, report=False)
        else:
            model = pythae(train, held, settings, Path(folder))
        fitted, computed = time.monotonic() - begun, time.process_time() - computed
    begun = time.monotonic()
    figures = model.evaluate(test, draws=options.draws)
    assert figures.iw is not None and figures.iw_error is not None
    parameters = sum(p.numel() for p in model.vae.parameters())
    likelihood = model.schema.modelled[0].likelihood
    print(
        f"{path.name} | {who} ({likelihood}, {parameters:,} weights) | seed {seed} | {protocol}, "
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


def pythae(train: Any, held: Any, settings: dict[str, Any], folder: Path) -> latelier.Model:
    """Our networks, trained by pythae's trainer for the same minutes and measured by our bound: one Gaussian latent, Adam at
    the constant rate of 1e-3, pictures binarised anew each time, the best epoch by pythae's own held-out loss."""
    from pythae.data.datasets import BaseDataset, DatasetOutput
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    images = KINDS["images"]
    schema = images.scan(train, latelier.Spec().data)
    spec, schema = fit_to_data(settings, images, schema, len(train))
    assert spec.latent.name == "gaussian" and schema.modelled[0].likelihood == "bernoulli", "the peer has no other"
    torch.manual_seed(spec.train.seed)
    rows, looked = (
        torch.cat([batch.fields["image"] for batch in images.read(part, schema)]) / 255 for part in (train, held)
    )
    grey = bool(((rows > 0) & (rows < 1)).any())

    class Pictures(BaseDataset):
        def __getitem__(self, index: int) -> DatasetOutput:
            x = self.data[index]
            return DatasetOutput(data=torch.bernoulli(x) if grey else x, labels=self.labels[index])

    class Encoder(BaseEncoder):
        def __init__(self, vae: Any):
            super().__init__()
            self.net, self.block = vae.encoder.net, vae.latents.blocks[0]

        def forward(self, x: torch.Tensor) -> ModelOutput:
            q = self.block.posterior(x.new_zeros(len(x), 0), self.net(x, None), None)
            return ModelOutput(embedding=q.centre, log_covariance=2 * q.log_scale)

    class Decoder(BaseDecoder):
        def __init__(self, vae: Any):
            super().__init__()
            self.net = vae.decoder.net

        def forward(self, z: torch.Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=torch.sigmoid(self.net(z, None)))

    class Spent(Exception):
        """The minutes are over."""

    class Clock(TrainingCallback):
        def __init__(self) -> None:
            self.begun, self.epochs = time.monotonic(), 0

        def on_epoch_end(self, training_config: object, **others: object) -> None:
            self.epochs += 1
            if time.monotonic() - self.begun > 60 * spec.train.minutes:
                raise Spent

    vae = build(spec, schema)
    config = VAEConfig(input_dim=tuple(rows.shape[1:]), latent_dim=spec.latent.dims, reconstruction_loss="bce")
    peer = VAE(config, Encoder(vae), Decoder(vae))
    clock = Clock()
    trainer = BaseTrainer(
        peer,
        Pictures(rows, torch.zeros(len(rows))),
        Pictures(looked, torch.zeros(len(looked))),
        BaseTrainerConfig(
            output_dir=str(folder),
            num_epochs=100_000,
            learning_rate=1e-3,
            per_device_train_batch_size=spec.train.batch,
            per_device_eval_batch_size=1000,
            optimizer_cls="Adam",
            seed=spec.train.seed,
        ),
        callbacks=[clock],
    )
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet), contextlib.suppress(Spent):
        trainer.train()
    best = trainer._best_model
    vae.encoder.net, vae.latents.blocks[0], vae.decoder.net = best.encoder.net, best.encoder.block, best.decoder.net
    stored = Stored(spec, schema, {"epoch": clock.epochs})
    return latelier.Model(vae.eval(), stored)


def parts(path: Path, seed: int) -> tuple[Any, Any, Any, str]:
    """(training pictures, those that the best epoch is chosen by, test pictures, the protocol in words)."""
    cut = path if path.suffix == ".mat" else next(iter(path.glob("*split*.mat")), None)
    if cut is not None:
        from scipy.io import loadmat

        file = loadmat(cut)
        train, held, test = (pictures(file[f"{name}_data"]) for name in ("train", "val", "test"))
        return train, held, test, f"{len(train)} training rows, {len(held)} to choose by, own test set"
    images = KINDS["images"]
    schema = images.scan(path, latelier.Spec().data)
    rows = np.concatenate([batch.fields["image"].numpy() for batch in images.read(path, schema)])
    order = np.random.default_rng(seed).permutation(len(rows))
    test_file = next(iter(sorted(path.glob("t10k-images*"))), None) if path.is_dir() else None
    if test_file is not None:
        test = np.concatenate([batch.fields["image"].numpy() for batch in images.read(test_file, schema)])
        first, text = 0, f"{len(rows)} training rows, 1/60 of them held out, own test set"
        held = max(1, len(rows) // 60)
    else:
        first = max(1, len(rows) // 10)
        test, held = rows[order[:first]], max(1, (len(rows) - first) // 10)
        text = f"{len(rows) - first} training rows (a tenth held out), {first} test rows drawn by the seed"
    return rows[order[first + held :]], rows[order[first : first + held]], test, text


def pictures(flat: Any) -> Any:
    """(N, side * side) 0 or 1, column by column, -> (N, 1, side, side) grey levels."""
    side = math.isqrt(flat.shape[1])
    return np.ascontiguousarray(flat.reshape(-1, 1, side, side).swapaxes(2, 3).astype(np.uint8)) * 255


if __name__ == "__main__":
    main()
