"""Every verb of a model whose latent is codes, on pictures (a map of codes) and on a table (positions without a place)."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits, load_wine

import latelier
from latelier.cli import main
from latelier.errors import BadInput

DIGITS = (load_digits().images[:256] * 15).astype(np.uint8)
LABELS = load_digits().target[:256]
TINY = {"latent.codes": 8, "latent.code_dims": 3, "latent.attention": 16, "latent.layers": 1, "train.epochs": 2}
MAPS = {"network.name": "conv", "network.channels": (6, 8), "network.hidden": (16,)}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    np.savez(folder / "digits.npz", images=DIGITS, label=LABELS)
    settings = {**TINY, **MAPS, "latent.name": "codes", "latent.books": 2}
    return latelier.fit(folder / "digits.npz", out=folder / "m", settings=settings, given=["label"])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    frame = load_wine(as_frame=True).data
    settings = {**TINY, "latent.name": "fsq", "latent.levels": (3, 3), "latent.positions": 3, "network.hidden": (16,)}
    return latelier.fit(frame, out=tmp_path_factory.mktemp("table") / "m", settings=settings), frame


def test_a_fit_ends_with_a_prior_of_codes_and_the_folder_has_it(pictures):
    loaded = latelier.load(pictures.folder)
    assert loaded.spec.latent.prior == "transformer"
    assert loaded.figures["kl"] < 4 * 2 * np.log(8)  # 4 positions, 2 books: below that of uniform codes
    assert loaded.figures["elbo"] == pytest.approx(loaded.figures["log_px"] - loaded.figures["kl"], rel=1e-6)
    assert np.array_equal(loaded.sample(4, given={"label": 3}, seed=1), pictures.sample(4, given={"label": 3}, seed=1))


def test_the_score_is_the_bound_with_the_prior_of_codes(pictures, tmp_path):
    np.savez(tmp_path / "some.npz", images=DIGITS[:64], label=LABELS[:64])
    scores = pictures.score(tmp_path / "some.npz", draws=4)
    figures = pictures.evaluate(tmp_path / "some.npz", draws=4)
    # All mass of q is at one place, so every draw is the same and the importance-weighted bound is the plain one.
    assert figures.iw == pytest.approx(figures.elbo, abs=1e-3)
    assert scores.mean() == pytest.approx(figures.elbo, abs=1e-3)
    frame = pictures.score(tmp_path / "some.npz", draws=2, entries=True)
    assert np.allclose(frame.drop(columns="score").sum(axis=1), frame["score"], atol=1e-2)


def test_codes_are_whole_numbers_that_decode_to_the_reconstruction(pictures, table, tmp_path):
    np.savez(tmp_path / "some.npz", images=DIGITS[:9], label=LABELS[:9])
    codes = pictures.codes(tmp_path / "some.npz")
    assert codes.shape == (9, 4, 2)
    assert codes.dtype == np.int64
    assert codes.max() < 8
    model, frame = table
    codes = model.codes(frame)
    assert codes.shape == (178, 3, 1)
    assert codes.max() < 9
    again = model.decode_codes(codes)
    pd.testing.assert_frame_equal(again, model.reconstruct(frame))
    pd.testing.assert_frame_equal(again, model.decode(model.encode(frame)))


def test_every_verb_works_on_codes(pictures, table, tmp_path):
    np.savez(tmp_path / "some.npz", images=DIGITS[:6], label=LABELS[:6])
    some = tmp_path / "some.npz"
    assert len(pictures.interpolate(some, steps=4)) == 20
    assert len(pictures.traverse(some, rows=3, steps=5)) == 15
    assert len(pictures.traverse(given={"label": 2}, rows=3, steps=5)) == 15
    assert len(pictures.grid(side=3, given={"label": 2})) == 9
    assert len(pictures.denoise(some)) == len(pictures.augment(some)) == 6
    assert len(pictures.sample(3, given={"label": 2}, temperature=0.5)) == 3
    assert len(pictures.sample(3, given={"label": 2}, temperature=0.0)) == 3
    model, frame = table
    holed = frame.mask(np.random.default_rng(0).random(frame.shape) < 0.2)
    filled = model.impute(holed, draws=4)
    assert not filled.isna().any().any()
    assert np.allclose(filled.to_numpy()[holed.notna()], frame.to_numpy()[holed.notna()])
    held = model.sample(5, given={"alcohol": "13..14"}, draws=8)
    assert held["alcohol"].between(13, 14).all()


def test_a_walk_between_rows_passes_through_codes_alone(table):
    model, frame = table
    way = model.interpolate(frame.iloc[:2], steps=9)
    ends = model.reconstruct(frame.iloc[:2])
    assert np.allclose(way.iloc[[0, -1]], ends)
    assert (
        len(way.round(9).drop_duplicates()) <= 3 * 4 + 1
    )  # 3 positions of 2 numbers with 3 levels each: steps, no slopes


def test_a_temperature_near_0_draws_the_likeliest_codes(pictures):
    latents, c = pictures.vae.latents, pictures.vae.embed(next(pictures.conditions(40, {"label": 5})))
    cold = latents(40, c, temperature=1e-3).steps["z"].value
    assert torch.equal(cold, latents(40, c, centre=True).steps["z"].value)
    warm = latents(40, c).steps["z"].value
    assert len(warm.flatten(1).unique(dim=0)) > 10 > len(cold.flatten(1).unique(dim=0))


def test_the_use_of_books_is_told(pictures, tmp_path):
    np.savez(tmp_path / "some.npz", images=DIGITS, label=LABELS)
    books = pictures.evaluate(tmp_path / "some.npz", draws=2).books["z"]
    codes = pictures.codes(tmp_path / "some.npz")
    assert len(books) == 2
    for b, book in enumerate(books):
        counts = np.bincount(codes[:, :, b].ravel(), minlength=8)
        share = counts[counts > 0] / counts.sum()
        assert book["codes"] == 8
        assert book["used"] == pytest.approx((counts > 0).mean())
        assert book["perplexity"] == pytest.approx(np.exp(-(share * np.log(share)).sum()))


def test_the_report_and_the_card_show_codes(pictures, table):
    for model, title in ((pictures, "How often codes of book 2 are used"), (table[0], "How often codes are used")):
        page = (model.folder / "report.html").read_text()
        assert "could not be drawn" not in page
        assert title in page
        assert "Codes of held-out rows" in page
        assert "codes used of z" in (model.folder / "README.md").read_text()


def test_the_command_line_writes_codes_and_tells_of_their_use(table, tmp_path, capsys):
    model, frame = table
    frame.to_csv(tmp_path / "wine.csv", index=False)
    assert (
        main(["encode", str(model.folder), str(tmp_path / "wine.csv"), "--codes", "--out", str(tmp_path / "z.csv")])
        == 0
    )
    written = pd.read_csv(tmp_path / "z.csv")
    assert list(written.columns) == ["row", "z[0,0]", "z[1,0]", "z[2,0]"]
    assert written.row.tolist() == list(range(len(frame)))
    assert np.array_equal(written.to_numpy()[:, 1:], model.codes(frame)[:, :, 0])
    assert main(["evaluate", str(model.folder), str(tmp_path / "wine.csv"), "--draws", "2"]) == 0
    assert "of 9 used, perplexity" in capsys.readouterr().out


def test_what_is_no_code_is_refused(table):
    model, _ = table
    with pytest.raises(BadInput, match="this model has 0 to 8"):
        model.decode_codes(np.full((2, 3, 1), 9))
    with pytest.raises(BadInput, match="whole numbers"):
        model.decode_codes(np.zeros((2, 3, 1)))
    with pytest.raises(BadInput, match="no codes to decode"):
        model.decode_codes(np.zeros((0, 3, 1), int))


def test_prior_and_latent_must_go_together(tmp_path):
    frame = load_wine(as_frame=True).data
    for settings, words in [
        ({"latent.prior": "transformer"}, "prior of codes"),
        ({"latent.name": "codes", "latent.prior": "mixture"}, "no prior for latent codes"),
        ({"latent.name": "codes", "latent.refit": "mixture"}, "latent.refit=mixture: is no prior for latent codes"),
        ({"latent.name": "fsq", "latent.books": 2}, "no further books"),
    ]:
        with pytest.raises(BadInput, match=words):
            latelier.fit(frame, out=tmp_path / "m", settings={**settings, "data.choose": "rule"}, epochs=1)
        assert not (tmp_path / "m").exists()  # told before anything was trained
