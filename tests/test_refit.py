"""Priors and posteriors through fit, load, sample, score and resume; a prior fitted anew; what each refuses."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import latelier
from latelier.cli import main
from latelier.errors import BadInput
from latelier.latents.posteriors import POSTERIORS
from latelier.latents.priors import PRIORS, REFITTED
from latelier.latents.priors.transformer import Transformer
from latelier.step import rate

REAL = [name for name in PRIORS if name not in REFITTED.get("codes", ())]
SMALL = {"network.hidden": (16,), "latent.components": 6, "latent.width": 16, "latent.transforms": 1, "latent.dims": 3}


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return (15 * load_digits().images).astype(np.uint8)


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    """A model good enough for its codes to lie elsewhere than N(0, I) does."""
    return latelier.fit(digits, out=tmp_path_factory.mktemp("digits") / "m", epochs=12, dims=6, batch=64, report=False)


def pairs():
    for prior in REAL:
        for posterior in POSTERIORS:
            if prior != "vamp" or posterior == "diagonal":
                yield prior, posterior


@pytest.mark.parametrize("prior, posterior", list(pairs()))
def test_any_prior_goes_with_any_posterior(prior, posterior, digits, tmp_path):
    rows = digits[:48]
    settings = {**SMALL, "latent.prior": prior, "latent.posterior": posterior, "train.batch": 16}
    made = latelier.fit(rows, out=tmp_path / "whole", settings=settings, epochs=2, report=False)
    model = latelier.load(tmp_path / "whole")
    assert model.sample(5).shape == (5, 8, 8)
    assert np.array_equal(model.sample(5, seed=3), model.sample(5, seed=3))
    scores = model.score(rows, draws=4)
    assert np.array_equal(scores, made.score(rows, draws=4))
    assert np.allclose(scores[::-1], model.score(rows[::-1], draws=4), atol=1e-3)
    figures = model.evaluate(rows, draws=32)
    assert figures.iw > figures.elbo - 0.1 and figures.units == 3
    assert figures.elbo == pytest.approx(figures.log_px - figures.kl, abs=1e-3)
    assert sum(map(sum, figures.kl_parts.values())) == pytest.approx(figures.kl, abs=1e-3)
    # A run whose time was spent goes on.
    latelier.fit(
        rows, out=tmp_path / "parts", settings={**settings, "train.epochs": 2, "train.minutes": 1e-9}, report=False
    )
    latelier.fit(out=tmp_path / "parts", source=rows, resume=True, settings={"train.minutes": 60.0}, report=False)
    again = latelier.load(tmp_path / "parts")
    assert again.spec.latent == model.spec.latent and np.isfinite(again.score(rows, draws=2)).all()


@pytest.mark.parametrize("prior", [name for name in REAL if name != "standard"])
def test_a_conditioned_model_of_a_table_and_the_top_of_a_ladder_may_have_it(prior, digits, tmp_path):
    import pandas as pd

    frame = pd.DataFrame(digits[:60].reshape(60, 64)[:, 20:26].astype(float) + np.random.default_rng(0).random((60, 6)))
    frame.columns = [f"p{i}" for i in range(6)]
    frame["label"] = np.where(load_digits().target[:60] < 5, "low", "high")
    settings = {**SMALL, "latent.prior": prior, "latent.name": "ladder", "latent.rungs": (2, 3)}
    model = latelier.fit(frame, out=tmp_path / "m", given=["label"], settings=settings, epochs=1, report=False)
    assert len(model.sample(4, given={"label": "low"})) == 4
    assert model.vae.latents.blocks[0].own is not None and model.vae.latents.blocks[1].own is None
    assert np.isfinite(model.score(frame, draws=2)).all()


@pytest.mark.parametrize("prior", [name for name in REAL if name != "standard"])
def test_the_vector_of_a_conditioned_hierarchy_may_have_it_also_in_half_precision(prior, digits, tmp_path):
    np.savez(tmp_path / "rows.npz", images=digits[:32], label=load_digits().target[:32] % 3)
    settings = {
        "network": {"name": "conv", "channels": (4, 6), "hidden": (16,)},
        "latent": {"name": "hierarchy", "rungs": (3, 2), "prior": prior, "components": 4, "width": 16},
        "train.precision": "bfloat16",
        "train.batch": 16,
    }
    rows = tmp_path / "rows.npz"
    model = latelier.fit(rows, out=tmp_path / "m", given=["label"], settings=settings, epochs=2, report=False)
    assert model.sample(4, given={"label": 1}).shape == (4, 8, 8)
    figures = model.evaluate(rows, draws=16)
    assert figures.iw > figures.elbo - 0.5 and len(figures.kl_parts["z1"]) == 1


def test_a_resumed_run_of_a_vamp_prior_ends_as_if_it_had_not_been_interrupted(digits, tmp_path):
    settings = {**SMALL, "latent.prior": "vamp", "train.batch": 16}
    whole = latelier.fit(digits[:64], out=tmp_path / "a", settings=settings, epochs=3, report=False)
    stopped = []

    def stop(event):
        if event["event"] == "epoch" and event["epoch"] == 2 and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        latelier.fit(
            digits[:64],
            out=tmp_path / "b",
            settings={**settings, "train.checkpoint": 1e-9},
            epochs=3,
            report=False,
            watch=stop,
        )
    gone_on = latelier.fit(digits[:64], out=tmp_path / "b", resume=True, report=False)
    for (name, a), b in zip(whole.vae.state_dict().items(), gone_on.vae.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("prior", [*REFITTED["real"], "auto"])
def test_a_prior_fitted_anew_raises_the_held_out_bound_and_changes_nothing_else(
    prior, digits, trained, tmp_path, monkeypatch
):
    monkeypatch.setattr("latelier.refit.STEPS", 500)
    trained.save(tmp_path / "m")
    model = latelier.load(tmp_path / "m")
    before = {k: v.clone() for k, v in model.vae.state_dict().items()}
    means, elbo = model.encode(digits[:20]), model.figures["elbo"]
    found = model.refit(digits, prior=prior)
    usual, *others = found.candidates
    assert usual.prior == "standard" and [c.prior for c in others] == (
        [prior] if prior != "auto" else list(REFITTED["real"])
    )
    assert found.changed and found.bounds[1] > found.bounds[0] + 0.5
    assert found.bounds[0] == pytest.approx(elbo, abs=1e-3)
    # The bound rises by what E_q[log p(z)] does: nothing else of it depends on the prior.
    best = max(others, key=lambda c: c.gain)
    assert model.spec.latent.prior == best.prior
    assert found.bounds[1] - found.bounds[0] == pytest.approx(best.gain, abs=0.35)
    after = latelier.load(tmp_path / "m")
    assert after.figures["elbo"] == found.bounds[1] and after.spec == model.spec
    assert all(torch.equal(v, after.vae.state_dict()[k]) for k, v in before.items())
    assert np.array_equal(means, after.encode(digits[:20]))
    assert np.array_equal(after.score(digits[:9]), model.score(digits[:9]))
    assert found.evidence()[-1].startswith(f"the prior is {best.prior}")


def test_a_prior_that_is_no_better_changes_nothing(digits, trained, tmp_path, monkeypatch):
    monkeypatch.setattr("latelier.refit.STEPS", 1)
    trained.save(tmp_path / "m")
    model = latelier.load(tmp_path / "m")
    page = (tmp_path / "m" / "model.json").read_bytes()
    found = model.refit(digits[:300], prior="standard")
    assert not found.changed and found.bounds[0] == found.bounds[1]
    assert (tmp_path / "m" / "model.json").read_bytes() == page
    assert "nothing was changed" in found.evidence()[-1]


def test_codes_of_a_plain_autoencoder_get_a_prior_to_sample_from(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("latelier.refit.STEPS", 400)
    settings = {**SMALL, "latent.name": "point", "train.batch": 32}
    model = latelier.fit(digits[:400], out=tmp_path / "m", settings=settings, epochs=5, report=False)
    elbo = model.figures["elbo"]
    found = model.refit(digits[:400], prior="mixture")
    assert found.changed and found.bounds == (elbo, elbo)
    codes = torch.from_numpy(model.encode(digits[:400]))
    drawn = next(iter(model.vae.generate(latelier.batch.Batch({"": torch.zeros(400, 0)})).steps.values())).value
    assert ((drawn.mean(0) - codes.mean(0)).abs() < 0.5 * codes.std(0)).all()


def test_fit_refits_before_it_reports(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("latelier.refit.STEPS", 600)
    told = []
    model = latelier.fit(
        digits[:600], out=tmp_path / "m", epochs=8, dims=4, settings={"latent.refit": "mixture"}, watch=told.append
    )
    assert model.spec.latent.prior == "mixture"
    assert any(event["event"] == "refitted" and "mixture" in event["evidence"][-1] for event in told)
    assert (tmp_path / "m" / "report.html").is_file()


def test_a_limit_of_time_is_kept_and_the_rate_falls_with_it(digits, trained, tmp_path, monkeypatch):
    monkeypatch.setattr("latelier.refit.STEPS", 10**9)
    monkeypatch.setattr("latelier.refit.PATIENCE", 10**9)
    trained.save(tmp_path / "m")
    model, told, rates = latelier.load(tmp_path / "m"), [], []
    monkeypatch.setattr("latelier.refit.rate", lambda spec, done: rates.append(rate(spec, done)) or rates[-1])
    begun = time.monotonic()
    found = model.refit(digits, prior="mixture", watch=told.append, minutes=1 / 60)
    assert 0.9 < time.monotonic() - begun < 60  # and not for ever
    assert rates[0] > 1.8e-3 and rates[-1] < 1e-4 and rates == sorted(rates, reverse=True)
    assert [event["event"] for event in told[:2]] == ["refitting", "refit"] and told[0]["seconds"] < 1
    assert told[-1]["progress"] == 1.0 and found.candidates[1].cut and found.changed
    assert "in the time that it had" in found.evidence()[2]


def test_a_limit_without_any_time_leaves_no_worse_model(digits, trained, tmp_path):
    trained.save(tmp_path / "m")
    model = latelier.load(tmp_path / "m")
    found = model.refit(digits[:300], minutes=1e-9)
    assert all(c.cut for c in found.candidates[1:]) and found.bounds[1] >= found.bounds[0]
    assert np.isfinite(model.sample(4).astype(float)).all()
    with pytest.raises(BadInput, match="minutes -1: give more than 0"):
        model.refit(digits[:300], minutes=-1)


def test_the_prior_of_codes_takes_a_share_of_the_minutes_of_a_fit(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("latelier.refit.STEPS", 10**9)
    monkeypatch.setattr("latelier.refit.PATIENCE", 10**9)
    monkeypatch.setattr(Transformer, "steps", lambda self, rows: 10**9)
    np.save(tmp_path / "rows.npy", digits[:300])
    folder = str(tmp_path / "m")
    small = [w for k in ("codes=16", "code_dims=4", "positions=4", "attention=16") for w in ("--set", f"latent.{k}")]
    run = ["fit", str(tmp_path / "rows.npy"), "--out", folder, "--latent", "codes", "--minutes", "0.05", "--no-report"]
    assert main([*run, "--set", "network.hidden=[16]", "--set", "latent.layers=1", *small]) == 0
    said = capsys.readouterr().out
    assert "fitting the prior transformer to the latent values of 2" in said and "rows, in 0:01 at most" in said
    assert "in the time that it had" in said
    assert latelier.load(folder).spec.latent.prior == "transformer"
    assert main(["refit", folder, "--minutes", "0"]) == 2
    assert "give more than 0" in capsys.readouterr().err


def test_the_verb_finds_the_rows_of_training_and_prints_evidence(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("latelier.refit.STEPS", 600)
    np.save(tmp_path / "rows.npy", digits[:600])
    folder = str(tmp_path / "m")
    assert (
        main(["fit", str(tmp_path / "rows.npy"), "--out", folder, "--epochs", "8", "--dims", "4", "--no-report"]) == 0
    )
    capsys.readouterr()
    assert main(["refit", folder, "--prior", "mixture", "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert page["changed"] and page["prior"] == "mixture" and math.isfinite(page["bounds"][1])
    assert main(["refit", folder, "--prior", "mixtur"]) == 2
    assert "did you mean 'mixture'" in capsys.readouterr().err


def test_rows_in_memory_have_to_be_named(trained, capsys):
    assert main(["refit", str(trained.folder)]) == 2
    assert "name the rows of training" in capsys.readouterr().err


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"latent.prior": "vampp"}, "did you mean 'vamp'"),
        ({"latent.posterior": "ful"}, "did you mean 'full'"),
        ({"latent.refit": "flo"}, "did you mean 'flow'"),
        ({"latent.name": "ladder", "latent.posterior": "flow"}, "a posterior of its own"),
        ({"latent.prior": "vamp", "latent.posterior": "full"}, "mixes diagonal Gaussians"),
        ({"latent.prior": "vamp", "network.norm": "batch"}, "would mix rows with pseudo-inputs"),
        ({"latent.prior": "vamp", "latent.name": "point"}, "mixes diagonal Gaussians"),
    ],
)
def test_what_does_not_go_together_is_one_line(settings, words, digits, tmp_path):
    with pytest.raises(BadInput, match=words):
        latelier.fit(digits[:20], out=tmp_path / "m", settings=settings, epochs=1)
    assert not (tmp_path / "m").exists()


@pytest.fixture(scope="module")
def spots():
    """Rows near one of six places: of class k places 2 k and 2 k + 1, in shares that only the class decides."""
    import pandas as pd

    random = np.random.default_rng(0)
    kind = random.integers(0, 3, 480)
    place = 2 * kind + (random.random(480) < np.array([0.5, 0.8, 0.2])[kind])
    x = 6 * random.normal(size=(6, 4))[place] + 0.3 * random.normal(size=(480, 4))
    return pd.DataFrame(x, columns=list("abcd")).assign(kind=np.array(["u", "v", "w"])[kind])


def test_codes_below_a_label_get_a_prior_of_each_class(spots, tmp_path):
    """Half of the labels are missing: there y is drawn from q(y | x), and z given it."""
    some = spots.assign(kind=spots["kind"].where(np.arange(480) % 2 == 0))
    settings = {
        "network.hidden": (32,),
        "latent": {"name": "codes", "codes": 8, "positions": 1, "code_dims": 2, "attention": 16, "layers": 1},
        "train": {"batch": 32, "rate": 5e-3, "precision": "float32", "threads": 1},
        "data.choose": "rule",
    }
    before = latelier.fit(
        some, out=tmp_path / "m", label="kind", epochs=12, report=False, settings={**settings, "latent.refit": "no"}
    )
    assert before.figures["kl"] > math.log(8) - 0.1  # uniform, and what the label costs
    found = before.refit(some)
    assert found.changed
    assert found.bounds[1] > found.bounds[0] + 0.5
    model = latelier.load(tmp_path / "m")
    assert model.spec.latent.prior == "transformer"
    assert model.figures["elbo"] == pytest.approx(model.figures["log_px"] - model.figures["kl"], rel=1e-6)
    q = model.vae.latents.first.quantiser

    def shares(codes):
        return np.bincount(codes.reshape(-1), minlength=8) / codes.size

    everywhere, missed, apart = shares(model.codes(spots)), [], []
    for kind in "uvw":
        rows = spots[spots["kind"] == kind]
        with torch.no_grad():
            drawn = model.vae.generate(next(model.conditions(600, {"kind": kind}))).steps["z"].value
        true, made = shares(model.codes(rows)), shares(q.codes(drawn).numpy())
        missed.append(0.5 * abs(true - made).sum())
        apart.append(0.5 * abs(true - everywhere).sum())
        again = model.decode_codes(model.codes(rows), given={"kind": kind})
        assert again.equals(model.reconstruct(rows).reset_index(drop=True))
    assert np.mean(missed) < 0.15 < 0.4 < np.mean(apart)
    few = spots.head(4)  # a value a row, as a list or as a column is
    again = model.decode_codes(model.codes(few), given={"kind": few["kind"]})
    assert again.equals(model.decode_codes(model.codes(few), given={"kind": list(few["kind"])}))
    with pytest.raises(BadInput, match="given kind: 2 values for 4 rows of codes"):
        model.decode_codes(model.codes(few), given={"kind": ["u", "v"]})
    with pytest.raises(BadInput, match="name its class"):
        model.decode_codes(model.codes(spots))


@pytest.mark.parametrize("prior", [name for name in REAL if name != "standard"])
def test_numbers_below_a_label_may_have_any_prior_from_the_start_or_afterwards(prior, spots, tmp_path, monkeypatch):
    monkeypatch.setattr("latelier.refit.STEPS", 100)
    some = spots[:96].assign(kind=spots["kind"][:96].where(np.arange(96) % 2 == 0))
    settings = {**SMALL, "latent.prior": prior, "data.choose": "rule", "train.batch": 32}
    made = latelier.fit(some, out=tmp_path / "a", label="kind", epochs=2, report=False, settings=settings)
    model = latelier.load(tmp_path / "a")
    assert set(model.sample(4, given={"kind": "v"})["kind"]) == {"v"}
    assert np.array_equal(model.score(some, draws=4), made.score(some, draws=4))
    assert model.vae.latents.blocks[0].own is None and model.vae.latents.first.own is not None
    # A label's log p(x, y) adds up to log p(x), whatever the prior below.
    rows = some[:4].drop(columns="kind")
    each = [model.score(rows.assign(kind=k), draws=300) for k in "uvw"]
    assert np.allclose(np.logaddexp.reduce(each, axis=0), model.score(rows, draws=900), atol=0.5)
    plain = latelier.fit(
        some,
        out=tmp_path / "b",
        label="kind",
        epochs=2,
        report=False,
        settings={**settings, "latent.prior": "standard"},
    )
    found = plain.refit(some, prior=prior)
    assert found.bounds[1] >= found.bounds[0] and [c.prior for c in found.candidates] == ["standard", prior]
