"""Tasks on probabilistic PCA, where every answer is known."""

import pytest
import torch

from latelier.batch import Batch, join
from latelier.likelihoods.category import Categorical
from latelier.tasks.evaluate import held_out
from latelier.tasks.impute import _median, impute
from latelier.tasks.score import log_weights, score, score_entries
from ppca import D, exact_model, rows, with_broken_posterior


def holes(n: int) -> torch.Tensor:
    return torch.rand(n, D, generator=torch.Generator().manual_seed(5)) > 0.4


def test_the_score_is_the_exact_log_likelihood():
    model, batch = exact_model(), rows(300)
    found = torch.cat(list(score(model, [batch], draws=5)))
    assert (found - model.log_likelihood(batch.fields["x"])).abs().max() < 1e-4


def test_a_partly_seen_row_has_its_closed_form_marginal_likelihood():
    model, batch, seen = exact_model(), rows(200), holes(200)
    found = torch.cat(list(score(model, [Batch(batch.fields, {"x": seen})], draws=3)))
    assert (found - model.log_likelihood(batch.fields["x"], seen)).abs().max() < 1e-4


def test_placeholders_change_no_score():
    model, batch, seen = exact_model(), rows(50), holes(50)
    moved = Batch({"x": torch.where(seen, batch.fields["x"], 1e5)}, {"x": seen})
    one = torch.cat(list(score(model, [Batch(batch.fields, {"x": seen})])))
    assert torch.equal(one, torch.cat(list(score(model, [moved]))))


@pytest.mark.parametrize("size", [1, 7, 64])
def test_scores_do_not_depend_on_batch_size_order_or_call(size):
    model, batch = with_broken_posterior(), rows(64)
    whole = torch.cat(list(score(model, [batch], draws=9)))
    parts = torch.cat(list(score(model, batch.slices(size), draws=9)))
    in_flight = torch.cat(list(score(model, [batch], draws=9, rows=size)))
    turned = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    backwards = torch.cat(list(score(model, [batch.take(turned)], draws=9)))
    for other in (parts, in_flight):
        assert torch.allclose(whole, other, rtol=1e-6, atol=1e-5)
    assert torch.allclose(whole[turned], backwards, rtol=1e-6, atol=1e-5)


def test_memory_is_bounded_by_rows_in_flight():
    model, batch, seen = with_broken_posterior(), rows(100), []
    forward = model.decoder.forward
    model.decoder.forward = lambda z, c: seen.append(len(z)) or forward(z, c)
    list(score(model, [batch], draws=50, rows=32))
    list(score_entries(model, [batch], draws=16, rows=32))
    list(impute(model, [Batch(batch.fields, {"x": holes(100)})], draws=16, rows=32))
    assert max(seen) <= 32
    assert [w.shape for w in log_weights(model, batch.take(torch.arange(10)), 7, 32)] == [(3, 10), (3, 10), (1, 10)]


def test_shares_of_entries_and_of_the_latent_sum_to_the_score():
    model, batch, seen = with_broken_posterior(), rows(40), holes(40)
    stretched = Batch(batch.fields, {"x": seen}, {"x": torch.full((40, D), -1.5)})
    total = torch.cat(list(score(model, [stretched], draws=12)))
    parts = list(score_entries(model, [stretched], draws=12))
    entries = torch.cat([p.entries["x"] for p in parts])
    assert torch.allclose(entries.sum(1) + torch.cat([p.latent for p in parts]), total, atol=1e-4)
    assert (entries[~seen] == 0).all()


def test_stretching_the_data_moves_the_score_by_the_log_determinant():
    model, batch = exact_model(), rows(30)
    stretched = Batch(batch.fields, {}, {"x": torch.full((30, D), -2.0)})
    difference = torch.cat(list(score(model, [stretched]))) - torch.cat(list(score(model, [batch])))
    assert torch.allclose(difference, torch.full((30,), -2.0 * D), atol=1e-4)


