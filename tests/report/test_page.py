"""The report as a whole: it stands alone, is safe to open, says the same twice, and is made of whatever was trained."""

from __future__ import annotations

import errno
import os
import re
import time

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

import latelier
from latelier.errors import BadInput
from latelier.model import gather
from latelier.report import page, tables, write_report
from latelier.report.page import BROKEN, PARTS
from report.reading import read

SECTIONS = ["figures", "doctor", "data", "training", "back", "samples", "inside", "map", "settings"]
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
random = np.random.default_rng(0)


def fitted(folder, source, **options):
    options = {"epochs": 2, "dims": 3, "settings": {"network.hidden": (16, 16), "network.name": "mlp"}} | options
    return latelier.fit(source, out=folder, **options)


def digits(rows=120):
    return (load_digits().images[:rows] * 15).astype(np.uint8)


def mixed(rows=80):
    """Every family, holes, dates, a column of one value and one that is nearly empty."""
    frame = pd.DataFrame(
        {
            "height": random.normal(170, 9, rows).round(1),
            "income": np.exp(random.normal(10, 2, rows)),
            "visits": random.poisson(3, rows),
            "colour": random.choice(["red", "green", "blue", "$\\alpha"], rows),
            "member": random.random(rows) < 0.3,
            "since": pd.date_range("2019-01-01", periods=rows, freq="D"),
            "always": "x",
            "nearly empty": [*[1.5, 2.5, 3.5, 9.0], *[None] * (rows - 4)],
        }
    )
    frame.loc[::7, "height"] = np.nan
    frame.loc[::5, "colour"] = None
    return frame


def photos(channels, rows=24, side=40):
    return random.integers(0, 256, (rows, side, side, channels), dtype=np.uint8)


def labelled(folder):
    np.savez(folder / "digits.npz", images=digits(), labels=load_digits().target[:120])
    return folder / "digits.npz"


CASES = {
    "two rows of one column": lambda _: (pd.DataFrame({"x": [1.0, 2.5]}), {}),
    "three rows": lambda _: (pd.DataFrame({"x": [1.0, 2.0, 9.0], "y": ["a", "b", "a"]}), {}),
    "one category": lambda _: (pd.DataFrame({"x": ["a", "b"] * 20}), {}),
    "every family": lambda _: (mixed(), {}),
    "a table given a column": lambda _: (mixed(), {"given": ("colour",)}),
    "a table given a number": lambda _: (mixed(), {"given": ("height", "member")}),
    "a held-out column that is empty": lambda _: (mixed(12), {"holdout": 0.1}),
    "many columns": lambda _: (pd.DataFrame(random.normal(size=(60, 45)), columns=[f"c{i}" for i in range(45)]), {}),
    "huge and tiny numbers": lambda _: (
        pd.DataFrame({"a": random.normal(size=40) * 1e12, "b": random.normal(size=40) * 1e-9}),
        {},
    ),
    "one latent dimension": lambda _: (mixed(), {"dims": 1}),
    "two latent dimensions": lambda _: (digits(), {"dims": 2}),
    "pictures and one latent dimension": lambda _: (digits(), {"dims": 1}),
    "a plain autoencoder": lambda _: (digits(), {"latent": "point"}),
    "a ladder": lambda _: (digits(), {"latent": "ladder"}),
    "a table and a ladder": lambda _: (mixed(), {"latent": "ladder"}),
    "grey pictures": lambda _: (digits(), {}),
    "black and white": lambda _: (digits() > 100, {}),
    "pictures of one value": lambda _: (np.full((10, 6, 6), 7, np.uint8), {}),
    "two pictures": lambda _: (digits(2), {}),
    "pictures of one line": lambda _: (digits()[:, :1], {}),
    "colour": lambda _: (photos(3), {}),
    "alpha": lambda _: (photos(4), {}),
    "tall pictures": lambda _: (random.integers(0, 256, (12, 150, 20), dtype=np.uint8), {}),
    "convolutions": lambda _: (
        photos(1, side=16)[..., 0],
        {"settings": {"network.name": "conv", "network.channels": (4, 8)}},
    ),
    "labels": lambda folder: (labelled(folder), {}),
    "pictures given their label": lambda folder: (labelled(folder), {"given": ("label",)}),
    "rows held out elsewhere": lambda folder: (labelled(folder), {"test": labelled(folder)}),
}


@pytest.mark.parametrize("name", CASES)
def test_whatever_was_trained_has_a_whole_report(tmp_path, name):
    source, options = CASES[name](tmp_path)
    fitted(tmp_path / "model", source, **options)
    found = read(tmp_path / "model")
    assert BROKEN not in found.text
    assert found.problems == []
    assert [a["id"] for a in found.all("section")] == SECTIONS
    assert not re.search(r"\b(nan|inf|None)\b", found.text.split("Use it")[0])
    assert not re.search(r"\b(nan|inf)\b", " ".join(str(v) for _, a in found.elements for v in a.values()))


