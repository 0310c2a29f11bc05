"""fit and the verbs in Python: known optima, units, promises to whoever holds an array or a frame."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits, load_wine

import latelier
from latelier.build import fit_to_data
from latelier.errors import BadInput
from latelier.log import read_log
from latelier.model import find_kind, gather
from latelier.spec import Spec

LINEAR = {
    "network.hidden": (),
    "likelihood.real": "gaussian",
    "head.real.scale": "shared",
    "train.holes": 0.0,
    "train.ema": 0.99,
    "data.holdout": 0.1,
}


def factors(n: int, noise: float = 0.5, seed: int = 0) -> pd.DataFrame:
    """Rows of probabilistic PCA with 2 factors in 6 columns."""
    generator = np.random.default_rng(seed)
    loadings = np.random.default_rng(7).normal(size=(6, 2))
    x = generator.normal(size=(n, 2)) @ loadings.T + noise * generator.normal(size=(n, 6)) + 3
    return pd.DataFrame(x, columns=list("abcdef"))


def ppca_bound(training: pd.DataFrame, test: pd.DataFrame) -> float:
    """Mean nats per row under probabilistic PCA at its maximum likelihood (Tipping & Bishop 1999, eq. 7-8)."""
    x = training.to_numpy()
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    noise = values[:-2].mean()
    loadings = vectors[:, -2:] * np.sqrt(values[-2:] - noise)
    covariance = torch.tensor(loadings @ loadings.T + noise * np.eye(6))
    density = torch.distributions.MultivariateNormal(torch.tensor(x.mean(0)), covariance)
    return density.log_prob(torch.tensor(test.to_numpy())).mean().item()


def test_a_linear_gaussian_vae_reaches_probabilistic_pca(tmp_path):
    training, test = factors(3000), factors(1000, seed=1)
    model = latelier.fit(
        training, out=tmp_path / "model", epochs=30, rate=1e-2, batch=100, dims=2, report=False, settings=LINEAR
    )
    truth = ppca_bound(training, test)
    figures = model.evaluate(test, draws=50)
    assert figures.iw == pytest.approx(truth, rel=0.005)
    assert figures.elbo == pytest.approx(truth, rel=0.01)  # its posterior, linear too, can be nearly exact


def test_other_units_move_nats_by_the_log_determinant_and_nothing_else(tmp_path):
    frame = factors(300)
    scores = []
    for factor in (1.0, 1000.0):
        model = latelier.fit(frame * factor, out=tmp_path / f"{factor:g}", epochs=3, report=False, settings=LINEAR)
        scores.append(model.score(frame * factor))
    assert scores[0] - scores[1] == pytest.approx(np.full(300, 6 * math.log(1000)), abs=1e-3)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    images = (load_digits().images * 15.9375).astype(np.uint8)[:400]
    out = tmp_path_factory.mktemp("digits") / "model"
    return latelier.fit(images, out=out, epochs=30, dims=8, report=False), images


def test_scores_are_the_same_in_any_order_part_and_call(digits):
    model, images = digits
    whole = model.score(images, draws=4)
    assert np.array_equal(whole, model.score(images, draws=4))
    assert model.score(images[::-1], draws=4)[::-1] == pytest.approx(whole, rel=1e-6)
    assert np.concatenate([model.score(images[i : i + 7], draws=4) for i in range(0, 400, 7)]) == pytest.approx(
        whole, rel=1e-6
    )


def test_samples_repeat_by_seed_and_leave_the_generator_alone(digits):
    model, _ = digits
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert np.array_equal(model.sample(4, seed=1), model.sample(4, seed=1))
    assert not np.array_equal(model.sample(4, seed=1), model.sample(4, seed=2))
    assert torch.equal(before, torch.get_rng_state())


def test_a_mask_fills_the_missing_pixels_and_keeps_the_others(digits):
    model, images = digits
    filled = model.impute(images[:20], mask="right", draws=16)
    assert np.array_equal(filled[:, :, :4], images[:20, :, :4])
    copies = model.impute(images[:20], mask="right", draws=16, copies=3)
    assert copies.shape == (60, 8, 8) and np.array_equal(copies[20:40, :, :4], images[:20, :, :4])
    mean_picture = np.broadcast_to(images.mean(0), (20, 8, 8))
    error = np.square(filled[:, :, 4:] - images[:20, :, 4:].astype(float)).mean()
    assert error < np.square(mean_picture[:, :, 4:] - images[:20, :, 4:]).mean()


def test_interpolation_starts_and_ends_at_the_reconstructions(digits):
    model, images = digits
    for spherical in (False, True):
        walk = model.interpolate(images[:2], steps=5, spherical=spherical)
        ends = model.reconstruct(images[:2])
        assert np.abs(walk[[0, -1]].astype(int) - ends).max() <= 1


def test_holes_in_a_frame_are_filled_in_its_own_types(tmp_path):
    wine = load_wine(as_frame=True)
    frame = wine.data.assign(cultivar=[f"no {k}" for k in wine.target])
    holes = frame.mask(np.random.default_rng(0).random(frame.shape) < 0.2)
    model = latelier.fit(holes, out=tmp_path / "wine", epochs=5, report=False)
    filled = model.impute(holes)
    assert list(filled.columns) == list(frame.columns) and not filled.isna().any().any()
    assert set(filled["cultivar"]) <= set(frame["cultivar"])
    seen = holes.notna()
    for name in frame:
        assert (filled.loc[seen[name], name] == holes.loc[seen[name], name]).all()


def test_a_run_over_a_frame_is_resumed_with_the_same_frame_only(tmp_path):
    frame = factors(60)
    latelier.fit(frame, out=tmp_path / "model", epochs=1, report=False)
    with pytest.raises(BadInput, match="from memory"):
        latelier.fit(out=tmp_path / "model", resume=True, epochs=2, report=False)
    with pytest.raises(BadInput, match="not the rows that this run began with"):
        latelier.fit(frame + 1, out=tmp_path / "model", resume=True, epochs=2, report=False)
    latelier.fit(frame, out=tmp_path / "model", resume=True, epochs=2, report=False)
    assert [event["epoch"] for event in read_log(tmp_path / "model")] == [1, 2]
    with pytest.raises(BadInput, match="latent cannot be changed"):
        latelier.fit(frame, out=tmp_path / "model", resume=True, dims=7, report=False)


def test_held_out_rows_stay_held_out_when_resuming(tmp_path):
    frame, test = factors(60), factors(20, seed=1)
    latelier.fit(frame, test=test, out=tmp_path / "tested", epochs=1, report=False)
    latelier.fit(frame, out=tmp_path / "split", epochs=1, report=False)
    for name, given in (("tested", None), ("tested", test + 1), ("split", test)):
        with pytest.raises(BadInput, match="not the held-out rows"):
            latelier.fit(frame, test=given, out=tmp_path / name, resume=True, epochs=2, report=False)
    for option, value in (("train.seed", 1), ("size", "medium"), ("train.holes", 0.0)):
        with pytest.raises(BadInput, match=f"{option} cannot be changed"):
            latelier.fit(frame, out=tmp_path / "split", resume=True, report=False, settings={option: value})
    latelier.fit(frame, test=test, out=tmp_path / "tested", resume=True, epochs=2, report=False)


def test_the_rows_held_out_of_a_long_table_are_of_all_its_parts(monkeypatch):
    monkeypatch.setattr("latelier.model.gathering.HELD_OUT_ROWS", 20)
    frame = pd.DataFrame({"place": np.arange(1000) / 7})
    kind = find_kind(frame, "tables")
    spec, schema = fit_to_data({}, kind, kind.scan(frame, Spec().data), 1000)
    for test in (None, frame):
        held = gather(spec, schema, frame, test).held.fields["real"]
        assert len(held) == 20 and held.min() < -1.4 and held.max() > 1.4


def test_nothing_is_overwritten_unless_asked(tmp_path):
    frame = factors(30)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "diary.txt").write_text("mine")
    with pytest.raises(BadInput, match="is not empty"):
        latelier.fit(frame, out=tmp_path / "model", epochs=1)
    latelier.fit(frame, out=tmp_path / "model", epochs=1, overwrite=True, report=False)
    assert (tmp_path / "model" / "diary.txt").read_text() == "mine"


def test_a_misspelt_option_names_the_nearest():
    with pytest.raises(BadInput, match="did you mean"):
        latelier.fit(factors(10), epoch=3)


def test_a_point_latent_is_a_plain_autoencoder(tmp_path):
    model = latelier.fit(factors(200), out=tmp_path / "ae", epochs=2, latent="point", report=False)
    assert model.figures["kl"] == 0 and len(model.sample(3)) == 3


def test_rows_held_out_by_a_path_of_their_own_are_not_trained_on(tmp_path):
    factors(50).to_csv(tmp_path / "a.csv", index=False)
    factors(20, seed=3).to_csv(tmp_path / "b.csv", index=False)
    model = latelier.fit(tmp_path / "a.csv", test=tmp_path / "b.csv", out=tmp_path / "model", epochs=1, report=False)
    assert model.figures["rows"] == 20 and model.schema.rows == 50


def test_values_that_are_made_stay_in_the_range_of_the_data_and_seen_ones_as_they_are(tmp_path):
    frame = factors(200)
    model = latelier.fit(frame, out=tmp_path / "model", epochs=1, report=False)
    made = model.sample(3000, temperature=3.0)
    assert (made.min() >= frame.min() - 1e-6).all() and (made.max() <= frame.max() + 1e-6).all()
    wild = frame[:2].assign(a=[1e6, None])
    filled = model.impute(wild)
    assert filled["a"][0] == 1e6 and filled["a"][1] <= frame["a"].max() + 1e-6


def test_a_conditioned_table_can_be_sampled_without_its_condition(tmp_path):
    frame = factors(300).assign(kind=["up", "down"] * 150)
    frame.loc[frame["kind"] == "up", "a"] += 20
    model = latelier.fit(frame, out=tmp_path / "model", epochs=20, given=("kind",), report=False)
    up, down = model.sample(300, given={"kind": "up"}), model.sample(300, given={"kind": "down"})
    assert up["a"].mean() > down["a"].mean() + 10
    assert down["a"].mean() < model.sample(300)["a"].mean() < up["a"].mean()
