"""Closed forms of the Gaussian latent, against torch.distributions."""

import torch
from torch.distributions import Normal, kl_divergence

from latelier.latents.gaussian import LOG_SCALE_LIMIT, DiagonalNormal, StandardNormal, normal


def example(seed: int) -> DiagonalNormal:
    generator = torch.Generator().manual_seed(seed)
    return DiagonalNormal(torch.randn(6, 3, generator=generator), 0.5 * torch.randn(6, 3, generator=generator))


def reference(q: DiagonalNormal) -> Normal:
    return Normal(q.mean(), q.log_scale.exp())


def test_kl_and_density_agree_with_torch():
    q, p, standard = example(0), example(1), StandardNormal(torch.zeros(1), 6, (3,))
    value = torch.randn(6, 3)
    assert torch.allclose(q.kl(p), kl_divergence(reference(q), reference(p)), atol=1e-5)
    assert torch.allclose(q.kl(standard), kl_divergence(reference(q), Normal(0.0, 1.0)), atol=1e-5)
    assert torch.allclose(q.log_prob(value), reference(q).log_prob(value).sum(1), atol=1e-5)
    assert torch.allclose(standard.log_prob(value), Normal(0.0, 1.0).log_prob(value).sum(1), atol=1e-5)


def test_absurd_scales_are_bounded_so_that_everything_stays_finite():
    q = normal(torch.tensor([[0.0, 1e4], [0.0, -1e4]]))
    assert q.log_scale.abs().max() == LOG_SCALE_LIMIT
    assert torch.isfinite(q.kl(StandardNormal(torch.zeros(1), 2, (1,)))).all()


def test_nats_are_not_counted_in_half_precision():
    q = normal(torch.randn(4, 100).bfloat16())
    assert q.kl(StandardNormal(torch.zeros(1), 4, (50,))).dtype == torch.float32
    assert normal(torch.zeros(1, 2, dtype=torch.float64)).mean().dtype == torch.float64
