"""What users do wrong: each mistake gets one line that names it and the remedy, exit status 2, and nothing is touched."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shlex
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import tiny
from latelier.cli import main


@dataclass(frozen=True)
class World:
    """An empty folder to make mistakes in, and good models that are only read."""

    here: Path
    pictures: Path  # a model of digits
    labelled: Path  # the same, conditioned on the label
    table: Path  # a model of wines with holes
    digits: Path
    wine: Path

    def text(self, name: str, text: str) -> str:
        (self.here / name).write_text(text)
        return name

    def bytes(self, name: str, data: bytes) -> str:
        (self.here / name).parent.mkdir(exist_ok=True)
        (self.here / name).write_bytes(data)
        return name

    def array(self, name: str, array: np.ndarray, allow_pickle: bool = False) -> str:
        np.save(self.here / name, array, allow_pickle=allow_pickle)
        return name

    def wines(self, name: str, **columns: object) -> str:
        """The wines as a CSV, with these columns changed."""
        tiny.wines().assign(**columns).to_csv(self.here / name, index=False)
        return name

    def folder(self, **files: bytes) -> str:
        """A folder ``photos`` of five good pictures and these."""
        tiny.write_digits(self.here / "photos", 5)
        for name, data in files.items():
            (self.here / "photos" / f"{name}.png").write_bytes(data)
        return "photos"

    def copy(self, model: Path) -> Path:
        shutil.copytree(model, self.here / "m")
        return self.here / "m"

    def page(self, model: Path, change: Callable[[dict], object]) -> str:
        """A copy of the model whose model.json is changed."""
        path = self.copy(model) / "model.json"
        page = json.loads(path.read_text())
        change(page)
        path.write_text(json.dumps(page))
        return "m"


def png() -> bytes:
    """A good picture's file, to be spoilt."""
    from io import BytesIO

    file = BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def bomb() -> bytes:
    """The head of a picture of 60,000 x 60,000 pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    parts = [struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in (head, data, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tampered(w: World) -> list[str]:
    """One bit of the weights is another."""
    file = next(w.copy(w.table).glob("weights-*"))
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    return ["show", "m"]


def without_weights(w: World) -> list[str]:
    next(w.copy(w.table).glob("weights-*")).unlink()
    return ["show", "m"]


def other_rows(w: World) -> list[str]:
    """The file of a run is not what it was when the run began."""
    w.wines("wine.csv")
    tiny.fitted(w.here / "m", Path("wine.csv"))
    w.wines("wine.csv", alcohol=1.5 + np.arange(178))
    return ["fit", "--resume", "m", "--epochs", "3"]


def cut_off_parquet(w: World) -> list[str]:
    tiny.wines().to_parquet(w.here / "wine.parquet")
    data = (w.here / "wine.parquet").read_bytes()
    return ["fit", w.bytes("wine.parquet", data[: len(data) // 2])]


def npz(w: World, **arrays: np.ndarray) -> str:
    np.savez(w.here / "arrays.npz", **arrays)
    return "arrays.npz"


def made(path: Path) -> str:
    path.mkdir(parents=True)
    return path.name


def first_line(frame: pd.DataFrame) -> str:
    return ",".join(frame.columns) + "\n"


DIGITS = np.zeros((9, 8, 8), np.float32) + np.arange(9, dtype=np.float32)[:, None, None] / 10
WINE = tiny.wines()

# What was done; how: the words that were typed, or a function that prepares something and gives them; and what the line
# must name: the place, the cause, the remedy.
MISTAKES: list[tuple[str, str | Callable[[World], list[str]], tuple[str, ...]]] = [
    # where the data are
    (
        "a path with a typo",
        lambda w: [w.wines("wines.csv"), "fit", "wine.csv"][1:],
        ("wine.csv", "no such", "wines.csv"),
    ),
    (
        "a path with a typo at score time",
        lambda w: [w.wines("wines.csv"), "score", str(w.table), "wine.csv"][1:],
        ("wine.csv", "no such file", "wines.csv"),
    ),
    ("no data at all", "fit", ("nothing to fit", "give a path")),
    ("an empty folder", lambda w: ["fit", made(w.here / "empty")], ("empty", "no pictures")),
    (
        "a folder of text files",
        lambda w: ["fit", w.bytes("notes/a.txt", b"hello").split("/")[0]],
        ("notes", "no pictures"),
    ),
    (
        "a file of no known form",
        lambda w: ["fit", w.text("model.docx", "hello")],
        ("model.docx", "not recognised", "as images", "as tables"),
    ),
    # pictures
    ("an empty picture file", lambda w: ["fit", w.folder(bad=b"")], ("bad.png", "empty", "remove")),
    ("a truncated picture", lambda w: ["fit", w.folder(bad=png()[:900])], ("bad.png", "broken", "copy it again")),
    (
        "text that is called a picture",
        lambda w: ["fit", w.folder(bad=b"hello " * 50)],
        ("bad.png", "not a picture", "remove"),
    ),
    ("a decompression bomb", lambda w: ["fit", w.folder(bad=bomb())], ("bad.png", "decompression bomb", "remove")),
    (
        "pixels of an array of objects",
        lambda w: ["fit", w.array("a.npy", np.array([DIGITS, None], dtype=object), True)],
        ("a.npy", "objects", "uint8"),
    ),
    (
        "a pickle that is called an archive",
        lambda w: ["fit", w.bytes("a.npz", pickle.dumps([1, 2])), "--kind", "images"],
        ("a.npz", "cannot be read"),
    ),
    (
        "an archive without pictures",
        lambda w: ["fit", npz(w, u=np.zeros(5), v=np.zeros((3, 2))), "--kind", "images"],
        ("arrays.npz", "u (5,)", "images"),
    ),
    (
        "an array of too many dimensions",
        lambda w: ["fit", w.array("a.npy", np.zeros((2, 3, 4, 5, 6))), "--kind", "images"],
        ("a.npy", "(2, 3, 4, 5, 6)", "(N, H, W)"),
    ),
    (
        "values that are no picture's",
        lambda w: ["fit", w.array("a.npy", DIGITS * 1e6 - 3e5)],
        ("a.npy", "values from", "0 to 255"),
    ),
    (
        "a value that is not a number",
        lambda w: ["fit", w.array("a.npy", np.where(DIGITS == 0.5, np.nan, DIGITS).astype("f4"))],
        ("a.npy", "row", "finite", "fill or remove"),
    ),
    (
        "a label for no picture",
        lambda w: ["fit", w.folder(), "--labels", w.text("labels.csv", "file,label\nnone.png,3\n"), "--given", "label"],
        ("labels.csv", "no line for", "add one"),
    ),
    (
        "channels for tiny pictures",
        "fit {digits} --network conv --set network.channels=8,8,8,8,8,8",
        ("network.channels", "8 x 8", "fewer"),
    ),
    ("conditions that pictures lack", "fit {digits} --given age", ("--given age", "label")),
    # tables
    ("an empty table", lambda w: ["fit", w.text("t.csv", "")], ("t.csv", "empty")),
    (
        "nothing but a header",
        lambda w: ["fit", w.text("t.csv", first_line(WINE))],
        ("t.csv", "only a header", "at least two rows"),
    ),
    (
        "a ragged row",
        lambda w: ["fit", w.text("t.csv", "a,b,c\n" + "1,2,3\n" * 40 + "4,5\n" + "6,7,8\n" * 40)],
        ("t.csv", "line 42", "2 values", "3"),
    ),
    ("binary junk", lambda w: ["fit", w.bytes("t.csv", bytes(range(256)) * 40)], ("t.csv", "not a text file")),
    (
        "a column twice",
        lambda w: ["fit", w.text("t.csv", "a,b,a\n" + "1,2,3\n3,4,4\n" * 9)],
        ("t.csv", "'a'", "twice", "rename"),
    ),
    (
        "text among numbers",
        lambda w: ["fit", w.wines("t.csv", alcohol=["none known", *WINE.alcohol[1:]])],
        ("t.csv", "line 2", "alcohol", "none known", "--missing"),
    ),
    (
        "an infinite value",
        lambda w: ["fit", w.wines("t.csv", alcohol=[1e999, *WINE.alcohol[1:]])],
        ("t.csv", "alcohol", "inf", "line 2"),
    ),
    (
        "only constant columns",
        lambda w: ["fit", w.text("t.csv", "a,b\n" + "1,x\n" * 30)],
        ("t.csv", "no column left", "constant"),
    ),
    ("only empty columns", lambda w: ["fit", w.text("t.csv", "a,b\n" + ",\n" * 30)], ("t.csv", "no column left")),
    ("a single row", lambda w: ["fit", w.text("t.csv", "a,b\n1.5,2.5\n")], ("t.csv", "1 row", "at least two")),
    (
        "nothing but names",
        lambda w: ["fit", w.text("t.csv", "name\n" + "".join(f"person-{i}\n" for i in range(10_000)))],
        ("t.csv", "name", "10,000"),
    ),
    ("an unknown condition", "fit {wine} --given cultivars", ("cultivars", "did you mean 'cultivar'")),
    ("an unknown family", "fit {wine} --set data.families.alcohol=reel", ("reel", "real")),
    ("a truncated Parquet file", cut_off_parquet, ("wine.parquet", "not a readable Parquet", "again")),
    ("convolutions over columns", "fit {wine} --network conv", ("conv", "pictures", "mlp")),
    (
        "a likelihood that does not fit",
        "fit {wine} --likelihood real=bernoulli",
        ("likelihood.real", "bernoulli", "gaussian"),
    ),
    # options
    ("a misspelt option", "fit {wine} --epoch 3", ("--epoch", "Did you mean --epochs")),
    ("a misspelt verb", "fitt {wine}", ("fitt", "fit")),
    ("a verb without its model", "sample", ("MODEL",)),
    ("words that are too many", "show {table} again", ("again", "--help")),
    ("an unknown setting", "fit {wine} --set train.epoch=3", ("train.epoch", "did you mean 'train.epochs'")),
    ("a setting without a value", "fit {wine} --set train.epochs", ("--set train.epochs", "NAME=VALUE")),
    ("a setting of the wrong type", "fit {wine} --set train.epochs=many", ("train.epochs", "many", "integer")),
    ("an option of the wrong type", "fit {wine} --epochs many", ("--epochs", "many", "int")),
    ("epochs below zero", "fit {wine} --epochs -3", ("train.epochs", "-3", "greater")),
    ("an empty batch", "fit {wine} --batch 0", ("train.batch", "0", "greater")),
    ("a rate that is no number", "fit {wine} --rate nan", ("train.rate", "nan")),
    ("an unknown likelihood", "fit {wine} --likelihood real=gausian", ("gausian", "did you mean 'gaussian'")),
    ("a likelihood of an unknown field", "fit {wine} --likelihood reel=gaussian", ("reel", "did you mean 'real'")),
    ("an unknown latent", "fit {wine} --latent gausian", ("latent", "gausian", "gaussian")),
    ("an unknown network", "fit {wine} --network mpl", ("network", "mpl", "mlp")),
    ("an unknown activation", "fit {wine} --set network.activation=relux", ("relux", "relu")),
    ("an unknown objective", "fit {wine} --objective elbow", ("objective", "elbow", "elbo")),
    ("an unknown kind", "fit {wine} --kind table", ("kind", "table", "tables")),
    ("an unknown size", "fit {wine} --size huge", ("--size", "huge", "small", "large")),
    ("an unknown device", "fit {wine} --device abacus", ("abacus", "cpu")),
    ("an exact objective for several latents", "fit {wine} --objective dreg --latent ladder", ("dreg", "iwae")),
    (
        "a KL of several latents to take apart",
        "fit {wine} --objective beta_tc --latent ladder",
        ("beta_tc", "gaussian"),
    ),
    ("a critic of columns", "fit {wine} --set objective.critic=0.1", ("objective.critic", "pictures")),
    ("a cure of pictures for columns", "fit {wine} --cure blur", ("cure blur", "pictures")),
    ("an unknown cure", "fit {wine} --cure blurr", ("--cure", "blurr", "collapse")),
    ("features that are not there", "fit {digits} --set objective.perceptual=1", ("objective.perceptual_file",)),
    ("an option of another objective", "fit {wine} --set objective.mmd=3", ("objective.mmd", "elbo does not read it")),
    ("settings that are not there", "fit {wine} --config run.yaml", ("run.yaml", "no such file", "--config")),
    (
        "settings that are no YAML",
        lambda w: ["fit", str(w.wine), "--config", w.text("run.yaml", "a: [1, 2\nb: }")],
        ("run.yaml", "not valid YAML"),
    ),
    (
        "settings that are no JSON",
        lambda w: ["fit", str(w.wine), "--config", w.text("run.json", "{'epochs': 3}")],
        ("run.json", "not valid JSON"),
    ),
    (
        "settings that are a list",
        lambda w: ["fit", str(w.wine), "--config", w.text("run.yaml", "- 1\n- 2\n")],
        ("run.yaml", "NAME: VALUE"),
    ),
    (
        "settings of an unknown form",
        lambda w: ["fit", str(w.wine), "--config", w.text("run.ini", "epochs=3")],
        ("run.ini", ".yaml"),
    ),
    (
        "an unknown name in the settings",
        lambda w: ["fit", str(w.wine), "--config", w.text("run.toml", "[train]\nepoch = 3\n")],
        ("run.toml", "train.epoch", "did you mean 'train.epochs'"),
    ),
    # where a model goes
    (
        "a file in place of the folder",
        lambda w: ["fit", str(w.wine), "--out", w.text("m", "precious")],
        ("m: is a file", "folder"),
    ),
    (
        "a folder that is not empty",
        lambda w: ["fit", str(w.wine), "--out", w.copy(w.table).name],
        ("m: is not empty", "--resume", "--overwrite"),
    ),
    (
        "a place under a file",
        lambda w: ["fit", str(w.wine), "--out", w.text("m", "precious") + "/model"],
        ("m", "directory"),
    ),
    ("going on with nothing", lambda w: ["fit", "--resume", made(w.here / "m")], ("m: no checkpoint", "start with")),
    ("going on without saying where", "fit --resume", ("--resume", "latelier fit --resume DIR")),
    ("going on in two places", "fit --resume a --out b", ("a", "b", "two folders")),
    ("going on with other rows", other_rows, ("wine.csv", "not the rows", "new one")),
    ("going on as another model", "fit --resume {table} --dims 9", ("latent", "cannot be changed", "--out")),
    # models
    ("a model that is not there", "show nowhere", ("nowhere", "no such folder", "fit --out")),
    ("a folder that is no model", lambda w: ["sample", made(w.here / "m")], ("m", "not a model folder")),
    (
        "a broken page",
        lambda w: [w.text(w.copy(w.table).name + "/model.json", "{"), "show", "m"][1:],
        ("m/model.json", "not a readable", "copy"),
    ),
    (
        "a page without its schema",
        lambda w: ["show", w.page(w.table, lambda p: p.pop("schema"))],
        ("m/model.json", "schema"),
    ),
    (
        "a model of a newer version",
        lambda w: ["show", w.page(w.table, lambda p: p.update(format=99, latelier="9.0"))],
        ("m/model.json", "newer", "upgrade"),
    ),
    ("tampered weights", tampered, ("weights-", "digest", "copy")),
    ("missing weights", without_weights, ("weights-", "missing", "copy the whole")),
    (
        "weights from elsewhere",
        lambda w: ["show", w.page(w.table, lambda p: p["weights"].update(file="../../secret.safetensors"))],
        ("m/model.json", "own folder"),
    ),
    (
        "a schema changed by hand",
        lambda w: ["show", w.page(w.table, lambda p: p["schema"]["fields"][0].update(shape=[99]))],
        ("m",),
    ),
    (
        "an unknown word in the schema",
        lambda w: ["show", w.page(w.table, lambda p: p["schema"].update(colour="grey"))],
        ("m/model.json", "by hand"),
    ),
    (
        "an unknown kind in the schema",
        lambda w: ["show", w.page(w.table, lambda p: p["schema"].update(kind="smells"))],
        ("m/model.json", "smells"),
    ),
    (
        "an option changed by hand",
        lambda w: ["show", w.page(w.table, lambda p: p["spec"]["latent"].update(dims=0))],
        ("m/model.json", "dims"),
    ),
    # data for a model
    (
        "a column that is not there",
        lambda w: ["score", str(w.table), w.text("t.csv", WINE.drop(columns="hue").to_csv(index=False))],
        ("t.csv", "'hue'", "not there", "add it"),
    ),
    (
        "a new category",
        lambda w: ["score", str(w.table), w.wines("t.csv", cultivar=["merlot", *WINE.cultivar[1:]])],
        ("t.csv", "cultivar", "merlot", "line 2"),
    ),
    (
        "a renamed column",
        lambda w: ["score", str(w.table), w.text("t.csv", WINE.rename(columns={"hue": "Hue"}).to_csv(index=False))],
        ("t.csv", "'hue'", "not there", "'Hue'", "rename"),
    ),
    (
        "dates among numbers at score time",
        lambda w: ["score", str(w.table), w.wines("t.csv", hue=["2024-01-31"] * 178)],
        ("t.csv", "hue", "178 values", "2024-01-31", "line 2"),
    ),
    (
        "numbers for words at score time",
        lambda w: ["score", str(w.table), w.wines("t.csv", cultivar=[1.5] * 178)],
        ("t.csv", "cultivar", "1.5", "known: class_0", "--new-categories missing"),
    ),
    (
        "an infinite value at score time",
        lambda w: ["score", str(w.table), w.wines("t.csv", hue=[*WINE.hue[:9], 1e999, *WINE.hue[10:]])],
        ("t.csv", "hue", "inf", "line 11"),
    ),
    (
        "an empty file at score time",
        lambda w: ["score", str(w.table), w.text("t.csv", "")],
        ("t.csv", "empty"),
    ),
    (
        "an unknown rule for new categories",
        lambda w: ["score", str(w.table), w.wines("t.csv"), "--new-categories", "mising"],
        ("--new-categories", "mising", "missing"),
    ),
    (
        "a word among numbers at score time",
        lambda w: ["score", str(w.table), w.wines("t.csv", hue=[*WINE.hue[:9], "blue", *WINE.hue[10:]])],
        ("t.csv", "hue", "blue", "line 11"),
    ),
    ("a table for a model of pictures", "score {pictures} {wine}", ("wine.csv", "not pictures")),
    ("pictures for a model of tables", "score {table} {digits}", ("digits", "table")),
    (
        "pictures of another size",
        lambda w: ["score", str(w.pictures), w.array("a.npy", np.zeros((3, 9, 9), np.uint8))],
        ("a.npy", "9 x 9", "8 x 8"),
    ),
    (
        "pictures without labels for a model that needs them",
        lambda w: ["score", str(w.labelled), w.array("a.npy", np.zeros((3, 8, 8), np.uint8))],
        ("label", "none"),
    ),
    (
        "a condition that the model has not",
        "sample {pictures} --given cultivar=class_0",
        ("--given cultivar", "not conditioned"),
    ),
    (
        "a held column that the table has not",
        "sample {table} --given cultivr=class_0",
        ("cultivr", "did you mean 'cultivar'"),
    ),
    ("a condition without a value", "sample {labelled} --given label", ("--given label", "COLUMN=VALUE")),
    ("an unknown label", "sample {labelled} --given label=seven", ("seven", "known: 0, 1")),
    ("an unknown mask", "impute {pictures} {digits} --mask lefft", ("lefft", "did you mean 'left'")),
    ("a mask for a table", "impute {table} {wine} --mask left", ("mask", "pictures")),
    ("a row that is not there", "interpolate {table} {wine} --to 999", ("row 999", "178 rows")),
    ("rows that are no numbers", "interpolate {table} {wine} --rows first,last", ("--rows first,last", "0,5,9")),
    ("a latent dimension that is not there", "grid {table} --dims 0,77", ("--dims", "77", "0 to 2")),
    ("minutes that are no number", "refit {table} --minutes nan", ("--minutes nan", "more than 0")),
    ("a grid of three dimensions", "grid {table} --dims 0,1,2", ("--dims 0,1,2", "two dimensions")),
    ("a dimension below 0", "traverse {table} --dims -1", ("--dims -1", "numbers from 0")),
    ("no draws", "score {table} {wine} --draws 0", ("--draws 0", "1 or more")),
    ("fewer draws than none", "reconstruct {table} {wine} --draws -1", ("--draws -1", "0 or more")),
    ("fewer copies than none", "impute {table} {wine} --copies -1", ("--copies -1", "0 or more")),
    ("a temperature below 0", "augment {table} {wine} --temperature -1", ("--temperature -1", "0 or more")),
    ("a temperature that is no number", "sample {table} --temperature nan", ("--temperature nan", "0 or more")),
    ("a guidance that is no number", "sample {labelled} --guidance nan", ("--guidance nan", "0 or more")),
    ("a misspelt condition", "sample {labelled} --given lable=1", ("--given lable", "it takes label alone")),
    ("no samples", "sample {table} -n 0", ("--rows 0", "1 or more")),
    # where results go
    (
        "a file that is there already",
        lambda w: ["sample", str(w.table), "--out", w.text("s.csv", "precious")],
        ("s.csv", "already there", "--overwrite"),
    ),
    (
        "a folder that is there already",
        lambda w: ["sample", str(w.pictures), "--out", w.folder()],
        ("photos", "already there"),
    ),
    (
        "replacing a folder of one's own",
        lambda w: ["sample", str(w.pictures), "--out", w.folder(), "--overwrite"],
        ("photos", "not written here"),
    ),
    ("a table as pictures", "sample {table} --out s.png", ("s.png", ".csv")),
    ("pictures as a table", "sample {pictures} --out s.csv", ("s.csv", "pictures", "folder")),
    ("scores as a picture", "score {table} {wine} --out s.jpg", ("s.jpg", ".csv")),
    (
        "results under a file",
        lambda w: ["sample", str(w.table), "--out", w.text("s", "precious") + "/s.csv"],
        ("s", "cannot be written"),
    ),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("models")
    digits, wine = tiny.write_digits(root / "digits", 40), tiny.write_wines(root / "wine.csv")
    return World(
        root,
        tiny.fitted(root / "pictures", digits),
        tiny.fitted(root / "labelled", digits, "--given", "label"),
        tiny.fitted(root / "table", wine),
        digits,
        wine,
    )


@pytest.fixture
def world(models: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    return World(tmp_path, models.pictures, models.labelled, models.table, models.digits, models.wine)


def tree(*folders: Path) -> dict[str, str]:
    """Every file and folder, and a digest of what is in it."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for folder in folders
        for path in folder.rglob("*")
    }


