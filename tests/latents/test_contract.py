"""What every latent in the table promises."""

import pytest
import torch

from latelier.latents import LATENTS
from latelier.latents.base import Level
from latelier.networks import Parts
from latelier.noise import FRESH, Keyed
from latelier.spec import LatentSpec, NetworkSpec

ROWS, FEATURES = 5, 12
LEVELS = [Level(6, (2, 3)), Level(4, (4, 5))]  # of maps, coarse to fine


# By name, and further forms of some.
CASES = {name: (name, {}) for name in LATENTS} | {
    "codes-apart": ("codes", {"positions": 3}),
    "codes-residual": ("codes", {"books": 3}),
    "fsq-apart": ("fsq", {"positions": 3}),
}


@pytest.fixture(params=[(form, c) for form in CASES for c in (0, 3)], ids=lambda p: f"{p[0]}-c{p[1]}")
def case(request):
    form, width = request.param
    name, options = CASES[form]
    torch.manual_seed(0)
    parts = Parts(NetworkSpec(hidden=(16,)), LEVELS)
    spec = LatentSpec(dims=4, rungs=(2, 3), codes=8, code_dims=4, levels=(4, 3), **options)
    # As tasks have it: in training a codebook moves with every batch that it sees.
    latents = LATENTS[name](spec, FEATURES, width, parts).eval()
    c = torch.randn(ROWS, width) if width else None
    root = torch.randn(ROWS, 4, 4).triu(1) * 0.3 + torch.diag_embed(torch.rand(ROWS, 4) + 0.3)
    # A posterior to start from and maps, of which most know nothing, and last the vector that all read.
    maps = [torch.randn(ROWS, level.channels, *level.space) for level in reversed(LEVELS)]
    return latents, c, (torch.randn(ROWS, 4), root, torch.linalg.inv(root), *maps, torch.randn(ROWS, FEATURES))


def test_generation_and_inference_make_states_of_one_shape(case):
    latents, c, features = case
    generated, inferred = latents(ROWS, c), latents(ROWS, c, features)
    assert generated.state.shape == inferred.state.shape == (ROWS, *latents.shape)
    assert list(generated.steps) == list(inferred.steps) == [block.name for block in latents.blocks]


def test_kl_has_its_parts_and_sums_to_the_total(case):
    latents, c, features = case
    draw = latents(ROWS, c, features)
    parts = [step.kl() for step in draw.steps.values()]
    assert [part.shape for part in parts] == [(ROWS, block.parts) for block in latents.blocks]
    assert torch.allclose(torch.cat(parts, 1).sum(1), draw.kl())
    assert (draw.kl() >= -1e-5).all()


def test_kl_is_the_mean_of_the_log_ratio(case):
    latents, c, features = case
    many = 4000
    draw = latents(
        ROWS * many,
        None if c is None else c.repeat(many, 1),
        tuple(f.repeat(many, *[1] * (f.ndim - 1)) for f in features),
    )
    per_row = draw.log_ratio().view(many, ROWS)
    error = per_row.std(0) / many**0.5
    exact = draw.kl().view(many, ROWS).mean(0)  # later rungs depend on the draw of earlier ones
    assert ((per_row.mean(0) - exact).abs() <= 5 * error + 1e-5).all()


def test_a_given_value_is_held_where_it_is_held_and_costs_what_the_prior_says(case):
    latents, c, features = case
    block = latents.blocks[0]
    asked = torch.full((ROWS, *block.shape), 0.7)
    value = block.legal(asked)  # the nearest that the variable can take
    assert torch.equal(block.legal(value), value)
    held = torch.tensor([True, False, True, False, True])
    step = latents(ROWS, c, features, {block.name: (asked, held)}).steps[block.name]
    assert torch.equal(step.value[held], value[held])
    assert not torch.equal(step.value[~held], value[~held])
    assert torch.allclose(step.kl().sum(1)[held], -step.p.log_prob(value)[held])
    assert torch.allclose(step.log_ratio()[held], -step.p.log_prob(value)[held])


def test_gradients_reach_the_features(case):
    latents, c, features = case
    read = tuple(f.clone().requires_grad_() for f in features)
    draw = latents(ROWS, c, read)
    (draw.state.sum() + draw.kl().sum()).backward()
    found = [f.grad for f in read if f.grad is not None]
    assert found and all(torch.isfinite(grad).all() for grad in found)
    assert any((grad != 0).any() for grad in found)


def test_keyed_noise_repeats_and_rows_do_not_mix(case):
    latents, c, features = case
    keys = torch.arange(ROWS)
    whole = latents(ROWS, c, features, noise=Keyed(keys)).state
    turned = torch.tensor([3, 1, 4, 0, 2])
    part = latents(
        ROWS, None if c is None else c[turned], tuple(f[turned] for f in features), noise=Keyed(keys[turned])
    ).state
    assert torch.allclose(whole[turned], part, atol=1e-6)


def test_centre_takes_means_and_temperature_narrows_the_prior(case):
    latents, c, features = case
    assert torch.equal(latents(ROWS, c, features, centre=True).state, latents(ROWS, c, features, centre=True).state)
    torch.manual_seed(1)
    wide = latents(2000, None if c is None else c[:1].expand(2000, -1)).state.std()
    torch.manual_seed(1)
    narrow = latents(2000, None if c is None else c[:1].expand(2000, -1), temperature=0.5).state.std()
    if all(block.support == "codes" for block in latents.blocks):
        assert narrow == wide  # any power of a uniform distribution is itself
    else:
        assert narrow < 0.8 * wide


def test_detached_ratio_has_the_same_value_and_no_gradient_in_the_posterior(case):
    latents, c, features = case
    draw = latents(ROWS, c, features, noise=FRESH)
    assert torch.allclose(draw.log_ratio(detached=True), draw.log_ratio())
