"""The doctor on small models: a fault is found under its name, and every check ends on whatever there is to look at."""

from __future__ import annotations

import json
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits

import latelier
from latelier.build import fit_to_data
from latelier.cli import main
from latelier.cli.settings import pairs, settings_of
from latelier.doctor import CAUSES, CHECKS
from latelier.doctor.advice import SIZES, resized
from latelier.kinds import KINDS
from latelier.latents import LATENTS
from latelier.model import Model
from latelier.spec import Spec

TINY = {"network.name": "mlp", "network.hidden": (32, 32), "latent.dims": 3, "train.threads": 1}


def breast():
    return load_breast_cancer(as_frame=True).frame[["mean radius", "mean texture", "mean smoothness", "target"]]


def digits():
    return (load_digits().images[:600] * 15).astype(np.uint8)


def fitted(folder, rows, **settings):
    return latelier.fit(rows, out=folder / "m", settings={**TINY, "train.epochs": 6, **settings}, report=False)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doctor")
    breast().to_csv(folder / "rows.csv", index=False)
    return fitted(folder, folder / "rows.csv")


def test_every_fault_that_is_said_to_bring_others_is_one_that_is_looked_for() -> None:
    told = set(CAUSES) | {effect for effects in CAUSES.values() for effect in effects}
    names = set(CHECKS) | {
        *("learning rate too high", "learning rate too low", "too few epochs"),
        "miscalibrated likelihood",
        *("KL weight too large", "KL weight too small", "free nats above the KL"),
    }
    assert told <= names


