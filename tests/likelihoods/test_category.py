"""Categorical against a softmax per column, ordinal against its own definition; columns of very unequal size."""

from __future__ import annotations

import pytest
import torch

from latelier.errors import BadInput
from latelier.likelihoods.category import Categorical, CategoricalDistribution, Ordinal, OrdinalDistribution

SIZES = (2, 300, 1, 7)


def test_columns_of_unequal_size_agree_with_a_softmax_each() -> None:
    torch.manual_seed(0)
    h, x = 5 * torch.randn(9, sum(SIZES)), torch.stack([torch.randint(s, (9,)) for s in SIZES], 1)
    px = Categorical(SIZES)(h)
    assert isinstance(px, CategoricalDistribution)
    parts = [part.log_softmax(1) for part in h.split(SIZES, 1)]
    expected = torch.stack([part.gather(1, x[:, c : c + 1])[:, 0] for c, part in enumerate(parts)], 1)
    torch.testing.assert_close(px.entry_log_prob(x), expected)
    torch.testing.assert_close(px.probs(), torch.cat(parts, 1).exp())
    assert torch.equal(px.point_estimate(), torch.stack([part.argmax(1) for part in parts], 1))


def test_the_gradient_is_that_of_a_softmax_each() -> None:
    torch.manual_seed(0)
    h = torch.randn(9, sum(SIZES), requires_grad=True)
    x = torch.stack([torch.randint(s, (9,)) for s in SIZES], 1)
    (ours,) = torch.autograd.grad(Categorical(SIZES)(h).log_prob(x).sum(), h)
    parts = [torch.distributions.Categorical(logits=part) for part in h.split(SIZES, 1)]
    (theirs,) = torch.autograd.grad(torch.stack([p.log_prob(x[:, c]) for c, p in enumerate(parts)]).sum(), h)
    torch.testing.assert_close(ours, theirs)


def test_columns_far_apart_in_logits_do_not_disturb_each_other() -> None:
    h = torch.tensor([[1e4, 1e4 - 1, -1e4, -1e4 - 2]])
    terms = Categorical((2, 2))(h).entry_log_prob(torch.tensor([[1, 1]]))
    torch.testing.assert_close(terms, torch.tensor([[-1.3132617, -2.126928]]))


def test_equally_probable_codes_have_the_lowest_as_their_mode() -> None:
    assert Categorical((3, 2))(torch.zeros(1, 5)).point_estimate().tolist() == [[0, 0]]


def test_ordinal_probabilities_are_differences_of_the_cumulative_logistic() -> None:
    torch.manual_seed(0)
    head = Ordinal(SIZES)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    px = head(torch.randn(5, head.width))
    assert isinstance(px, OrdinalDistribution)
    for c, (p, size) in enumerate(zip(px.probs().split(SIZES, 1), SIZES)):
        ends = (px.cuts[c, : size - 1] - px.location[:, c : c + 1]) / px.scale[:, c : c + 1]
        upto = torch.cat([torch.zeros(5, 1), ends.sigmoid(), torch.ones(5, 1)], 1)
        torch.testing.assert_close(p, upto.diff(dim=1), atol=1e-6, rtol=1e-3)
        codes = torch.zeros(5, len(SIZES), dtype=torch.int64)
        for code in range(size):
            codes[:, c] = code
            torch.testing.assert_close(px.entry_log_prob(codes)[:, c].exp(), p[:, code])


def test_ordinal_cut_points_stay_in_order_whatever_is_learned() -> None:
    head = Ordinal((2, 30))
    with torch.no_grad():
        head.raw_gaps.normal_(0, 100)
    assert bool((head.cuts().diff(dim=1) > 0).all())


def test_ordinal_cut_points_learn_the_frequencies_of_the_levels() -> None:
    torch.manual_seed(0)
    shares = torch.tensor([0.1, 0.5, 0.05, 0.35])
    x = torch.multinomial(shares, 2000, replacement=True)[:, None]
    head = Ordinal((4,))
    h, optimiser = torch.zeros(2000, 2), torch.optim.Adam(head.parameters(), 0.1)
    for _ in range(200):
        optimiser.zero_grad()
        (-head(h).log_prob(x).mean()).backward()
        optimiser.step()
    px = head(h[:1])
    assert isinstance(px, OrdinalDistribution)
    torch.testing.assert_close(px.probs()[0], torch.bincount(x[:, 0]) / 2000, atol=5e-3, rtol=0)


@pytest.mark.parametrize("head", [Categorical, Ordinal])
def test_columns_without_levels_are_refused(head: type[Categorical] | type[Ordinal]) -> None:
    with pytest.raises(BadInput, match="at least one level"):
        head((3, 0))
