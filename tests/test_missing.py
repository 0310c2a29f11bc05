"""p(missing | x): chances in closed form, and gradients that tell the decoder where missing values lie."""

import pytest
import torch

from latelier.batch import Batch
from latelier.data.schema import Field
from latelier.likelihoods import LIKELIHOODS
from latelier.likelihoods.base import Joint
from latelier.likelihoods.binary import Bernoulli
from latelier.likelihoods.category import Categorical
from latelier.likelihoods.count import Poisson
from latelier.likelihoods.real import Gaussian
from latelier.missing import Missingness, points

CASES = {
    "real": (Gaussian((2,)), Field(name="f", shape=(2,), support="real", holes=True)),
    "count": (Poisson((2,)), Field(name="f", shape=(2,), support="count", holes=True)),
    "binary": (Bernoulli((2,)), Field(name="f", shape=(2,), support="binary", holes=True)),
    "category": (Categorical((3, 4)), Field(name="f", shape=(2,), support="category", sizes=(3, 4), holes=True)),
}


def test_points_have_the_moments_of_a_gaussian():
    p = Gaussian((1,))(torch.tensor([[0.7, -0.4]]))
    values, weights = points(p)
    mean = (values * weights).sum(0)
    assert mean.item() == pytest.approx(0.7, abs=1e-5)
    assert (values.square() * weights).sum(0).sub(mean.square()).sqrt().item() == pytest.approx(
        p.scale.item(), rel=1e-4
    )


@pytest.mark.parametrize("support", CASES)
def test_the_chance_of_missing_and_what_is_missing_agree_with_many_draws(support):
    torch.manual_seed(0)
    head, field = CASES[support]
    p = head(torch.randn(1, head.width).expand(20_000, -1))
    missingness = Missingness([field]).eval()
    with torch.no_grad():
        missingness.offset["f"].copy_(torch.tensor([-0.5, 0.3]))
        missingness.slope["f"].copy_(torch.randn(missingness.slope["f"].shape))
    x = p.sample()
    chance = torch.sigmoid(missingness.logit("f", x, p))
    found = missingness.chance("f", p)[:1]
    assert torch.allclose(chance.mean(0, keepdim=True), found, atol=0.02)
    tilted = missingness.of_the_missing(Joint({"f": p}))["f"]
    gone = torch.rand(chance.shape) < chance
    left = (x * gone).sum(0) / gone.sum(0)
    assert torch.allclose(tilted.sample().double().mean(0), left.double(), atol=0.06)
    if x.is_floating_point():
        assert torch.allclose(tilted.point_estimate()[0].double(), left.double(), atol=0.1)


def test_the_chance_has_the_gradient_of_the_likelihood_s_parameters():
    h = torch.tensor([[0.3, -0.2]], requires_grad=True)
    missingness = Missingness([Field(name="f", shape=(1,), support="real", holes=True)])
    with torch.no_grad():
        missingness.slope["f"].fill_(1.5)
    head = Gaussian((1,))
    missingness.chance("f", head(h)).sum().backward()
    moved = [missingness.chance("f", head(h.detach() + step)).item() for step in torch.eye(2).mul(1e-2)]
    still = missingness.chance("f", head(h.detach())).item()
    assert h.grad[0].tolist() == pytest.approx([(m - still) / 1e-2 for m in moved], abs=2e-3)


def test_a_placeholder_changes_nothing_and_each_entry_has_its_term():
    head, field = CASES["real"]
    missingness, seen = Missingness([field]), torch.tensor([[True, False]])
    px = Joint({"f": head(torch.zeros(1, head.width))})
    one, other = (
        missingness.log_prob(px, Batch({"f": torch.tensor([[0.5, value]])}, {"f": seen})) for value in (0.0, 1e6)
    )
    assert torch.equal(one, other) and one.item() == pytest.approx(2 * torch.tensor(0.5).log().item(), abs=1e-5)


def test_every_likelihood_of_columns_can_be_missing_not_at_random():
    for name, head in LIKELIHOODS.items():
        if head.support not in ("real", "count", "binary", "category", "ordinal"):
            continue
        sizes = (3, 4) if head.support in ("category", "ordinal") else ()
        made = head.make((2,), sizes, {})
        field = Field(name="f", shape=(2,), support=head.support, sizes=sizes, holes=True)
        missingness = Missingness([field])
        px = Joint({"f": made(torch.zeros(3, made.width))})
        x = torch.ones(3, 2, dtype=torch.int64 if sizes else torch.float32)
        batch = Batch({"f": x}, {"f": torch.tensor([[True, False]] * 3)})
        assert torch.allclose(missingness.log_prob(px, batch), 2 * torch.tensor(0.5).log(), atol=1e-3), name
        assert missingness.of_the_missing(px)["f"].sample().shape == (3, 2)
