"""Annealed importance sampling against the exact log p(x) of probabilistic PCA, and against brute force."""

import math

import pytest
import torch

from latelier.batch import Batch
from latelier.build import build
from latelier.data.schema import Field, Schema
from latelier.errors import BadInput
from latelier.latents import LATENTS
from latelier.spec import Spec
from latelier.tasks.annealed import FAR, Annealed, annealed, path
from latelier.vae import VAE
from ppca import D, exact_model, rows, with_broken_posterior


def of(model: VAE, batch: Batch, *options, **named) -> Annealed:
    parts = list(annealed(model, [batch], *options, **named))
    return Annealed(*(torch.cat([getattr(p, name) for p in parts]) for name in ("value", "error", "accepted")))


@pytest.mark.parametrize(("start", "steps"), [("prior", 60), ("posterior", 100)])
def test_it_is_the_exact_log_likelihood_within_its_error_however_poor_the_encoder(start, steps):
    model, batch = with_broken_posterior(), rows(40)
    found, truth = of(model, batch, 16, steps, start), model.log_likelihood(batch.fields["x"])
    standard = (found.value - truth) / found.error
    assert found.error.mean() < 0.4
    assert standard.mean().abs() < 0.6 and 0.6 < standard.std() < 2.0
    assert (found.value - truth).mean().abs() < 4 * found.error.square().sum().sqrt() / 40
    assert 0.5 < found.accepted.mean() < 0.98


def test_its_weights_have_the_mean_p_of_x():
    model, batch = with_broken_posterior(), rows(1)
    many = batch.repeat(400).each(lambda t: t + 1e-6 * torch.arange(400.0)[:, None])  # other noise for each
    found, truth = of(model, many, 1, 30, "prior"), model.log_likelihood(batch.fields["x"])
    weights = (found.value - truth).exp()
    assert abs(weights.mean() - 1) < 4 * weights.std() / 20
    assert found.error.isnan().all()  # one chain has no spread


def test_holes_cost_nothing_and_the_stretch_is_added():
    model, batch, seen = exact_model(), rows(8), torch.rand(8, D, generator=torch.Generator().manual_seed(5)) > 0.4
    holed = Batch({"x": torch.where(seen, batch.fields["x"], 1e4)}, {"x": seen})
    found, truth = of(model, holed, 16, 40, "prior"), model.log_likelihood(batch.fields["x"], seen)
    assert ((found.value - truth).abs() < 5 * found.error + 0.05).all()
    stretched = Batch(holed.fields, holed.seen, {"x": torch.full((8, D), -1.5)})
    assert torch.allclose(of(model, stretched, 16, 40, "prior").value, found.value - 1.5 * seen.sum(1), atol=1e-3)


def test_from_the_exact_posterior_no_step_is_needed():
    model, batch = exact_model(), rows(30)
    found = of(model, batch, 2, 1, "posterior")
    assert (found.value - model.log_likelihood(batch.fields["x"])).abs().max() < 1e-4
    assert (found.error < 1e-4).all()


def test_it_repeats_in_any_batch_and_bounds_the_rows_in_flight():
    model, batch, counts = with_broken_posterior(), rows(6), []
    whole = of(model, batch, 5, 3)
    forward = model.decoder.forward
    model.decoder.forward = lambda z, c: counts.append(len(z)) or forward(z, c)
    turned = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    for found, order in (
        (of(model, batch.take(turned), 5, 3), turned),
        (of(model, batch, 5, 3, rows=15), slice(None)),
        (of(model, batch, 5, 3, rows=4), slice(None)),
    ):
        assert torch.allclose(found.value, whole.value[order], atol=1e-3)
        assert torch.allclose(found.error, whole.error[order], atol=1e-3)
    assert max(counts) <= 30
    counts.clear()
    of(model, batch, 5, 2, rows=4)
    assert max(counts) <= 4
    assert not torch.equal(of(model, batch, 5, 3, seed=1).value, whole.value)


def brute_force(model: VAE, batch: Batch, draws: int = 8_000) -> torch.Tensor:
    """log of the mean of p(x | z) over draws from the prior."""
    with torch.no_grad():
        parts = [
            torch.logsumexp(model.log_px(model.decode(model.generate(row.repeat(draws))), row.repeat(draws)), 0)
            for row in batch.slices(1)
        ]
    return torch.stack(parts) - math.log(draws)


MAPS = {"network.name": "conv", "network.channels": (4, 8), "network.hidden": (8,), "latent.rungs": (2, 1)}
NEEDS = {"hierarchy": MAPS, "factors": {"latent.name": "gaussian"}}  # the network of factors is there for tables alone


def small(latent: str) -> tuple[VAE, Batch]:
    """A table of two families, or a picture where the latent needs maps, with a condition."""
    settings = {"network.hidden": (8,), "latent.name": latent, "latent.dims": 2, "latent.rungs": (1, 2)}
    settings |= NEEDS.get(latent, {})
    fields = [
        Field(name="real", shape=(2,), support="real", likelihood="gaussian"),
        Field(name="flag", shape=(2,), support="binary", likelihood="bernoulli"),
    ]
    if settings.get("network.name") == "conv":
        fields = [Field(name="flag", shape=(1, 8, 8), support="binary", likelihood="bernoulli")]
    condition = Field(name="class", shape=(1,), support="category", sizes=(3,), role="condition")
    torch.manual_seed(3)
    model = build(Spec.of(settings), Schema(kind="tables", fields=(*fields, condition))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5).add_(0.1 * torch.randn_like(parameter))  # away from the broad start
    generator = torch.Generator().manual_seed(4)
    made = {f.name: torch.randn(4, *f.shape, generator=generator) for f in fields}
    batch = {name: (x > 0).float() if name == "flag" else x for name, x in made.items()}
    return model, Batch({**batch, "class": torch.arange(4)[:, None] % 3})


@pytest.mark.parametrize("latent", LATENTS)
def test_every_latent_agrees_with_brute_force_or_is_refused_in_a_line(latent):
    model, batch = small(latent)
    if not all(block.density for block in model.latents.blocks):
        with pytest.raises(BadInput, match="no density"):
            of(model, batch)
        return
    found, truth = of(model, batch, 16, 40, "prior"), brute_force(model, batch)
    assert ((found.value - truth).abs() < 5 * found.error + 0.05).all()


def test_the_path_goes_from_0_to_1_and_pilots_have_noise_of_their_own():
    assert torch.equal(path(1), torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert (path(50).diff() > 0).all()
    assert FAR > 100_000
