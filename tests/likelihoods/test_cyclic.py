"""Angles against scipy, and the seam that they must not have."""

from __future__ import annotations

import math

import numpy as np
import scipy.stats
import torch

from latelier.likelihoods.cyclic import VonMises, VonMisesMixture


def test_von_mises_agrees_with_scipy() -> None:
    torch.manual_seed(0)
    strength = torch.tensor([[0.01, 1.0, 30.0, 5000.0]]).expand(6, -1)
    centre, x = 6 * torch.rand(6, 4) - 3, 6 * torch.rand(6, 4) - 3
    x = torch.where(strength > 100, centre + 0.02, x)
    raw = strength / (1 - strength / 1e4)  # what the head bounds
    px = VonMises((4,))(torch.cat([raw * centre.cos(), raw * centre.sin()], 1))
    truth = scipy.stats.vonmises(strength.double().numpy(), centre.double().numpy()).logpdf(x.double().numpy())
    torch.testing.assert_close(px.entry_log_prob(x).double(), torch.tensor(truth), rtol=1e-3, atol=1e-3)
    assert bool(((px.point_estimate() - centre).sin().abs() < 1e-4).all())


def test_midnight_is_no_seam() -> None:
    h = torch.tensor([[-5.0, 0.01]])
    px = VonMises((1,))(h)
    just_before, just_after = (px.log_prob(torch.tensor([[angle]])) for angle in (math.pi - 1e-4, -math.pi + 1e-4))
    torch.testing.assert_close(just_before, just_after, atol=1e-3, rtol=0)
    drawn = VonMises((1,))(h.expand(4000, -1)).sample()
    assert 0.3 < (drawn > 0).float().mean() < 0.7


def test_a_mixture_learns_two_rush_hours() -> None:
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    x = torch.tensor(np.concatenate([random.vonmises(-1, 20, 500), random.vonmises(2, 5, 500)])[:, None]).float()
    figures = {}
    for name, head in (("one", VonMises((1,))), ("three", VonMisesMixture((1,)))):
        h = torch.zeros(1, head.width, requires_grad=True)
        optimiser = torch.optim.Adam([h], 0.1)
        for _ in range(300):
            optimiser.zero_grad()
            loss = -head(h).log_prob(x).mean()
            loss.backward()
            optimiser.step()
        figures[name] = loss.item()
    best = math.log(2) + 0.5 * sum(scipy.stats.vonmises(kappa).entropy() for kappa in (20, 5))
    assert abs(figures["three"] - best) < 0.06 < figures["one"] - figures["three"]
