"""Levels of a hierarchy: what is held stays held, the rest comes from the priors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import latelier
from latelier.batch import Batch
from latelier.doctor.baseline import independent
from latelier.errors import BadInput
from latelier.latents.chain import Draw
from latelier.tasks.reconstruct import reconstruct, redraw

SETTINGS = {
    "network": {"name": "conv", "channels": (8, 12), "hidden": (32,), "blocks": 1},
    "latent": {"name": "hierarchy", "rungs": (4, 2, 1), "repeat": 2},
    "train": {"rate": 3e-3, "batch": 32, "ema": 0.99},
}


def digits(rows: int) -> np.ndarray:
    return (load_digits().images[:rows] > 7).astype(np.uint8) * 255


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    out = tmp_path_factory.mktemp("levels") / "model"
    return latelier.fit(digits(1000), out=out, settings=SETTINGS, epochs=14, report=False)


def drawn(model, monkeypatch, call) -> list[Draw]:
    """The draws that a task decodes."""
    seen: list[Draw] = []
    decode = model.vae.decode
    monkeypatch.setattr(model.vae, "decode", lambda draw: seen.append(draw) or decode(draw))
    call()
    return seen


def test_rungs_stand_at_their_resolutions_coarse_to_fine(model):
    shapes = {block.name: block.shape for block in model.vae.latents.blocks}
    assert shapes == {"z1": (4,), "z2": (2, 2, 2), "z3": (2, 2, 2), "z4": (1, 4, 4), "z5": (1, 4, 4)}


def test_the_bound_is_reached_and_grows_with_draws(model):
    figures = model.evaluate(digits(1200)[1000:], draws=20)
    rows = [next(model.read(part)) for part in (digits(1000), digits(1200)[1000:])]
    baseline = independent(model.schema, *rows)  # of pixels that have nothing to do with each other
    assert baseline is not None
    assert figures.iw >= figures.elbo > baseline + 1


def test_a_held_rung_stays_held_while_the_rest_is_redrawn(model, monkeypatch):
    batch = next(model.read(digits(6)))
    once = model.vae.infer(batch, centre=True)
    torch.manual_seed(0)
    (draw,) = drawn(model, monkeypatch, lambda: list(redraw(model.vae, [batch], ["z3", "z5"], draws=3)))
    for name in ("z1", "z2", "z4"):
        assert torch.equal(
            draw.steps[name].value, once.steps[name].value.repeat(3, *[1] * (once.steps[name].value.ndim - 1))
        )
    for name in ("z3", "z5"):
        first, second, _ = draw.steps[name].value.chunk(3)
        assert not torch.allclose(first, second)


def test_stopping_at_a_level_puts_finer_rungs_at_their_priors_means(model, monkeypatch):
    batch = next(model.read(digits(6)))
    (draw,) = drawn(model, monkeypatch, lambda: list(redraw(model.vae, [batch], model.finer(1))))
    for name in model.finer(1):
        assert torch.equal(draw.steps[name].value, draw.steps[name].p.mean())
    assert torch.equal(draw.steps["z1"].value, model.vae.infer(batch, centre=True).steps["z1"].value)


def test_redrawing_nothing_is_reconstruction_and_each_level_brings_the_row_nearer(model):
    batch = next(model.read(digits(200)))

    def error(rows: Batch) -> float:
        return float((rows.fields["image"].float() - batch.fields["image"].float()).square().mean())

    (whole,) = reconstruct(model.vae, [batch])
    (none,) = redraw(model.vae, [batch], [])
    assert torch.allclose(whole.fields["image"], none.fields["image"], atol=1e-6)
    errors = [error(next(redraw(model.vae, [batch], model.finer(level)))) for level in (1, 3, 5)]
    assert errors[0] > errors[1] > errors[2]


def test_samples_stop_at_a_level_too(model, monkeypatch):
    (draw,) = drawn(model, monkeypatch, lambda: model.sample(5, level=1))
    assert not torch.equal(draw.steps["z1"].value[0], draw.steps["z1"].value[1])
    assert all(torch.equal(draw.steps[name].value, draw.steps[name].p.mean()) for name in model.finer(1))


def test_levels_and_names_that_are_not_there_are_told(model):
    with pytest.raises(BadInput, match=r"level 9: this model has 5 latent variable.*; give 1 to 5"):
        model.sample(2, level=9)
    with pytest.raises(BadInput, match=r"latent variable 'z33'.*did you mean"):
        model.reconstruct(digits(2), redrawn=["z33"])


def test_a_hierarchy_needs_maps_and_levels_for_its_rungs():
    with pytest.raises(BadInput, match=r"use network.name=conv, or latent.name=ladder"):
        latelier.fit(digits(40), settings={"network.name": "mlp", "latent.name": "hierarchy"}, report=False)
    with pytest.raises(BadInput, match=r"latent.rungs has 4 entries"):
        latelier.fit(digits(40), settings={**SETTINGS, "latent.rungs": (4, 2, 2, 2)}, report=False)


def test_conditions_reach_every_level(tmp_path):
    table = {"label": load_digits().target[:300]}
    np.savez(tmp_path / "d.npz", images=digits(300), labels=table["label"])
    model = latelier.fit(
        tmp_path / "d.npz", out=tmp_path / "m", given=["label"], settings=SETTINGS, epochs=2, report=False
    )
    one, other = (torch.tensor([[float(k == i) for i in range(10)]]) for k in (0, 1))
    held = torch.ones(1, dtype=torch.bool)
    top = {"z1": (torch.zeros(1, 4), held)}
    steps = [model.vae.latents(1, torch.cat([c, torch.ones(1, 1)], 1), given=top, centre=True) for c in (one, other)]
    for name in ("z2", "z4"):
        assert not torch.allclose(steps[0].steps[name].p.mean(), steps[1].steps[name].p.mean())
    assert not np.array_equal(model.sample(4, given={"label": 0}, seed=1), model.sample(4, given={"label": 1}, seed=1))
