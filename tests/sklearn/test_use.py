"""The estimators in use: pipelines, searches, frames of every type, pickles."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import latelier
from kinds.test_tables import people
from latelier.errors import BadInput
from latelier.sklearn import Generator, Imputer, LatentTransformer, OutlierDetector

QUICK: dict[str, Any] = {"hidden": 16, "epochs": 2, "dims": 2, "random_state": 0}
ALL = (Generator, Imputer, LatentTransformer, OutlierDetector)


def mixed() -> pd.DataFrame:
    """Every family, one column of names, one that never varies and one without any value; labels that are not 0, 1, 2, ..."""
    frame = people(150).assign(name=[f"person {i}" for i in range(150)], land="AT", empty=np.nan)
    return frame.astype({"city": "category", "age": "int32"}).set_axis(np.arange(150) * 2 + 7)


def outcome(estimator: Any, X: Any) -> Any:
    """What the estimator is for, on these rows."""
    return estimator.transform(X) if hasattr(estimator, "transform") else estimator.score_samples(X)


@pytest.fixture(scope="module")
def wine() -> tuple[np.ndarray, np.ndarray]:
    return load_wine(return_X_y=True)


def test_a_detector_knows_rows_of_another_kind_by_their_oddness() -> None:
    X, benign = load_breast_cancer(return_X_y=True)
    usual, rest = train_test_split(X[benign == 1], test_size=0.4, random_state=0)
    detector = OutlierDetector(members=2, epochs=60, random_state=0).fit(usual)
    test, odd = np.vstack([rest, X[benign == 0]]), np.r_[np.zeros(len(rest)), np.ones((benign == 0).sum())]
    assert roc_auc_score(odd, -detector.score_samples(test)) > 0.93
    assert 0.02 < np.mean(detector.predict(rest) == -1) < 0.35


def test_a_detector_says_the_same_to_users_of_pyod(wine: tuple[np.ndarray, np.ndarray]) -> None:
    X, _ = wine
    detector = OutlierDetector(contamination=0.1, **QUICK).fit(X)
    assert np.array_equal(detector.decision_scores_, -detector.score_samples(X))
    assert detector.threshold_ == -detector.offset_
    assert detector.labels_.sum() == 18
    assert np.array_equal(detector.labels_ == 1, detector.predict(X) == -1)
    assert np.array_equal(clone(detector).fit_predict(X), detector.predict(X))


@pytest.mark.parametrize("share", [0, 0.6, -1])
def test_a_contamination_that_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(BadInput, match="contamination"):
        OutlierDetector(contamination=share).fit(np.eye(5))


def test_imputed_numbers_are_nearer_to_the_truth_than_means_are(wine: tuple[np.ndarray, np.ndarray]) -> None:
    X = StandardScaler().fit_transform(wine[0])
    gone = np.random.default_rng(0).random(X.shape) < 0.2
    holed = np.where(gone, np.nan, X)
    filled = Imputer(epochs=100, random_state=0).fit_transform(holed)
    assert np.array_equal(filled[~gone], X[~gone])
    by_mean = SimpleImputer().fit_transform(holed)
    assert np.square(filled - X)[gone].mean() < 0.75 * np.square(by_mean - X)[gone].mean()


def test_a_frame_of_every_type_comes_back_whole_and_as_it_was() -> None:
    frame = mixed()
    imputer = Imputer(**QUICK)
    whole = imputer.fit_transform(frame)
    assert list(whole) == list(imputer.get_feature_names_out()) == [name for name in frame if name != "empty"]
    assert whole.index.equals(frame.index)
    assert not whole.isna().any(axis=None)
    assert whole.dtypes.equals(frame.dtypes.drop("empty"))
    for name in whole:
        there = frame[name].notna()
        assert whole.loc[there, name].equals(frame.loc[there, name])
    kept = Imputer(**QUICK, keep_empty_features=True).fit_transform(frame)
    assert (kept["empty"] == 0).all()


def test_what_is_not_a_number_may_stand_for_missing() -> None:
    frame = people(80).astype({"city": object}).fillna({"height": -1, "city": "?", "sex": "Male"})
    gone = frame["height"] == -1
    filled = Imputer(**QUICK, missing_values=-1).fit_transform(frame)
    assert gone.any() and (filled["height"] > 100).all()
    assert not (filled["city"] == "?").any()  # a spelling that every table has
    numbers = Imputer(**QUICK, missing_values=-1).fit_transform(frame[["height", "age", "income"]].to_numpy())
    assert (numbers[:, 0] > 100).all()


def test_completed_tables_of_several_seeds_differ_and_those_of_one_agree() -> None:
    X = np.random.default_rng(0).normal(size=(60, 3)) @ np.ones((3, 3)) + np.random.default_rng(1).normal(size=(60, 3))
    X[::3, 0] = np.nan
    one, again, other = (
        Imputer(**{**QUICK, "random_state": seed}, sample_posterior=True).fit_transform(X)[:, 0] for seed in (1, 1, 2)
    )
    assert np.array_equal(one, again)
    assert (one != other).sum() == 20


def test_latent_means_say_which_wine_it_is_and_go_back_to_rows(wine: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = wine
    latent = LatentTransformer(dims=4, epochs=60, batch_size=16, random_state=0)
    assert cross_val_score(make_pipeline(latent, LogisticRegression()), X, y, cv=3).mean() > 0.87
    back = latent.fit(X).inverse_transform(latent.transform(X))
    assert np.square((back - X) / X.std(0)).mean() < 0.6
    with pytest.raises(ValueError, match=r"decodes \(rows, 4\)"):
        latent.inverse_transform(np.zeros((2, 3)))


def test_latents_of_a_frame_go_back_to_its_columns_and_types() -> None:
    frame = mixed()
    latent = LatentTransformer(**QUICK).set_output(transform="pandas")
    z = latent.fit_transform(frame)
    assert list(z) == ["latenttransformer0", "latenttransformer1"] and z.index.equals(frame.index)
    back = latent.inverse_transform(z)
    assert list(back) == list(frame)
    left_out = ["name", "empty"]
    assert back[left_out].isna().all(axis=None) and not back.drop(columns=left_out).isna().any(axis=None)
    assert back.dtypes.drop(left_out).equals(frame.dtypes.drop(left_out))


def test_a_generator_tells_rows_from_shuffled_columns_and_makes_rows_of_the_datas_form(
    wine: tuple[np.ndarray, np.ndarray],
) -> None:
    X, test = train_test_split(wine[0], random_state=0)
    density = Generator(epochs=60, random_state=0).fit(X)
    shuffled = np.random.default_rng(0).permuted(test, axis=0)
    assert density.score(test) > density.score(shuffled) + 1
    assert density.score(test) == pytest.approx(density.score_samples(test).mean())
    made = density.sample(500)
    assert made.shape == (500, 13) and made.dtype == np.float64
    assert np.abs((made.mean(0) - X.mean(0)) / X.std(0)).max() < 0.5
    assert np.array_equal(made, density.sample(500))
    assert not np.array_equal(made, density.sample(500, random_state=1))
    frame = mixed()
    like = Generator(**QUICK).fit(frame).sample(4)
    assert list(like) == list(frame)
    assert like.dtypes["age"] == np.int32 and set(like["city"].dropna()) <= set(frame["city"].dropna())


def test_a_search_chooses_by_nats_of_rows_that_were_held_out() -> None:
    z = np.random.default_rng(0).normal(size=(200, 2))
    X = z @ np.random.default_rng(1).normal(size=(2, 6)) + 0.1 * np.random.default_rng(2).normal(size=(200, 6))
    grid = {"dims": [1, 2], "hidden": [(32,)], "epochs": [1, 40]}
    search = GridSearchCV(Generator(random_state=0, batch_size=32), grid, cv=2, error_score="raise").fit(X)
    assert search.best_params_ == {"dims": 2, "hidden": (32,), "epochs": 40}


def test_columns_are_shared_out_among_estimators() -> None:
    frame = mixed()
    number, word = make_column_selector(dtype_include="number"), make_column_selector(dtype_exclude="number")
    both = make_column_transformer(
        (make_pipeline(Imputer(**QUICK), StandardScaler()), number),
        (make_pipeline(Imputer(**QUICK), OneHotEncoder(handle_unknown="ignore")), word),
        (LatentTransformer(**QUICK), ["height", "city"]),
    )
    pipeline = make_pipeline(both, LogisticRegression(max_iter=1000))
    y = np.arange(150) % 2
    assert pipeline.fit(frame[:100], y[:100]).predict(frame[100:]).shape == (50,)
    assert "latenttransformer__latenttransformer1" in both.get_feature_names_out()


@pytest.mark.parametrize("kind", ALL)
def test_a_pickle_gives_the_same_to_the_last_bit_and_holds_no_object_of_ours_but_files(kind: Any) -> None:
    frame = mixed()
    estimator = kind(**QUICK).fit(frame)
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    for again in (pickle.loads(pickle.dumps(estimator)), joblib.load(file)):  # noqa: S301 - as scikit-learn's users do
        expected, found = outcome(estimator, frame), outcome(again, frame)
        assert expected.equals(found) if isinstance(expected, pd.DataFrame) else np.array_equal(expected, found)
        assert repr(again) == repr(estimator)
    files = estimator.__getstate__()["detector_" if kind is OutlierDetector else "model_"]
    assert {Path(name).suffix for name in files} == {".json", ".safetensors"}
    assert all(isinstance(data, bytes) for data in files.values())


@pytest.mark.parametrize("kind", ALL)
def test_numbers_are_the_same_in_a_frame_in_an_array_and_in_a_list(
    kind: Any, wine: tuple[np.ndarray, np.ndarray]
) -> None:
    X = wine[0][:60].round()
    forms = (X, pd.DataFrame(X).astype(int), X.tolist())
    first, *others = (np.asarray(outcome(kind(**QUICK).fit(form), form)) for form in forms)
    assert all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize("kind", ALL)
def test_a_result_does_not_depend_on_the_batch(kind: Any) -> None:
    frame = mixed()
    estimator = kind(**QUICK).fit(frame)
    whole = outcome(estimator, frame)
    parts = [outcome(estimator, frame[i : i + 7]) for i in range(0, 150, 7)]
    if isinstance(whole, pd.DataFrame):
        pd.testing.assert_frame_equal(pd.concat(parts), whole, rtol=1e-10)
    else:
        np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ALL)
def test_nothing_is_printed_left_on_the_disk_or_changed_in_torch(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    state = torch.get_rng_state()
    estimator = kind(**QUICK).fit(np.random.default_rng(0).normal(size=(20, 2)))
    pickle.dumps(estimator)
    assert list(tmp_path.iterdir()) == [temporary] and list(temporary.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert torch.equal(state, torch.get_rng_state())


def test_values_that_fit_never_saw_are_read_as_missing_and_count_against_a_row() -> None:
    frame = mixed().astype({"city": object})
    odd = frame.head(4).copy()
    odd.iloc[1, odd.columns.get_loc("city")] = "Atlantis"
    odd.iloc[2, odd.columns.get_loc("land")] = "DE"
    odd.iloc[3, odd.columns.get_loc("empty")] = 1.0
    density = Generator(**QUICK).fit(frame)
    without = odd.assign(city=odd["city"].where(odd["city"] != "Atlantis"), land="AT", empty=np.nan)
    lost = density.score_samples(without) - density.score_samples(odd)
    assert lost == pytest.approx(np.log(151) * np.array([0, 1, 1, 1]))
    filled = Imputer(**QUICK).fit(frame).transform(odd)
    assert filled["city"].iloc[1] == "Atlantis" and filled["land"].iloc[2] == "DE"


def test_a_column_that_never_varied_in_one_fold_is_no_trouble_in_the_next() -> None:
    X = np.random.default_rng(0).normal(size=(60, 3))
    X[:, 1] = 5.0
    density = Generator(**QUICK).fit(X)
    changed = X.copy()
    changed[3, 1] = 6.0
    assert (density.score_samples(changed) < density.score_samples(X)).nonzero()[0].tolist() == [3]
    assert Imputer(**QUICK).fit(X[10:]).transform([[0.0, np.nan, 1.0]])[0, 1] == 5.0


def test_what_fit_never_saw_is_odd_to_a_detector_which_says_why() -> None:
    frame = mixed().astype({"city": object})
    detector = OutlierDetector(**QUICK).fit(frame)
    odd = frame.head(3).copy()
    odd.iloc[1, odd.columns.get_loc("city")] = "Atlantis"
    odd.iloc[2, odd.columns.get_loc("land")] = "DE"
    lost = detector.score_samples(frame.head(3)) - detector.score_samples(odd)
    assert lost[0] == 0 and (lost[1:] > 0.2).all()
    why = detector.attribution(odd)
    assert why.index.equals(odd.index)
    np.testing.assert_allclose(-why.sum(axis=1), detector.score_samples(odd), atol=1e-6)
    added = why - detector.attribution(frame.head(3))
    assert added.iloc[1].idxmax() == "city" and added.iloc[2].idxmax() == "land"
    p = detector.p_values(frame)
    assert p.min() > 0 and p.max() <= 1 and np.corrcoef(p, detector.score_samples(frame))[0, 1] > 0.5


def test_a_detector_that_is_told_of_odd_rows_leaves_them_out() -> None:
    random = np.random.default_rng(0)
    usual = random.normal(size=(270, 1)) + 0.3 * random.normal(size=(270, 4))
    odd = 0.3 * random.normal(size=(30, 4)) + [3, -3, 3, -3]
    X, truth = np.vstack([usual, odd]), np.r_[np.zeros(270), np.ones(30)]
    blind, told = (
        OutlierDetector(members=1, epochs=30, robust=robust, random_state=0).fit(X) for robust in (False, True)
    )
    assert roc_auc_score(truth, told.decision_scores_) > 0.95
    assert 3 * np.median(told.p_values(odd)) < np.median(blind.p_values(odd))  # they were among those compared with


def test_counts_and_levels_are_recognised_where_asked_for() -> None:
    random = np.random.default_rng(0)
    X = np.c_[random.poisson(30, 200), random.integers(0, 4, 200), random.normal(size=200)]
    families = {
        asked: [c.family for c in Generator(**QUICK, families=value).fit(X).model_.schema.columns]
        for asked, value in {"auto": "auto", "recognise": "recognise", "one": {1: "category"}}.items()
    }
    assert families == {
        "auto": ["real", "real", "real"],
        "recognise": ["count", "ordinal", "real"],
        "one": ["real", "category", "real"],
    }
    assert set(Generator(**QUICK, families="recognise").fit(X).sample(50)[:, 1]) <= {0.0, 1.0, 2.0, 3.0}


def test_arrays_with_words_are_tables() -> None:
    X = np.array([[i / 3, "ab"[i % 2], None if i % 5 == 0 else i % 7] for i in range(60)], dtype=object)
    X[3, 1] = None
    filled = Imputer(**QUICK).fit_transform(X)
    assert filled.dtype == object and filled[3, 1] in ("a", "b") and not pd.isna(filled).any()
    assert np.array_equal(filled[:, 0], X[:, 0])
    assert Generator(**QUICK).fit(X.tolist()).sample(3).shape == (3, 3)


def test_settings_reach_whatever_has_no_parameter() -> None:
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = Generator(**QUICK, settings={"objective.beta": 0.5, "train.rate": 0.01}).fit(X).model_
    assert isinstance(model, latelier.Model)
    assert (model.spec.objective.beta, model.spec.train.rate, model.spec.train.seed) == (0.5, 0.01, 0)
    assert model.spec.network.hidden == (16,)
    for kind in ALL:
        with pytest.raises(BadInput, match="did you mean"):
            kind(settings={"train.epoch": 3}).fit(X)
    with pytest.raises(BadInput, match="families = 'reel': give 'auto'"):
        Generator(families="reel").fit(X)
    detector = OutlierDetector(**QUICK, settings={"train.rate": 0.01, "data.holdout": 0.5}).fit(X).detector_
    assert [m.spec.train.rate for m in detector.density.members] == [0.01] * 4
    assert [m.spec.network.hidden for m in detector.density.members] == [(16,)] * 4
    assert len(detector.usual.scores) == 20


@pytest.mark.parametrize("kind", ALL)
def test_what_cannot_be_used_is_said_in_one_line(kind: Any) -> None:
    frame = mixed()
    with pytest.raises(NotFittedError):
        outcome(kind(), frame)
    least = 10 if kind is OutlierDetector else 2
    with pytest.raises(ValueError, match=f"minimum of {least} is required"):
        kind(**QUICK).fit(frame.head(least - 1))
    with pytest.raises(BadInput, match=r"always '1\.0': not modelled|constant"):
        kind(**QUICK).fit(np.ones((15, 2)))
    estimator = kind(**QUICK).fit(frame)
    with pytest.raises(ValueError, match="feature names should match"):
        outcome(estimator, frame.rename(columns={"age": "years"}))
    with pytest.raises(
        BadInput, match="column 'age': could not convert string to float: 'old'; it held numbers in fit"
    ):
        outcome(estimator, frame.astype({"age": object}).replace({"age": {frame["age"].iloc[0]: "old"}}))
    with pytest.raises(BadInput, match=r"column 'income': inf .* is infinite"):
        outcome(estimator, frame.assign(income=np.inf))


@pytest.mark.parametrize(("kind", "purpose"), [(Imputer, "imputation"), (Generator, "synthesis")])
def test_what_is_made_for_a_purpose_can_be_asked_for(kind: Any, purpose: str) -> None:
    frame = mixed()
    estimator = kind(dims=2, epochs=1, random_state=0, settings={"purpose": purpose}).fit(frame)
    again = pickle.loads(pickle.dumps(estimator))  # noqa: S301 - as scikit-learn's users do
    if kind is Imputer:
        assert not again.transform(frame).isna().any(axis=None)
    else:
        assert list(again.sample(3)) == list(frame)
        assert np.array_equal(again.score_samples(frame), estimator.score_samples(frame))
