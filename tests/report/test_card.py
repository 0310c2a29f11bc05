"""The model's card."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

import latelier
from latelier.cli.fitting import summary
from latelier.report import write_card
from latelier.report.card import MARK
from latelier.report.elements import measured


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a|b": random.normal(size=60), "sex": random.choice(["F", "M"], 60)})
    out = tmp_path_factory.mktemp("runs") / "people"
    return latelier.fit(frame, out=out, epochs=1, dims=2, given=("sex",), settings={"network.hidden": (8,)})


def test_the_card_says_what_the_model_is_how_good_and_how_to_load_it(model):
    text = (model.folder / "README.md").read_text()
    assert "# people: a decoder for tables" in text
    assert "conditioned on sex" in text
    assert f"{model.figures['active']} of {model.figures['units']}" in text
    assert "latelier.load('people')" in text
    assert "## Limits" in text


def test_bits_stand_beside_the_bound_that_they_are_of(tmp_path):
    """That of several draws, where several were trained with."""
    rows = (load_digits().images[:80] * 15).astype(np.uint8)
    settings = {"network.hidden": (8,), "objective.name": "iwae", "objective.draws": 4}
    model = latelier.fit(rows, out=tmp_path / "m", epochs=1, dims=2, settings=settings)
    f = model.figures
    assert f["bits_per_dim"] == pytest.approx(-f["iw"] / (64 * math.log(2)))
    assert f"| held-out bound of 4 draws | {measured(f['iw'], f['iw_error'])}" in (tmp_path / "m/README.md").read_text()
    assert "Held-out bound of 4 draws" in (tmp_path / "m/report.html").read_text()
    assert f"held-out bound of 4 draws: {f['iw']:.2f} +- " in "\n".join(summary(model, tmp_path / "m", None))


def test_the_python_of_the_card_runs(model, monkeypatch):
    monkeypatch.chdir(model.folder.parent)
    text = (model.folder / "README.md").read_text()
    source = text.split("```python\n")[1].split("```")[0].replace("VALUE", "F")
    names = {"data": pd.DataFrame({"a|b": [0.1, 0.2], "sex": ["F", "M"]})}
    exec(source, names)
    assert len(names["new"]) == 100
    assert len(names["nats"]) == 2


def test_a_card_that_someone_made_their_own_is_left_alone(model, tmp_path):
    path = write_card(model, tmp_path / "README.md")
    path.write_text(path.read_text().replace("decoder", "DECODER"))
    assert "DECODER" not in write_card(model, path).read_text()
    path.write_text(path.read_text().replace(MARK, "").replace("decoder", "DECODER"))
    assert "DECODER" in write_card(model, path).read_text()
