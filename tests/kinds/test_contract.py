"""What every kind in the table promises: from its own files to a model and back, with every verb."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits, load_wine

import flows
import latelier
from latelier.batch import join
from latelier.errors import BadInput
from latelier.kinds import KINDS
from latelier.spec import DataSpec

ROWS = 60


def pictures(folder: Path) -> Path:
    digits = load_digits()
    images = (digits.images[:ROWS] * 15.9375).astype(np.uint8)
    np.savez(folder / "digits.npz", images=images, labels=digits.target[:ROWS])
    return folder / "digits.npz"


def table(folder: Path) -> Path:
    wine = load_wine(as_frame=True)
    frame = wine.data.iloc[::3][:ROWS].assign(label=[f"cultivar {k}" for k in wine.target[::3][:ROWS]])
    frame.iloc[::7, 1] = np.nan
    frame.to_csv(folder / "wine.csv", index=False)
    return folder / "wine.csv"


def traffic(folder: Path) -> Path:
    """A conn.log with a label, as IoT-23 has one."""
    made = flows.Flows(ROWS)
    head = flows.ZEEK_HEAD.replace("tunnel_parents\n", "tunnel_parents\tlabel\n").replace(
        "set[string]\n", "set[string]\tstring\n"
    )
    rows = ("\t".join([*made.zeek(i), f"cultivar {i % 3}"]) for i in range(ROWS))
    (folder / "conn.log").write_text(head + "\n".join(rows) + "\n")
    return folder / "conn.log"


# A small real set of each kind, with a column or labels named "label"; a new kind adds its own here.
EXAMPLES = {"images": pictures, "traffic": traffic, "tables": table}


@pytest.fixture(params=[(kind, given) for kind in KINDS for given in ((), ("label",))], ids=str, scope="module")
def case(request, tmp_path_factory):
    name, given = request.param
    folder = tmp_path_factory.mktemp(name)
    path = EXAMPLES[name](folder)
    options = {"network.hidden": (16,), "latent.dims": 3, "train.batch": 16, "data.kind": "auto"}
    model = latelier.fit(path, out=folder / "model", epochs=2, given=given, report=False, settings=options)
    return KINDS[name], path, model, given


def rows_of(x) -> int:
    return len(x)


def test_the_kind_recognises_its_own_files_and_says_why(case):
    kind, path, model, _ = case
    assert kind.recognise(path)
    assert all("\n" not in line for line in model.schema.evidence) and model.schema.evidence
    assert model.schema.rows == ROWS


def test_the_schema_survives_json(case):
    kind, _, model, _ = case
    assert kind.schema.model_validate_json(model.schema.model_dump_json()) == model.schema


def test_rows_come_in_parts_that_make_the_whole_and_fit_the_schema(case):
    kind, path, model, _ = case
    whole = join(list(kind.read(path, model.schema)))
    parts = list(kind.read(path, model.schema, rows=7))
    assert max(map(len, parts)) <= 7 and sum(map(len, parts)) == len(whole) == ROWS
    for field in model.schema.fields:
        assert whole.fields[field.name].shape[1:] == field.shape
        assert torch.equal(torch.cat([p.fields[field.name] for p in parts]), whole.fields[field.name])
        values = model.schema.to_model(whole).fields[field.name]
        assert not values.is_floating_point() or bool(torch.isfinite(values).all())


def test_what_is_written_is_read_again(case, tmp_path):
    kind, path, model, _ = case
    batch = next(kind.read(path, model.schema))
    kind.write([batch], tmp_path / f"copy{path.suffix}", model.schema)
    again = next(kind.read(tmp_path / f"copy{path.suffix}", model.schema))
    for name, values in batch.fields.items():
        seen = batch.seen.get(name, torch.ones_like(values, dtype=torch.bool))
        assert torch.equal(torch.where(seen, values, 0), torch.where(seen, again.fields[name], 0))
        assert torch.equal(seen, again.seen.get(name, torch.ones_like(values, dtype=torch.bool)))


def test_nothing_that_exists_is_overwritten(case, tmp_path):
    kind, path, model, _ = case
    target = tmp_path / f"there{path.suffix}"
    target.write_bytes(b"mine")
    with pytest.raises(BadInput, match="there"):
        kind.write([next(kind.read(path, model.schema))], target, model.schema)
    assert target.read_bytes() == b"mine"


def test_every_verb_answers_in_the_data_s_own_form(case):
    _, path, model, given = case
    like = model.sample(5)
    assert len(like) == 5
    for made, rows in [
        (model.reconstruct(path), ROWS),
        (model.reconstruct(path, draws=2, mean=False), 2 * ROWS),
        (model.interpolate(path, steps=3), (ROWS - 1) * 3),
        (model.traverse(rows=2, steps=4), 8),
        (model.grid(side=3), 9),
        (model.denoise(path, draws=2), ROWS),
        (model.augment(path, copies=2), 2 * ROWS),
        (model.sample(4, temperature=0.5, mean=True, seed=3), 4),
    ]:
        assert len(made) == rows and type(made) is type(like)
        if isinstance(made, pd.DataFrame):
            assert set(made.columns) <= set(like.columns)
        else:
            assert made.shape[1:] == like.shape[1:] and made.dtype == like.dtype
    assert model.encode(path).shape == (ROWS, 3)
    if given:
        value = "3" if isinstance(like, np.ndarray) else "cultivar 1"
        assert len(model.sample(4, given={"label": value})) == 4
        with pytest.raises(BadInput, match="label"):
            model.sample(4, given={"label": "no such label"})
    else:
        with pytest.raises(BadInput, match=r"not conditioned|unknown column"):
            model.sample(4, given={"no such column": "3"})


def test_scores_repeat_and_their_shares_sum(case):
    _, path, model, _ = case
    once = model.score(path, draws=8)
    assert once.shape == (ROWS,) and np.isfinite(once).all()
    assert np.array_equal(once, model.score(path, draws=8))
    shares = model.score(path, draws=8, entries=True)
    assert np.allclose(shares["score"], once, atol=1e-4)
    assert np.allclose(shares.drop(columns="score").sum(axis=1), once, atol=1e-2)


def test_a_loaded_model_is_the_saved_one(case):
    _, path, model, _ = case
    again = latelier.load(model.folder)
    assert np.array_equal(model.score(path), again.score(path))
    assert again.spec == model.spec and again.schema == model.schema


def test_the_bound_is_finite_and_its_parts_are_reported(case):
    kind, path, model, _ = case
    figures = model.evaluate(path, draws=8)
    assert figures.rows == ROWS and figures.iw >= figures.elbo - 3 * figures.elbo_error
    assert figures.units == 3 and len(figures.kl_parts["z"]) == 3
    names = [n for f in model.schema.modelled for n in (f.columns or (f.name,))]
    assert list(figures.reconstruction) == kind.ordered(names, model.schema)
    assert all(0 <= error < float("inf") for error in figures.reconstruction.values())


def test_another_likelihood_may_be_named_and_a_wrong_one_is_refused(case):
    kind, path, model, _ = case
    field = model.schema.modelled[0]
    with pytest.raises(BadInput, match=r"bernouli.*did you mean 'bernoulli'"):
        latelier.fit(path, out=Path(model.folder).parent / "wrong", settings={f"likelihood.{field.name}": "bernouli"})
    wrong = "poisson" if field.support != "count" else "bernoulli"
    with pytest.raises(BadInput, match=wrong):
        latelier.fit(path, out=Path(model.folder).parent / "wrong", settings={f"likelihood.{field.name}": wrong})
    assert not (Path(model.folder).parent / "wrong").exists()
    assert kind.scan(path, DataSpec()).modelled
