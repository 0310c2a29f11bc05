"""Does the doctor find what is wrong, and only that? Faults planted in small models, healthy ones beside them, and its advice.

    python benchmarks/doctor.py --seeds 3
    python benchmarks/doctor.py --data mine.csv          # any table in place of scikit-learn's breast cancer
    python benchmarks/doctor.py --who cure               # a collapsed model, cured as the doctor says

``faults``: every fault is planted in a model that is otherwise fitted as usual: an option that is wrong, rows that are, or
weights that were changed after training. It is found if a finding has the planted name; every other finding is a false alarm,
unless it is one of those that the fault brings with it (named beside it here, before any run). ``healthy``: models of usual
settings that were trained to the end; every finding is a false alarm. Precision = found / (found + false alarms), recall =
found / planted, over all seeds. Pictures are scikit-learn's digits, tables its breast cancer and synthetic ones. Thresholds
were set on --seed0 1000, and seeds 0, 10 and 20 were looked at once; the figures are of seeds 30, 31, ...

``cure``: a decoder so strong that it does without z (12 words, each read beside those before it, which tell the row's style
as well) is fitted; the options that the doctor prints are set, and it is fitted again. Active units, ELBO and the
importance-weighted bound (64 draws) on the same held-out rows, before and after; differences are paired.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from record import Recorder, arguments, machine
from sklearn.datasets import load_breast_cancer, load_digits

import latelier
from latelier.data.schema import Schema
from latelier.doctor import Diagnosis
from latelier.kinds import KINDS
from latelier.model import Model, gather
from latelier.spec import DataSpec

SMALL = {"network.name": "mlp", "network.hidden": (128, 128), "latent.dims": 8, "train.threads": 1}

# A decoder that needs no z: each word is read beside those before it, long enough for z to be given up.
STRONG = {
    "network.name": "autoregressive",
    "latent.dims": 4,
    "train.rate": 5e-3,
    "train.epochs": 40,
    "train.patience": None,
    "data.holdout": 0.25,
}


@dataclass(frozen=True)
class Case:
    """A model and how it came about: ``rows`` (seed) are fitted with ``settings``; ``spoil`` changes the model afterwards, or
    gives other rows to look at. ``name`` is the planted fault ("" for a healthy model), ``also`` what it may bring along."""

    title: str
    name: str
    rows: Callable[[int], Any]
    settings: dict[str, Any] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    spoil: Callable[[Model, Any], Any] = lambda model, rows: rows
    schema: Callable[[Any], Any] | None = None


def main() -> None:
    parser = arguments(__doc__, seeds=3, budget=20.0)
    parser.add_argument("--who", default="faults,healthy,cure", help="faults, healthy, cure, with commas between")
    parser.add_argument("--seed0", type=int, default=30, help="the first seed (thresholds were set on 1000)")
    parser.add_argument("--only", default="", help="cases whose title holds this")
    options = parser.parse_args()
    recorder = Recorder(options.json)
    print(machine())
    table = real_table(options.data)
    if "faults" in options.who or "healthy" in options.who:
        consult(options, table, recorder)
    if "cure" in options.who:
        for seed in range(options.seed0, options.seed0 + options.seeds):
            cure(seed, recorder)


def consult(options: argparse.Namespace, table: pd.DataFrame, recorder: Recorder) -> None:
    planted = found = alarms = healthy = clean = 0
    begun = time.monotonic()
    for seed in range(options.seed0, options.seed0 + options.seeds):
        for case in (*faults(table), *sound(table)):
            if ("healthy" if not case.name else "faults") not in options.who or options.only not in case.title:
                continue
            if time.monotonic() - begun > 60 * options.budget:
                print(f"SKIPPED {case.title}, seed {seed}: the budget of {options.budget:g} minutes is spent")
                continue
            diagnosis, seconds = diagnosed(case, seed)
            false = [n for n in diagnosis.names if n != case.name and n not in case.also]
            alarms += len(false)
            if case.name:
                planted, found = planted + 1, found + (case.name in diagnosis.names)
                verdict = "found" if case.name in diagnosis.names else "MISSED"
            else:
                healthy, clean = healthy + 1, clean + (not false)
                verdict = "nothing found" if not diagnosis.names else "FALSE ALARM"
            others = [n for n in diagnosis.names if n != case.name and n not in false]
            told = f"; with it: {', '.join(others)}" if others else ""
            told += f"; FALSE: {', '.join(false)}" if false else ""
            print(
                f"  {case.title:<44} {case.name or 'healthy':<26} seed {seed:<5} {verdict}{told} ({seconds:.1f} s)",
                flush=True,
            )
            for finding in diagnosis.findings:
                if finding.name == case.name or finding.name in false:
                    print(f"      {finding.name}: {finding.evidence}")
    recalled = found / planted if planted else None
    precise = found / (found + alarms) if found + alarms else None
    recorder.add("planted faults", f"{planted} models", "doctor", options.seed0, float(planted), "faults")
    recorder.add("recall", f"{planted} models", "doctor", options.seed0, recalled, "share")
    recorder.add("precision", f"{planted + healthy} models", "doctor", options.seed0, precise, "share")
    recorder.add(
        "healthy models without an alarm", f"{healthy} models", "doctor", options.seed0, float(clean), "models"
    )


def diagnosed(case: Case, seed: int) -> tuple[Diagnosis, float]:
    begun = time.process_time()
    rows = case.rows(seed)
    with tempfile.TemporaryDirectory() as folder:
        settings = {**SMALL, "train.seed": seed, **case.settings}
        if case.schema is None:
            try:
                model = latelier.fit(rows, out=Path(folder, "m"), settings=settings, report=False)
            except latelier.BadInput:
                model = Model.of_run(Path(folder, "m"))
        else:
            model = fitted_by(case.schema, rows, settings, Path(folder, "m"))
        looked_at = case.spoil(model, rows)
        return model.doctor(looked_at), time.process_time() - begun


def fitted_by(change: Callable[[Any], Any], rows: Any, settings: dict[str, Any], folder: Path) -> Model:
    """The same under a schema that was changed by hand."""
    from latelier.build import fit_to_data
    from latelier.train import train

    kind = KINDS["tables"]
    schema: Schema = change(kind.scan(rows, DataSpec()))
    spec, schema = fit_to_data(settings, kind, schema, schema.rows)
    train(spec, schema, gather(spec, schema, rows), folder)
    return Model.load(folder)


def faults(table: pd.DataFrame) -> Iterator[Case]:
    """What is planted, where, and under which name it must be found."""
    some = {"train.epochs": 60, "train.patience": 15}
    yield Case(
        "a decoder that reads earlier columns",
        "posterior collapse",
        sentences,
        STRONG,
    )
    yield Case("weights of z set to 0", "decoder ignores z", digits, some, ("underfitting",), without_z)
    yield Case(
        "weights of c set to 0",
        "decoder ignores c",
        labelled,
        {**some, "data.given": ("label",)},
        ("underfitting", "overfitting"),
        without_c,
    )
    yield Case("beta 20", "KL weight too large", digits, {**some, "objective.beta": 20.0}, ("underfitting",))
    yield Case("beta 0.01", "KL weight too small", digits, {**some, "objective.beta": 0.01})
    yield Case("free nats 8", "free nats above the KL", digits, {**some, "objective.free_nats": 8.0})
    yield Case(
        "a plain autoencoder's codes",
        "prior holes",
        digits,
        {**some, "latent.name": "point"},
        ("overfitting", "mode dropping"),
    )
    yield Case(
        "one latent dimension for digits", "over-smooth output", digits, {**some, "latent.dims": 1}, ("prior holes",)
    )
    yield Case(
        "an output scale of 1",
        "miscalibrated likelihood",
        digits,
        {**some, "likelihood.image": "gaussian", "head.image.scale": 1.0},
        ("mode dropping",),
    )
    yield Case("columns that follow from each other", "variance at its floor", exact, {"train.epochs": 100})
    yield Case("Bernoulli on greys", "wrong likelihood", digits, {**some, "likelihood.image": "bernoulli"})
    yield Case(
        "a density on counts",
        "wrong likelihood",
        counts,
        {**some, "data.families": {"visits": "real"}, "data.choose": "rule"},
    )
    yield Case(
        "a normal density on amounts with many zeros",
        "wrong likelihood",
        amounts,
        {**some, "data.families": {"paid": "real"}, "data.choose": "rule"},
        ("variance at its floor",),
    )
    yield Case("columns as they are", "unnormalised input", uneven, some, ("underfitting", "overfitting"), schema=raw)
    yield Case("one value of 1e7", "huge values", spoilt, some, ("NaN in training",), schema=raw)
    yield Case(
        "digits 0 to 4, looked at with all ten",
        "mode dropping",
        lambda seed: digits(seed)[load_digits().target < 5],
        some,
        ("miscalibrated likelihood", "over-smooth output", "prior holes"),
        lambda model, rows: digits(0),
    )
    yield Case(
        "four of six clusters of rows",
        "mode dropping",
        lambda seed: clusters(seed, 4),
        some,
        ("miscalibrated likelihood", "over-smooth output", "prior holes"),
        lambda model, rows: clusters(model.spec.train.seed, 6),
    )
    yield Case(
        "60 rows and a large network",
        "overfitting",
        lambda seed: table.sample(300, random_state=seed),
        {
            "network.hidden": (512, 512),
            "train.epochs": 200,
            "train.holes": 0.0,
            "data.holdout": 0.8,
            "train.patience": None,
        },
    )
    yield Case("3 epochs", "too few epochs", digits, {"train.epochs": 3}, ("underfitting",))
    yield Case("8 epochs", "too few epochs", digits, {"train.epochs": 8}, ("underfitting",))
    yield Case(
        "a rate of 0.3",
        "learning rate too high",
        digits,
        {"train.epochs": 25, "train.rate": 0.3, "train.patience": None},
    )
    yield Case("a rate of 1e-5", "learning rate too low", digits, {"train.epochs": 60, "train.rate": 1e-5})
    yield Case(
        "a rate of 1e4, without a limit on gradients",
        "NaN in training",
        digits,
        {"train.epochs": 5, "train.rate": 1e4, "train.clip": 1e30},
        ("too few epochs", "posterior collapse"),
    )
    yield Case("rows twice over", "leak of duplicated rows", twice(table), {"train.epochs": 100})
    yield Case(
        "a column that numbers the rows", "ID-like column", numbered(table), {"train.epochs": 100}, ("overfitting",)
    )
    yield Case("a column of one value", "constant column", lambda seed: table.assign(batch=7), {"train.epochs": 100})
    yield Case(
        "a holdout of 2 %", "too few held-out rows", lambda seed: table, {"train.epochs": 100, "data.holdout": 0.02}
    )


def sound(table: pd.DataFrame) -> Iterator[Case]:
    """Models with nothing wrong."""
    yield Case("digits, MLP", "", digits, {"train.epochs": 80})
    yield Case("digits, given their label", "", labelled, {"train.epochs": 80, "data.given": ("label",)})
    yield Case("digits, a ladder", "", digits, {"train.epochs": 80, "latent.name": "ladder", "latent.rungs": (4, 8)})
    yield Case("digits, IWAE", "", digits, {"train.epochs": 50, "objective.name": "iwae", "objective.draws": 5})
    yield Case(
        "digits, convolutions",
        "",
        digits,
        {"train.epochs": 80, "network.name": "conv", "network.channels": (8, 16), "network.hidden": (64,)},
    )
    yield Case("the table, as it comes", "", lambda seed: table, {"network.hidden": (128, 128), "latent.dims": 8})
    yield Case("five factors, ten columns", "", factors, {})
    yield Case("counts, words and numbers", "", mixed, {})
    yield Case("counts, words and numbers with holes", "", lambda seed: holed(mixed(seed), seed), {})


def cure(seed: int, recorder: Recorder) -> None:
    """From a collapsed model to one that follows the doctor's advice."""
    rows = sentences(seed)
    settings = {**SMALL, **STRONG, "train.seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        before = latelier.fit(rows, out=Path(folder, "before"), settings=settings, report=False)
        finding = next((f for f in before.doctor(rows).findings if f.name == "posterior collapse"), None)
        if finding is None:
            print(f"  seed {seed}: the model did not collapse ({before.figures['active']} active units)")
            return
        print(f"  seed {seed}: {finding.evidence}\n    {finding.command}")
        after = latelier.fit(rows, out=Path(folder, "after"), settings={**settings, **finding.changes}, report=False)
        data, _ = before.rows_at_hand(rows)
        held = before.kind.present(before.stored(before.schema.refine(data.held)), before.schema)
        scores = {"before": before.score(held, draws=64), "after": after.score(held, draws=64)}
        for who, model in (("before", before), ("after", after)):
            figures = model.evaluate(held, draws=64)
            recorder.add("active units", "sentences", who, seed, float(figures.active), f"of {figures.units}")
            recorder.add("KL", "sentences", who, seed, figures.kl, "nats/row")
            recorder.add("ELBO", "sentences", who, seed, figures.elbo, "nats/row")
            recorder.add("IW-64", "sentences", who, seed, figures.iw, "nats/row")
        lower = {w: m.score(held, draws=1) for w, m in (("before", before), ("after", after))}
        change = lower["after"] - lower["before"]
        recorder.add("ELBO, after less before", "sentences", "after", seed, float(change.mean()), "nats/row")
        recorder.add(
            "its standard error", "sentences", "after", seed, float(change.std() / len(change) ** 0.5), "nats/row"
        )
        gain = scores["after"] - scores["before"]
        recorder.add("IW-64, after less before", "sentences", "after", seed, float(gain.mean()), "nats/row")
        recorder.add("its standard error", "sentences", "after", seed, float(gain.std() / len(gain) ** 0.5), "nats/row")


def real_table(path: Path | None) -> pd.DataFrame:
    """Breast cancer of scikit-learn, or the table at ``path``."""
    if path is None:
        return load_breast_cancer(as_frame=True).frame
    kind = KINDS["tables"]
    schema = kind.scan(path, DataSpec())
    return pd.concat([kind.present(batch, schema) for batch in kind.read(path, schema)], ignore_index=True)


def digits(seed: int) -> np.ndarray:
    return (load_digits().images * 15).astype(np.uint8)


def labelled(seed: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="latelier-doctor-"))
    np.savez(folder / "digits.npz", images=digits(seed), labels=load_digits().target)
    return folder / "digits.npz"


