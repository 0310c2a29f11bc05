"""The maximum mean discrepancy against a double loop, and what it does to q(z)."""

import numpy as np
import pytest
import torch

from latelier.batch import Batch
from latelier.build import build
from latelier.data.schema import Field, Schema
from latelier.objectives import Elbo, Mmd
from latelier.objectives.discrepancy import SCALES, mmd_squared
from latelier.spec import Spec


def by_loops(x, y, kernel):
    def k(a, b):
        distance = float(((a - b) ** 2).sum())
        widths = [2 * len(a) * s for s in SCALES]
        return sum(w / (w + distance) if kernel == "imq" else np.exp(-distance / w) for w in widths)

    n, m = len(x), len(y)
    own = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    other = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return own + other - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_it_is_the_unbiased_sum_over_pairs(kernel):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(7, 3)), 1 + 2 * generator.normal(size=(5, 3))
    found = mmd_squared(torch.tensor(x), torch.tensor(y), kernel)
    assert found.item() == pytest.approx(by_loops(x, y, kernel), rel=1e-9)


def test_it_has_all_its_digits_where_networks_run_in_bfloat16():
    torch.manual_seed(0)
    x, y = torch.randn(256, 8), torch.randn(256, 8)
    full = mmd_squared(x, y)
    with torch.autocast("cpu", torch.bfloat16):
        assert mmd_squared(x, y).item() == pytest.approx(full.item(), rel=1e-4)


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_it_is_zero_in_the_mean_for_equal_laws_and_positive_for_others(kernel):
    torch.manual_seed(0)
    same = torch.stack([mmd_squared(torch.randn(20, 4), torch.randn(20, 4), kernel) for _ in range(400)])
    assert same.mean().abs() < 4 * same.std() / 20
    assert (same < 0).any()  # an estimate that is kept above 0 is not unbiased
    moved = torch.stack([mmd_squared(torch.randn(20, 4) + 0.7, torch.randn(20, 4), kernel) for _ in range(100)])
    assert moved.mean() > 10 * same.std() / 20


@pytest.fixture
def model():
    torch.manual_seed(0)
    schema = Schema(kind="tables", fields=(Field(name="x", shape=(5,), support="real", likelihood="gaussian"),))
    return build(Spec.of({"network.hidden": (16,), "latent.dims": 3}), schema)


@pytest.fixture
def batch():
    return Batch({"x": torch.randn(40, 5, generator=torch.Generator().manual_seed(1))})


def test_it_is_the_weighed_bound_less_the_weighed_distance(model, batch):
    torch.manual_seed(2)
    own = Mmd(beta=0.3, mmd=7.0).per_row(model, batch)
    torch.manual_seed(2)
    terms = model(batch)
    prior = torch.randn(40, 3)
    distance = by_loops(terms.draw.steps["z"].value.detach().numpy(), prior.numpy(), "imq")
    assert torch.allclose(own, terms.log_px - 0.3 * terms.draw.kl() - 7.0 * distance, atol=1e-3)


def test_without_its_weight_it_is_the_elbo(model, batch):
    torch.manual_seed(2)
    own = Mmd(beta=2.0, mmd=0.0, draws=3).per_row(model, batch)
    torch.manual_seed(2)
    assert torch.allclose(own, Elbo(beta=2.0, draws=3).per_row(model, batch))


def test_one_row_has_no_distance(model, batch):
    torch.manual_seed(2)
    own = Mmd().per_row(model, batch.take(torch.tensor([3])))
    torch.manual_seed(2)
    assert torch.equal(own, Elbo().per_row(model, batch.take(torch.tensor([3]))))


@pytest.mark.parametrize("latent", ["gaussian", "point", "ladder"])
def test_training_by_it_alone_brings_the_codes_of_all_rows_to_the_prior(latent):
    """Without a KL (WAE) the codes of a plain autoencoder go where they like; with the distance they do not."""
    generator = torch.Generator().manual_seed(5)
    rows = Batch({"x": torch.randn(128, 2, generator=generator) @ torch.randn(2, 5, generator=generator)})
    schema = Schema(kind="tables", fields=(Field(name="x", shape=(5,), support="real", likelihood="gaussian"),))
    found = {}
    for weight in (0.0, 100.0):
        torch.manual_seed(0)
        vae = build(Spec.of({"network.hidden": (32,), "latent": {"name": latent, "dims": 2, "rungs": (1, 1)}}), schema)
        optimiser = torch.optim.Adam(vae.parameters(), 1e-2)
        for _ in range(120):
            optimiser.zero_grad()
            Mmd(beta=0.0, mmd=weight)(vae, rows).backward()
            optimiser.step()
        found[weight] = Mmd().report(vae.eval(), [rows])["mmd"]
    assert found[100.0] < 0.2 * found[0.0]


def test_the_report_repeats_in_any_batches(model, batch):
    model.eval()
    assert Mmd().report(model, list(batch.slices(16))) == Mmd().report(model, [batch])
