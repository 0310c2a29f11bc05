"""A decoder that goes from entry to entry, against enumeration of all rows of a small table."""

import itertools

import pytest
import torch

from latelier.batch import Batch
from latelier.build import build
from latelier.data.schema import Field, Schema
from latelier.errors import BadInput
from latelier.spec import Spec

SIZES = (3, 2)
ROWS = torch.tensor(list(itertools.product(range(3), range(2), range(2))))  # two categories and a yes/no


@pytest.fixture(scope="module")
def model():
    schema = Schema(
        kind="tables",
        fields=(
            Field(name="category", shape=(2,), support="category", likelihood="categorical", sizes=SIZES),
            Field(name="binary", shape=(1,), support="binary", likelihood="bernoulli"),
        ),
    )
    torch.manual_seed(0)
    vae = build(Spec.of({"network": {"name": "autoregressive", "hidden": (12, 12)}, "latent.dims": 2}), schema).eval()
    torch.nn.init.normal_(vae.decoder.net.last.weight, std=1.5)
    return vae.requires_grad_(False)


def batch(rows):
    return Batch({"category": rows[:, :2], "binary": rows[:, 2:].float()})


def z_of(rows):
    return torch.tensor([[0.4, -1.1]]).expand(rows, 2)


def probabilities(model):
    return model.decoder(z_of(len(ROWS)), None).log_prob(batch(ROWS)).exp()


def frequencies(found):
    rows = torch.cat([found.fields["category"], found.fields["binary"].long()], 1)
    places = (rows[:, 0] * 2 + rows[:, 1]) * 2 + rows[:, 2]
    return torch.bincount(places, minlength=len(ROWS)) / len(rows)


def test_the_probabilities_of_all_rows_are_one(model):
    assert float(probabilities(model).sum()) == pytest.approx(1.0, abs=1e-5)


def test_entries_lean_on_those_before_them_and_not_on_those_after(model):
    px = model.decoder(z_of(12), None).entry_log_prob(batch(ROWS))
    first, second, third = px["category"][:, 0], px["category"][:, 1], px["binary"][:, 0]
    assert torch.allclose(first.view(3, 4), first.view(3, 4)[:, :1].expand(3, 4))  # whatever comes later
    assert torch.allclose(second.view(3, 2, 2)[..., 0], second.view(3, 2, 2)[..., 1])
    assert not torch.allclose(second.view(3, 2, 2)[0], second.view(3, 2, 2)[1], atol=1e-2)
    assert not torch.allclose(third.view(6, 2)[0], third.view(6, 2)[1], atol=1e-2)


def test_rows_are_drawn_as_often_as_they_are_probable(model):
    torch.manual_seed(0)
    found = frequencies(model.decoder(z_of(40_000), None).sample())
    assert torch.allclose(found, probabilities(model), atol=0.012)


def test_weighted_completions_are_draws_given_what_is_seen_later(model):
    """The last entry is seen: earlier ones are drawn without it, and weighed by it."""
    rows = 60_000
    seen = Batch({"binary": torch.ones(rows, 1)})
    torch.manual_seed(0)
    whole, log_w = model.decoder(z_of(rows), None).complete(seen)
    assert bool((whole.fields["binary"] == 1).all())
    chosen = torch.multinomial(log_w.exp(), rows, replacement=True)
    p = torch.where(ROWS[:, 2] == 1, probabilities(model), 0.0)
    assert torch.allclose(frequencies(whole.take(chosen)), p / p.sum(), atol=0.015)
    assert float(log_w.exp().mean()) == pytest.approx(float(p.sum()), abs=0.01)


def test_drawing_step_by_step_is_the_same_map_as_one_pass(model):
    net, x = model.decoder.net, torch.randn(5, 6)
    whole, walk = net(x, z_of(5)), net.walk(z_of(5))
    for entry in range(3):
        torch.testing.assert_close(walk.about(entry), whole[:, net.tells[entry]])
        walk.tell(entry, x[:, net.reads[entry]])


def test_a_placeholder_that_is_not_seen_changes_nothing(model):
    vae = build(
        Spec.of({"network": {"name": "autoregressive", "hidden": (8,)}}),
        Schema(
            kind="tables", fields=(Field(name="real", shape=(3,), support="real", likelihood="gaussian", holes=True),)
        ),
    ).eval()
    torch.nn.init.normal_(vae.decoder.net.last.weight)
    x, seen = torch.randn(4, 3), torch.tensor([[True, False, True]]).expand(4, 3)
    other = torch.where(seen, x, 77.0)
    z = torch.randn(4, vae.latents.width)
    assert torch.equal(
        vae.decoder(z, None).log_prob(Batch({"real": x}, {"real": seen})),
        vae.decoder(z, None).log_prob(Batch({"real": other}, {"real": seen})),
    )


def test_pictures_are_refused():
    field = Field(name="image", shape=(1, 4, 4), support="binary", likelihood="bernoulli")
    with pytest.raises(BadInput, match="is for columns, and image is 1 x 4 x 4"):
        build(Spec.of({"network.name": "autoregressive"}), Schema(kind="images", fields=(field,)))