def check_line(error: str, words: tuple[str, ...]) -> None:
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error
    missing = [word for word in words if word not in error]
    assert not missing, f"{missing} not in {error!r}"


def typed(how: str | Callable[[World], list[str]], w: World) -> list[str]:
    """The words of a command line."""
    if callable(how):
        return how(w)
    places = {name: str(getattr(w, name)) for name in ("pictures", "labelled", "table", "digits", "wine")}
    return shlex.split(how.format(**places))


@pytest.mark.parametrize(("how", "words"), [m[1:] for m in MISTAKES], ids=[m[0].replace(" ", "-") for m in MISTAKES])
def test_a_mistake_gets_one_line_and_nothing_is_touched(
    how: str | Callable[[World], list[str]],
    words: tuple[str, ...],
    world: World,
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = typed(how, world)
    capsys.readouterr()
    before = tree(world.here, world.table.parent)
    assert main(argv) == 2
    check_line(capsys.readouterr().err, words)
    assert tree(world.here, world.table.parent) == before


def test_there_are_many_mistakes_and_each_has_its_own_name() -> None:
    names = [mistake[0] for mistake in MISTAKES]
    assert len(names) == len(set(names)) >= 45


def shell(world: World, *words: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """The command line as a process of its own, after some Python."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    code = f"{before}\nimport sys\nfrom latelier.cli import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=world.here)


@pytest.mark.parametrize("name", ["an unknown setting", "text among numbers"])
def test_a_mistake_in_a_real_process_is_one_line_too(name: str, world: World) -> None:
    _, how, words = next(mistake for mistake in MISTAKES if mistake[0] == name)
    done = shell(world, *typed(how, world))
    assert done.returncode == 2
    assert done.stdout == ""
    check_line(done.stderr, words)


# As if the disk were full: no file may grow beyond so many bytes.
FULL = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"


def test_a_full_disk_leaves_the_old_model_whole_and_says_how_much_was_needed(world: World) -> None:
    model = world.copy(world.table)
    before = {name: digest for name, digest in tree(model).items() if re.search(r"model\.json|weights-", name)}
    done = shell(world, "fit", str(world.wine), "--out", "m", "--overwrite", before=FULL.format(50_000))
    assert done.returncode == 2
    check_line(done.stderr, ("m/", "cannot be written", "bytes were needed", "free some space"))
    assert before.items() <= tree(model).items()
    assert main(["show", "m"]) == 0


def test_a_full_disk_leaves_no_half_of_a_result(world: World) -> None:
    done = shell(world, "sample", str(world.table), "-n", "5000", before=FULL.format(50_000))
    assert done.returncode == 2
    check_line(done.stderr, ("samples.csv", "cannot be written", "room"))
    assert list(world.here.iterdir()) == []


def test_new_categories_are_missing_if_asked_to_and_told(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """And columns in another order, or in another encoding, are no mistake."""
    changed = tiny.wines().assign(cultivar=["merlot", "merlot", *WINE.cultivar[2:]])
    (world.here / "t.csv").write_bytes(changed[changed.columns[::-1]].to_csv(index=False).encode("utf-16"))
    assert main(["score", str(world.table), "t.csv", "--new-categories", "missing"]) == 0
    note = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(note) == 1 and "column 'cultivar': 2 (first 'merlot', t.csv, line 2)" in note[0]
    assert np.isfinite(pd.read_csv(world.here / "scores.csv")["score"]).all()


@pytest.mark.slow
def test_ten_thousand_columns_are_fitted_and_scored(world: World) -> None:
    random = np.random.default_rng(0)
    pd.DataFrame(random.normal(size=(60, 10_000)).round(3)).add_prefix("c").to_csv("wide.csv", index=False)
    assert main(["fit", "wide.csv", "--out", "wide", "--epochs", "1", "--no-report"]) == 0
    assert main(["score", "wide", "wide.csv"]) == 0
    assert len(pd.read_csv("scores.csv")) == 60