@pytest.mark.parametrize("rows", [digits, mixed])
def test_dimensions_of_a_ladder_do_not_have_the_names_of_its_variables(tmp_path, rows):
    model = fitted(tmp_path / "model", rows(), latent="ladder")
    text = read(tmp_path / "model").text
    assert model.vae.latents.names == ["z1", "z2"]
    assert "z1[0]" in text and not re.search(r"\bz[03]\b", text)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("here")
    return fitted(folder / "digits", labelled(folder))


def test_the_page_needs_no_network_no_script_and_no_other_file(model):
    found = read(model.folder)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & {name for name, _ in found.elements}
    for name, attributes in found.elements:
        for key, value in attributes.items():
            assert not key.startswith("on"), name
            if key in ("src", "href", "xlink:href", "srcset", "action"):
                assert str(value).startswith(("data:image/", "#"))
    assert not re.search(r"url\(|@import|https?:", found.source)


def test_everything_that_is_seen_can_be_read_aloud(model):
    found = read(model.folder)
    assert all(a.get("alt") for a in found.all("img"))
    assert all(a.get("role") == "img" and a.get("aria-label") for a in found.all("svg"))
    assert found.all("html") == [{"lang": "en"}]
    assert all(a["aria-label"] for a in found.all("div") if a.get("role") == "region")


def test_its_links_lead_to_its_sections(model):
    found = read(model.folder)
    ids = [a["id"] for _, a in found.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"] for a in found.all("a")} == {f"#{name}" for name in SECTIONS}


def test_names_and_values_from_the_user_stay_text(tmp_path):
    frame = pd.DataFrame({HOSTILE: random.normal(size=50), "b": random.choice([HOSTILE, "&amp;", "'"], 50)})
    fitted(tmp_path / '<b onclick="x">', frame)
    found = read(tmp_path / '<b onclick="x">')
    assert found.problems == []
    assert not found.all("script")
    assert not any(key.startswith("on") for _, attributes in found.elements for key in attributes)
    assert HOSTILE in found.text
    assert "<script" not in (tmp_path / '<b onclick="x">' / "README.md").read_text().replace("\\<", "")


def test_the_same_report_comes_out_twice_and_no_random_state_is_left_behind(model, tmp_path):
    data = gather(model.spec, model.schema, model.folder.parent / "digits.npz")
    first = write_report(model, data, tmp_path / "a.html").read_text()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    second = write_report(model, data, tmp_path / "b.html").read_text()
    assert torch.equal(before, torch.get_rng_state())
    assert first == second


def test_only_the_report_and_the_card_are_written(model, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    write_report(model, gather(model.spec, model.schema, model.folder.parent / "digits.npz"), tmp_path / "there.html")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["README.md", "there.html"]
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_full_disk_leaves_the_old_report(model, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInput, match="No space left"):
        write_report(model, gather(model.spec, model.schema, model.folder.parent / "digits.npz"), path)
    assert path.read_text() == "old"


def test_a_part_that_fails_says_so_and_leaves_the_others(tmp_path, monkeypatch):
    def broken(s):
        raise ValueError("<odd> rows")

    monkeypatch.setattr(tables, "samples", broken)
    fitted(tmp_path / "model", mixed())
    found = read(tmp_path / "model")
    assert found.text.count(BROKEN) == 1
    assert "<odd> rows" in found.text
    assert [a["id"] for a in found.all("section")] == SECTIONS
    assert found.problems == []


def test_labels_that_were_not_modelled_colour_the_map(model):
    found = read(model.folder)
    assert "Coloured by label" in found.text
    assert {f"points c{i}" for i in range(10)} <= {a.get("class") for a in found.all("path")}


def test_samples_of_a_conditioned_model_stand_under_their_labels(tmp_path):
    fitted(tmp_path / "model", labelled(tmp_path), given=("label",))
    alts = [a["alt"] for a in read(tmp_path / "model").all("img")]
    assert [alt for alt in alts if "given label" in alt] == [f"9 samples given label {i}" for i in range(10)]


def test_the_report_of_the_digits_takes_less_than_six_seconds_and_a_megabyte(model, tmp_path):
    np.save(tmp_path / "all.npy", digits(1797))
    data = gather(model.spec, model.schema, tmp_path / "all.npy")
    begun = time.process_time()
    path = write_report(model, data, tmp_path / "report.html")
    assert time.process_time() - begun < 6
    assert path.stat().st_size < 1_000_000


def test_every_kind_of_data_has_parts_of_its_own():
    from latelier.kinds import KINDS

    assert PARTS.keys() == KINDS.keys()
    assert page.PARTS is PARTS
