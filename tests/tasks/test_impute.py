"""How sure imputation is, in closed form; draws that come in parts; units; entries that are not missing at random."""

import math

import pytest
import torch

from latelier.batch import Batch, join
from latelier.data.schema import Field
from latelier.data.transforms import Standardise
from latelier.decoders import Decoder
from latelier.likelihoods.base import Joint
from latelier.likelihoods.real import GaussianDistribution
from latelier.missing import Missingness
from latelier.tasks.impute import _central, bends, impute, impute_with_spread
from ppca import NOISE, D, exact_model, rows, with_broken_posterior


def holes(n: int) -> torch.Tensor:
    seen = torch.rand(n, D, generator=torch.Generator().manual_seed(5)) > 0.4
    seen[0] = False
    return seen


def holed(n: int) -> tuple[Batch, torch.Tensor]:
    seen = holes(n)
    return Batch({"x": torch.where(seen, rows(n).fields["x"], 77.0)}, {"x": seen}), seen


def test_means_and_deviations_are_those_of_the_closed_form():
    model, draws, (batch, seen) = exact_model(), 4000, holed(30)
    torch.manual_seed(0)
    (told,) = impute_with_spread(model, [batch], draws)
    found = told.rows.fields["x"]
    mean, deviation = model.conditional_mean(batch.fields["x"], seen), model.conditional_deviation(seen)
    error = deviation * 5 / draws**0.5  # five standard errors
    assert ((found - mean).abs() <= error + 1e-5).all()
    assert told.deviation["x"].isnan().equal(seen)
    ratio = (told.deviation["x"] / deviation)[~seen]
    assert (ratio - 1).abs().max() < 0.08 and abs(ratio.mean() - 1) < 0.01
    assert not told.probability


def test_a_row_without_any_value_gets_the_prior():
    model, (batch, _) = exact_model(), holed(1)
    (found,) = impute_with_spread(model, [batch], 20_000)
    prior = (model.loadings.square().sum(1) + NOISE).sqrt()
    assert torch.allclose(found.rows.fields["x"][0], model.mean, atol=0.06)
    assert torch.allclose(found.deviation["x"][0].float(), prior, rtol=0.03)


@pytest.mark.parametrize("size", [7, 64, 4096])
def test_draws_in_parts_give_the_same_means(size):
    model, (batch, _) = with_broken_posterior(), holed(20)
    (whole,) = impute(model, [batch], draws=500, rows=20 * 500)
    found = join(list(impute(model, [batch], draws=500, rows=size)))
    assert torch.allclose(whole.fields["x"], found.fields["x"], atol=1e-3)


@pytest.mark.parametrize("size", [100, 20_000])
def test_copies_are_drawn_by_weight_however_the_draws_are_cut(size):
    model, (batch, seen) = exact_model(), holed(10)
    torch.manual_seed(0)
    drawn = join(list(impute(model, [batch], draws=200, copies=100, rows=size))).fields["x"]
    # Parts of rows come one after the other, each with all of its copies.
    at_once = max(1, size // 100)
    copies = torch.cat([part.view(100, -1, D) for part in drawn.split(100 * at_once)], 1)
    assert torch.equal(copies[7][seen], batch.fields["x"][seen])
    apart = (copies.mean(0) - model.conditional_mean(batch.fields["x"], seen))[~seen]
    deviation = model.conditional_deviation(seen)[~seen]
    assert (apart / deviation).abs().max() < 0.5
    assert (copies.std(0)[~seen] / deviation).mean() == pytest.approx(1, abs=0.1)


def test_the_mean_of_a_bent_column_is_that_of_its_own_units():
    model, (batch, seen) = exact_model(), holed(30)
    flat = Standardise(loc=(0.0,) * D, scale=(2.0,) * D, bend=(0.0,) * D)
    bent = Standardise(loc=(0.0,) * D, scale=(0.5,) * D, bend=(0.5,) * D)
    assert bends(bent, torch.zeros(1, D)) and not bends(flat, torch.zeros(1, D))
    torch.manual_seed(0)
    (found,) = impute(model, [batch], draws=4000, units={"x": bent})
    mean, deviation = model.conditional_mean(batch.fields["x"], seen), model.conditional_deviation(seen)
    truth = torch.sinh(mean / 2) * torch.exp((deviation / 2).square() / 2) * 0.5  # E[sinh(y)] of a Gaussian y
    middle = torch.sinh(mean / 2) * 0.5
    apart = (bent.to_data(found.fields["x"]).float() - truth)[~seen].abs()
    assert apart.mean() < 0.2 * (middle - truth)[~seen].abs().mean()
    (plain,) = impute(model, [batch], draws=4000, units={"x": flat})
    assert torch.allclose(plain.fields["x"], mean, atol=0.1)


class LinearGaussian(Decoder):
    """The decoder of ``ppca`` with a distribution that has quantiles."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, z, c):
        location = z @ self.model.loadings.T + self.model.mean
        return Joint({"x": GaussianDistribution(location, torch.tensor(NOISE).sqrt().expand_as(location))})


def test_values_that_hide_themselves_are_filled_from_where_they_hide():
    """Given the rest, x is N(m, s^2), and missing with probability sigmoid(3 x): what is missing, by quadrature."""
    model, seen = exact_model(), torch.ones(30, D, dtype=torch.bool)
    seen[:, 0] = False
    batch = Batch(rows(30).fields, {"x": seen})
    known = exact_model()
    model.decoder = LinearGaussian(known)
    model.missing = Missingness([Field(name="x", shape=(D,), support="real", holes=True)])
    with torch.no_grad():
        model.missing.slope["x"].fill_(3.0)
    torch.manual_seed(0)
    (found,) = impute_with_spread(model, [batch], 4000)
    mean, deviation = model.conditional_mean(batch.fields["x"], seen)[:, 0], model.conditional_deviation(seen)[:, 0]
    x = mean + deviation * torch.linspace(-8, 8, 4001)[:, None]
    density = torch.exp(-0.5 * ((x - mean) / deviation).square()) * torch.sigmoid(3 * x)
    density = density / density.sum(0)
    truth = (density * x).sum(0)
    spread = ((density * x.square()).sum(0) - truth.square()).sqrt()
    assert (truth - mean).mean() > 0.1  # they lie higher than what is seen says
    assert torch.allclose(found.rows.fields["x"][:, 0], truth, atol=0.08)
    assert torch.allclose(found.deviation["x"][:, 0].float(), spread, rtol=0.1)


def test_a_mean_in_bent_units_is_that_of_the_data_and_the_same_at_every_call() -> None:
    """x = sinh(y) for y ~ N(m, s^2), whose mean is sinh(m) exp(s^2 / 2)."""
    unit = Standardise(loc=(0.0, 1.0), scale=(1.0, 2.0), bend=(1.0, 0.0))
    p = GaussianDistribution(torch.tensor([[0.5, 0.5], [-1.0, -1.0]]), torch.tensor(0.8))
    mean = _central(Joint({"real": p}), {"real": unit})["real"]
    expected = torch.stack(
        [torch.sinh(p.location[:, 0].double()) * math.exp(0.32), p.location[:, 1].double() * 2 + 1], 1
    )
    torch.testing.assert_close(mean, expected, rtol=2e-4, atol=0)
    assert torch.equal(mean, _central(Joint({"real": p}), {"real": unit})["real"])
