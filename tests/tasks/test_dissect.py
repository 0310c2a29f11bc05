"""The decoder taken apart: what is lost has closed forms in a linear model, and nothing stays spoilt."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

import latelier
import ppca
from latelier.errors import BadInput
from latelier.tasks.dissect import dissect


def losses(found):
    return {(d.group, d.name): (d.loss, d.error) for d in found.damages}


def test_what_a_linear_model_loses_is_what_the_formulas_say() -> None:
    """x = W z + noise: rows with another's code, or one from the prior, lose tr(W W') / noise nats, rows with the prior's centre
    half of that; noise of deviation s added to z costs s^2 tr(W W') / (2 noise)."""
    model = ppca.exact_model()
    torch.manual_seed(0)
    found = losses(dissect(model, ppca.rows(20_000).slices(4000)))
    expected = float(model.loadings.square().sum()) / ppca.NOISE
    for name, share in (("exchanged among rows", 1.0), ("drawn from the prior", 1.0), ("the prior's centre", 0.5)):
        loss, error = found["z", name]
        assert loss == pytest.approx(share * expected, abs=4 * error)
        assert 0 < error < 0.02 * expected
    assert found["temperature", "spread × 0.5"][0] < 0 < found["temperature", "spread × 1.5"][0]
    small, large = (found["noise", f"noise of {size}"] for size in (0.3, 1))
    assert small[0] == pytest.approx(0.5 * 0.3**2 * expected, abs=4 * small[1])
    assert large[0] == pytest.approx(0.5 * expected, abs=4 * large[1])


@pytest.fixture(scope="module")
def digits():
    return (load_digits().images[:300] * 15).astype(np.uint8)


def words(rows=300):
    random = np.random.default_rng(0)
    x = random.integers(0, 3, rows)
    return pd.DataFrame({"a": x, "b": (x + random.integers(0, 2, rows)) % 3, "c": x + random.normal(size=rows)}).astype(
        {"a": str, "b": str}
    )


def fitted(folder, rows, **settings):
    usual = {"network.name": "mlp", "network.hidden": (16, 16), "latent.dims": 3, "train.epochs": 2, "train.threads": 1}
    return latelier.fit(rows, out=folder / "m", settings={**usual, **settings}, report=False)


MODELS = {
    "mlp": {},
    "skips": {"network.skip": True},
    "conv with skips": {"network.name": "conv", "network.channels": (4, 8), "network.skip": True},
    "ladder": {"latent.name": "ladder", "latent.rungs": (2, 3)},
    "hierarchy": {
        "network.name": "conv",
        "network.channels": (4, 8),
        "latent.name": "hierarchy",
        "latent.rungs": (3, 2),
    },
    "point": {"latent.name": "point"},
    "autoregressive": {"network.name": "autoregressive"},
    "given": {"data.given": ("b",)},
    "label": {"data.label": "b", "network.skip": True},
}


@pytest.mark.parametrize("name", MODELS)
def test_every_damage_is_undone_and_its_entries_sum_to_the_loss(name, digits, tmp_path) -> None:
    rows = words() if name in ("autoregressive", "given", "label") else digits
    model = fitted(tmp_path, rows, **MODELS[name])
    before = copy.deepcopy(model.vae.state_dict())
    found = model.dissect(rows)
    assert all(torch.equal(before[k], v) for k, v in model.vae.state_dict().items())
    assert found.rows == len(rows)
    groups = {d.group for d in found.damages}
    assert {"z", "dimensions", "network"} <= groups
    assert ("variables" in groups) == (name in ("ladder", "hierarchy", "label"))
    assert not any(d.name.startswith("label[") for d in found.of("dimensions"))  # classes are none
    assert ("c" in groups) == (name == "given")
    assert ("temperature" in groups) == (name not in ("codes", "point"))  # whose q(z | x) has no spread
    assert not any("classifier" in d.name for d in found.of("network"))  # which is on the way from x to the label
    assert any("cut" in d.name for d in found.damages) == ("skips" in name or name in ("autoregressive", "label"))
    assert any(d.name.endswith("reset") and d.loss != 0 for d in found.of("network"))
    for damage in found.damages:
        total = sum(float(v.sum()) for v in damage.entries.values())
        assert total == pytest.approx(damage.loss, abs=1e-3 + 1e-4 * abs(damage.loss)), damage.name
        assert len(damage.shown) == len(found.originals) == 8


def test_parts_set_back_to_what_they_are_lose_nothing(digits, tmp_path) -> None:
    model = fitted(tmp_path, digits)
    found = dissect(model.vae, model.read(digits), fresh=copy.deepcopy(model.vae))
    resets = [d for d in found.of("network") if d.name.endswith("reset")]
    assert len(resets) == 3
    assert all(d.loss == d.error == 0 for d in resets)


def test_a_prior_is_no_part_of_the_way_from_z_to_x(digits, tmp_path) -> None:
    model = fitted(tmp_path, digits, **{"latent.prior": "flow", "latent.width": 8, "latent.transforms": 1})
    assert model.vae.latents.blocks[0].own is not None
    resets = [d.name for d in model.dissect(digits).of("network") if d.name.endswith("reset")]
    assert resets and all(name.startswith("decoder.") for name in resets)


def test_the_bound_of_the_whole_is_that_of_evaluate(digits, tmp_path) -> None:
    model = fitted(tmp_path, digits)
    found, figures = model.dissect(digits), model.evaluate(digits, draws=1)
    assert found.log_px == pytest.approx(figures.log_px, abs=1e-3)
    assert found.kl == pytest.approx(figures.kl, abs=1e-4)


def test_one_row_has_none_to_exchange_with(digits, tmp_path) -> None:
    with pytest.raises(BadInput, match="at least two rows"):
        fitted(tmp_path, digits).dissect(digits[:1])
