"""What ``evaluate`` tells beyond the bound: AIS, made rows beside real ones, known factors; in words, JSON and Python."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper
from sklearn.datasets import load_digits

import latelier
import tiny
from latelier.cli import main
from latelier.cli.fitting import summary
from latelier.errors import BadInput
from latelier.fidelity.extractor import Extractor, trained


class World:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.digits, self.wine = tiny.write_digits(root / "digits"), tiny.write_wines(root / "wine.csv", holes=0.05)
        self.pictures = tiny.fitted(root / "pictures", self.digits)
        self.labelled = tiny.fitted(root / "labelled", self.digits, "--given", "label")
        self.table = tiny.fitted(root / "table", self.wine, "--ignore", "cultivar")
        self.point = tiny.fitted(root / "point", self.wine, "--latent", "point")
        self.semi = tiny.fitted(root / "semi", self.wine, "--label", "cultivar")
        self.features = root / "features.safetensors"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def run(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main(["evaluate", *map(str, words)]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main(["evaluate", *map(str, words)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    return told


def test_what_z_tells_of_the_rows_is_always_there_where_it_has_a_meaning(world, capsys):
    page = json.loads(run(capsys, world.table, world.wine, "--draws", 2, "--json"))
    latent = page["latent"]
    assert latent["rows"] == 178 and 0 <= latent["marginal_kl_least"] <= latent["marginal_kl"] + 0.5
    assert latent["mutual_information"] <= np.log(178)
    assert "KL(q(z) || p(z))" in run(capsys, world.table, world.wine, "--draws", 2)
    assert "latent" not in json.loads(run(capsys, world.point, world.wine, "--draws", 2, "--json"))


def test_ais_stands_beside_the_bound_of_the_same_rows_and_repeats(world, capsys):
    asked = (world.pictures, world.digits, "--draws", 4, "--ais", 3, "--ais-steps", 4, "--ais-rows", 5)
    ais = json.loads(run(capsys, *asked, "--json"))["ais"]
    assert (ais["rows"], ais["chains"], ais["steps"], ais["start"], ais["iw_draws"]) == (5, 3, 4, "posterior", 4)
    assert ais["gap"] == pytest.approx(ais["value"] - ais["iw"], abs=1e-4)
    assert json.loads(run(capsys, *asked, "--json"))["ais"] == ais
    told = run(capsys, *asked, "--ais-from", "prior")
    assert "AIS, 3 chains" in told and "4 steps from the prior" in told
    assert "no density" in refused(capsys, world.point, world.wine, "--ais", 2)
    told = refused(capsys, world.semi, world.wine, "--ais", 2)
    assert "'label' (Label) has no density" in told and "fit without --label" in told  # z has one


def test_figures_of_a_plain_autoencoder_are_not_called_a_bound(world, capsys):
    told = run(capsys, world.point, world.wine, "--draws", 2)
    assert told.splitlines()[1].startswith("log p(x | z), no bound")
    assert "ELBO" not in told and "IW bound" not in told
    model = latelier.load(world.point)
    told = "\n".join(summary(model, world.point, None))
    assert "held-out log p(x | z): " in told and "held-out bound" not in told
    assert "held-out log p(x | z)" in model.refit(world.wine, prior="mixture").evidence()[-1]


def test_made_pictures_are_compared_by_a_network_that_is_trained_once(world, capsys):
    told = run(
        capsys, world.pictures, world.digits, "--draws", 2, "--samples", 40, "--features", world.features,
        "--train", world.digits,
    )  # fmt: skip
    assert "told 10 labels apart on 54 rows" in told and "40 beside 60" in told
    before = world.features.read_bytes()
    asked = (world.digits, "--draws", 2, "--samples", 40, "--features", world.features, "--json")
    one, two = (json.loads(run(capsys, model, *asked))["samples"] for model in (world.pictures, world.labelled))
    assert world.features.read_bytes() == before
    assert one["digest"] == two["digest"] and one["digest"] in told
    assert one["made"]["rows"] == 40 and one["made"]["fid"] != two["made"]["fid"]
    assert one["halves"] and one["floor"]["rows"] == one["floor"]["real"] == 30
    assert json.loads(run(capsys, world.pictures, *asked))["samples"] == one
    assert one["made"]["fid"] > one["floor"]["fid"]  # after one epoch digits are blots
    assert one["made"]["prdc"]["coverage"] < one["floor"]["prdc"]["coverage"]


def test_without_a_name_the_network_stays_in_the_models_folder(world, tmp_path, monkeypatch):
    asked: list[int] = []

    def quickly(*rows: object) -> Extractor:
        asked.append(1)
        return trained(*rows, steps=2)

    monkeypatch.setattr("latelier.model.likening.trained", quickly)
    model = latelier.load(shutil.copytree(world.pictures, tmp_path / "copy"))
    one, two = (model.likeness(world.digits, 20) for _ in range(2))
    assert one == two and asked == [1]
    assert (tmp_path / "copy" / "features.safetensors").is_file()
    assert latelier.load(tmp_path / "copy").sample(1).shape == (1, 8, 8)  # a model folder it still is


def test_rows_beside_themselves_are_the_floor_of_the_same_rows(world):
    model = latelier.load(world.pictures)
    assert model.likeness(world.digits, 60, world.digits, world.features).floor.fid == pytest.approx(0, abs=1e-6)


def test_in_python_any_network_can_give_the_features(world):
    class Rows(torch.nn.Module):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return pictures.float().mean(-1)

    model = latelier.load(world.pictures)
    found = model.likeness(world.digits, 30, features=Rows())
    assert found.features == "Rows" and found.made.rows == 30


def test_a_network_can_be_brought_as_an_onnx_file(world, capsys, tmp_path, monkeypatch):
    """Mean and greatest level of a picture, of a graph that asks for three channels of 16 x 16."""
    values = [helper.make_tensor_value_info("x", TensorProto.UINT8, ("n", 3, 16, 16))]
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["f"], ["mean"]),
        helper.make_node("GlobalMaxPool", ["f"], ["most"]),
        helper.make_node("Concat", ["mean", "most"], ["y"], axis=1),
    ]
    graph = helper.make_graph(nodes, "g", values, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "ink.onnx").write_bytes(made.SerializeToString())
    line = (world.pictures, world.digits, "--draws", 2, "--samples", 30, "--features", tmp_path / "ink.onnx")
    told = run(capsys, *line)
    assert "ink.onnx, 6 features; digest" in told and "30 beside 60" in told
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install 'latelier[onnx]'" in refused(capsys, *line)


def test_made_rows_of_a_table_are_compared_by_their_columns(world, capsys):
    told = run(capsys, world.table, world.wine, "--draws", 2, "--samples", 100, "--train", world.wine)
    assert "standardised columns; digest" in told and "100 beside 178" in told
    assert "other numbers of rows" not in told
    assert "other numbers of rows" in run(capsys, world.table, world.wine, "--draws", 2, "--samples", 100)
    model, frame = latelier.load(world.table), tiny.wines(0.05).drop(columns="cultivar")
    narrow = frame[frame["alcohol"] > 13.5]
    assert model.likeness(frame, 150).digest != model.likeness(narrow, 150).digest
    assert "is for pictures" in refused(capsys, world.table, world.wine, "--samples", 9, "--features", world.features)


def test_columns_that_the_model_does_not_know_can_be_factors(world, capsys):
    page = json.loads(run(capsys, world.table, world.wine, "--draws", 2, "--factors", "cultivar,alcohol", "--json"))
    factors = page["factors"]
    assert list(factors["factors"]) == ["cultivar", "alcohol"]
    frame = tiny.wines(0.05)
    model = latelier.load(world.table)
    known = model.disentangled(frame, frame[["cultivar", "alcohol"]])
    assert factors["mig"] == pytest.approx(known.mig) and factors["informativeness"] == pytest.approx(
        known.informativeness
    )
    assert known.rows == factors["rows"] < 178  # rows with a hole in a factor are left out
    assert known.factors["cultivar"]["informativeness"] > 0.4
    assert "did you mean 'cultivar'" in refused(capsys, world.table, world.wine, "--factors", "cultivars")


def test_labels_of_pictures_and_tables_beside_them_are_factors(world, capsys):
    told = run(capsys, world.pictures, world.digits, "--draws", 2, "--factors", "label")
    assert "MIG" in told and "disentanglement not defined" in told
    beside = world.root / "factors.csv"
    ink = load_digits().images[:60].mean((1, 2))
    names = latelier.load(world.pictures).kind.files(world.digits, latelier.load(world.pictures).schema)
    order = [int(Path(name).stem) for name in names]
    pd.DataFrame({"ink": ink[order], "late": np.array(order) > 30}).to_csv(beside, index=False)
    page = json.loads(run(capsys, world.pictures, world.digits, "--draws", 2, "--factors", beside, "--json"))
    assert list(page["factors"]["factors"]) == ["ink", "late"]
    assert "'label' is known alone" in refused(capsys, world.pictures, world.digits, "--factors", "ink")
    pd.DataFrame({"ink": ink[:50]}).to_csv(beside, index=False)
    assert "50 lines for 60 rows" in refused(capsys, world.pictures, world.digits, "--factors", beside)


def test_options_that_go_with_another_are_told_of(world, capsys):
    assert "add --samples" in refused(capsys, world.pictures, world.digits, "--features", "f.safetensors")
    assert "--samples or --against" in refused(capsys, world.table, world.wine, "--train", world.wine)
    assert "0 or more" in refused(capsys, world.table, world.wine, "--ais", -1)
    assert "--ais-rows 0" in refused(capsys, world.table, world.wine, "--ais", 2, "--ais-rows", 0)
    assert "--ais-steps 0" in refused(capsys, world.table, world.wine, "--ais", 2, "--ais-steps", 0)
    assert "--samples 1:" in refused(capsys, world.table, world.wine, "--samples", 1)
    assert "ends in .safetensors" in refused(
        capsys, world.pictures, world.digits, "--samples", 9, "--features", "inception.pth"
    )
    with pytest.raises(BadInput, match="more than 5"):
        latelier.load(world.table).likeness(world.wine, 4)
