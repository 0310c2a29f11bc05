"""Training of codes, whole: a run that goes on has the same books, and the prior of codes is worth its nats."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import latelier
from latelier.store import load_checkpoint

DIGITS = (load_digits().images[:600] * 15).astype(np.uint8)
SMALL = {
    "latent.name": "codes",
    "latent.codes": 16,
    "latent.code_dims": 4,
    "latent.positions": 4,
    "latent.refit": "no",
    "network.hidden": (64,),
    "train.batch": 64,
}


@pytest.mark.parametrize("prior", ["standard", "transformer"])
def test_a_run_that_goes_on_is_bit_for_bit_the_one_that_was_never_stopped(tmp_path, prior):
    class Stop(Exception):
        pass

    def stop(event):
        if event["event"] == "epoch" and event["epoch"] == 2:
            raise Stop

    settings = {**SMALL, "latent.books": 2, "latent.prior": prior, "latent.attention": 16, "train.checkpoint": 1e-9}
    options = {"settings": settings, "epochs": 4, "report": False}
    whole = latelier.fit(DIGITS, out=tmp_path / "whole", **options)
    with pytest.raises(Stop):
        latelier.fit(DIGITS, out=tmp_path / "cut", watch=stop, **options)
    tensors, state = load_checkpoint(tmp_path / "cut")
    assert 0 < state["step"] < 36
    assert tensors["vae.latents.blocks.0.quantiser.count"].shape == (2, 16)
    cut = latelier.fit(DIGITS, out=tmp_path / "cut", resume=True, epochs=4, report=False)
    for (name, one), other in zip(whole.vae.state_dict().items(), cut.vae.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert whole.figures["elbo"] == cut.figures["elbo"]


def test_training_uses_the_books_and_a_fitted_prior_is_worth_nats(tmp_path):
    settings = {**SMALL, "latent.refit": "if-needed", "latent.attention": 32, "train.batch": 32, "train.rate": 4e-3}
    model = latelier.fit(DIGITS, out=tmp_path / "m", settings=settings, epochs=25, report=False)
    assert model.figures["kl"] < 4 * math.log(16) - 1
    assert model.figures["elbo"] == pytest.approx(model.figures["log_px"] - model.figures["kl"], rel=1e-6)
    (use,) = model.figures["books"]["z"]
    assert use["used"] == 1.0
    assert use["perplexity"] > 10
    settings |= {"latent.codes": 2, "latent.positions": 1}
    alone = latelier.fit(DIGITS, out=tmp_path / "alone", settings=settings, epochs=25, report=False)
    assert model.figures["elbo"] > alone.figures["elbo"] + 3  # what codes tell of a row is worth more than it costs
