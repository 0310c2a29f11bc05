"""What every prior of the table promises, and the closed forms of single ones."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from latelier.errors import BadInput
from latelier.latents import LATENTS
from latelier.latents.priors import PRIORS, REFITTED
from latelier.latents.priors.place import Place
from latelier.nets.mlp import MlpEncoder
from latelier.networks import Parts
from latelier.noise import Keyed
from latelier.spec import LatentSpec, NetworkSpec

INPUTS, DIMS = 6, 3
NAMES = [name for name in PRIORS if name != "standard" and name not in REFITTED.get("codes", ())]


def chain(name: str, width: int = 0, dims: int = DIMS, seed: int = 0, **options):
    """A chain of one Gaussian with that prior, moved away from where it starts, and its place."""
    torch.manual_seed(seed)
    encoder = MlpEncoder(INPUTS + width, (16,))
    spec = LatentSpec(dims=dims, prior=name, **{"components": 5, "width": 16, "transforms": 2, **options})
    latents = LATENTS["gaussian"](spec, encoder.features, width, Parts(NetworkSpec(hidden=(16,)), ()))
    place = Place(latents, encoder, (INPUTS,), width)
    prior = PRIORS[name](spec, place)
    with torch.no_grad():
        prior.begin(torch.randn(40, INPUTS), torch.randn(40, width) if width else None)
        for p in prior.parameters():
            p += 0.3 * torch.randn_like(p)
    latents.blocks[0].own = prior
    return latents.eval(), place


@pytest.fixture(params=[(name, c) for name in NAMES for c in (0, 2)], ids=lambda p: f"{p[0]}-c{p[1]}")
def case(request):
    name, width = request.param
    latents, place = chain(name, width)
    return name, latents, place, torch.randn(7, width) if width else None


def test_the_density_integrates_to_1():
    for name in NAMES:
        for dims in (1, 2):
            latents, _ = chain(name, dims=dims)
            axis = torch.linspace(-12, 12, 4001 if dims == 1 else 481)
            points = torch.cartesian_prod(*[axis] * dims).view(-1, dims)
            with torch.no_grad():
                total = (
                    latents.blocks[0].own(len(points), None).log_prob(points).exp().sum() * (axis[1] - axis[0]) ** dims
                )
            # A second stage gives a lower bound of its density, near it as both of its networks are near their start.
            assert total == pytest.approx(1.0, abs=2e-3) or (name == "second-stage" and 0.3 < total < 1.001), name


def test_draws_are_of_the_density(case):
    name, latents, _, c = case
    many = 20000
    c = None if c is None else c[:1].expand(many, -1)
    with torch.no_grad():
        p = latents.blocks[0].own(many, c)
        z = p.rsample(Keyed(torch.arange(many)))
        # E_p[f / p] over a region is its volume: the share of draws in a box against the density's mass in it.
        low, high = z.quantile(0.25, dim=0), z.quantile(0.75, dim=0)
        inside = ((z > low) & (z < high)).all(1).double().mean()
        box = low + (high - low) * torch.rand(many, DIMS)
        mass = (p.log_prob(box).double().exp() * (high - low).prod()).mean()
    if name == "second-stage":
        assert 0.05 * inside < mass < 1.05 * inside
    else:
        assert mass == pytest.approx(float(inside), rel=0.1)


def test_generation_and_inference_use_it_and_the_kl_is_the_log_ratio_in_one_part(case):
    _, latents, _, c = case
    features = (torch.randn(7, 16),)
    draw = latents(7, c, features)
    step = draw.steps["z"]
    assert step.value.shape == latents(7, c).steps["z"].value.shape == (7, DIMS)
    assert step.kl().shape == (7, 1)
    assert torch.allclose(step.kl()[:, 0], step.log_ratio())
    held = torch.tensor([True, False] * 3 + [True])
    step = latents(7, c, features, {"z": (torch.zeros(7, DIMS), held)}).steps["z"]
    assert torch.allclose(step.kl()[held, 0], -step.p.log_prob(torch.zeros(7, DIMS))[held])


def test_keyed_draws_repeat_and_rows_do_not_mix(case):
    _, latents, _, c = case
    keys, turned = torch.arange(7), torch.tensor([3, 1, 6, 0, 2, 5, 4])
    whole = latents(7, c, noise=Keyed(keys)).state
    part = latents(7, None if c is None else c[turned], noise=Keyed(keys[turned])).state
    assert torch.allclose(whole[turned], part, atol=1e-5)
    p = latents.blocks[0].own(7, c)
    again = latents.blocks[0].own(7, None if c is None else c[turned])
    assert torch.allclose(p.log_prob(whole)[turned], again.log_prob(whole[turned]), atol=1e-4)


def test_the_condition_is_read():
    for name in NAMES:
        latents, _ = chain(name, 2)
        z, c = torch.randn(7, DIMS), torch.randn(7, 2)
        own = latents.blocks[0].own
        assert not torch.allclose(own(7, c).log_prob(z), own(7, c + 1).log_prob(z), atol=1e-2), name


def test_tempered_draws_are_likelier_and_centres_are_values(case):
    _, latents, _, c = case
    c = None if c is None else c[:1].expand(2000, -1)
    p = latents.blocks[0].own(2000, c)
    noise = torch.arange(2000)
    usual, narrow = (p.temper(t).rsample(Keyed(noise)) for t in (1.0, 0.5))
    assert p.log_prob(narrow).mean() > p.log_prob(usual).mean() + 0.3
    assert p.mean().shape == (2000, DIMS)
    assert torch.isfinite(p.temper(0.5).log_prob(narrow)).all()


def test_gradients_reach_all_that_it_owns(case):
    _, latents, _, c = case
    latents.blocks[0].own.fit_nats(torch.randn(7, DIMS), c).mean().backward()
    for name, p in latents.blocks[0].own.named_parameters():
        assert p.grad is not None and torch.isfinite(p.grad).all(), name
    assert any((p.grad != 0).any() for p in latents.blocks[0].own.parameters())


def test_settled_at_values_it_is_near_them(case):
    name, latents, _, c = case
    z = 5 + 0.1 * torch.randn(200, DIMS)
    own = latents.blocks[0].own
    c = None if c is None else torch.zeros(200, c.shape[1])
    before = own(200, c).log_prob(z).mean()
    own.settle(z, c)
    if name != "vamp":  # which starts from rows
        assert own(200, c).log_prob(z).mean() > before + 1


def test_a_mixture_is_that_of_torch():
    latents, _ = chain("mixture")
    own, z = latents.blocks[0].own, torch.randn(9, DIMS)
    components = Independent(Normal(own.centres, own.log_scale.exp()), 1)
    reference = MixtureSameFamily(Categorical(logits=own.logits), components)
    assert torch.allclose(own(9, None).log_prob(z), reference.log_prob(z), atol=1e-4)


def test_a_mixture_of_narrow_components_far_out_loses_no_nats_to_rounding():
    latents, _ = chain("mixture", dims=40, components=50)
    own = latents.blocks[0].own
    with torch.no_grad():
        own.log_scale.fill_(math.log(0.02))
        own.centres.mul_(3)
        z = own.centres[:10] + 0.02 * torch.randn(10, 40)
        found = own(10, None).log_prob(z)
        own.double()
        exact = own(10, None).log_prob(z.double())
    assert (found - exact).abs().max() < 1e-3


def test_a_vamp_prior_of_one_pseudo_input_is_its_posterior():
    latents, place = chain("vamp", components=1)
    own, z = latents.blocks[0].own, torch.randn(9, DIMS)
    q = latents.blocks[0].posterior(torch.zeros(1, 0), place.encoder(own.inputs), None)
    assert torch.allclose(own(9, None).log_prob(z), q.log_prob(z), atol=1e-4)


def test_pseudo_inputs_are_the_rows_given_and_no_two_are_equal():
    latents, _ = chain("vamp", 2, components=10)
    own = latents.blocks[0].own
    rows, c = torch.randn(4, INPUTS), torch.randn(4, 2)
    with torch.no_grad():
        own.begin(rows, c)
    near = torch.cdist(own.inputs, rows)
    assert (near.min(1).values < 1).all() and sorted(near.argmin(1).unique().tolist()) == [0, 1, 2, 3]
    assert torch.equal(own.conditions, c[near.argmin(1)])
    assert torch.cdist(own.inputs, own.inputs).fill_diagonal_(1).min() > 0


def test_a_vamp_prior_needs_a_posterior_that_it_can_mix():
    with pytest.raises(BadInput, match=r"leave latent\.posterior out"):
        chain("vamp", posterior="full")


def test_a_second_stage_is_a_lower_bound_that_more_draws_raise():
    latents, _ = chain("second-stage")
    own, z = latents.blocks[0].own, torch.randn(300, DIMS)
    with torch.no_grad():
        few = own(300, None).log_prob(z).mean()
        own.noise = torch.randn(2000, DIMS)
        exact = own(300, None).log_prob(z).mean()
        one = torch.stack([own.fit_nats(z, None) for _ in range(20)]).mean()
    assert one < few < exact + 0.01


def test_a_second_stage_starts_as_the_standard_normal():
    spec = LatentSpec(dims=DIMS)
    own = PRIORS["second-stage"](spec, chain("mixture")[1])
    for net in (own.encoder, own.decoder):
        torch.nn.init.zeros_(net[-1].weight)
    z = torch.randn(50, DIMS)
    assert torch.allclose(own(50, None).log_prob(z), Normal(0.0, 1.0).log_prob(z).sum(1), atol=1e-4)
