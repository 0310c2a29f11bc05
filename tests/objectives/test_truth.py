"""Objectives against values computed by hand, and the order of bounds."""

import pytest
import torch

from latelier.objectives import Dreg, Elbo, Iwae
from ppca import exact_model, rows, with_broken_posterior


def test_the_elbo_is_reconstruction_minus_beta_kl():
    model, batch = with_broken_posterior(), rows(20)
    torch.manual_seed(0)
    terms = model(batch)
    torch.manual_seed(0)
    assert torch.allclose(Elbo(beta=3).per_row(model, batch), terms.log_px - 3 * terms.draw.kl())


@pytest.mark.parametrize(
    "options,progress,weight",
    [
        (dict(beta=4, anneal="linear", anneal_share=0.5), 0.25, 2.0),
        (dict(beta=4, anneal="linear", anneal_share=0.5), 0.9, 4.0),
        (dict(beta=1, anneal="cyclical", anneal_share=0.5, cycles=4), 0.25 + 0.0625, 0.5),
        (dict(beta=1, anneal="cyclical", anneal_share=0.5, cycles=4), 0.5, 0.0),
        (dict(beta=1, anneal="cyclical", anneal_share=0.5, cycles=4), 1.0, 1.0),
    ],
)
def test_annealing(options, progress, weight):
    assert Elbo(**options).weight(progress) == pytest.approx(weight)


def test_free_nats_by_dimension_and_by_group():
    parts = [torch.tensor([[0.1, 2.0], [0.3, 4.0]])]  # batch means 0.2 and 3.0
    assert Elbo(free_nats=0.5).cost(parts).tolist() == pytest.approx([3.5, 3.5])
    assert Elbo(free_nats=0.5, free_by="group").cost(parts).tolist() == pytest.approx([3.2, 3.2])
    assert Elbo(free_nats=5.0, free_by="group").cost(parts).tolist() == pytest.approx([5.0, 5.0])


def test_capacity_charges_the_distance_from_a_rising_target():
    objective = Elbo(beta=10, capacity=4.0)
    objective.progress = 0.5
    assert objective.cost([torch.tensor([[1.0], [2.0]])]).tolist() == pytest.approx([5.0, 5.0])


def test_the_importance_bound_does_not_fall_with_more_draws_and_ends_at_the_likelihood():
    model, batch = with_broken_posterior(), rows(200)
    truth = exact_model().log_likelihood(batch.fields["x"]).mean()
    torch.manual_seed(0)
    with torch.no_grad():
        bounds = [torch.stack([Iwae(k).per_row(model, batch).mean() for _ in range(20)]) for k in (1, 2, 8, 64, 512)]
    means, errors = [b.mean() for b in bounds], [b.std() / 20**0.5 for b in bounds]
    for low, high, error in zip(means, means[1:], errors, strict=False):
        assert high >= low - 3 * error
    assert all(mean <= truth + 3 * error for mean, error in zip(means, errors, strict=True))
    assert truth - means[-1] < 0.1 * (truth - means[0])


def test_doubly_reparameterised_gradients_have_the_mean_of_iwae_s_and_less_variance():
    model, batch = with_broken_posterior(), rows(4)

    def gradients(objective):
        found = []
        for seed in range(600):
            torch.manual_seed(seed)
            model.zero_grad()
            objective(model, batch).backward()
            found.append(torch.cat([p.grad.flatten() for p in model.encoder.parameters()]))
        return torch.stack(found)

    plain, doubly = gradients(Iwae(8)), gradients(Dreg(8))
    error = ((plain.var(0) + doubly.var(0)) / 600).sqrt()
    assert ((plain.mean(0) - doubly.mean(0)).abs() < 4.5 * error + 1e-6).all()
    assert doubly.var(0).sum() < plain.var(0).sum()
    torch.manual_seed(0)
    value = Dreg(8)(model, batch)
    torch.manual_seed(0)
    assert torch.allclose(value, Iwae(8)(model, batch))
