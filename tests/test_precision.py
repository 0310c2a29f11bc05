"""A model in float64 computes in float64 throughout: scores of a row agree in any batch to twelve digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import latelier
from kinds.test_tables import people
from latelier.latents import LATENTS
from latelier.networks import NETWORKS
from likelihoods.test_contract import Case, each


@each
def test_a_likelihood_costs_a_row_the_same_alone_and_among_others(case: Case) -> None:
    head = case.head().double().eval()
    h = case.h(head).double()
    x = head(h).sample()
    whole = head(h).log_prob(x)
    assert whole.dtype == torch.float64
    alone = torch.cat([head(h[i : i + 1]).log_prob(x[i : i + 1]) for i in range(len(h))])
    torch.testing.assert_close(alone, whole, rtol=1e-12, atol=1e-12)


PARTS = [("factors" if latent == "factors" else "mlp", latent) for latent in LATENTS if latent != "hierarchy"]
PARTS += [(network, "gaussian") for network in NETWORKS if network not in ("mlp", "conv", "factors")]


@pytest.mark.parametrize(("network", "latent"), PARTS)
def test_the_verbs_of_a_model_in_float64_agree_in_any_batch(network: str, latent: str, tmp_path: Path) -> None:
    frame = people(60)
    settings = {"network.name": network, "network.hidden": (16,), "latent.rungs": (2, 3)}
    settings |= {"latent.codes": 8, "latent.attention": 8, "latent.layers": 1}  # of latents with codes
    model = latelier.fit(frame, out=tmp_path / "m", epochs=1, latent=latent, report=False, settings=settings)
    single, z = model.score(frame, draws=3), model.encode(frame)
    model.vae.double()
    whole = model.score(frame, draws=3)
    assert whole.dtype == model.encode(frame).dtype == np.float64
    np.testing.assert_allclose(whole, single, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model.encode(frame), z, atol=1e-4)
    for size in (1, 7):
        parts = [frame[i : i + size] for i in range(0, 60, size)]
        np.testing.assert_allclose(np.concatenate([model.score(p, draws=3) for p in parts]), whole, rtol=1e-12)
        np.testing.assert_allclose(
            np.concatenate([model.encode(p) for p in parts]), model.encode(frame), rtol=1e-12, atol=1e-12
        )
    assert model.impute(frame).notna().all(axis=None)
    assert len(model.sample(3)) == len(model.denoise(frame.head(3))) == len(model.augment(frame.head(3))) == 3
    assert np.isfinite(model.evaluate(frame, draws=2).elbo)


def test_a_hierarchy_of_maps_in_float64_agrees_in_any_batch(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    network = {"name": "conv", "channels": (4, 6), "hidden": (16,)}
    settings = {"network": network, "latent": {"name": "hierarchy", "rungs": (3, 2)}}
    model = latelier.fit(pictures, out=tmp_path / "m", epochs=1, report=False, settings=settings)
    model.vae.double()
    whole = model.score(pictures, draws=3)
    parts = [model.score(pictures[i : i + 5], draws=3) for i in range(0, 12, 5)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-12)


def test_what_is_encoded_is_decoded_as_it_is_reconstructed(tmp_path: Path) -> None:
    frame = people(60)
    model = latelier.fit(
        frame, out=tmp_path / "m", epochs=1, latent="ladder", report=False, settings={"latent.rungs": (2, 3)}
    )
    z = model.encode(frame)
    assert z.shape == (60, 5)
    model.vae.rows = 7  # several parts
    decoded = model.decode(z)
    assert list(decoded) == list(frame) and len(decoded) == 60
    sampled = model.decode(np.random.default_rng(0).normal(size=(50, 5)))
    assert sampled["height"].nunique() > 1
    with pytest.raises(latelier.BadInput, match=r"decodes \(rows, 5\)"):
        model.decode(z[:, :4])
