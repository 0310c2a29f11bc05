"""Conditions: several of any family at once, with holes; guidance; and whether what is drawn obeys them."""

import numpy as np
import pandas as pd
import pytest
import torch

import latelier
from latelier.batch import Batch
from latelier.build import build
from latelier.data.schema import Field, Schema
from latelier.errors import BadInput
from latelier.latents.gaussian import DiagonalNormal
from latelier.spec import Spec
from latelier.tasks.obeyed import alternatives, obeyed, share

FAMILIES = {
    "length": "real",
    "rain": "amount",
    "hour": "cyclic:24",
    "times": "count",
    "town": "category",
    "grade": "ordinal",
    "yes": "binary",
}
TOWNS = ["bonn", "kiel", "ulm"]
SMALL = {"network.hidden": (32,), "latent.dims": 2, "data.choose": "rule", "train.rate": 5e-3}


def rows(n: int = 600, holes: float = 0.1) -> pd.DataFrame:
    """Two columns to model, of which one follows the town and the other how often; the rest is there to be given."""
    g = np.random.default_rng(0)
    town = g.integers(0, 3, n)
    times = g.poisson(3.0, n)
    frame = pd.DataFrame(
        {
            "a": 4.0 * town + 0.5 * g.normal(size=n),
            "b": 1.0 * times + 0.3 * g.normal(size=n),
            "length": g.normal(size=n),
            "rain": g.exponential(size=n) * (g.random(n) > 0.4),
            "hour": g.uniform(0, 24, n).round(1),
            "times": times.astype(float),
            "town": np.array(TOWNS, dtype=object)[town],
            "grade": g.integers(1, 5, n).astype(float),
            "yes": g.integers(0, 2, n).astype(float),
        }
    )
    return frame.mask(np.column_stack([np.zeros((n, 2), bool), g.random((n, 7)) < holes]))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conditions")
    return latelier.fit(
        rows(),
        out=folder / "m",
        given=list(FAMILIES),
        epochs=40,
        report=False,
        settings={**SMALL, "data.families": FAMILIES},
    )


def test_seven_conditions_of_seven_families_with_holes_are_read_given_and_left_out(model):
    assert len(model.schema.conditions) == 7
    frame = rows()
    assert np.isfinite(model.score(frame, draws=4)).all()
    drawn = model.sample(
        30, given={"town": "kiel", "times": 5, "hour": "13.5", "rain": 0, "grade": 2, "yes": 1, "length": 0.4}
    )
    assert set(drawn["town"]) == {"kiel"}
    assert set(drawn["times"]) == {5}
    assert drawn["a"].mean() == pytest.approx(4.0, abs=1.0)
    assert drawn["b"].mean() == pytest.approx(5.0, abs=1.0)
    one = model.sample(400, given={"town": "ulm"})
    assert one["a"].mean() == pytest.approx(8.0, abs=1.0)
    assert one["times"].isna().all()
    free = model.sample(400)
    assert free["a"].std() > 2 * one["a"].std()  # towns of all sorts


def test_a_placeholder_under_a_missing_condition_changes_no_score(model):
    (batch,) = model.read(rows(40))
    changed = {
        k: torch.where(batch.seen[k], v, torch.ones_like(v)) if k in batch.seen else v for k, v in batch.fields.items()
    }
    with torch.no_grad():
        torch.manual_seed(0)
        first = model.vae(batch).log_px
        torch.manual_seed(0)
        assert torch.equal(first, model.vae(Batch(changed, batch.seen, batch.log_det)).log_px)


def test_what_decides_a_column_is_obeyed_and_what_decides_nothing_is_at_chance(model):
    found = model.obeyed(rows(), draws=16)
    assert list(found) == list(FAMILIES)
    assert found["town"].chance == pytest.approx(1 / 3)
    assert found["town"].share > 0.9
    assert found["times"].share > found["times"].chance + 0.2
    for name in ("length", "yes", "grade", "hour", "rain"):
        assert abs(found[name].share - found[name].chance) < 0.25
    figures = model.evaluate(rows(), draws=2)
    assert figures.obeyed["town"].share > 0.9


def test_a_decoder_that_ignores_its_condition_obeys_by_chance(model):
    import copy

    deaf = copy.deepcopy(model)
    with torch.no_grad():
        deaf.vae.decoder.net.layers[0].linear.weight[:, 2:] = 0  # the condition stands behind two numbers of z
        for block in deaf.vae.latents.blocks:
            block.posterior_net.linear.weight[:, -deaf.vae.condition.width :] = 0
        deaf.vae.encoder.net.layers[0].linear.weight[:, -deaf.vae.condition.width :] = 0
    town = deaf.obeyed(rows(), draws=4)["town"]
    assert town.share == pytest.approx(town.chance, abs=1e-6)  # all alternatives are equally likely, and chance decides


def test_guidance_moves_draws_further_and_makes_them_vary_less_in_what_is_given(model):
    found = {s: model.sample(300, given={"town": "ulm"}, guidance=s)["a"] for s in (0.0, 1.0, 2.0)}
    assert found[0.0].std() > 2 * found[1.0].std()
    assert found[2.0].mean() > found[1.0].mean() > found[0.0].mean()
    pd.testing.assert_series_equal(found[1.0], model.sample(300, given={"town": "ulm"})["a"])


def conditioned(network: str = "mlp", latent: str = "gaussian", shape: tuple[int, ...] = (3,), **settings):
    fields = (
        Field(name="x", shape=shape, support="binary", likelihood="bernoulli"),
        Field(name="g", shape=(2,), support="real", columns=("u", "v"), role="condition"),
    )
    torch.manual_seed(0)
    options = {"network.name": network, "network.hidden": (8,), "latent.name": latent, "latent.rungs": (2, 2)}
    options |= {"latent.dims": 2, "network.channels": (4, 6), **settings}
    vae = build(Spec.of(options), Schema(kind="tables", fields=fields)).eval()
    for parameter in vae.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return vae, Batch({"g": torch.randn(5, 2)})