def test_imputation_finds_the_exact_conditional_mean_and_spread():
    model, batch, seen = exact_model(), rows(40), holes(40)
    with_holes = Batch({"x": torch.where(seen, batch.fields["x"], 77.0)}, {"x": seen})
    truth = model.conditional_mean(batch.fields["x"], seen)
    filled = join(list(impute(model, [with_holes], draws=4000))).fields["x"]
    assert torch.equal(filled[seen], batch.fields["x"][seen])
    assert (filled - truth).abs().max() < 0.15
    torch.manual_seed(0)
    drawn = join(list(impute(model, [with_holes], draws=500, copies=400, rows=500 * 40))).fields["x"].view(400, 40, D)
    assert (drawn.mean(0) - truth).abs().max() < 0.5
    assert drawn[:, ~seen].std(0).min() > 0.4  # never less than the noise, sqrt(0.3)


@pytest.mark.parametrize("copies", [0, 3])
def test_rows_without_holes_cost_nothing_and_all_stay_in_their_places(copies):
    model, x, seen = exact_model(), rows(40).fields["x"], holes(40)
    seen[::2] = True
    decoded, forward = [], model.decoder.forward
    model.decoder.forward = lambda z, c: decoded.append(len(z)) or forward(z, c)
    (filled,) = impute(model, [Batch({"x": torch.where(seen, x, 77.0)}, {"x": seen})], draws=16, copies=copies)
    assert sum(decoded) <= 16 * 20
    assert not filled.seen
    for copy in filled.fields["x"].view(max(copies, 1), 40, D):
        assert torch.equal(copy[seen], x[seen])
        assert (copy[~seen] != 77.0).all()
    decoded.clear()
    (whole,) = impute(model, [Batch({"x": x}, {"x": torch.ones_like(seen)})], copies=copies)
    assert torch.equal(whole.fields["x"], x.repeat(max(copies, 1), 1)) and not whole.seen and not decoded


def test_the_median_code_has_half_of_the_probability_up_to_it():
    sizes = (3, 1, 5)
    levels = Categorical(sizes).levels
    parts = [torch.rand(40, size, generator=torch.Generator().manual_seed(size)) for size in sizes]
    parts = [part / part.sum(1, keepdim=True) for part in parts]
    found = _median(torch.cat(parts, 1), levels)
    for column, part in enumerate(parts):
        up_to = part.cumsum(1).gather(1, found[:, column, None])[:, 0]
        assert (up_to >= 0.5 - 1e-5).all()
        assert (up_to - part.gather(1, found[:, column, None])[:, 0] < 0.5).all()


def test_a_loose_proposal_is_corrected_by_its_weights():
    model, seen = with_broken_posterior(), holes(40)
    batch = Batch(rows(40).fields, {"x": seen})
    truth = model.conditional_mean(batch.fields["x"], seen)
    few = join(list(impute(model, [batch], draws=1))).fields["x"]
    many = join(list(impute(model, [batch], draws=20_000, rows=40 * 20_000))).fields["x"]
    assert (many - truth).square().mean() < 0.1 * (few - truth).square().mean()


def test_evaluation_agrees_with_the_truth_and_its_parts_sum():
    model, batch = exact_model(), rows(500)
    figures = held_out(model, batch.slices(77), draws=4)
    truth = model.log_likelihood(batch.fields["x"])
    assert figures.iw == pytest.approx(truth.mean().item(), abs=1e-4)
    assert figures.iw_error == pytest.approx((truth.std(correction=0) / 499**0.5).item(), rel=1e-3)
    assert figures.elbo == pytest.approx(figures.log_px - figures.kl, abs=1e-4)
    assert figures.active == figures.units == 2 and figures.rows == 500
    again = held_out(model, batch.slices(500), draws=4)
    assert again.elbo == pytest.approx(figures.elbo, abs=1e-5)
