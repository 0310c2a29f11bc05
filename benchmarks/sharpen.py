"""Sharper pictures on top of a bound: a patch critic, and a distance of features, beside the bound alone.

    python benchmarks/sharpen.py --budget 5                      # MNIST: plain, cure-blur, features (5 minutes each)
    python benchmarks/sharpen.py --data FOLDER --who plain,critic-0.1,critic-0.3 --likelihood logistic

All models have the same networks, rows, seed and minutes. FID, KID, precision, recall, density and coverage are of as many made
rows as are held out, beside those, by the features of one network that is trained on the training rows once (its name and digest
are printed); the floor is training rows in place of made ones. "lost" is the difference of the importance-weighted bounds from
the plain model's, row by row.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from record import Recorder, arguments, default_data, machine

import latelier
from latelier.fidelity.likeness import Beside
from latelier.kinds import KINDS

WHO: dict[str, dict[str, Any]] = {
    "plain": {},
    "cure-blur": {"cure": "blur"},
    "critic-0.03": {"objective.critic": 0.03},
    "critic-0.1": {"objective.critic": 0.1},
    "critic-0.3": {"objective.critic": 0.3},
    "critic-1": {"objective.critic": 1.0},
    "features-3": {"objective.perceptual": 3.0},
    "features-30": {"objective.perceptual": 30.0},
}


def main() -> None:
    parser = arguments(__doc__, seeds=1, budget=5.0)
    parser.add_argument("--rows", type=int, default=20_000, help="that train (default 20000)")
    parser.add_argument("--held", type=int, default=2_000, help="rows that are tested on, and made (default 2000)")
    parser.add_argument("--likelihood", help="of pixels; by the data if not given")
    parser.add_argument("--epochs", type=int, default=10_000, help="at most (default 10000: the minutes decide)")
    parser.add_argument("--network", choices=("conv", "mlp"), default="conv")
    parser.add_argument("--dims", type=int, help="of z (as fit would choose if not given)")
    parser.add_argument("--refit", help="a prior that is fitted anew to every model's codes before it is measured")
    parser.add_argument("--who", default="plain,cure-blur,features-30", help=f"comma-separated of {', '.join(WHO)}")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="latelier")
    recorder = Recorder(options.json)
    path = options.data or default_data("mnist")
    pictures, labels = read(path)
    order = np.random.default_rng(0).permutation(len(pictures))
    sizes = {"held": options.held, "choose": min(1_000, options.rows // 10), "train": options.rows}
    anew = f", prior fitted anew: {options.refit}" if options.refit else ""
    dims = f", {options.dims} dimensions of z" if options.dims else ""
    print(machine())
    print(
        f"protocol: {path.name}: {sizes['train']:,} rows train, {sizes['choose']:,} are looked at, {sizes['held']:,} are tested; "
        f"{options.budget:g} minutes each; {options.network}{dims}{anew}; IW bound of 50 draws of 500 rows"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder, first = Path(temporary), 0
        for name, size in sizes.items():
            ids = order[first : first + size]
            known = {} if labels is None else {"labels": labels[ids]}
            np.savez(folder / f"{name}.npz", images=pictures[ids], **known)
            first += size
        for seed in range(options.seeds):
            before: npt.NDArray[np.float64] | None = None
            for who in options.who.split(","):
                model = fitted(folder, WHO[who], seed, options)
                if options.refit:
                    print(
                        who,
                        *model.refit(folder / "train.npz", folder / "choose.npz", options.refit).evidence(),
                        sep="\n    ",
                    )
                held = folder / "held.npz"
                scores = np.asarray(model.score(pictures[order[:500]], draws=50), dtype=np.float64)
                found = model.likeness(held, options.held, folder / "train.npz", folder / "features.safetensors", seed)
                if before is None:
                    before = scores
                    print(f"features: {found.features}; digest {found.digest}; floor {told(found.floor)}")
                lost = before - scores
                for what, value, unit in [
                    ("IW bound", scores.mean(), "nats"),
                    ("lost, IW", lost.mean(), "nats"),
                    ("standard error of what is lost", lost.std() / len(lost) ** 0.5, "nats"),
                    ("epoch kept", model.figures["epoch"], ""),
                    ("FID", found.made.fid, ""),
                    ("coverage", found.made.prdc.coverage, ""),
                    ("precision", found.made.prdc.precision, ""),
                    ("recall", found.made.prdc.recall, ""),
                    ("density", found.made.prdc.density, ""),
                ]:
                    recorder.add(what, path.name, who, seed, float(value), unit)


def told(beside: Beside) -> str:
    return f"FID {beside.fid:.3f}, coverage {beside.prdc.coverage:.3f}, precision {beside.prdc.precision:.3f}"


def read(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64] | None]:
    """(pictures, their labels if there are some)."""
    images = KINDS["images"]
    schema = images.scan(path, latelier.Spec().data)
    rows = np.concatenate([batch.fields["image"].numpy() for batch in images.read(path, schema)])
    labels = images.labels(path, schema)
    return np.ascontiguousarray(rows.transpose(0, 2, 3, 1)), None if labels is None else np.concatenate(list(labels))


def fitted(folder: Path, settings: dict[str, Any], seed: int, options: argparse.Namespace) -> latelier.Model:
    own: dict[str, Any] = {
        "network.name": options.network,
        "train": {"minutes": options.budget, "epochs": options.epochs, "patience": None, "seed": seed, "rate": 2e-3},
    }
    if options.network == "mlp":
        own["network.hidden"] = (300, 300)
    if options.dims:
        own["latent.dims"] = options.dims
    if options.likelihood:
        own["likelihood.image"] = options.likelihood
    if "objective.perceptual" in settings:
        own["objective.perceptual_file"] = str(folder / "features.safetensors")
    return latelier.fit(
        folder / "train.npz",
        test=folder / "choose.npz",
        out=folder / "model",
        overwrite=True,
        report=False,
        settings={**own, **settings},
    )


if __name__ == "__main__":
    main()
