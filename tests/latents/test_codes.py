"""Truths of codes: against a second library, closed forms, and sums over every code there is."""

import itertools
import math
from importlib import import_module

import pytest
import torch
from vector_quantize_pytorch import FSQ, ResidualVQ, VectorQuantize

from latelier.latents.codes import codes, fsq
from latelier.latents.priors.transformer import Transformer
from latelier.latents.quantise import DEAD, Codebook, Grid
from latelier.networks import Parts
from latelier.noise import Keyed
from latelier.spec import LatentSpec, NetworkSpec


def vectors(rows: int = 32, positions: int = 5, dims: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, positions, dims, generator=torch.Generator().manual_seed(seed))


def set_to(theirs, book: torch.Tensor) -> None:
    theirs._codebook.embed.data.copy_(book[None])
    theirs._codebook.embed_avg.data.copy_(book[None])
    theirs._codebook.cluster_size.data.fill_(1.0)


def summed(value: torch.Tensor) -> torch.Tensor:
    """(N, B, D, P) -> (N, P, D), as the decoder reads it."""
    return value.sum(1).transpose(1, 2)


def test_values_codes_gradients_commitment_and_the_running_means_are_those_of_a_second_library():
    ours = Codebook(size=8, books=1, dims=4, space=(5,), memory=0.8).train()
    theirs = VectorQuantize(
        dim=4, codebook_size=8, decay=0.8, commitment_weight=0.25, rotation_trick=False, threshold_ema_dead_code=0
    ).train()
    ours.book.copy_(vectors(1, 8, seed=1))
    ours.total.copy_(ours.book)
    set_to(theirs, ours.book[0])
    for seed in range(2, 5):  # what a step learns is what the next one is quantised by
        h = vectors(seed=seed).requires_grad_()
        other = h.detach().clone().requires_grad_()
        found = ours.quantise(h)
        value, chosen, cost = theirs(other)
        assert torch.equal(found.codes[:, :, 0], chosen)
        assert torch.allclose(summed(found.value), value, atol=1e-6)
        assert found.distance.sum().item() * 0.25 / h.numel() == pytest.approx(cost.item(), rel=1e-5)
        weight = vectors(seed=9)
        ((summed(found.value) * weight).sum() + 0.25 * found.distance.sum() / h.numel()).backward()
        ((value * weight).sum() + cost.sum()).backward()
        assert torch.allclose(h.grad, other.grad, atol=1e-6)
        used = ours.count[0] >= DEAD * 32 * 5 / 8
        assert used.all()  # so none was revived, which the other library was asked not to do
        assert torch.allclose(ours.book[0], theirs._codebook.embed[0], atol=1e-5)
        assert torch.allclose(ours.count[0], theirs._codebook.cluster_size[0], atol=1e-5)


def test_residual_books_choose_what_a_second_library_chooses():
    ours = Codebook(size=8, books=3, dims=4, space=(5,)).eval()
    theirs = ResidualVQ(dim=4, codebook_size=8, num_quantizers=3, rotation_trick=False).eval()
    for b, layer in enumerate(theirs.layers):
        set_to(layer, ours.book[b])
    found, (value, chosen, _) = ours.quantise(vectors()), theirs(vectors())
    assert torch.equal(found.codes, chosen)
    assert torch.allclose(summed(found.value), value, atol=1e-6)


def test_a_grid_is_that_of_a_second_library():
    levels = [8, 5, 5, 2]
    ours, theirs = Grid(levels, (5,)), FSQ([8, 5, 5, 3])
    ours = Grid([8, 5, 5, 3], (5,))
    h, other = (vectors().mul(2).requires_grad_() for _ in range(2))
    found, (value, chosen) = ours.quantise(h), theirs(other)
    assert torch.equal(found.codes[:, :, 0], chosen.long())
    assert torch.allclose(summed(found.value), value)
    (summed(found.value) * vectors(seed=9)).sum().backward()
    (value * vectors(seed=9)).sum().backward()
    assert torch.allclose(h.grad, other.grad, atol=1e-6)
    every = torch.arange(600)
    assert torch.allclose(ours.vectors(every[:, None, None])[:, 0, 0], theirs.indices_to_codes(every.int()))
    assert torch.equal(
        Grid(levels, (1,)).codes(Grid(levels, (1,)).value(every[:400, None, None])).flatten(), every[:400]
    )


@pytest.mark.parametrize("make, size", [(codes, 8), (fsq, 12)])
def test_the_kl_to_a_uniform_prior_is_positions_times_log_k_exactly(make, size):
    books = 2 if make is codes else 1
    spec = LatentSpec(name="codes", codes=8, books=books, code_dims=4, positions=6, levels=(4, 3))
    latents = make(spec, 12, 0, Parts(NetworkSpec()))
    draw = latents(7, None, (torch.randn(7, 12),))
    assert torch.allclose(draw.kl(), torch.full((7,), 6 * books * math.log(size)))
    assert torch.allclose(draw.log_ratio(), draw.kl())
    assert torch.allclose(draw.steps["z"].kl(), torch.full((7, 6), books * math.log(size)))


