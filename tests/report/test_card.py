"""The model's card."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import latelier
from latelier.report import write_card
from latelier.report.card import MARK


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
