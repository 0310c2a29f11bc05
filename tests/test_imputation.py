"""Training for imputation: from factor analysis on, not at random, and how sure it says it is; on data whose truth is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_wine

import latelier
from latelier.build import fit_to_data
from latelier.errors import BadInput
from latelier.latents.factors import CorrelatedNormal
from latelier.model import find_kind, gather, named
from latelier.nets.factors import FactorEncoder, factor_analysis
from latelier.nets.mlp import MlpEncoder
from latelier.run import start
from latelier.spec import Spec

FEW = {"train.checkpoint": 0.0, "train.threads": 1}


def columns(x: np.ndarray, hidden: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(np.where(hidden, np.nan, x), columns=list("abcdefghijklmnopqrstuvwxyzABCDEF")[: x.shape[1]])


def linear(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of two factors in six columns of about unit variance, their mean and covariance."""
    loadings = np.random.default_rng(7).normal(size=(6, 2)) * 0.7
    covariance = loadings @ loadings.T + 0.2 * np.eye(6)
    generator = np.random.default_rng(seed)
    return generator.multivariate_normal(np.ones(6), covariance, n), np.ones(6), covariance


def conditional(
    x: np.ndarray, hidden: np.ndarray, mean: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) exact means and standard deviations of what is hidden given the rest of its row."""
    centre, deviation = x.copy(), np.zeros_like(x)
    for i, away in enumerate(hidden):
        gain = covariance[np.ix_(away, ~away)] @ np.linalg.inv(covariance[np.ix_(~away, ~away)])
        centre[i, away] = mean[away] + gain @ (x[i, ~away] - mean[~away])
        left = covariance[np.ix_(away, away)] - gain @ covariance[np.ix_(~away, away)]
        deviation[i, away] = np.sqrt(np.diag(left))
    return centre, deviation


def test_factor_analysis_of_rows_with_holes_finds_the_covariance():
    x, mean, covariance = linear(3000)
    seen = torch.from_numpy(np.random.default_rng(1).random(x.shape) > 0.3)
    found = factor_analysis(torch.where(seen, torch.from_numpy(x), 1e6), seen, 4)
    made = found.loadings @ found.loadings.T + torch.diag(found.noise)
    assert np.abs(found.mean.numpy() - mean).max() < 0.06
    assert np.abs(made.numpy() - covariance).max() < 0.1


def test_the_linear_posterior_has_all_its_digits_where_networks_run_in_bfloat16():
    torch.manual_seed(0)
    x = torch.randn(200, 3) @ torch.randn(3, 40) + 0.01 * torch.randn(200, 40)  # nearly on a plane
    net = FactorEncoder(range(40), [-1] * 40, 30, MlpEncoder(40, (4,)))
    net.begin(x)

    def log_density() -> torch.Tensor:
        mean, root, inverse, _ = net(x)
        return CorrelatedNormal(mean, root, inverse, torch.zeros_like(mean)).log_prob(mean + 0.1 * root.sum(2))

    with torch.no_grad():
        full = log_density()
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.allclose(log_density(), full)


def test_before_any_step_the_network_is_the_linear_model_and_its_posterior_exact():
    x, _, _ = linear(2000)
    hidden = np.random.default_rng(1).random(x.shape) < 0.3
    frame = columns(x, hidden)
    asked = named({**FEW, "purpose": "imputation", "latent.dims": 2}, {})
    kind = find_kind(frame, "auto")
    schema = kind.scan(frame, Spec.of(asked).data)
    spec, schema = fit_to_data(asked, kind, schema, schema.rows)
    data = gather(spec, schema, frame)
    vae = start(spec, schema, data.rows, torch.device("cpu")).vae.eval()
    with torch.no_grad():
        terms = vae(data.rows.take(torch.arange(100)), 50)
    spread = terms.log_weights().view(50, -1).std(0)
    # An exact posterior has equal weights; the head begins near, not at, it.
    assert spread.mean() < 0.15 < 0.8 < terms.log_px.view(50, -1).std(0).mean()


def test_imputed_means_and_spreads_are_those_of_the_true_gaussian(tmp_path):
    x, mean, covariance = linear(1500)
    hidden = np.random.default_rng(1).random(x.shape) < 0.3
    hidden[:, 0] &= ~hidden[:, 1:].all(1)
    model = latelier.fit(
        columns(x, hidden), out=tmp_path / "m", purpose="imputation", epochs=30, report=False, settings=FEW
    )
    found = model.impute_with_spread(columns(x, hidden), draws=400)
    centre, deviation = conditional(x, hidden, mean, covariance)
    apart = (found.rows.to_numpy() - centre)[hidden] / deviation[hidden]
    assert np.sqrt(np.mean(apart**2)) < 0.2  # what 1,500 rows leave to be learned
    ratio = found.spread.to_numpy()[hidden] / deviation[hidden]
    assert abs(ratio.mean() - 1) < 0.05 and ratio.std() < 0.15
    assert np.isnan(found.spread.to_numpy()).tolist() == (~hidden).tolist()


def test_where_large_values_go_missing_a_model_of_why_fills_better(tmp_path):
    x, _, _ = linear(1500)
    x = (x - x.mean(0)) / x.std(0)
    chance = 1 / (1 + np.exp(-4 * (x[:, :3] - 0.3)))
    hidden = np.zeros(x.shape, bool)
    hidden[:, :3] = np.random.default_rng(2).random((len(x), 3)) < chance
    error, bias = {}, {}
    for why in ("at-random", "not-at-random"):
        model = latelier.fit(
            columns(x, hidden),
            out=tmp_path / why,
            purpose="imputation",
            missingness=why,
            epochs=60,
            report=False,
            settings={**FEW, "network.hidden": (), "train.rate": 1e-2, "objective.draws": 4},
        )
        apart = (latelier.load(tmp_path / why).impute(columns(x, hidden)).to_numpy() - x)[hidden]
        error[why], bias[why] = np.sqrt(np.mean(apart**2)), abs(apart.mean())
    assert model.vae.missing is not None
    assert (model.vae.missing.slope["real"][:3] > 0.5).all()  # it has found that large values hide
    assert error["not-at-random"] < 0.8 * error["at-random"]
    assert bias["not-at-random"] < 0.6 * bias["at-random"]
    with pytest.raises(BadInput, match="no value is missing"):
        latelier.fit(columns(x, hidden & False), out=tmp_path / "whole", missingness="not-at-random", report=False)


def test_mixed_columns_have_deviations_and_probabilities(tmp_path):
    wine = load_wine(as_frame=True)
    frame = wine.data.assign(cultivar=[f"no {k}" for k in wine.target], dark=wine.data["hue"] < 0.9)
    holes = frame.mask(np.random.default_rng(0).random(frame.shape) < 0.2)
    model = latelier.fit(holes, out=tmp_path / "m", purpose="imputation", epochs=40, report=False, settings=FEW)
    found = model.impute_with_spread(holes, draws=100)
    assert list(found.spread) == list(frame) and not found.rows.isna().any(axis=None)
    for name in ("cultivar", "dark"):
        chosen = found.spread[name].dropna()
        assert len(chosen) == holes[name].isna().sum() and chosen.between(1 / 3, 1).all()
        right = (found.rows[name].astype(str) == frame[name].astype(str))[holes[name].isna()]
        assert abs(right.mean() - chosen.mean()) < 0.25 and right.mean() > 0.7
    inside = (found.rows["alcohol"] - frame["alcohol"]).abs()[holes["alcohol"].isna()] < 2 * found.spread[
        "alcohol"
    ].dropna()
    assert inside.mean() > 0.75


def test_networks_and_latents_that_belong_together_are_asked_for_together(tmp_path):
    frame = load_wine(as_frame=True).data
    with pytest.raises(BadInput, match="go together"):
        latelier.fit(frame, out=tmp_path / "m", network="factors", report=False)
    pictures = np.zeros((20, 8, 8), np.uint8)
    pictures[::2] = 255
    with pytest.raises(BadInput, match="for columns"):
        latelier.fit(pictures, out=tmp_path / "p", network="factors", latent="factors", report=False)


@pytest.mark.slow
def test_breast_cancer_with_half_of_its_cells_hidden_is_filled_better_than_published(tmp_path):
    x = load_breast_cancer().data
    x = (x - x.mean(0)) / x.std(0)
    hidden = np.random.default_rng(0).random(x.shape) < 0.5
    model = latelier.fit(columns(x, hidden), out=tmp_path / "m", purpose="imputation", report=False, settings=FEW)
    error = np.mean(np.square(model.impute(columns(x, hidden)).to_numpy() - x)[hidden])
    assert error < 0.280  # MIWAE, .280 to .287 (Mattei & Frellsen 2019)
