"""Numbers as codes of bins: values come back into their bin, spikes exactly, and densities stay densities."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latelier.data.bins import Binned

random = np.random.default_rng(0)
MIXED = np.concatenate([np.zeros(500), random.lognormal(3, 1, 400), np.full(100, 99_999.0)])


def test_frequent_values_have_a_bin_of_their_own_and_come_back_exactly():
    bins = Binned.cut([MIXED], 20)
    codes = bins.to_model(torch.tensor([[0.0], [99_999.0], [0.5]]), None)
    assert len(set(codes[:, 0].tolist())) == 3
    back = bins.to_data(codes[:2])
    assert back[:, 0].tolist() == [0.0, 99_999.0]


def test_a_sample_of_codes_is_a_sample_of_the_column():
    bins = Binned.cut([MIXED], 40)
    x = torch.from_numpy(np.repeat(MIXED, 20))[:, None]
    torch.manual_seed(0)
    back = bins.within(bins.to_data(bins.to_model(x, None)))
    assert torch.equal(bins.to_model(back, None), bins.to_model(x, None))
    quantiles = torch.tensor([0.55, 0.7, 0.85], dtype=torch.float64)
    torch.testing.assert_close(torch.quantile(back, quantiles), torch.quantile(x, quantiles), rtol=0.05, atol=0)


def test_shares_of_bins_spread_over_their_widths_are_one():
    """exp(log_det) is the density of an even spread within the bin that holds x."""
    sample = random.normal(size=2000)
    bins = Binned.cut([sample], 16)
    x = torch.linspace(bins.edges[0][0] + 1e-9, bins.edges[0][-1] - 1e-9, 40_001, dtype=torch.float64)[:, None]
    codes, density = bins.to_model(x, None)[:, 0], bins.log_det(x)[:, 0].double().exp()
    share = torch.bincount(bins.to_model(torch.from_numpy(sample)[:, None], None)[:, 0]) / len(sample)
    assert float(torch.trapezoid(share[codes] * density, x[:, 0])) == pytest.approx(1.0, abs=2e-3)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.integers(1, 64))
def test_any_column_can_be_cut(values, bins):
    sample = np.array(values)
    found = Binned.cut([sample], bins)
    x = torch.from_numpy(sample)[:, None]
    codes = found.to_model(x, None)
    assert int(codes.min()) >= 0
    assert int(codes.max()) < found.sizes[0]
    back = found.within(found.to_data(codes))
    assert bool(((back >= sample.min()) & (back <= sample.max())).all())


def test_some_columns_are_the_same_as_they_were():
    both = Binned.cut([MIXED, random.normal(size=100)], 8)
    assert both.of([1]).edges == (both.edges[1],)
    assert Binned.model_validate_json(both.model_dump_json()) == both
