"""Mutual information and the aggregate posterior's KL on models of which both are known."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from latelier.batch import Batch
from latelier.build import build
from latelier.data.schema import Field, Schema
from latelier.latents.chain import Latents
from latelier.latents.gaussian import DiagonalNormal
from latelier.spec import Spec
from latelier.tasks.aggregate import aggregate
from ppca import NOISE, D, Exact, exact_model, rows, with_broken_posterior


def test_information_of_probabilistic_pca_lies_between_its_bounds_and_its_prior_has_no_holes():
    model = exact_model()
    found = aggregate(model, [rows(1000)])
    # I(x; z) = 1/2 log det(I + W W' / noise); the aggregate of exact posteriors over p(x) is the prior itself.
    truth = 0.5 * torch.logdet(torch.eye(D) + model.loadings @ model.loadings.T / NOISE).item()
    error = 4 * found.mutual_information_error
    assert found.mutual_information - error < truth < found.information_most + error
    assert found.information_most - found.mutual_information < 0.2
    assert found.marginal_kl_least < 0.05 and 0 < found.marginal_kl < 0.2
    assert found.density == "the prior" or found.marginal_kl_least_error > 0


class Far(Exact):
    """The exact posterior beside a prior that stands elsewhere and is twice as wide."""

    def prior(self, state, c):
        return DiagonalNormal(
            torch.tensor([2.0, 0.0]).expand(len(state), 2), torch.full((len(state), 2), math.log(2.0))
        )


def test_a_prior_in_the_wrong_place_is_found_at_its_exact_kl():
    model = exact_model()
    model.latents = Latents([Far(model.loadings, model.mean)])
    found = aggregate(model, [rows(3000)])
    truth = kl_divergence(
        Independent(Normal(torch.zeros(2), 1.0), 1), Independent(Normal(torch.tensor([2.0, 0.0]), 2.0), 1)
    ).item()
    assert found.marginal_kl_least == pytest.approx(truth, abs=4 * found.marginal_kl_least_error + 0.02)
    assert found.marginal_kl_least <= truth + 4 * found.marginal_kl_least_error
    assert truth - 0.2 < found.marginal_kl < truth + 0.3
    assert found.density != "the prior"


def test_what_the_posteriors_of_other_rows_tell_has_its_own_name_and_error():
    model = exact_model()
    model.latents = Latents([Far(model.loadings, model.mean)])
    near = Batch({"x": rows(1).fields["x"] + 1e-3 * torch.arange(5.0)[:, None]})  # too few to fit anything to
    found = aggregate(model, [near])
    assert found.density == "posteriors of other rows"
    assert found.marginal_kl_least == pytest.approx(found.marginal_kl, abs=1e-2) and found.marginal_kl_least_error > 0


def test_its_parts_sum_to_the_kl():
    for model in (exact_model(), with_broken_posterior()):
        batch = rows(300)
        found = aggregate(model, [batch])
        kl = model(batch).draw.kl()
        error = 4 * kl.std().item() / 300**0.5
        assert found.mutual_information + found.marginal_kl == pytest.approx(kl.mean().item(), abs=error)


def test_of_rows_that_z_tells_apart_the_information_is_their_number():
    model = exact_model()
    far = Batch({"x": torch.arange(8.0)[:, None] * 50 * model.loadings[:, 0] + model.mean})
    found = aggregate(model, [far])
    assert found.mutual_information == pytest.approx(math.log(8), abs=1e-3)
    assert found.marginal_kl > 100  # eight islands far out


def test_where_z_is_ignored_there_is_no_information():
    model = with_broken_posterior()
    for parameter in model.encoder.parameters():
        torch.nn.init.zeros_(parameter)
    found = aggregate(model, [rows(100)])
    assert found.mutual_information == pytest.approx(0, abs=1e-5) == found.information_most
    assert found.marginal_kl == pytest.approx(0, abs=1e-5)


def test_it_does_not_depend_on_how_many_rows_are_in_flight_and_bounds_them():
    model, batch = with_broken_posterior(), rows(50)
    whole, counts = aggregate(model, [batch]), []
    walk = model.latents.forward
    model.latents.forward = lambda n, *rest, **named: counts.append(n) or walk(n, *rest, **named)
    for parts in (7, 64):
        found = aggregate(model, list(batch.slices(9)), rows=parts)
        assert found.mutual_information == pytest.approx(whole.mutual_information, abs=1e-5)
        assert found.information_most == pytest.approx(whole.information_most, abs=1e-5)
    assert max(counts) <= 64


@pytest.mark.parametrize("latent", ["gaussian", "ladder", "point"])
def test_every_latent_with_a_density_has_it_and_conditions_do_too(latent):
    fields = (
        Field(name="real", shape=(5,), support="real", likelihood="gaussian"),
        Field(name="class", shape=(1,), support="category", sizes=(3,), role="condition"),
    )
    settings = {"network.hidden": (16,), "latent.name": latent, "latent.dims": 3, "latent.rungs": (2, 2)}
    model = build(Spec.of(settings), Schema(kind="tables", fields=fields)).eval()
    batch = Batch({"real": torch.randn(20, 5), "class": torch.arange(20)[:, None] % 3})
    found = aggregate(model, [batch])
    assert (found is None) == (latent == "point")
    if found is not None:
        assert -4 * found.mutual_information_error < found.mutual_information < math.log(20) + 1e-4
