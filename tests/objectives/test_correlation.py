"""The parts of the KL against sums over a data set of a few rows."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm

from latelier.batch import Batch
from latelier.build import build
from latelier.data.schema import Field, Schema
from latelier.errors import BadInput
from latelier.latents.gaussian import DiagonalNormal, StandardNormal
from latelier.objectives import BetaTc, Elbo
from latelier.objectives.correlation import of_rows, taken_apart
from latelier.spec import Spec

ROWS, DIMS = 6, 3


@pytest.fixture
def posterior():
    torch.manual_seed(0)
    q = DiagonalNormal(torch.randn(ROWS, DIMS), 0.5 * torch.randn(ROWS, DIMS) - 0.5)
    return q, q.centre + q.log_scale.exp() * torch.randn(ROWS, DIMS)


def of(q, rows):
    return DiagonalNormal(q.centre[list(rows)], q.log_scale[list(rows)])


def prior(n):
    return StandardNormal(torch.zeros(n, 0), n, (DIMS,))


def by_hand(z, mean, scale):
    """(mutual, correlation, dimension) of one value drawn from row ``own`` of a data set, by loops."""
    log_q = np.array([norm.logpdf(z, m, s) for m, s in zip(mean, scale, strict=True)])  # (N, Z)
    whole = logsumexp(log_q.sum(1)) - np.log(len(mean))
    each = sum(logsumexp(log_q[:, j]) - np.log(len(mean)) for j in range(len(z)))
    return log_q.sum(1), whole, each, norm.logpdf(z).sum()


def test_over_the_whole_data_set_the_parts_are_those_of_the_exact_mixture(posterior):
    q, value = posterior
    parts = taken_apart(value, q, prior(ROWS), ROWS, ROWS)
    for i in range(ROWS):
        given, whole, each, log_p = by_hand(value[i].numpy(), q.centre.numpy(), q.log_scale.exp().numpy())
        assert parts.mutual[i].item() == pytest.approx(given[i] - whole, abs=1e-4)
        assert parts.correlation[i].item() == pytest.approx(whole - each, abs=1e-4)
        assert parts.dimension[i].item() == pytest.approx(each - log_p, abs=1e-4)


def test_the_stratified_estimate_of_the_density_is_right_in_the_mean_over_all_batches(posterior):
    q, value = posterior
    own, n = 2, 3
    _, whole, _, _ = by_hand(value[own].numpy(), q.centre.numpy(), q.log_scale.exp().numpy())
    estimates = []
    for others in itertools.combinations([i for i in range(ROWS) if i != own], n - 1):
        batch = [own, *others]
        parts = taken_apart(value[batch], of(q, batch), prior(n), n, ROWS)
        log_given = of(q, batch).log_prob(value[batch])
        estimates.append((log_given - parts.mutual)[0].exp().item())
    assert np.mean(estimates) == pytest.approx(np.exp(whole), rel=1e-4)
    assert np.std(estimates) > 0.01 * np.exp(whole)


def test_the_weighted_estimate_is_the_formula_of_the_paper(posterior):
    q, value = posterior
    batch, rows = [0, 1, 2], 100
    parts = taken_apart(value[batch], of(q, batch), prior(3), 3, rows, "weighted")
    for i in batch:
        given, *_ = by_hand(value[i].numpy(), q.centre[batch].numpy(), q.log_scale[batch].exp().numpy())
        assert parts.mutual[i].item() == pytest.approx(given[i] - logsumexp(given) + np.log(rows * 3), abs=1e-4)


@pytest.mark.parametrize("sampling", ["stratified", "weighted"])
@pytest.mark.parametrize("n", [1, 2, ROWS])
def test_the_parts_add_up_to_the_log_ratio_whatever_is_made_of_the_mixture(posterior, sampling, n):
    q, value = posterior
    q, value, p = of(q, range(n)), value[:n], prior(n)
    parts = taken_apart(value, q, p, n, 1000, sampling)
    total = parts.mutual + parts.correlation + parts.dimension
    assert torch.allclose(total, q.log_prob(value) - p.log_prob(value), atol=1e-4)


@pytest.fixture
def model():
    torch.manual_seed(0)
    schema = Schema(kind="tables", fields=(Field(name="x", shape=(5,), support="real", likelihood="gaussian"),))
    return build(Spec.of({"network.hidden": (16,), "latent.dims": DIMS}), schema)


@pytest.fixture
def batch():
    return Batch({"x": torch.randn(40, 5, generator=torch.Generator().manual_seed(1))})


@pytest.mark.parametrize("draws", [1, 3])
def test_with_weights_of_one_it_is_the_bound_at_the_drawn_values(model, batch, draws):
    torch.manual_seed(3)
    own = BetaTc(draws=draws).per_row(model, batch)
    torch.manual_seed(3)
    terms = model(batch, draws)
    assert torch.allclose(own, terms.log_weights().view(draws, -1).mean(0), atol=1e-3)


def test_each_weight_charges_its_own_part_and_annealing_all_of_them(model, batch):
    def at(progress=1.0, **weights):
        torch.manual_seed(3)
        objective = BetaTc(**{"beta": 0.0, "mutual": 0.0, "dimension": 0.0, **weights})
        objective.progress = progress
        return objective.per_row(model, batch)

    free = at()
    torch.manual_seed(3)
    terms = model(batch)
    step = terms.draw.steps["z"]
    parts = taken_apart(step.value, step.q, step.p, len(batch))
    assert torch.allclose(free, terms.log_px)
    assert torch.allclose(free - at(mutual=2.0), 2 * parts.mutual, atol=1e-4)
    assert torch.allclose(free - at(beta=3.0), 3 * parts.correlation, atol=1e-4)
    assert torch.allclose(free - at(dimension=4.0), 4 * parts.dimension, atol=1e-4)
    annealed = at(0.25, beta=3.0, anneal="linear", anneal_share=0.5)
    assert torch.allclose(free - annealed, 1.5 * parts.correlation, atol=1e-4)


def test_more_rows_than_the_batch_make_own_rows_count_less(model, batch):
    torch.manual_seed(0)
    step = model(batch).draw.steps["z"]
    few, many = (taken_apart(step.value, step.q, step.p, 40, rows).mutual.mean() for rows in (40, 40_000))
    assert many > few


def test_a_high_weight_lowers_the_correlation_of_correlated_codes(batch):
    """Two columns of two that are nearly one: the posterior means of a plain VAE go along one line in two dimensions."""
    found = {}
    generator = torch.Generator().manual_seed(5)
    common = torch.randn(128, 2, generator=generator)
    rows = Batch({"x": torch.cat([common, common[:, :1] + common[:, 1:], common * 0.5], 1)[:, :5]})
    for name, objective in (("plain", Elbo()), ("beta_tc", BetaTc(beta=8.0))):
        torch.manual_seed(0)
        schema = Schema(kind="tables", fields=(Field(name="x", shape=(5,), support="real", likelihood="gaussian"),))
        vae = build(Spec.of({"network.hidden": (32,), "latent.dims": DIMS}), schema)
        optimiser = torch.optim.Adam(vae.parameters(), 1e-2)
        objective.rows = 128
        for _ in range(150):
            optimiser.zero_grad()
            objective(vae, rows).backward()
            optimiser.step()
        found[name] = of_rows(vae.eval(), rows).correlation.mean().item()
    assert found["beta_tc"] < 0.6 * found["plain"]


def test_the_report_is_the_exact_mixture_of_held_out_rows_and_repeats(model, batch):
    objective = BetaTc()
    model.eval()
    first = objective.report(model, list(batch.slices(16)))
    assert first == objective.report(model, [batch])
    assert first.keys() == {"mutual_information", "total_correlation", "dimension_kl"}
    from latelier.noise import Keyed

    step = model.infer(batch, noise=Keyed.of(batch)).steps["z"]
    exact = taken_apart(step.value, step.q, step.p, 40)
    assert first["total_correlation"] == pytest.approx(exact.correlation.mean().item(), abs=1e-4)


@pytest.mark.parametrize("latent", ["ladder", "point"])
def test_latents_without_such_a_posterior_are_refused(batch, latent):
    schema = Schema(kind="tables", fields=(Field(name="x", shape=(5,), support="real", likelihood="gaussian"),))
    vae = build(Spec.of({"network.hidden": (16,), "latent.name": latent}), schema)
    with pytest.raises(BadInput, match=r"use latent\.name=gaussian"):
        BetaTc().check(vae.infer(batch))