def factors(seed: int, rows: int = 2000) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 5)) @ random.normal(size=(5, 10)) + 0.7 * random.normal(size=(rows, 10))
    return pd.DataFrame(x, columns=[f"x{i}" for i in range(10)])


def mixed(seed: int, rows: int = 2000) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame, hidden = factors(seed, rows), random.normal(size=rows)
    frame["x0"] += hidden
    frame["visits"] = random.poisson(np.exp(1.5 + 0.8 * hidden))
    frame["colour"] = np.array(["red", "green", "blue", "grey"])[
        np.digitize(hidden + 0.5 * random.normal(size=rows), [-1, 0, 1])
    ]
    frame["member"] = random.random(rows) < 1 / (1 + np.exp(-2 * hidden))
    frame["income"] = np.exp(10 + hidden + 0.5 * random.normal(size=rows))
    return frame


def holed(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    return frame.mask(np.random.default_rng(seed + 1).random(frame.shape) < 0.1)


def sentences(seed: int, rows: int = 6000, length: int = 12, words: int = 4) -> pd.DataFrame:
    """Rows like text: each word by the word before it, and a little by the row's style, three hidden numbers."""
    random = np.random.default_rng(seed)
    style = random.normal(size=(rows, 3)) @ (0.3 * random.normal(size=(3, words)))
    after = random.normal(size=(words, words))
    found = np.zeros((rows, length), int)
    for i in range(length):
        logits = style + (after[found[:, i - 1]] if i else 0.0)
        found[:, i] = (logits + random.gumbel(size=logits.shape)).argmax(1)
    return pd.DataFrame(np.array(list("abcdefgh"))[found], columns=[f"w{i:02}" for i in range(length)])


def counts(seed: int) -> pd.DataFrame:
    return mixed(seed)[["x0", "x1", "x2", "x3", "visits"]]


def amounts(seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = factors(seed)[["x0", "x1", "x2", "x3"]]
    frame["paid"] = np.where(random.random(len(frame)) < 0.5, 0.0, np.exp(random.normal(2, 0.5, len(frame)))).round(2)
    return frame


def uneven(seed: int) -> pd.DataFrame:
    return factors(seed) * np.logspace(-3, 3, 10) + np.logspace(-3, 3, 10)[::-1]


def spoilt(seed: int) -> pd.DataFrame:
    frame = factors(seed)
    frame.iloc[17, 3] = 1e7
    return frame


def raw(schema: Any) -> Any:
    """Numbers go in as they stand."""
    fields = []
    for one in schema.fields:
        if one.support == "real":
            n = one.shape[0]
            plain = one.transform.model_copy(
                update={"loc": (0.0,) * n, "scale": (1.0,) * n, "bend": (0.0,) * n, "log": (), "margin": ()}
            )
            one = one.model_copy(update={"transform": plain, "likelihood": "gaussian"})
        fields.append(one)
    return schema.with_fields(tuple(fields))


def exact(seed: int) -> pd.DataFrame:
    """Eight columns of two numbers, without noise."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(random.normal(size=(2000, 2)) @ random.normal(size=(2, 8)), columns=[f"x{i}" for i in range(8)])


def clusters(seed: int, number: int) -> pd.DataFrame:
    """The first ``number`` of six clusters in four columns."""
    random = np.random.default_rng(seed)
    centres = 6 * random.normal(size=(6, 4))
    return pd.DataFrame(centres[random.integers(0, number, 1500)] + random.normal(size=(1500, 4)), columns=list("abcd"))


def twice(table: pd.DataFrame) -> Callable[[int], pd.DataFrame]:
    return lambda seed: pd.concat([table, table.sample(frac=0.3, random_state=seed)], ignore_index=True)


def numbered(table: pd.DataFrame) -> Callable[[int], pd.DataFrame]:
    return lambda seed: table.assign(number=np.random.default_rng(seed).permutation(len(table)) + 5000)


def without_z(model: Model, rows: Any) -> Any:
    with torch.no_grad():
        width = sum(int(np.prod(block.shape)) for block in model.vae.latents.blocks)
        model.vae.decoder.net.layers[0].linear.weight[:, :width] = 0
    return rows


def without_c(model: Model, rows: Any) -> Any:
    with torch.no_grad():
        width = sum(int(np.prod(block.shape)) for block in model.vae.latents.blocks)
        model.vae.decoder.net.layers[0].linear.weight[:, width:] = 0
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
