"""A label that some rows lack, from files to classes: tables and pictures, every verb, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits, load_wine

import latelier
import tiny
from latelier.batch import Batch
from latelier.build import build
from latelier.cli import main
from latelier.data.rows import hold
from latelier.data.schema import Field, Schema
from latelier.disentanglement import disentangled
from latelier.doctor.probes import exchanged, weight_of_kl
from latelier.errors import BadInput
from latelier.kinds import KINDS
from latelier.spec import DataSpec, Spec
from latelier.store import load_checkpoint
from latelier.tasks.predict import classified, predict, predict_by_bound
from latelier.train import Data, train

SMALL = {"network.hidden": (32,), "latent.dims": 3, "train.batch": 32, "train.rate": 5e-3, "data.choose": "rule"}


def few(frame: pd.DataFrame, column: str, each: int) -> pd.DataFrame:
    """The same rows of which ``each`` of every class keep their label."""
    kept = frame.groupby(column).head(each).index
    return frame.assign(**{column: frame[column].where(frame.index.isin(kept))})


@pytest.fixture(scope="module")
def wine():
    data = load_wine(as_frame=True)
    frame = data.data.assign(cultivar=[f"no {k}" for k in data.target])
    return frame.sample(len(frame), random_state=0).reset_index(drop=True)


@pytest.fixture(scope="module")
def model(wine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wine")
    settings = {**SMALL, "objective.alpha": 5.0, "objective.smooth": 2.0}
    return latelier.fit(
        few(wine, "cultivar", 3),
        test=wine[:20],
        out=folder / "m",
        label="cultivar",
        epochs=25,
        report=False,
        settings=settings,
    )


def test_nine_labels_of_178_wines_tell_nearly_all(model, wine):
    found = model.predict(wine.drop(columns="cultivar"))
    assert list(found.columns) == ["cultivar", "p(no 0)", "p(no 1)", "p(no 2)"]
    assert (found["cultivar"] == wine["cultivar"]).mean() > 0.9
    assert np.allclose(found.iloc[:, 1:].sum(axis=1), 1)


def test_a_row_s_own_label_is_not_looked_at(model, wine):
    without, turned = wine.drop(columns="cultivar"), wine.assign(cultivar=np.roll(wine["cultivar"], 1))
    for by in ("classifier", "bound"):
        pd.testing.assert_frame_equal(model.predict(without, by, draws=4), model.predict(turned, by, draws=4))


def test_classes_by_the_bound_are_bayes_rule_with_the_score_of_every_class(model, wine):
    rows = wine[:5]
    draws = 2
    found = np.log(model.predict(rows, "bound", draws).iloc[:, 1:].to_numpy())
    read = torch.cat(list(predict_by_bound(model.vae, model.read(rows), draws))).double().numpy()
    assert np.allclose(found, read, atol=1e-4)
    many = model.predict(rows, "bound", 400).iloc[:, 1:].to_numpy()
    scores = np.stack([model.score(rows.assign(cultivar=name), draws=400) for name in ("no 0", "no 1", "no 2")], axis=1)
    p = np.exp(scores - scores.max(1, keepdims=True))
    assert np.allclose(many, p / p.sum(1, keepdims=True), atol=0.05)


def test_evaluate_measures_error_log_loss_and_calibration_of_rows_with_a_label(model, wine):
    half = wine.assign(cultivar=wine["cultivar"].where(wine.index % 2 == 0))
    found, told = model.evaluate(half, draws=2).classes, model.predict(half)
    truth = half["cultivar"].notna()
    p = told.to_numpy()[truth][:, 1:].astype(float)
    own = np.array([p[i, int(name[-1])] for i, name in enumerate(half["cultivar"][truth])])
    assert found.rows == truth.sum()
    assert found.error == pytest.approx((told["cultivar"] != half["cultivar"])[truth].mean())
    assert found.log_loss == pytest.approx(-np.log(own).mean(), rel=1e-4)
    assert model.evaluate(wine.drop(columns="cultivar"), draws=2).classes is None


def test_calibration_is_the_gap_between_confidence_and_right_answers():
    log_p = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.8, 0.2]]).log()
    found = classified([log_p], [torch.tensor([0, 0, 1, -1])])
    assert (found.rows, found.error) == (3, pytest.approx(1 / 3))
    assert found.calibration == pytest.approx(0.8 - 2 / 3, abs=1e-6)
    assert found.log_loss == pytest.approx(-(2 * np.log(0.8) + np.log(0.2)) / 3, rel=1e-6)


def test_samples_have_a_label_which_can_be_held(model, wine):
    assert set(model.sample(60)["cultivar"]) == {"no 0", "no 1", "no 2"}
    held = model.sample(40, given={"cultivar": "no 2"})
    assert set(held["cultivar"]) == {"no 2"}
    assert (model.predict(held)["cultivar"] == "no 2").mean() > 0.7
    both = model.sample(6, given={"cultivar": "no 1", "alcohol": 13.0}, draws=8)
    assert set(both["cultivar"]) == {"no 1"}
    assert (both["alcohol"] == 13.0).all()
    free = model.sample(12, given={"alcohol": 14.5}, draws=16)
    assert free["cultivar"].notna().all()


def test_rows_keep_their_labels_on_the_way_through_the_other_verbs(model, wine):
    some = few(wine[:12].reset_index(drop=True), "cultivar", 1)
    for made in (
        model.reconstruct(some),
        model.denoise(some, draws=2),
        model.augment(some),
        model.impute(some, draws=4),
    ):
        assert list(made.columns) == list(some.columns)
        pd.testing.assert_series_equal(made["cultivar"].dropna(), some["cultivar"].dropna(), check_dtype=False)
    assert model.decode(model.encode(some)).shape[0] == 12
    assert model.interpolate(some[:3], steps=4).shape[0] == 8
    assert model.traverse(rows=2, steps=3).shape[0] == 6


def test_classes_are_no_units_of_the_code(model, wine):
    figures = model.evaluate(wine, draws=2)
    assert figures.units == 3
    assert len(figures.kl_parts["label"]) == 3 and len(figures.kl_parts["z"]) == 3
    codes = model.encode(wine)
    assert codes.shape == (178, 6)  # with the class, for decode
    factors = wine[["cultivar", "alcohol"]]
    assert model.disentangled(wine, factors) == disentangled(codes[:, 3:], factors)


def test_probes_of_the_doctor_leave_the_label_as_it_is(model, wine):
    """Its one-hot vector has no width, and a row that gets the code of another keeps its class."""
    rows = hold(model.read(wine))
    weight = weight_of_kl(model.vae, rows)
    assert 0.3 < weight < 3
    seen = []
    decode = model.vae.decode

    def watched(draw):
        seen.append(draw)
        return decode(draw)

    model.vae.decode = watched
    try:
        exchanged(model.vae, rows, of_z=True)
        own, other = seen
        assert torch.equal(own.steps["label"].value, other.steps["label"].value)
        assert not torch.equal(own.steps["z"].value, other.steps["z"].value)
        seen.clear()
        weight_of_kl(model.vae, rows)
        assert all(((d.read == 0) | (d.read == 1)).all() for d in seen)
    finally:
        del model.vae.decode


def test_a_saved_model_tells_the_same(model, wine, tmp_path):
    again = latelier.load(model.save(tmp_path / "m"))
    pd.testing.assert_frame_equal(again.predict(wine[:9]), model.predict(wine[:9]))


def test_a_label_costs_its_prior_where_it_is_seen(model, wine):
    """log p(x) is the sum over classes of p(x, y): what each class costs adds up."""
    rows = wine[:4]
    classes = [model.score(rows.assign(cultivar=name), draws=400) for name in ("no 0", "no 1", "no 2")]
    whole = model.score(rows.drop(columns="cultivar"), draws=400)
    assert np.allclose(np.logaddexp.reduce(classes, axis=0), whole, atol=0.35)


def test_the_command_line_tells_classes_and_says_how_many(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = tiny.write_wines(tmp_path / "wine.csv")
    tiny.fitted(tmp_path / "m", table, "--label", "cultivar")
    assert main(["predict", "m", "wine.csv", "--out", "classes.csv"]) == 0
    found = pd.read_csv("classes.csv")
    assert list(found.columns[:2]) == ["row", "cultivar"]
    assert len(found) == 178
    assert sum(int(word.split(": ")[1]) for word in capsys.readouterr().out.splitlines()[-1].split(", ")) == 178
    assert main(["predict", "m", "wine.csv", "--out", "classes.npy"]) == 2
    assert "an array holds numbers" in capsys.readouterr().err and not (tmp_path / "classes.npy").exists()
    assert main(["evaluate", "m", "wine.csv", "--draws", "1", "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert page["classes"]["rows"] == 178
    assert main(["sample", "m", "-n", "3", "--given", "cultivar=class_1", "--out", "s.csv"]) == 0
    assert set(pd.read_csv("s.csv")["cultivar"]) == {"class_1"}
    plain = tiny.fitted(tmp_path / "plain", table)
    assert main(["predict", str(plain), "wine.csv", "--out", "none.csv"]) == 2
    assert "--label COLUMN" in capsys.readouterr().err


def write(folder, rows=40):
    """Digits in sub-folders, every third of them unlabelled; the labels of all, in order of reading, are given back."""
    tiny.write_digits(folder, rows)
    for i, path in enumerate(sorted(folder.glob("*/*.png"))):
        if i % 3 == 0:
            place = folder / "unlabelled" / path.name
            place.parent.mkdir(exist_ok=True)
            path.rename(place)
    return folder


def test_pictures_in_a_folder_for_none_have_no_label(tmp_path):
    folder, kind = write(tmp_path / "digits"), KINDS["images"]
    schema = kind.scan(folder, DataSpec(label="label"))
    assert schema.labels == tuple("0123456789")
    assert any("without" in line for line in schema.evidence)
    (batch,) = kind.read(folder, schema)
    names = [name.split("/")[0] for name in kind.files(folder, schema)]
    assert batch.seen["label"][:, 0].tolist() == [name != "unlabelled" for name in names]
    known = [schema.labels[i] for i, s in zip(batch.fields["label"][:, 0], batch.seen["label"][:, 0], strict=True) if s]
    assert known == [name for name in names if name != "unlabelled"]


def test_labels_of_an_array_are_none_at_minus_one_and_in_a_csv_where_a_cell_is_empty(tmp_path):
    digits, kind = load_digits(), KINDS["images"]
    images, labels = (digits.images[:30] * 15).astype(np.uint8), digits.target[:30].astype(int)
    labels[::2] = -1
    np.savez(tmp_path / "digits.npz", images=images, labels=labels)
    words = ["" if label < 0 else str(label) for label in labels]
    pd.DataFrame({"label": words}).to_csv(tmp_path / "labels.csv", index=False)
    np.savez(tmp_path / "bare.npz", images=images)
    for source, spec in (
        ("digits.npz", DataSpec(label="label")),
        ("bare.npz", DataSpec(label="label", labels=str(tmp_path / "labels.csv"))),
    ):
        schema = kind.scan(tmp_path / source, spec)
        (batch,) = kind.read(tmp_path / source, schema)
        assert batch.seen["label"][:, 0].tolist() == (labels >= 0).tolist()
        assert [schema.labels[i] for i in batch.fields["label"][labels >= 0, 0]] == [
            str(v) for v in labels[labels >= 0]
        ]
    # As a condition, -1 is a label like any other, as it was before.
    assert "-1" in kind.scan(tmp_path / "digits.npz", DataSpec(given=("label",))).labels


def test_pictures_without_labels_are_told_and_a_new_label_is_an_error(tmp_path):
    digits = load_digits()
    images, labels = (digits.images[:60] * 15).astype(np.uint8), digits.target[:60].astype(int)
    np.savez(tmp_path / "some.npz", images=images, labels=np.where(labels < 3, labels, -1))
    np.savez(tmp_path / "bare.npz", images=images)
    np.savez(tmp_path / "new.npz", images=images, labels=labels)
    settings = {**SMALL, "network.name": "mlp"}
    model = latelier.fit(
        tmp_path / "some.npz", out=tmp_path / "m", label="label", epochs=2, report=True, settings=settings
    )
    found = model.predict(tmp_path / "bare.npz")
    assert list(found.columns) == ["label", "p(0)", "p(1)", "p(2)"]
    assert model.sample(4, given={"label": 2}).shape == (4, 8, 8)
    with pytest.raises(BadInput, match="label '3' is new"):
        model.predict(tmp_path / "new.npz")
    assert "Samples, label by label" in (tmp_path / "m" / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "kind"}, "unknown column 'kind'"),
        ({"label": "same"}, "no classes to tell apart"),
        ({"label": "cultivar", "given": ["cultivar"]}, "a condition or a label"),
        ({"label": "cultivar", "objective": "mmd", "batch": 700}, r"train\.batch of 682 or fewer"),
        ({"label": "cultivar", "objective": "beta_tc", "latent": "ladder"}, "latent.name=gaussian"),
        ({"objective": "enumerated"}, "--label COLUMN"),
        (
            {"label": "alcohol"},
            "its 126 different numbers have fractions, .*--given alcohol, or .*families.alcohol=category",
        ),
        ({"label": "cultivar", "settings": {"objective.mmd": 1.0}}, "objective.mmd"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(wine, options, message, tmp_path):
    with pytest.raises(BadInput, match=message):
        latelier.fit(wine.assign(same="x"), out=tmp_path / "m", report=False, **options)


def test_a_label_of_many_numbers_is_told_and_one_that_is_measured_is_taken_at_the_user_s_word(wine, tmp_path):
    whole = KINDS["tables"].scan(wine, DataSpec(label="proline")).evidence[-1]
    assert "121 classes" in whole and "none nearer to another; for amounts use --given proline" in whole
    few = KINDS["tables"].scan(wine, DataSpec(label="cultivar")).evidence[-1]
    assert few.endswith("3 classes, 0 % of rows without; a latent variable")
    asked = DataSpec(label="alcohol", families={"alcohol": "category"})
    assert "126 classes" in KINDS["tables"].scan(wine, asked).evidence[-1]
    rows = np.zeros((60, 4, 4), np.uint8)
    np.savez(tmp_path / "measured.npz", images=rows, labels=np.arange(60) / 7)
    with pytest.raises(BadInput, match="60 different numbers have fractions"):
        KINDS["images"].scan(tmp_path / "measured.npz", DataSpec(label="label"))
    np.savez(tmp_path / "counted.npz", images=rows, labels=np.arange(60))
    assert any(
        "its 60 numbers are names" in line
        for line in KINDS["images"].scan(tmp_path / "counted.npz", DataSpec(label="label")).evidence
    )


def test_a_run_with_few_labels_resumes_bit_for_bit(tmp_path):
    torch.manual_seed(0)
    fields = (
        Field(name="real", shape=(4,), support="real", likelihood="gaussian"),
        Field(name="label", shape=(1,), support="category", sizes=(3,), columns=("kind",), role="label"),
    )
    seen = torch.zeros(67, 1, dtype=torch.bool)
    seen[::20] = True
    rows = Batch({"real": torch.randn(67, 4), "label": torch.arange(67)[:, None] % 3}, {"label": seen})
    held = Batch({"real": torch.randn(9, 4), "label": torch.zeros(9, 1, dtype=torch.int64)}, {"label": seen[1:10]})
    settings = {"network.hidden": (8,), "latent.dims": 2, "objective.name": "enumerated", "objective.smooth": 1.0}
    settings |= {"train.epochs": 3, "train.batch": 8, "train.checkpoint": 0.0, "train.threads": 1}
    spec = Spec.of({**settings, "train.precision": "float32", "train.compiled": "no"})
    schema = Schema(kind="tables", fields=fields)
    batches = []

    def run(folder, stop=None, resume=False):
        steps = 0

        def follow(batch):
            nonlocal steps
            steps += 1
            batches.append(int(batch.seen["label"].sum()))
            if steps == stop:
                raise RuntimeError
            return batch

        train(spec, schema, Data(rows, torch.arange(67), held, augment=follow), folder, resume=resume)

    run(tmp_path / "straight")
    assert min(batches) >= 1  # every batch has a label, though one row in seventeen does
    with pytest.raises(RuntimeError):
        train(
            spec.model_copy(update={"train": spec.train.model_copy(update={"checkpoint": 1e-9})}),
            schema,
            Data(rows, torch.arange(67), held, augment=_stop_at(13)),
            tmp_path / "broken",
        )
    torch.manual_seed(99)
    run(tmp_path / "broken", resume=True)
    (a, _), (b, _) = load_checkpoint(tmp_path / "straight"), load_checkpoint(tmp_path / "broken")
    assert all(torch.equal(a[k], b[k]) for k in a)


def _stop_at(step):
    steps = 0

    def follow(batch):
        nonlocal steps
        steps += 1
        if steps == step:
            raise RuntimeError
        return batch

    return follow


def test_predictions_do_not_depend_on_batches():
    torch.manual_seed(1)
    fields = (
        Field(name="real", shape=(4,), support="real", likelihood="gaussian"),
        Field(name="label", shape=(1,), support="category", sizes=(3,), columns=("kind",), role="label"),
    )
    spec = Spec.of({"network.hidden": (8,), "objective.name": "enumerated"})
    vae, x = build(spec, Schema(kind="tables", fields=fields)).eval(), Batch({"real": torch.randn(10, 4)})
    for task in (predict, predict_by_bound):
        whole = torch.cat(list(task(vae, [x])))
        parts = torch.cat(list(task(vae, list(x.slices(3)), rows=2)))
        assert torch.allclose(whole, parts, atol=1e-5)


@pytest.mark.parametrize(
    ("network", "latent"),
    [("mlp", "gaussian"), ("mlp", "ladder"), ("mlp", "point"), ("factors", "factors"), ("autoregressive", "ladder")],
)
def test_a_label_stands_above_any_latent_of_a_table_beside_a_condition(network, latent, wine, tmp_path):
    settings = {"network.name": network, "latent.name": latent, "latent.rungs": (2, 2), "latent.dims": 2, **SMALL}
    some = few(wine[["alcohol", "ash", "hue", "cultivar"]], "cultivar", 20)
    model = latelier.fit(some, out=tmp_path, label="cultivar", given=["hue"], epochs=1, report=False, settings=settings)
    made = model.sample(5, given={"cultivar": "no 1", "hue": 1.0}, guidance=1.5)
    assert list(made.columns) == ["alcohol", "ash", "hue", "cultivar"]
    assert set(made["cultivar"]) == {"no 1"}
    again = latelier.load(tmp_path)
    assert np.array_equal(again.score(some, draws=2), model.score(some, draws=2))
    assert set(again.predict(some)["cultivar"]) <= {"no 0", "no 1", "no 2"}


@pytest.mark.parametrize("latent", ["gaussian", "hierarchy"])
def test_a_label_stands_above_maps(latent, tmp_path):
    digits = load_digits()
    labels = np.where(np.arange(40) % 2, digits.target[:40], -1)
    np.savez(tmp_path / "d.npz", images=(digits.images[:40] * 15).astype(np.uint8), labels=labels)
    settings = {"network.name": "conv", "network.channels": (4, 6), "network.hidden": (16,), "network.blocks": 0}
    settings |= {"latent.name": latent, "latent.rungs": (3, 2), "latent.dims": 3, "train.batch": 16}
    model = latelier.fit(
        tmp_path / "d.npz", out=tmp_path / "m", label="label", epochs=1, report=False, settings=settings
    )
    assert model.sample(3, given={"label": 3}).shape == (3, 8, 8)
    assert model.predict(tmp_path / "d.npz").shape == (40, 6)
    assert np.isfinite(model.score(tmp_path / "d.npz", draws=2)).all()
    assert model.interpolate(tmp_path / "d.npz", steps=2).shape == (78, 8, 8)


def test_guidance_is_refused_where_there_is_a_label_alone(model):
    with pytest.raises(BadInput, match="a label is none"):
        model.sample(2, given={"cultivar": "no 1"}, guidance=2)