@pytest.mark.parametrize(
    ("network", "latent", "shape"),
    [
        ("mlp", "gaussian", (3,)),
        ("mlp", "ladder", (3,)),
        ("autoregressive", "ladder", (3,)),
        ("conv", "hierarchy", (1, 8, 8)),
    ],
)
def test_guidance_of_one_is_the_model_of_none_is_no_condition(network, latent, shape):
    vae, batch = conditioned(network, latent, shape)
    bare = Batch(batch.fields, {"g": torch.zeros(5, 2, dtype=torch.bool)})
    drawn = {}
    for name, given, strength in (
        ("own", batch, 1.0),
        ("also", batch, 1.0 + 1e-9),
        ("none", batch, 0.0),
        ("bare", bare, 1.0),
    ):
        torch.manual_seed(3)
        with torch.no_grad():
            drawn[name] = vae.decode(vae.generate(given, guidance=strength)).point_estimate().fields["x"]
    assert torch.allclose(drawn["own"], drawn["also"], atol=1e-5)
    assert torch.allclose(drawn["none"], drawn["bare"], atol=1e-5)
    assert not torch.allclose(drawn["own"], drawn["bare"], atol=1e-3)


def test_guided_numbers_are_the_line_through_both():
    vae, batch = conditioned()
    draw = vae.generate(batch, guidance=3.0)
    with torch.no_grad():
        own, bare = vae.decoder.net(draw.state, draw.c), vae.decoder.net(draw.state, torch.zeros_like(draw.c))
        guided = vae.decode(draw)["x"].point_estimate()
    assert torch.allclose(guided, torch.sigmoid(bare + 3 * (own - bare)), atol=1e-5)
    p = DiagonalNormal(torch.tensor([[2.0]]), torch.tensor([[0.5]])).guided(
        DiagonalNormal(torch.tensor([[1.0]]), torch.tensor([[0.0]])), 3.0
    )
    assert (p.mean().item(), p.log_scale.item()) == (4.0, 1.5)


def test_guidance_without_a_condition_to_start_from_is_refused(model, tmp_path):
    frame = rows(60)[["a", "town"]]
    plain = latelier.fit(frame[["a"]], out=tmp_path / "a", epochs=1, report=False, settings=SMALL)
    sure = latelier.fit(
        frame,
        out=tmp_path / "b",
        given=["town"],
        epochs=1,
        report=False,
        settings={**SMALL, "network.drop_condition": 0},
    )
    with pytest.raises(BadInput, match="no condition"):
        plain.sample(3, guidance=2.0)
    with pytest.raises(BadInput, match="drop_condition"):
        sure.sample(3, guidance=2.0)
    with pytest.raises(BadInput, match="guidance -1"):
        model.sample(3, guidance=-1.0)
    with pytest.raises(BadInput, match="leave out"):
        model.sample(3, given={"a": 1.0}, guidance=2.0)


def test_rows_lose_all_of_their_conditions_together_in_training():
    vae, _ = conditioned(**{"network.drop_condition": 0.2})
    vae.train()
    c = vae.embed(Batch({"g": torch.ones(20_000, 2)}))
    none = (c == 0).all(1).float().mean().item()
    assert 0.2 < none < 0.3  # all at once, and now and then each by itself
    vae.eval()
    assert (vae.embed(Batch({"g": torch.ones(4, 2)})) == 1).all()


def test_alternatives_begin_with_the_own_value_and_ties_are_left_to_chance():
    assert alternatives(torch.tensor([2, 0]), 3).tolist() == [[2, 0, 1], [0, 1, 2]]
    many = alternatives(torch.arange(100.0), 0)
    assert many[:, 0].tolist() == list(range(100))
    assert many.shape[1] == 8
    found = share(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -torch.inf]]))
    assert (found.rows, found.share, found.chance) == (4, (0.5 + 1 + 0 + 1) / 4, (0.5 * 3 + 1) / 4)


def test_a_classifier_of_real_rows_recognises_what_was_asked_for_where_the_decoder_reads_it(model):
    found = model.recognised(rows())
    assert set(found) == {"town", "grade", "yes"}  # numbers are not codes
    assert found["town"].real > 0.95
    assert found["town"].share > 0.85
    assert abs(found["yes"].share - 0.5) < 0.15
    assert model.recognised(rows(), guidance=0.0)["town"].share < 0.6  # without the condition it is at chance


def test_a_label_is_obeyed_as_a_condition_is():
    fields = (
        Field(name="x", shape=(4,), support="binary", likelihood="bernoulli"),
        Field(name="label", shape=(1,), support="category", sizes=(2,), columns=("kind",), role="label"),
    )
    torch.manual_seed(0)
    vae = build(
        Spec.of({"network.hidden": (), "latent.dims": 1, "objective.name": "enumerated"}),
        Schema(kind="tables", fields=fields),
    ).eval()
    last = vae.decoder.net.last
    with torch.no_grad():
        last.weight.zero_()
        last.weight[:, 1], last.weight[:, 2] = 6.0, -6.0  # of z and the two classes
        last.bias.zero_()
    given = Batch({"label": torch.arange(40)[:, None] % 2})
    assert obeyed(vae, [given])["label", 0].share == 1.0
    with torch.no_grad():
        last.weight.zero_()
    assert obeyed(vae, [given])["label", 0].share == pytest.approx(0.5, abs=0.25)
