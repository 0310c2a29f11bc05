"""The detector: what it promises of oddness, p-values, thresholds and attribution, on rows whose truth is known."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save
from scipy.stats import ks_2samp, kstest, norm
from sklearn.metrics import roc_auc_score

import flows
from latelier.cli import main
from latelier.data.margins import KNOTS, Margin, Margins
from latelier.detector import Detector
from latelier.detector.density import leaning, usual_in
from latelier.detector.fitting import some_of
from latelier.errors import BadInput
from latelier.kinds.cells.plain import LEVELS
from latelier.model import as_source


def normal_rows(rows: int, seed: int) -> pd.DataFrame:
    """Two columns that hang together, a skewed amount, a word that follows from its sign, a rare flag."""
    random = np.random.default_rng(seed)
    a = random.normal(size=rows)
    return pd.DataFrame(
        {
            "a": a,
            "b": 2 * a + 0.3 * random.normal(size=rows),
            "amount": np.exp(random.normal(size=rows)).round(2),
            "side": np.where(a > 0, "right", "left"),
            "flag": (random.random(rows) < 0.05).astype(int),
            "always": 7.5,
        }
    )


def odd_rows(rows: int, seed: int) -> pd.DataFrame:
    """The same columns, each usual alone, with a and b the other way round."""
    frame = normal_rows(rows, seed)
    return frame.assign(b=-frame["b"])


QUICK = {"train.epochs": 30, "head.real.scale": 0.3}  # so fine that b, which follows from a, is seen to break away


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.fit(normal_rows(3000, 0), members=2, holdout=0.4, settings=QUICK)


def test_attribution_sums_to_oddness_and_names_the_column_that_is_odd(detector: Detector) -> None:
    rows = normal_rows(200, 1)
    rows.loc[3, "amount"] = 1e5
    told = detector.attribution(rows)
    assert list(told.columns) == [*rows.columns, "latent"]
    np.testing.assert_allclose(told.sum(axis=1), detector.oddness(rows), atol=1e-3)
    assert told.iloc[3].drop("latent").idxmax() == "amount"


def test_oddness_is_the_same_in_any_call_batch_and_order(detector: Detector) -> None:
    rows = normal_rows(300, 2)
    once = detector.oddness(rows)
    order = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_array_equal(once, detector.oddness(rows))
    np.testing.assert_allclose(once[order], detector.oddness(rows.iloc[order]), atol=1e-4)
    np.testing.assert_allclose(once, np.concatenate(list(detector.stream(rows, rows=7))), atol=1e-4)
    np.testing.assert_allclose(once, detector.oddness(rows[rows.columns[::-1]]), atol=1e-4)


def test_p_values_of_fresh_normal_rows_are_uniform_and_those_of_odd_rows_small(detector: Detector) -> None:
    fresh = detector.oddness(normal_rows(1500, 3))
    p = detector.p_values_of(fresh)
    # The rows p-values are measured against are a sample too: fresh ones must look like another sample of the same.
    assert ks_2samp(fresh, -detector.usual.scores).pvalue > 0.01
    assert kstest(p, "uniform").statistic < 1.63 * np.sqrt(1 / 1500 + 1 / len(detector.usual.scores))
    assert np.median(detector.p_values(odd_rows(300, 4))) < 0.1


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_a_threshold_gives_its_rate_of_false_alarms_within_its_error(detector: Detector, rate: float) -> None:
    fresh, known = detector.oddness(normal_rows(4000, 5)), len(detector.usual.scores)
    error = np.sqrt(rate * (1 - rate) * (1 / len(fresh) + 1 / known))
    assert (fresh > detector.threshold(rate)).mean() == pytest.approx(rate, abs=3 * error)


def test_rows_that_break_what_hangs_together_are_odder(detector: Detector) -> None:
    normal, odd = detector.oddness(normal_rows(500, 6)), detector.oddness(odd_rows(500, 7))
    assert roc_auc_score(np.repeat([0, 1], 500), np.concatenate([normal, odd])) > 0.85


def test_what_training_never_had_is_odd_and_no_error(detector: Detector) -> None:
    rows = normal_rows(4, 8).assign(flag=0)
    usual = detector.oddness(rows)
    for column, value in {"side": "up", "always": 9.0, "flag": 5, "amount": 1e9}.items():
        changed = rows.copy()
        changed[column] = changed[column].astype(object)
        changed.loc[1, column] = value
        assert detector.oddness(changed)[1] > usual[1] + 3, column
        assert detector.attribution(changed).iloc[1].drop("latent").idxmax() == column


def test_an_empty_cell_counts_as_a_usual_one(detector: Detector) -> None:
    rows = normal_rows(200, 9)
    rows.loc[::2, "amount"] = np.nan
    told = detector.attribution(rows)
    assert (told["amount"][::2] == 0).all()
    np.testing.assert_allclose(told.sum(axis=1), detector.oddness(rows), atol=1e-3)


def test_odd_rows_that_are_alike_do_less_harm_when_they_are_told_of() -> None:
    """Twelve columns of three hidden ones, and rows that are all somewhat out in the same way: a tenth of them is enough to be
    learned. Told of, most of them train nothing, and each column has its own say."""
    random = np.random.default_rng(0)
    mixing, way = random.normal(size=(3, 12)), 1.5 * random.choice([-1, 1], 12)

    def rows(normal: int, odd: int) -> np.ndarray:
        hidden = random.normal(size=(normal + odd, 3)) * np.repeat([1, 0.3], [normal, odd])[:, None]
        spread = np.sqrt(1 + (mixing**2).sum(0))
        shift = np.repeat([0, 1], [normal, odd])[:, None] * way * spread
        return (
            hidden @ mixing
            + random.normal(size=(normal + odd, 12)) * np.repeat([1, 0.3], [normal, odd])[:, None]
            + shift
        )

    train, test, truth = rows(900, 100), rows(500, 200), np.repeat([0, 1], [500, 200])
    plain, told = (
        roc_auc_score(
            truth, Detector.fit(train, contamination=share, members=1, settings={"train.epochs": 40}).oddness(test)
        )
        for share in (0.0, 0.1)
    )
    assert told > plain + 0.02


def test_most_of_the_say_is_that_of_each_column_where_odd_rows_were_told_of() -> None:
    rows = normal_rows(300, 11)
    rows.loc[5, "b"] = np.nan
    told = Detector.fit(rows, contamination=0.1, members=1, settings={"train.epochs": 2})
    assert told.density.apart == 0.7
    np.testing.assert_allclose(told.attribution(rows).sum(axis=1), told.oddness(rows), atol=1e-3)
    values = np.concatenate(list(told.reading.rows(rows)))
    scores, sides = told.density.margins.scores(values), told.density.sides
    below = norm.cdf(scores)
    either = np.log(2 * np.minimum(below, 1 - below))
    one = np.select([sides < 0, sides > 0], [np.log(below), np.log(1 - below)], either)
    assert set(sides) <= {-1.0, 0.0, 1.0} and sides.any()
    alone = np.minimum(np.nansum(one, 1), np.nansum(either, 1))
    together = replace(told.density, apart=0.0).nats(values)
    np.testing.assert_allclose(told.nats(rows), 0.7 * alone + 0.3 * together, atol=1e-3)


def test_a_column_leans_to_where_the_rows_that_were_left_out_lie() -> None:
    random = np.random.default_rng(0)
    usual = random.normal(size=(900, 3))
    margins = Margins.of(usual)
    assert not leaning(margins.scores(usual)).any()  # ranks alone lean to no side
    odd = np.stack([random.normal(4, 1, 90), random.normal(-4, 1, 90), random.normal(size=90)], 1)
    np.testing.assert_array_equal(leaning(margins.scores(np.concatenate([usual, odd]))), [1, -1, 0])
    holes = np.full((50, 2), np.nan)
    holes[:25, 0] = np.where(np.arange(25) < 20, 0, np.arange(25))  # most of the rows share the least value
    np.testing.assert_array_equal(leaning(Margins.of(holes).scores(holes)), [1, 0])


def test_a_detector_of_a_folder_that_knew_no_sides_has_normal_columns_by_themselves(tmp_path: Path) -> None:
    rows = normal_rows(300, 11)
    told = Detector.fit(rows, contamination=0.1, members=1, settings={"train.epochs": 2})
    old = Detector(told.reading, replace(told.density, sides=None, apart=0.5), told.usual)
    again = Detector.load(old.save(tmp_path / "kept"))
    np.testing.assert_array_equal(again.nats(rows), old.nats(rows))
    values = np.concatenate(list(told.reading.rows(rows)))
    alone = np.nansum(norm.logpdf(told.density.margins.scores(values)), 1)
    together = replace(told.density, apart=0.0).nats(values)
    np.testing.assert_allclose(again.nats(rows), (alone + together) / 2, atol=1e-3)


def test_a_saved_detector_says_the_same_when_it_is_loaded(detector: Detector, tmp_path: Path) -> None:
    rows = normal_rows(100, 14)
    again = Detector.load(detector.save(tmp_path / "kept"))
    np.testing.assert_array_equal(again.oddness(rows), detector.oddness(rows))
    np.testing.assert_array_equal(again.p_values(rows), detector.p_values(rows))
    assert again.threshold(0.05) == detector.threshold(0.05)
    detector.save(tmp_path / "kept")  # replaces what is a detector
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    (tmp_path / "kept" / "arrays.safetensors").write_bytes(b"?")
    with pytest.raises(BadInput, match="digest"):
        Detector.load(tmp_path / "kept")


def test_rows_beside_a_thin_surface_are_found_by_the_finer_members(tmp_path: Path) -> None:
    """Usual as far as a standard deviation can tell, in each column and in both together."""
    random = np.random.default_rng(0)
    a = random.uniform(-1, 1, 1600)
    line = np.stack([a, np.sin(4 * a) + 0.02 * random.normal(size=len(a))], 1)
    beside = line[:100] + np.array([0, 0.35])
    found = Detector.fit(line[200:], members=2, seed=1)
    assert sum(found.density.weights) == pytest.approx(1) and min(found.density.weights) > 0
    truth, rows = np.repeat([0, 1], 100), np.concatenate([line[100:200], beside])
    assert roc_auc_score(truth, found.oddness(rows)) > 0.75
    shares = found.attribution(rows)
    np.testing.assert_allclose(shares.sum(axis=1), found.oddness(rows), atol=1e-4)
    again = Detector.load(found.save(tmp_path / "kept"))
    assert again.density.weights == found.density.weights
    np.testing.assert_array_equal(again.oddness(rows), found.oddness(rows))
    alone = replace(found.density, members=found.density.members[:1], weights=(1.0,))
    blind = Detector(
        found.reading, alone, usual_in(alone, np.concatenate(list(found.reading.rows(as_source(line[200:])))))
    )
    assert roc_auc_score(truth, blind.oddness(rows)) < 0.7


def test_a_folder_of_the_first_format_says_the_same(detector: Detector, tmp_path: Path) -> None:
    """Then costs were kept where now there are scores, and no schema."""
    rows = normal_rows(50, 14)
    alike = replace(detector.density, weights=(0.5, 0.5))  # as all members counted then
    fresh = np.concatenate(list(detector.reading.rows(as_source(normal_rows(200, 15)))))
    detector = Detector(detector.reading, alike, usual_in(alike, fresh))
    folder = detector.save(tmp_path / "kept")
    page, arrays = json.loads((folder / "detector.json").read_text()), load_file(folder / "arrays.safetensors")
    now = {name: arrays.pop(name) for name in ("scores", "usual", "usual_latent")}
    before = {"calibration": -now["scores"][::-1].copy(), "usual": -now["usual"], "usual_latent": -now["usual_latent"]}
    data = save({**arrays, **before})
    (folder / "arrays.safetensors").write_bytes(data)
    page["arrays"]["sha256"] = hashlib.sha256(data).hexdigest()
    page = {k: v for k, v in page.items() if k not in ("schema", "apart", "weights")} | {"format": 1}
    (folder / "detector.json").write_text(json.dumps(page))
    again = Detector.load(folder)
    np.testing.assert_array_equal(again.oddness(rows), detector.oddness(rows))
    np.testing.assert_array_equal(again.p_values(rows), detector.p_values(rows))


def test_of_very_many_rows_a_sample_is_learned_from_which_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latelier.detector.fitting.ROWS", 1200)
    rows, told = normal_rows(3000, 20), []
    found = Detector.fit(
        rows, members=1, watch=lambda e: told.extend(e.get("evidence", ())), settings={"train.epochs": 2}
    )
    assert "1,200 of 3,000 rows are learned from, chosen at random" in told
    assert len(found.usual.scores) == 200
    assert np.isfinite(found.oddness(rows)).all()
    chosen = some_of(10**12, 1000, 0)  # without a list of all places
    assert len(chosen) == 1000 == len(set(chosen.tolist())) and (np.diff(chosen) > 0).all()
    assert abs(chosen.mean() / 10**12 - 0.5) < 0.05


def test_common_words_of_a_column_are_told_apart_and_the_rest_is_one() -> None:
    random = np.random.default_rng(0)
    words = [f"w{i}" for i in range(80)] * 3 + ["rare"]
    rows = pd.DataFrame({"x": random.normal(size=len(words)), "word": words})
    found = Detector.fit(rows, members=1, settings={"train.epochs": 1})
    kept = found.reading.plain.columns[1].levels
    assert len(kept) == LEVELS and "rare" not in kept
    assert found.reading.plain.names[-1] == "word=?"
    assert np.isfinite(found.oddness(rows)).all()


def test_what_comes_round_is_near_on_both_sides_of_midnight() -> None:
    """Rows of nights: a minute after midnight is as usual as a minute before it, noon is odd."""
    minutes = (np.random.default_rng(0).normal(0, 60, 600) % 1440).astype(int)
    clock = [f"{m // 60:02}:{m % 60:02}:00" for m in minutes]
    rows = pd.DataFrame({"at": clock, "x": np.random.default_rng(1).normal(size=600)})
    found = Detector.fit(rows, members=1, settings={"train.epochs": 20})
    assert found.reading.plain.names[:2] == ("at (cos)", "at (sin)")
    late, early, noon = found.oddness(pd.DataFrame({"at": ["23:59:00", "00:01:00", "12:00:00"], "x": 0.0}))
    assert abs(late - early) < 1 < noon - max(late, early)
    assert (
        found.attribution(pd.DataFrame({"at": ["12:00:00"], "x": [0.0]})).drop(columns="latent").iloc[0].idxmax()
        == "at"
    )


@pytest.mark.parametrize("name", flows.FILES)
def test_every_format_of_traffic_is_read_and_what_it_leaves_out_says_nothing(name: str, tmp_path: Path) -> None:
    log = flows.written(name, tmp_path, 300)
    found = Detector.fit(log, members=1, settings={"train.epochs": 2}, out=tmp_path / "kept")
    assert found.schema.kind == "traffic"
    assert not {"id.orig_h", "src_ip", "Label", "label", "uid", "IPV4_SRC_ADDR", "sa"} & set(found.columns)
    odd = found.oddness(log)
    assert odd.shape == (300,) and np.isfinite(odd).all()
    np.testing.assert_array_equal(Detector.load(tmp_path / "kept").oddness(log), odd)


def test_what_cannot_be_used_is_told_in_one_line(detector: Detector, tmp_path: Path) -> None:
    rows = normal_rows(20, 15)
    for what, words in (
        (lambda: detector.oddness(rows.drop(columns="b")), "column 'b' is not there"),
        (lambda: detector.oddness(rows.assign(a="word")), "column 'a': 20 values are not numbers"),
        (lambda: detector.oddness(rows.assign(a=np.inf)), "is infinite"),
        (lambda: detector.threshold(1e-6), "are needed"),
        (lambda: detector.threshold(2), "above 0 and at most 1"),
        (lambda: Detector.fit(rows, contamination=0.7), "contamination = 0.7"),
        (lambda: Detector.fit(rows.head(5)), "at least 10"),
        (lambda: Detector.fit(rows, given=("a",)), "takes no conditions"),
        (lambda: Detector.fit(np.zeros((4, 8, 8), np.uint8)), "for tables"),
        (lambda: Detector.load(tmp_path), "not a detector"),
    ):
        with pytest.raises(BadInput, match=words) as caught:
            what()
        assert "\n" not in str(caught.value)


def test_detect_writes_oddness_p_values_alarms_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, new, kept = tmp_path / "train.csv", tmp_path / "new.csv", tmp_path / "detector"
    normal_rows(400, 16).to_csv(table, index=False)
    normal_rows(50, 17).assign(amount=[1e6, *[1.0] * 49]).to_csv(new, index=False)
    train = ["detect", str(table), "--save", str(kept), "--members", "1", "--epochs", "5"]
    assert main(train) == 0
    shown = capsys.readouterr().out
    assert "a: real (" in shown and "6 columns as 7 numbers" in shown and "likelihood" not in shown
    words = ["detect", str(kept), str(new), "--out", str(tmp_path / "odd.csv"), "--false-alarms", "0.05", "--entries"]
    assert main(words) == 0
    told = pd.read_csv(tmp_path / "odd.csv")
    assert list(told.columns[:5]) == ["row", "oddness", "p", "alarm", "a"]
    assert told["alarm"][0] and told["p"][0] < 0.02
    assert "the oddest rows, counted from 0: 0 (" in capsys.readouterr().out
    assert main(["detect", str(kept)]) == 2
    assert "is a detector; name the rows to look at" in capsys.readouterr().err


def test_detect_looks_at_the_rows_it_learned_from_where_no_others_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    normal_rows(100, 18).to_csv("rows.csv", index=False)
    words = ["detect", "rows.csv", "--members", "1", "--epochs", "2"]
    assert main([*words, "--save", "kept"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"rows.csv", "kept"}
    assert main(words) == 0
    assert len(pd.read_csv("odd.csv")) == 100
    capsys.readouterr()
    assert main([*words, "--save", "late"]) == 0 and main([*words, "--save", "later", "--out", "odd.csv"]) == 2
    assert "odd.csv: is already there" in capsys.readouterr().err
    assert not Path("later").exists(), "what cannot be written is told before anything is fitted"


def test_margins_give_ranks_their_normal_scores_and_go_on_beyond_them() -> None:
    column = np.random.default_rng(0).exponential(size=20_000)
    margin = Margin.of(column)
    assert len(margin.values) <= KNOTS + 2
    scores = margin.scores(column)
    assert abs(scores.mean()) < 0.01 and abs(scores.std() - 1) < 0.01
    beyond = margin.scores(np.array([column.max(), 20.0, 200.0]))
    assert (np.diff(beyond) > 0.5).all()
    again = Margins.from_arrays(Margins((margin, Margin.of(np.full(5, np.nan)))).arrays())
    np.testing.assert_array_equal(again.columns[0].scores(column), scores)
