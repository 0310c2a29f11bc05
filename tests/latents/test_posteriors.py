"""What every family of q(z | x) promises, and the closed forms of single ones."""

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from latelier.latents.normal import DiagonalNormal, StandardNormal
from latelier.latents.posteriors import POSTERIORS
from latelier.noise import Keyed
from latelier.spec import LatentSpec


def family(name: str, dims: int):
    torch.manual_seed(0)
    made = POSTERIORS[name](LatentSpec(dims=dims, transforms=2, width=16), (dims,))
    with torch.no_grad():
        for p in made.parameters():
            p += 0.15 * torch.randn_like(p)
    return made


@pytest.fixture(params=[(name, dims) for name in POSTERIORS for dims in (1, 2, 5)], ids=lambda p: f"{p[0]}-{p[1]}")
def case(request):
    made = family(*request.param)
    return made, 0.5 * torch.randn(6, made.outputs), request.param[1]


@pytest.mark.parametrize("name", POSTERIORS)
@pytest.mark.parametrize("dims", [1, 2])
def test_the_density_integrates_to_1(name, dims):
    made = family(name, dims)
    axis = torch.linspace(-12, 12, 4001 if dims == 1 else 481)
    points = torch.cartesian_prod(*[axis] * dims).view(-1, dims)
    h = 0.5 * torch.randn(1, made.outputs)
    with torch.no_grad():
        total = made(h.expand(len(points), -1)).log_prob(points).exp().sum() * (axis[1] - axis[0]) ** dims
    assert total == pytest.approx(1.0, abs=2e-3)


def test_draws_repeat_by_row_and_know_their_density(case):
    made, h, dims = case
    q, turned = made(h), torch.tensor([3, 1, 5, 0, 2, 4])
    z = q.rsample(Keyed(torch.arange(6)))
    assert z.shape == q.mean().shape == (6, dims)
    again = made(h[turned])
    assert torch.allclose(z[turned], again.rsample(Keyed(torch.arange(6)[turned])), atol=1e-5)
    assert torch.allclose(
        q.log_prob(z), made(h).log_prob(z.clone()), atol=2e-3
    )  # what drawing tells, and what the value does


def test_gradients_reach_what_chose_it_and_its_own_weights(case):
    made, h, _ = case
    h = h.clone().requires_grad_()
    q = made(h)
    z = q.rsample(Keyed(torch.arange(6)))
    (z.square().sum() + q.log_prob(z).sum()).backward()
    assert torch.isfinite(h.grad).all() and (h.grad != 0).any(1).all()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in made.parameters())


def test_detached_it_is_the_same_density_whose_gradient_comes_through_the_value_alone(case):
    made, h, _ = case
    h = h.clone().requires_grad_()
    q = made(h)
    z = q.rsample(Keyed(torch.arange(6)))
    value = z.detach().requires_grad_()
    cut = q.detach().log_prob(value)
    assert torch.allclose(cut, q.log_prob(z), atol=2e-3)
    cut.sum().backward()
    assert h.grad is None and all(p.grad is None for p in made.parameters())
    assert torch.isfinite(value.grad).all() and (value.grad != 0).any()


def test_tempered_draws_are_nearer_to_the_centre(case):
    made, h, _ = case
    q = made(h)
    keys = torch.arange(6)
    near, far = (q.temper(t).rsample(Keyed(keys)) - q.mean() for t in (0.3, 1.0))
    assert near.norm() < far.norm()
    assert torch.allclose(q.temper(0.0).rsample(Keyed(keys)), q.mean(), atol=1e-4)


def test_a_full_gaussian_is_that_of_torch():
    made = family("full", 4)
    q = made(torch.randn(6, made.outputs))
    reference = MultivariateNormal(q.centre, scale_tril=q.log_scale.exp()[:, :, None] * q.lower)
    z = torch.randn(6, 4)
    assert torch.allclose(q.log_prob(z), reference.log_prob(z), atol=1e-3)
    parts = q.kl(StandardNormal(torch.zeros(1), 6, (4,)))
    standard = MultivariateNormal(torch.zeros(4), torch.eye(4))
    assert parts.shape == (6, 4) and (parts >= -1e-6).all()
    assert torch.allclose(parts.sum(1), kl_divergence(reference, standard), atol=1e-4)
    p = DiagonalNormal(torch.randn(6, 4), 0.3 * torch.randn(6, 4))
    other = MultivariateNormal(p.centre, scale_tril=torch.diag_embed(p.log_scale.exp()))
    assert torch.allclose(q.kl(p).sum(1), kl_divergence(reference, other), atol=1e-3)


def test_a_flow_whose_maps_do_nothing_is_a_diagonal_gaussian():
    made = POSTERIORS["flow"](LatentSpec(dims=3), (3,))
    with torch.no_grad():
        for p in made.parameters():
            p.zero_()
    h = torch.randn(6, made.outputs)
    q, z = made(h), torch.randn(6, 3)
    reference = Normal(h[:, :3], h[:, 3:6].exp()).log_prob(z).sum(1)
    assert torch.allclose(q.log_prob(z), reference, atol=1e-3)