CODES = {"latent.name": "codes", "latent.codes": 4, "latent.positions": 2, "latent.attention": 8, "latent.layers": 1}
MODELS = {
    "table": (breast, {}),
    "given": (breast, {"data.given": ("target",)}),
    "autoregressive": (breast, {"network.name": "autoregressive"}),
    "point": (digits, {"latent.name": "point"}),
    "ladder": (digits, {"latent.name": "ladder", "latent.rungs": (2, 3)}),
    "bernoulli": (digits, {"likelihood.image": "bernoulli"}),
    "label": (breast, {"data.label": "target"}),
    "label above codes": (breast, {"data.label": "target", **CODES}),
    "two rows": (lambda: breast().head(2), {}),
    "one column of words": (lambda: pd.DataFrame({"x": ["a", "b", "c"] * 30}), {}),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_check_ends_in_a_finding_a_pass_or_a_reason(name, tmp_path) -> None:
    rows, settings = MODELS[name]
    model = fitted(tmp_path, rows(), **settings)
    for x in (rows(), None):
        found = model.doctor(x)
        assert len(found.passed) + len(found.skipped) <= len(CHECKS)
        assert all(found.skipped.values())
        assert json.loads(json.dumps(found.plain(), allow_nan=False))["passed"] == list(found.passed)
        if x is None:  # they came from memory
            assert found.rows == (0, 0)
            assert "memory" in found.skipped["leak of duplicated rows"]
        elif len(x) > 2:
            assert found.rows[0] > 0 < found.rows[1]


def test_codes_that_collapsed_get_advice_that_codes_read(tmp_path) -> None:
    """Below a label too, whose classes are no units by which a collapse could be overlooked."""
    settings = {"latent.name": "codes", "latent.codes": 8, "latent.positions": 2, "data.label": "target"}
    model = fitted(tmp_path, breast(), **settings, **{"latent.refit": "no"})
    block = model.vae.latents.first
    with torch.no_grad():
        for parameter in block.posterior_net.parameters():
            parameter.zero_()
    finding = next(f for f in model.doctor(breast()).findings if f.name == "posterior collapse")
    assert "0 of 2 places" in finding.evidence
    assert set(finding.changes) == {"latent.code_dims", "train.rate"}


def test_every_latent_has_a_size_that_advice_can_change() -> None:
    assert set(SIZES) == set(LATENTS)
    for name in LATENTS:
        (change,) = resized(Spec.of({"latent.name": name}), 2).items()
        assert Spec.of(dict([change])).latent != Spec().latent


def test_rows_of_its_own_source_are_looked_at_without_being_named(table) -> None:
    assert table.doctor().rows == (57, 512)
    assert table.doctor(breast()).rows == (57, 512)  # the same rows, from memory
    assert table.doctor(breast().head(100)).rows == (100, 512)  # others, beside those of training


def test_rows_that_have_changed_since_are_not_taken_for_those_of_training(table, tmp_path) -> None:
    shutil.copytree(table.folder, tmp_path / "m")
    path = table.folder.parent / "rows.csv"
    before = path.read_bytes()
    try:
        breast().head(300).to_csv(path, index=False)
        found = Model.load(tmp_path / "m").doctor()
        assert found.rows == (0, 0)
        assert "holds other rows" in found.skipped["leak of duplicated rows"]
        path.unlink()
        assert "not there any more" in Model.load(tmp_path / "m").doctor().skipped["leak of duplicated rows"]
    finally:
        path.write_bytes(before)


def test_a_command_that_is_told_makes_the_spec_that_is_meant(table, tmp_path) -> None:
    """Every other setting is as it was."""
    model = fitted(tmp_path, digits(), **{"objective.beta": 30.0, "network.activation": "relu", "train.epochs": 30})
    finding = next(f for f in model.doctor(digits()).findings if f.name == "KL weight too large")
    words = shlex.split(finding.command)
    assert words[:4] == ["latelier", "fit", "DATA", "--out"]
    assigned = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    settings = settings_of(None, assigned, latelier.cli.settings.Settings())
    kind = KINDS[model.schema.kind]
    again, _ = fit_to_data(settings, kind, model.schema, model.schema.rows)
    expected = Spec.of(dict(finding.changes), model.spec.model_dump())
    machine = {"threads", "precision", "compiled", "device", "checkpoint"}
    assert again.model_dump(exclude={"train": machine}) == expected.model_dump(exclude={"train": machine})
    assert finding.options == ["--set objective.beta=1.0"]
    assert pairs([finding.options[0].removeprefix("--set ")], "--set", "NAME=VALUE") == {"objective.beta": "1.0"}


@pytest.mark.parametrize("name", ["codes", "point"])
def test_a_command_that_is_told_fits_a_prior_once_the_rest_is_trained_if_that_is_how_it_was(tmp_path, name) -> None:
    """And not with the rest from the start, as latent.prior asks for."""
    model = fitted(
        tmp_path, digits(), **(CODES if name == "codes" else {"latent.name": "point"}), **{"train.epochs": 2}
    )
    if name == "point":
        assert model.refit(digits(), prior="mixture").changed
    assert model.spec.latent.prior != "standard"
    words = shlex.split(Model.load(tmp_path / "m").doctor(digits()).findings[0].command)
    assert not any(word.startswith("latent.prior") for word in words)
    assert ("latent.refit=mixture" in words) == (name == "point")


def test_copies_among_the_held_out_rows_are_found(tmp_path) -> None:
    rows = load_breast_cancer(as_frame=True).data
    twice = pd.concat([rows, rows.head(200)], ignore_index=True)
    assert "leak of duplicated rows" in fitted(tmp_path, twice).doctor(twice).names
    few = pd.DataFrame({"a": ["x", "y"] * 200, "b": ["u", "v", "w", "u"] * 100})  # these agree by chance
    assert "leak of duplicated rows" in fitted(tmp_path / "few", few).doctor(few).skipped


def test_columns_that_say_nothing_are_named(tmp_path) -> None:
    rows = breast().assign(number=np.random.default_rng(0).permutation(569) + 7000, always=3)
    found = {f.name: f for f in fitted(tmp_path, rows).doctor(rows).findings}
    assert found["ID-like column"].changes == {"data.ignore": ["number"]}
    assert found["constant column"].changes == {"data.ignore": ["always"]}


@pytest.mark.parametrize(("times", "told"), [(1, "network.dropout"), (2, "data.shift")])
def test_pictures_that_are_learnt_by_heart_shall_be_moved_if_that_leaves_them_what_they_are(
    times, told, tmp_path
) -> None:
    rows = np.kron(digits()[:300], np.ones((times, times), np.uint8))  # 8 by 8 pixels, or 16 by 16
    settings = {"network.hidden": (256, 256), "train.epochs": 150, "data.holdout": 0.7, "train.patience": None}
    found = fitted(tmp_path, rows, **settings, **{"train.rate": 3e-3}).doctor(rows).findings
    finding = next(f for f in found if f.name == "overfitting")
    assert set(finding.changes) == {"train.patience", told}
    assert ("moved" in finding.try_) == (told == "data.shift")


def test_few_held_out_rows_are_told(tmp_path) -> None:
    found = fitted(tmp_path, breast(), **{"data.holdout": 0.02}).doctor(breast())
    assert "too few held-out rows" in found.names


def test_coin_flips_for_greys_are_a_wrong_likelihood(tmp_path) -> None:
    found = fitted(tmp_path, digits(), **{"likelihood.image": "bernoulli"}).doctor(digits()).findings
    finding = next(f for f in found if f.name == "wrong likelihood")
    assert finding.changes == {"likelihood.image": "logistic"}


@pytest.mark.parametrize(("column", "family"), [("counts", "count"), ("zeros", "amount")])
def test_densities_on_counts_and_on_a_repeated_end_are_wrong_likelihoods(column, family, tmp_path) -> None:
    random = np.random.default_rng(0)
    values = {
        "counts": random.poisson(20, 400),
        "zeros": np.where(random.random(400) < 0.5, 0.0, np.exp(random.normal(size=400))),
    }
    rows = pd.DataFrame({"x": values[column], "y": random.normal(size=400)})
    model = fitted(tmp_path, rows, **{"data.families": {"x": "real"}, "data.choose": "rule"})
    findings = [f for f in model.doctor(rows).findings if f.name == "wrong likelihood"]
    assert [dict(f.changes) for f in findings] == [{"data.families.x": family}]
    assert "x" in findings[0].evidence


def test_a_decoder_without_z_is_found_and_one_with_it_is_not(tmp_path) -> None:
    model = fitted(tmp_path, digits(), **{"train.epochs": 30})
    assert "decoder ignores z" not in model.doctor(digits()).names
    with torch.no_grad():
        model.vae.decoder.net.layers[0].linear.weight.zero_()
    found = model.doctor(digits())
    assert "decoder ignores z" in found.names
    assert "over-smooth output" in next(f for f in found.findings if f.name == "decoder ignores z").with_it


def test_a_run_that_broke_off_is_looked_at_by_its_checkpoint(tmp_path, capsys) -> None:
    np.save(tmp_path / "digits.npy", digits())
    with pytest.raises(latelier.BadInput, match="not finite"):
        fitted(tmp_path, tmp_path / "digits.npy", **{"train.rate": 1e4, "train.clip": 1e30})
    assert main(["doctor", str(tmp_path / "m"), "--json", str(tmp_path / "found.json")]) == 0
    page = json.loads((tmp_path / "found.json").read_text())
    told = next(f for f in page["findings"] if f["name"] == "NaN in training")
    assert told["severity"] == "act"
    assert "--set train.rate=0.001" in told["options"]
    assert "act: NaN in training" in capsys.readouterr().out


def test_the_number_of_skipped_steps_goes_on_over_a_resumed_run(tmp_path) -> None:
    model = fitted(tmp_path, breast(), **{"train.epochs": 2})
    assert model.run_state()["lost"] == 0
    again = latelier.fit(breast(), out=tmp_path / "m", resume=True, settings={"train.epochs": 3}, report=False)
    assert again.run_state()["lost"] == 0


def test_the_command_line_says_what_was_found_and_what_was_not(table, capsys) -> None:
    assert main(["doctor", str(table.folder)]) == 0
    out = capsys.readouterr().out
    assert "looked at 57 held-out and 512 training rows" in out
    assert "too few epochs" in out
    assert "nothing found of:" in out
    assert "not looked for: dead codes" in out
    assert f"latelier fit {table.folder.parent / 'rows.csv'}" in out


def test_the_page_of_a_dissection_stands_alone(table, capsys, tmp_path) -> None:
    rows = table.folder.parent / "rows.csv"
    words = [
        "dissect",
        str(table.folder),
        str(rows),
        "--out",
        str(tmp_path / "d.html"),
        "--json",
        str(tmp_path / "d.json"),
    ]
    assert main(words) == 0
    page = (tmp_path / "d.html").read_text()
    assert "mean radius" in page
    assert "layers.0 reset" in page
    assert "could not be drawn" not in page
    assert "http://" not in page
    assert "<script" not in page
    damages = json.loads((tmp_path / "d.json").read_text())["damages"]
    assert {d["group"] for d in damages} == {"z", "dimensions", "temperature", "noise", "network"}
    assert "z: exchanged among rows" in capsys.readouterr().out
    assert main(words) == 2  # what is there is not overwritten