def test_a_posterior_has_no_mass_on_other_codes():
    latents = codes(LatentSpec(name="codes", codes=8, code_dims=4, positions=3), 12, 0, Parts(NetworkSpec())).eval()
    step = latents(5, None, (torch.randn(5, 12),)).steps["z"]
    other = latents.blocks[0].quantiser.value((step.q.coded().codes + torch.tensor([[[0], [1], [0]]])) % 8)
    assert torch.equal(step.q.log_prob(step.value.clone()), torch.zeros(5))
    assert torch.equal(step.q.log_prob(other), torch.full((5,), -math.inf))


def test_further_books_leave_less_error():
    h, errors = vectors(200, 5), []
    for books in (1, 2, 4):
        torch.manual_seed(0)
        book = Codebook(size=16, books=books, dims=4, space=(5,))
        book.begin(h)
        errors.append(float(book.eval().quantise(h).value.sum(1).transpose(1, 2).sub(h).square().mean()))
    assert errors[0] > 1.5 * errors[1] > 3 * errors[2] > 0


def test_a_book_begins_with_the_means_of_clusters():
    centres = 10 * torch.eye(4)
    h = (centres.repeat(40, 1) + 0.1 * vectors(1, 160)[0]).view(32, 5, 4)
    book = Codebook(size=16, books=1, dims=4, space=(5,)).eval()
    torch.manual_seed(0)
    book.begin(h)
    assert float(book.quantise(h).distance.max()) < 5 * 4 * 0.1**2 * 3
    assert torch.cdist(centres, book.book[0]).min(1).values.max() < 0.3


def test_dead_codes_are_revived_and_find_a_use():
    torch.manual_seed(0)
    book = Codebook(size=16, books=1, dims=4, space=(5,), memory=0.9).train()
    book.book[0, 1:] = 100.0  # no vector is near: one code has all
    book.total.copy_(book.book)
    assert len(book.quantise(vectors()).codes.unique()) == 1
    for step in range(60):
        book.quantise(vectors(seed=step))
    assert len(book.eval().quantise(vectors(200, seed=99)).codes.unique()) == 16


def test_a_book_stays_as_it_is_outside_of_training():
    book = Codebook(size=8, books=2, dims=4, space=(5,)).eval()
    before = {name: t.clone() for name, t in book.state_dict().items()}
    book.quantise(vectors())
    assert all(torch.equal(t, before[name]) for name, t in book.state_dict().items())


@pytest.mark.parametrize("positions, books, size", [(1, 1, 7), (2, 1, 5), (1, 2, 4), (2, 2, 3)])
@pytest.mark.parametrize("width", [0, 3])
def test_the_prior_of_codes_sums_to_1_over_every_code(positions, books, size, width):
    torch.manual_seed(0)
    quantiser = Codebook(size, books, 4, (positions,)).eval()
    prior = lively(Transformer(quantiser, width, width=8, layers=2))
    every = torch.tensor(list(itertools.product(range(size), repeat=positions * books)))
    c = torch.randn(1, width).expand(len(every), -1) if width else None
    log_p = prior(len(every), c).log_prob(quantiser.value(every.view(-1, positions, books)))
    assert torch.allclose(log_p.logsumexp(0), torch.zeros(()), atol=1e-5)
    assert log_p.std() > 0.1  # it is not the uniform one, of which this would be no news
    tempered = prior(len(every), c).temper(0.5).log_prob(quantiser.value(every.view(-1, positions, books)))
    assert torch.allclose(tempered.logsumexp(0), torch.zeros(()), atol=1e-5)


def test_draws_from_the_prior_of_codes_are_as_frequent_as_it_says():
    torch.manual_seed(0)
    quantiser = Codebook(3, 2, 4, (2,)).eval()
    prior = lively(Transformer(quantiser, 0, width=8, layers=2))
    every = torch.tensor(list(itertools.product(range(3), repeat=4)))
    p = prior(81, None).log_prob(quantiser.value(every.view(-1, 2, 2))).exp()
    rows = 20_000
    drawn = prior(rows, None).draw(Keyed(torch.arange(rows))).flatten(1)
    share = torch.bincount((drawn * torch.tensor([27, 9, 3, 1])).sum(1), minlength=81) / rows
    assert ((share - p).abs() < 5 * (p * (1 - p) / rows).sqrt() + 1e-4).all()


def test_draws_are_the_same_however_many_are_at_hand_at_once(monkeypatch):
    torch.manual_seed(0)
    prior = lively(Transformer(Codebook(6, 2, 4, (5,)).eval(), 3, width=16, layers=2))
    density = prior(7, torch.randn(7, 3))
    whole, likely = density.draw(Keyed(torch.arange(7))), density.likely()
    monkeypatch.setattr(import_module("latelier.latents.priors.transformer"), "NUMBERS", 3 * 2 * 2 * 10 * 16)
    assert torch.equal(density.draw(Keyed(torch.arange(7))), whole)
    assert torch.equal(density.likely(), likely)


def test_place_by_place_it_says_what_it_says_at_once():
    torch.manual_seed(0)
    quantiser = Codebook(6, 2, 4, (5,)).eval()
    prior = lively(Transformer(quantiser, 3, width=16, layers=2))
    c, told = torch.randn(7, 3), []

    def choose(place, logits):
        assert place == len(told)
        told.append(logits)
        return logits.argmax(1)

    chosen = prior.walk(7, c, choose)
    assert torch.allclose(torch.stack(told, 1), prior.logits(chosen, c), atol=1e-5)


def lively(prior: Transformer) -> Transformer:
    """Weights far from where they begin, at which all codes are equally likely."""
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return prior.eval()
