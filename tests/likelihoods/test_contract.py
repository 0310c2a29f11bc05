"""What every likelihood in the table must do; a new entry of a known support is tested by being there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from latelier.errors import BadInput
from latelier.likelihoods import LIKELIHOODS
from latelier.likelihoods.base import Distribution, Likelihood, Options, Ordered

ROWS = 5
SIZES = (2, 5, 1, 3)
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "binary": [(6,), (2, 3, 4)],
    "unit": [(6,), (2, 3, 4)],
    "real": [(6,), (2, 3, 4)],
    "levels": [(6,), (3, 2, 3)],
    "count": [(6,)],
    "category": [(len(SIZES),)],
    "ordinal": [(len(SIZES),)],
    "amount": [(6,)],
    "cyclic": [(6,)],
}
DISCRETE = {"binary": 2, "levels": 256, "count": 3000}  # how many values to sum over
VARIANTS: dict[str, list[Options]] = {
    "gaussian": [{"scale": "shared"}, {"scale": "optimal"}, {"scale": 0.3}],
    "laplace": [{"scale": "optimal"}],
    "student_t": [{"scale": "shared"}],
    "mixture": [{"components": 2}],
    "count_mixture": [{"components": 3}],
    "von_mises_mixture": [{"components": 2}],
    "logistic": [{"scale": "shared"}],
    "logistic_mixture": [{"components": 2}],
}


@dataclass(frozen=True)
class Case:
    name: str
    shape: tuple[int, ...]
    options: Options = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.name, "x".join(map(str, self.shape)), *map(str, self.options.values())])

    @property
    def support(self) -> str:
        return LIKELIHOODS[self.name].support

    @property
    def coded(self) -> bool:
        return self.support in ("category", "ordinal")

    @property
    def coupled(self) -> bool:
        """Entries hold several values."""
        head = self.head()
        px, x = head(self.h(head)), head(self.h(head)).sample()
        return px.entry_log_prob(x).shape != x.shape

    def head(self) -> Likelihood:
        return LIKELIHOODS[self.name].make(self.shape, SIZES, self.options)

    def h(self, head: Likelihood, size: float = 1.0, rows: int = ROWS) -> Tensor:
        torch.manual_seed(3)
        return size * torch.randn(rows, head.width, *self.shape[1:])

    def same(self, head: Likelihood, rows: int) -> Distribution:
        """The same parameters in every row, mild enough to be summed and integrated over."""
        return head.eval()(self.h(head, 0.7, rows=1).double().repeat(rows, *[1] * len(self.shape)))

    def seen(self) -> Tensor:
        """A mask; pixels are seen or missing in all their channels."""
        torch.manual_seed(5)
        places = (1, *self.shape[1:]) if len(self.shape) > 1 else self.shape
        return torch.rand(ROWS, *places) < 0.6

    def values(self) -> Tensor:
        """(values, *shape): every value of the support in turn, in all places at once."""
        if self.support == "binary":
            values = torch.arange(2.0)
        elif self.support == "levels":
            values = torch.arange(256.0) / 127.5 - 1
        elif self.support == "count":
            values = torch.arange(float(DISCRETE["count"]))
        else:
            values = torch.arange(max(SIZES))
        return values.view(-1, *[1] * len(self.shape)).expand(-1, *self.shape)


CASES = [
    Case(name, shape, options)
    for name, head in LIKELIHOODS.items()
    for shape in SHAPES[head.support]
    for options in [{}, *VARIANTS.get(name, [])]
]
each = pytest.mark.parametrize("case", CASES, ids=str)
each_coded = pytest.mark.parametrize("case", [c for c in CASES if c.coded], ids=str)
each_ordered = pytest.mark.parametrize("case", [c for c in CASES if isinstance(c.same(c.head(), 1), Ordered)], ids=str)
# pixels of several coupled channels have 256^C values: test_pixels sums over them
each_summable = pytest.mark.parametrize("case", [c for c in CASES if not c.coupled], ids=str)


@each
def test_shapes_and_types_are_those_of_the_field(case: Case) -> None:
    head = case.head()
    px = head(case.h(head))
    x = px.sample()
    kind = torch.int64 if case.coded else torch.float32
    assert head.shape == case.shape
    assert x.shape == px.point_estimate().shape == (ROWS, *case.shape)
    assert x.dtype == px.point_estimate().dtype == kind
    terms = px.entry_log_prob(x)
    assert terms.dtype == torch.float32
    assert terms.ndim == x.ndim
    assert terms.shape[1:] in ((*case.shape,), (1, *case.shape[1:]))
    assert px.log_prob(x).shape == (ROWS,)
    assert not x.requires_grad


@each
def test_a_row_costs_the_sum_of_its_entries(case: Case) -> None:
    head = case.head().eval()
    px = head(case.h(head))
    x = px.sample()
    torch.testing.assert_close(px.log_prob(x), px.entry_log_prob(x).flatten(1).sum(1))


@each
def test_what_lies_at_its_floor_is_told_entry_by_entry(case: Case) -> None:
    """Where a head has a least scale, numbers far below 0 from the network reach it, and numbers near 0 do not."""
    head = case.head().eval()
    h = case.h(head, 0.1)
    at = head.at_floor(head(h))
    low = head.at_floor(head(h - 30))
    if at is None or low is None:
        assert at is low is None
        return
    assert at.dtype == torch.bool
    assert at.shape == head(h).entry_log_prob(head(h).sample()).shape
    assert not at.any()
    assert bool(low.all()) == (case.options.get("scale") not in ("shared", "optimal"))


@each
def test_samples_are_values_of_the_support(case: Case) -> None:
    head = case.head()
    px = head(case.h(head, 3.0, rows=50))
    for x in (px.sample(), px.point_estimate()):
        if case.coded:
            assert bool(((x >= 0) & (x < torch.tensor(SIZES))).all())
        elif case.support == "levels":
            level = (x + 1) * 127.5
            assert bool(((level - level.round()).abs() < 1e-4).all())
            assert bool((x.abs() <= 1).all())
        elif case.support == "cyclic":
            assert bool((x.abs() <= math.pi + 1e-5).all())
        elif case.support in ("unit", "binary"):
            assert bool(((x >= 0) & (x <= 1)).all())
    if case.support in ("binary", "count"):
        x = px.sample()
        assert bool((x == x.round()).all())
        assert bool((x >= 0).all())


@each
def test_the_gradient_reaches_everything_the_network_supplies(case: Case) -> None:
    head = case.head()
    h = case.h(head, rows=200).requires_grad_()
    px = head(h)
    px.log_prob(px.sample()).sum().backward()
    assert h.grad is not None
    assert bool(h.grad.isfinite().all())
    used = h.grad.abs().sum(0) > 0
    if case.coded:  # a column with one level has nothing to learn
        assert used.float().mean() >= 0.7
    else:
        assert bool(used.all())
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name


@each
@pytest.mark.parametrize("size", [1e3, 1e4])
def test_extreme_networks_give_finite_figures_and_gradients(case: Case, size: float) -> None:
    head = case.head()
    mild = head(case.h(head)).sample()
    for sign in (torch.ones(()), -torch.ones(()), case.h(head).sign()):
        h = (size * sign * torch.ones_like(case.h(head))).requires_grad_()
        for x in (mild, head(h).sample()):
            log_prob = head(h).log_prob(x)
            (gradient,) = torch.autograd.grad(log_prob.sum(), h, allow_unused=True)
            assert bool(log_prob.isfinite().all())
            assert gradient is None or bool(gradient.isfinite().all())
        assert bool(head(h).point_estimate().isfinite().all())


@each
def test_placeholders_under_a_mask_change_no_figure_and_no_gradient(case: Case) -> None:
    head = case.head()
    seen, answers = case.seen(), []
    x = head(case.h(head)).sample()
    junk = torch.full_like(x, 77) if case.coded else torch.full_like(x, 0.5) if case.support != "count" else x + 7
    for filled in (x, torch.where(seen, x, junk), torch.where(seen, x, torch.zeros_like(x))):
        h = case.h(head).requires_grad_()
        log_prob = head(h).log_prob(filled, seen)
        answers.append((log_prob.detach(), *torch.autograd.grad(log_prob.sum(), h)))
    for other in answers[1:]:
        assert torch.equal(other[0], answers[0][0])
        assert torch.equal(other[1], answers[0][1])
    h = case.h(head)
    assert head(h).log_prob(x, torch.zeros_like(seen)).tolist() == [0.0] * ROWS
    torch.testing.assert_close(head(h).log_prob(x, torch.ones_like(seen)), head(h).log_prob(x))


@each
def test_rows_in_another_order_cost_the_same(case: Case) -> None:
    head = case.head()
    h, order = case.h(head), torch.tensor([3, 0, 4, 2, 1])
    x = head(h).sample()
    torch.testing.assert_close(head(h[order]).log_prob(x[order]), head(h).log_prob(x)[order])


@each
def test_in_evaluation_a_row_costs_the_same_alone(case: Case) -> None:
    head = case.head().eval()
    h = case.h(head)
    x = head(h).sample()
    torch.testing.assert_close(head(h[2:3]).log_prob(x[2:3]), head(h).log_prob(x)[2:3])


@each
def test_half_precision_from_the_network_does_not_round_nats(case: Case) -> None:
    head = case.head().eval()
    h = case.h(head).bfloat16()
    x = head(h.float()).sample()
    assert torch.equal(head(h).log_prob(x), head(h.float()).log_prob(x))


@each_summable
def test_probabilities_of_all_values_are_one(case: Case) -> None:
    head = case.head().double()
    if case.coded:
        x = case.values()
        p = case.same(head, len(x)).entry_log_prob(x).exp()
        total = torch.where(x < torch.tensor(SIZES), p, 0.0).sum(0)
    elif case.support in DISCRETE:
        x = case.values()
        total = case.same(head, len(x)).entry_log_prob(x.double()).exp().sum(0)
    else:
        t = torch.linspace(-1, 1, 20000, dtype=torch.float64)  # an even number, so that 0, an atom of amounts, is none
        # the unit interval as it is; the real line through sinh, so that heavy tails are reached
        bounded = {"unit": (0.5, 0.5), "cyclic": (0.0, math.pi)}.get(case.support)
        x, stretch = (
            (bounded[0] + t * bounded[1], torch.full_like(t, bounded[1]))
            if bounded
            else (torch.sinh(14 * t), 14 * torch.cosh(14 * t))
        )
        places = (-1, *[1] * len(case.shape))
        p = case.same(head, len(x)).entry_log_prob(x.view(places).expand(-1, *case.shape)).exp() * stretch.view(places)
        total = torch.trapezoid(p, t, dim=0)
        if case.support == "amount":
            total = total + case.same(head, 1).entry_log_prob(torch.zeros(1, *case.shape).double())[0].exp()
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-4, rtol=0)


@each
def test_samples_are_as_frequent_as_probable(case: Case) -> None:
    head = case.head()
    torch.manual_seed(11)
    px = case.same(head, 20_000)
    x = px.sample()
    estimate = px.point_estimate()[0]
    if case.coded:
        x0 = case.values()[:, None].expand(-1, 1, -1)
        for value, row in enumerate(x0[:, 0]):
            p = torch.where(row < torch.tensor(SIZES), px.entry_log_prob(row.expand(len(x), -1))[0].exp(), 0.0)
            torch.testing.assert_close((x == value).double().mean(0), p, atol=0.015, rtol=0)
    elif case.support == "amount":
        spike = px.entry_log_prob(torch.zeros_like(x))[0].exp()
        torch.testing.assert_close((x == 0).double().mean(0), spike, atol=0.015, rtol=0)
        assert bool(((estimate == 0) == (spike > 0.5)).all())
        others = [column[column != 0].double() for column in x.T]
        for mean, column in zip(estimate, others, strict=True):
            assert mean == 0 or abs(column.mean() - mean) <= 5 * column.std() / math.sqrt(len(column))
    elif case.support == "cyclic":
        mean = torch.atan2(x.double().sin().mean(0), x.double().cos().mean(0))
        assert bool(((mean - estimate).sin().abs() < 0.1).all())
        below, points = (x < 1.0).double().mean(0), torch.linspace(-math.pi, 1.0, 2001).double()
        p = case.same(head, len(points)).entry_log_prob(points[:, None].expand(-1, *case.shape)).exp()
        torch.testing.assert_close(below, torch.trapezoid(p, points, dim=0), atol=0.015, rtol=0)
    else:
        spread = x.double().std(0) / math.sqrt(len(x)) * 5 + 1e-6
        if case.support == "levels":
            spread = spread + 1.5 / 255 + 0.1 * case.coupled  # rounding; a coupled channel leans on clipped ones
        assert bool(((x.double().mean(0) - estimate).abs() <= spread).all())


@each_coded
def test_the_point_estimate_of_codes_is_the_most_probable(case: Case) -> None:
    head = case.head()
    px = head(case.h(head, 3.0))
    best = px.log_prob(px.point_estimate())
    torch.manual_seed(1)
    for _ in range(50):
        assert bool((px.log_prob(px.sample()) <= best + 1e-5).all())


@each_ordered
@pytest.mark.parametrize("level", [0.05, 0.5, 0.9])
def test_the_quantile_leaves_its_share_below(case: Case, level: float) -> None:
    head = case.head()
    torch.manual_seed(13)
    px = case.same(head, 20_000)
    assert isinstance(px, Ordered)
    x, q = px.sample(), px.quantile(level)
    assert q.shape == x.shape
    assert q.dtype == x.dtype
    assert bool(((x <= q + 1e-9).double().mean(0) >= level - 0.015).all())
    assert bool(((x < q - 1e-9).double().mean(0) <= level + 0.015).all())


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_an_unknown_option_is_refused_and_the_nearest_named(name: str) -> None:
    head = LIKELIHOODS[name]
    known = {"gaussian": "floor", "laplace": "floor", "student_t": "scale", "logistic": "scale"}.get(name)
    wrong = f"{known}s" if known else "nonsense"
    with pytest.raises(BadInput, match=wrong) as error:
        head.make(SHAPES[head.support][0], SIZES, {wrong: 1})
    assert "\n" not in str(error.value)
    if known:
        assert f"did you mean '{known}'" in str(error.value)


def test_an_option_that_should_be_a_number_is_refused_if_it_is_none() -> None:
    with pytest.raises(BadInput, match="'components' of LogisticMixture is 'five'; give a whole number, such as 5"):
        LIKELIHOODS["logistic_mixture"].make((3, 4, 4), (), {"components": "five"})
    with pytest.raises(BadInput, match="'floor' of Gaussian is True"):
        LIKELIHOODS["gaussian"].make((3,), (), {"floor": True})
