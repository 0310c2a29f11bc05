"""Words for what new rows are to hold, read as the columns read their files."""

import numpy as np
import pandas as pd
import pytest
import torch

import latelier
from latelier.cli import main
from latelier.errors import BadInput
from latelier.kinds import KINDS
from latelier.spec import DataSpec

KIND = KINDS["tables"]


def people(rows: int = 400) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": random.integers(18, 90, rows),
            "height": random.normal(1.7, 0.1, rows).round(2),
            "sex": random.choice(["F", "M"], rows, p=[0.3, 0.7]),
            "grade": random.integers(1, 6, rows),
            "born": pd.Timestamp("2000-01-01") + pd.to_timedelta(random.integers(0, 3000, rows), "D"),
            "city": random.choice(["Graz", "Linz", "Wien, Stadt"], rows),
        }
    )


@pytest.fixture(scope="module", params=["any", "synthesis"])
def model(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("held") / request.param
    return latelier.fit(people(), out=out, epochs=2, report=False, purpose=request.param, threads=1)


@pytest.mark.parametrize(
    "given,holds",
    [
        ({"age": 40, "sex": "F"}, lambda f: (f["age"] == 40) & (f["sex"] == "F")),
        ({"age": (30, 40)}, lambda f: f["age"].between(30, 40)),
        ({"age": ">30"}, lambda f: f["age"] > 30),
        ({"height": "<=1.7"}, lambda f: f["height"] <= 1.7),
        ({"grade": "2..3", "height": 1.66}, lambda f: f["grade"].between(2, 3) & (f["height"] == 1.66)),
        ({"born": "2001-01-01..2003-06-01"}, lambda f: f["born"].between("2001-01-01", "2003-06-01")),
        ({"city": "Wien, Stadt"}, lambda f: f["city"] == "Wien, Stadt"),
    ],
)
def test_every_row_holds_what_was_asked_for(model, given, holds):
    frame = model.sample(40, given=given, draws=16)
    assert len(frame) == 40
    assert holds(frame).all()
    assert (frame.dtypes == people().dtypes).all()
    assert len(frame.drop_duplicates()) > 30


def test_values_in_turn_and_balanced_classes_come_equally_often(model):
    assert model.sample(6, given={"sex": ["F", "M"]}, draws=4)["sex"].tolist() == ["F", "M"] * 3
    assert (model.sample(9, balance="city", draws=4)["city"].value_counts() == 3).all()
    frame = people()
    both = pd.concat([frame, model.balance(frame, "sex", draws=4)])
    assert both["sex"].value_counts().nunique() == 1
    assert len(both) == 2 * (frame["sex"] == "M").sum()


@pytest.mark.parametrize(
    "text,words",
    [
        ({"age": "200"}, "200 lies outside of the data, which had 18 .. 89"),
        ({"age": "100.."}, "there is nothing in '100..'"),
        ({"age": "old.."}, "'old' is not a number"),
        ({"sex": "F..M"}, "'sex' holds words"),
        ({"sex": "Q"}, "did not occur in training"),
        ({"born": ">=spring"}, "'spring' is not a date"),
    ],
)
def test_what_cannot_be_held_is_said_in_one_line(text, words):
    with pytest.raises(BadInput) as error:
        KIND.held(text, KIND.scan(people(), DataSpec()), 2)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_rows_later_on_go_on_in_turn():
    schema = KIND.scan(people(), DataSpec())
    field = next(f for f in schema.modelled if "sex" in f.columns)
    whole, late = (
        KIND.held({"sex": "F,M,M"}, schema, n, start).batch.fields[field.name] for n, start in ((7, 0), (5, 2))
    )
    assert torch.equal(whole[2:], late)


def test_the_command_line_holds_balances_and_compares(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    people().to_csv("people.csv", index=False)
    folder = str(model.folder)
    assert main(["sample", folder, "-n", "8", "--given", "age=30..40,sex=F", "--draws", "16", "--out", "a.csv"]) == 0
    made = pd.read_csv("a.csv")
    assert len(made) == 8 and made["age"].between(30, 40).all() and (made["sex"] == "F").all()
    assert main(["sample", folder, "-n", "6", "--balance", "city", "--draws", "4", "--out", "b.csv"]) == 0
    assert (pd.read_csv("b.csv")["city"].value_counts() == 2).all()
    assert main(["augment", folder, "people.csv", "--balance", "sex", "--out", "c.csv"]) == 0
    assert set(pd.read_csv("c.csv")["sex"]) == {"F"}
    capsys.readouterr()
    assert main(["evaluate", folder, "--against", "people.csv", "--target", "sex", "--out", "f.html", "--json"]) == 0
    assert '"discriminator_auc"' in capsys.readouterr().out
    page = (tmp_path / "f.html").read_text()
    assert page.count("<svg") >= 6 and "could not be drawn" not in page and "<script" not in page
    assert main(["evaluate", folder, "people.csv", "--against", "people.csv"]) == 2
    assert "leave out one of the two" in capsys.readouterr().err
    assert main(["sample", folder, "--balance", "age"]) == 2
    assert "not classes" in capsys.readouterr().err
