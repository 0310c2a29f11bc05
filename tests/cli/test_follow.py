"""Rows that are scored as they come: from a pipe, from a file that grows, is rotated or truncated."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from scipy.stats import kstest

import flows
import latelier
import tiny
from latelier.cli import main
from latelier.cli.tail import LONGEST, FileTail, PipeTail, pieces
from latelier.kinds.cells.lines import Delimited
from latelier.model import Model

HEAD = 8  # lines of a Zeek log above its rows
CLOSE = "#close"


@dataclass(frozen=True)
class World:
    """An empty folder to work in, and good models that are only read."""

    here: Path
    flows: Path
    detector: Path  # of the same flows
    log: Path  # rows that the model of flows was not fitted to
    wines: Path
    wine: Path
    digits: Path

    def rows(self, seed: int = 1, count: int = 60) -> list[str]:
        made = flows.Flows(count, seed)
        return ["\t".join(made.zeek(i)) + "\n" for i in range(count)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    settings = {"network.hidden": (32,), "latent.dims": 3, "train.batch": 32}
    latelier.fit(
        flows.written("conn.log", folder, 400), out=folder / "flows", epochs=20, report=False, settings=settings
    )
    latelier.Detector.fit(folder / "conn.log", out=folder / "detector", members=1, epochs=10, holdout=0.25)
    tiny.fitted(folder / "wines", tiny.write_wines(folder / "wine.csv", holes=0.0))
    tiny.fitted(folder / "digits", tiny.write_digits(folder / "pictures"))
    (folder / "log").mkdir()
    flows.written("conn.log", folder / "log", 120, seed=5)
    return folder


@pytest.fixture
def world(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    log = models / "log" / "conn.log"
    return World(
        tmp_path, models / "flows", models / "detector", log, models / "wines", models / "wine.csv", models / "digits"
    )


def run(*words: object) -> int:
    return main(["score", *map(str, words)])


def alerts(path: str | Path = "alerts.jsonl") -> list[dict]:
    """None yet where there is no such file."""
    text = Path(path).read_text() if Path(path).exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def batch_scores(model: Path, data: Path) -> np.ndarray:
    return Model.load(model).score(data)


def same(found: list[dict], scores: np.ndarray) -> bool:
    return len(found) == len(scores) and np.allclose([page["score"] for page in found], scores, atol=2e-3, rtol=1e-5)


class Writer(threading.Thread):
    """Does its steps with a pause after each, waits until so many alerts have come, and then sends a signal to this process."""

    def __init__(self, *steps: Callable[[], object], until: int, pause: float = 0.15, number: int = signal.SIGINT):
        super().__init__(daemon=True)
        self.steps, self.until, self.pause, self.number = steps, until, pause, number

    def run(self) -> None:
        try:
            for step in self.steps:
                time.sleep(self.pause)
                step()
            limit = time.monotonic() + 40
            while time.monotonic() < limit and len(alerts()) < self.until:
                time.sleep(0.05)
        finally:
            if signal.getsignal(self.number) not in (
                signal.SIG_DFL,
                signal.default_int_handler,
            ):  # else it would end us all
                os.kill(os.getpid(), self.number)


def add(path: str, *texts: str) -> Callable[[], object]:
    def step() -> None:
        with open(path, "a", encoding="utf-8") as file:
            file.write("".join(texts))

    return step


ALL = ("--false-alarms", "1", "--alerts", "alerts.jsonl", "--every", "0.05")


def test_alerts_of_a_file_have_the_scores_and_rows_of_the_batch_verb(world, capsys):
    assert run(world.flows, world.log, *ALL) == 0
    found = alerts()
    assert same(found, batch_scores(world.flows, world.log))
    assert [page["row"] for page in found] == list(range(120))
    assert [page["line"] for page in found] == list(range(HEAD + 1, HEAD + 121))
    assert "120 rows, 120 alerts, 0 bad lines" in capsys.readouterr().err


def test_a_few_rows_at_a_time_change_no_score(world):
    run(world.flows, world.log, *ALL)
    run(world.flows, world.log, "--false-alarms", "1", "--alerts", "few.jsonl", "--at-once", "7")
    a, b = ({page["row"]: page["score"] for page in alerts(name)} for name in ("alerts.jsonl", "few.jsonl"))
    assert a.keys() == b.keys() and all(abs(a[row] - b[row]) < 1e-3 for row in a)


def test_standard_input_is_read_to_its_end_and_alerts_are_printed(world, monkeypatch, capsys):
    receiving, sending = os.pipe()

    def send() -> None:
        with os.fdopen(sending, "wb", buffering=0) as pipe:
            text = world.log.read_bytes()
            for start in range(0, len(text), 1000):  # lines are cut anywhere
                pipe.write(text[start : start + 1000])

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    with os.fdopen(receiving) as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        assert run(world.flows, "-", "--false-alarms", "1") == 0
    told = capsys.readouterr()
    assert same([json.loads(line) for line in told.out.splitlines()], batch_scores(world.flows, world.log))
    assert told.err.splitlines()[-1] == "standard input: 120 rows, 120 alerts, 0 bad lines"


def test_an_alert_says_what_is_odd_with_values_as_they_were_spelled(world):
    rows = world.rows()
    cells = rows[10].split("\t")
    cells[flows.ZEEK.index("orig_bytes")] = "16000000"
    cells[flows.ZEEK.index("service")] = "gopher"
    Path("conn.log").write_text(flows.ZEEK_HEAD + "".join([*rows[:10], "\t".join(cells), *rows[11:]]))
    assert run(world.flows, "conn.log", "--false-alarms", "0.05", "--alerts", "alerts.jsonl", "--reasons", "5") == 0
    page = next(page for page in alerts() if page["row"] == 10)
    assert page["score"] == min(other["score"] for other in alerts())
    reasons = page["reasons"]
    assert [r["below_usual"] for r in reasons] == sorted((r["below_usual"] for r in reasons), reverse=True)
    assert {"orig_bytes": "16000000", "service": "gopher"}.items() <= {r["column"]: r["value"] for r in reasons}.items()
    assert page["time"] == cells[0] and page["seen"].endswith("+00:00")
    assert 0 < page["p"] <= 0.05 and page["score"] < page["threshold"]


def test_reasons_are_shares_of_the_score(world):
    assert run(world.flows, world.log, *ALL, "--reasons", "100") == 0
    for page in alerts():
        assert abs(page["latent"] + sum(r["nats"] for r in page["reasons"]) - page["score"]) < 0.02


def test_a_line_that_is_half_written_is_waited_for(world, capsys):
    rows = world.rows(count=6)
    add("conn.log", flows.ZEEK_HEAD, rows[0])()
    steps = [add("conn.log", rows[1][:30]), add("conn.log", rows[1][30:], rows[2]), add("conn.log", rows[3][:-1])]
    writer = Writer(*steps, add("conn.log", "\n", rows[4], rows[5][:20]), until=5)
    writer.start()
    assert run(world.flows, "conn.log", "--follow", *ALL) == 130
    writer.join()
    Path("whole.log").write_text(flows.ZEEK_HEAD + "".join(rows[:5]))
    assert same(alerts(), batch_scores(world.flows, Path("whole.log")))
    assert "5 rows, 5 alerts, 0 bad lines" in capsys.readouterr().err


def test_a_rotated_file_is_read_to_its_end_and_then_the_new_one(world):
    rows = world.rows(count=30)
    add("conn.log", flows.ZEEK_HEAD, *rows[:10])()

    def rotate() -> None:
        add("conn.log", *rows[10:15], CLOSE + "\n")()
        os.rename("conn.log", "conn.log.1")

    def begin() -> None:
        add("conn.log", flows.ZEEK_HEAD, *rows[15:20])()
        add("conn.log.1", rows[20])()  # the old file's writer was late

    writer = Writer(rotate, begin, add("conn.log", *rows[21:]), until=30)
    writer.start()
    assert run(world.flows, "conn.log", "--follow", *ALL) == 130
    writer.join()
    order = [*range(15), 20, *range(15, 20), *range(21, 30)]
    Path("whole.log").write_text(flows.ZEEK_HEAD + "".join(rows[i] for i in order))
    assert same(alerts(), batch_scores(world.flows, Path("whole.log")))
    assert [page["row"] for page in alerts()] == list(range(30))
    assert alerts()[16]["line"] == HEAD + 1


def test_a_truncated_file_is_read_from_its_start(world):
    rows = world.rows(count=20)
    add("conn.log", flows.ZEEK_HEAD, *rows[:12])()

    def truncate() -> None:
        while len(alerts()) < 12:
            time.sleep(0.05)
        os.truncate("conn.log", 0)
        time.sleep(0.5)
        add("conn.log", flows.ZEEK_HEAD, *rows[12:])()

    writer = Writer(truncate, until=20, pause=0.5)
    writer.start()
    assert run(world.flows, "conn.log", "--follow", *ALL) == 130
    writer.join()
    assert [page["line"] for page in alerts()] == [*range(HEAD + 1, HEAD + 13), *range(HEAD + 1, HEAD + 9)]


def test_a_row_is_scored_soon_after_it_was_written(world):
    rows = world.rows(count=12)
    add("conn.log", flows.ZEEK_HEAD, rows[0])()
    late: list[float] = []

    def timed(row: int) -> Callable[[], object]:
        def step() -> None:
            while len(alerts()) < row:
                time.sleep(0.01)
            add("conn.log", rows[row])()
            begun = time.monotonic()
            while len(alerts()) <= row:
                time.sleep(0.01)
            late.append(time.monotonic() - begun)

        return step

    writer = Writer(*(timed(row) for row in range(1, 12)), until=12, pause=0.0)
    writer.start()
    assert (
        run(world.flows, "conn.log", "--follow", "--false-alarms", "1", "--alerts", "alerts.jsonl", "--every", "0.2")
        == 130
    )
    writer.join()
    assert sorted(late)[len(late) // 2] < 2  # 0.2 on a machine with nothing else to do


def test_a_terminated_stream_says_so_to_its_service_manager(world, capsys):
    add("conn.log", flows.ZEEK_HEAD, *world.rows(count=3))()
    writer = Writer(until=3, number=signal.SIGTERM)
    writer.start()
    assert run(world.flows, "conn.log", "--follow", *ALL) == 143
    writer.join()
    assert "3 rows, 3 alerts" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("one\ttwo\n", ("2 values where others have 21", "tab")),
        ("\t".join(["x"] * 25) + "\n", ("25 values where others have 21",)),
        ("{orig_bytes=many}", ("orig_bytes", "'many'", "not a number")),
        ("{orig_pkts=1.5}", ("orig_pkts", "1.5", "not a count")),
        ("{duration=long}", ("duration", "'long'", "not a number")),
        ("x" * (LONGEST + 10) + "\n", ("longer than a row can be",)),
    ],
)
def test_a_bad_line_is_named_and_the_stream_goes_on(line, words, world, capsys):
    rows = world.rows(count=9)
    if line.startswith("{"):
        name, value = line.strip("{}").split("=")
        cells = rows[4].split("\t")
        cells[flows.ZEEK.index(name)] = value
        line = "\t".join(cells)
    Path("conn.log").write_text(flows.ZEEK_HEAD + "".join([*rows[:4], line, *rows[4:]]))
    assert run(world.flows, "conn.log", *ALL) == 0
    told = capsys.readouterr().err.splitlines()
    bad = [text for text in told if text.startswith("bad line: ")]
    assert len(bad) == 1 and all(word in bad[0] for word in (*words, f"conn.log, line {HEAD + 5}"))
    assert told[-1] == "conn.log: 9 rows, 9 alerts, 1 bad lines"
    Path("whole.log").write_text(flows.ZEEK_HEAD + "".join(rows))
    assert same(alerts(), batch_scores(world.flows, Path("whole.log")))


def test_a_line_that_is_not_utf8_spoils_no_other():
    found = Delimited().cells(["caf\u00e9,1\n".encode(), "\u00e9t\u00e9,2\n".encode("latin-1")], ["a", "b"], ["a"])
    assert found.columns["a"].to_pylist() == ["caf\u00e9", "\u00e9t\u00e9"] and not found.bad


def test_a_bad_line_that_is_not_utf8_is_told_in_a_line(world, capfd):
    rows = world.rows(count=9)
    Path("conn.log").write_bytes((flows.ZEEK_HEAD + "".join(rows)).encode() + b"\xff\xfe\n")
    assert run(world.flows, "conn.log", *ALL) == 0
    told = capfd.readouterr().err.splitlines()
    assert told == [
        f"bad line: conn.log, line {HEAD + 10}: 1 values where others have 21; check it for a missing or extra tab",
        "conn.log: 9 rows, 9 alerts, 1 bad lines",
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('14,"1.7,2\n', ("quotation mark", "never closed")),
        ("a,b,c\n", ("3 values where others have 14", "comma")),
        ("WORD" + ",1" * 12 + ",class_0\n", ("alcohol", "'WORD'", "not a number")),
        ("inf" + ",1" * 12 + ",class_0\n", ("alcohol", "infinite")),
        ("1" + ",1" * 12 + ",class_7\n", ("cultivar", "'class_7'", "did not occur in training", "did you mean")),
        ("1" + ",1" * 12 + ",clas\x00s\n", ("cultivar", "did not occur")),
        ("1,1\r1" + ",1" * 11 + ",class_0\n", ("carriage return",)),
    ],
)
def test_a_bad_line_of_any_table_is_named_and_the_stream_goes_on(line, words, world, capsys):
    lines = world.wine.read_text().splitlines(keepends=True)[:12]
    Path("wine.csv").write_text("".join([*lines[:5], line, *lines[5:]]), newline="")
    assert run(world.wines, "wine.csv", "--threshold", "1e9", "--alerts", "alerts.jsonl") == 0
    told = capsys.readouterr().err.splitlines()
    bad = [text for text in told if text.startswith("bad line: ")]
    assert len(bad) == 1 and all(word in bad[0] for word in (*words, "wine.csv, line 6")), bad
    Path("whole.csv").write_text("".join(lines))
    assert same(alerts(), batch_scores(world.wines, Path("whole.csv")))


def test_many_bad_lines_among_good_ones_cost_only_themselves(world, capsys):
    rows = world.rows(count=120)
    spoilt = [row if i % 3 else "broken\trow\n" for i, row in enumerate(rows)]
    Path("conn.log").write_text(flows.ZEEK_HEAD + "".join(spoilt))
    assert run(world.flows, "conn.log", *ALL) == 0
    assert "80 rows, 80 alerts, 40 bad lines" in capsys.readouterr().err
    Path("whole.log").write_text(flows.ZEEK_HEAD + "".join(row for i, row in enumerate(rows) if i % 3))
    assert same(alerts(), batch_scores(world.flows, Path("whole.log")))


def test_rows_under_a_header_without_a_column_are_passed_over_until_the_next(world, capsys):
    rows = world.rows(count=9)
    other = flows.ZEEK_HEAD.replace("conn_state", "state")
    Path("conn.log").write_text(
        flows.ZEEK_HEAD + "".join(rows[:3]) + other + "".join(rows[3:6]) + flows.ZEEK_HEAD + "".join(rows[6:])
    )
    assert run(world.flows, "conn.log", *ALL) == 0
    told = capsys.readouterr().err
    assert told.count("bad line: ") == 1 and "'conn_state' is not there" in told
    assert "6 rows, 6 alerts, 1 bad lines, 3 passed over" in told


def test_columns_in_another_order_and_new_ones_change_nothing(world):
    rows, fields = world.rows(count=9), list(flows.ZEEK)
    order = [*range(20, -1, -1)]
    head = flows.ZEEK_HEAD.replace("\t".join(fields), "\t".join([*(fields[i] for i in order), "new"]))
    turned = ["\t".join([*(row.rstrip("\n").split("\t")[i] for i in order), "x"]) + "\n" for row in rows]
    Path("turned.log").write_text(head + "".join(turned))
    Path("whole.log").write_text(flows.ZEEK_HEAD + "".join(rows))
    assert run(world.flows, "turned.log", *ALL) == 0
    assert same(alerts(), batch_scores(world.flows, Path("whole.log")))


def test_a_log_of_json_lines_has_the_scores_of_the_log(world, capsys):
    path = flows.zeek_json(Path("conn.json"), flows.Flows(120, 5))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:7], '{"ts": 1,\n', "[1, 2]\n", *lines[7:]]))
    assert run(world.flows, path, *ALL) == 0
    assert same(alerts(), batch_scores(world.flows, world.log))
    assert capsys.readouterr().err.count("not a JSON object") == 2


def test_a_later_run_goes_on_where_the_last_one_kept_its_place(world, capsys):
    rows = world.rows(count=30)
    add("conn.log", flows.ZEEK_HEAD, *rows[:10], rows[10][:15])()
    state = ("--state", "place.json", *ALL)
    assert run(world.flows, "conn.log", "--follow", *state) == 130 if _soon(10) else True
    assert json.loads(Path("place.json").read_text())["count"]["rows"] == 10
    add("conn.log", rows[10][15:], *rows[11:20])()
    with open("alerts.jsonl", "a") as file:
        file.write('{"row": "of a run that was killed before it kept its place"}\n{"half')
    assert run(world.flows, "conn.log", *state) == 0
    os.rename("conn.log", "conn.1.log")
    add("conn.1.log", *rows[20:24])()
    add("conn.log", flows.ZEEK_HEAD, *rows[24:])()
    assert run(world.flows, "conn.log", *state) == 0
    Path("whole.log").write_text(flows.ZEEK_HEAD + "".join(rows))
    assert same(alerts(), batch_scores(world.flows, Path("whole.log")))
    assert [page["row"] for page in alerts()] == list(range(30))
    assert run(world.flows, "conn.log", *state) == 0 and len(alerts()) == 30
    shutil.copy("conn.log", "other.log")
    os.replace("other.log", "conn.log")
    capsys.readouterr()
    assert run(world.flows, "conn.log", *state) == 0
    assert "is another file than before; begins at its start" in capsys.readouterr().err
    assert len(alerts()) == 36


def _soon(rows: int) -> bool:
    """Ends the stream once so many rows have come."""
    Writer(until=rows).start()
    return True


def test_a_killed_run_loses_no_row_and_has_none_twice(world):
    """SIGKILL at random moments while the file grows; every row once at the end."""
    rows = world.rows(count=60)
    Path("conn.log").write_text(flows.ZEEK_HEAD)
    words = ["score", str(world.flows), "conn.log", "--state", "place.json", "--at-once", "3", *ALL, "--follow"]
    code = "import sys\nfrom latelier.cli import main\nsys.exit(main(sys.argv[1:]))"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    add("conn.log", *rows[:30])()
    child = subprocess.Popen([sys.executable, "-c", code, *words], env=env, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while time.monotonic() < limit and (
        not Path("alerts.jsonl").exists() or len(Path("alerts.jsonl").read_bytes()) < 3000
    ):
        time.sleep(0.01)
    child.kill()
    child.wait()
    add("conn.log", *rows[30:])()
    assert run(world.flows, "conn.log", "--state", "place.json", *ALL) == 0
    assert [page["row"] for page in alerts()] == list(range(60))
    Path("whole.log").write_text(flows.ZEEK_HEAD + "".join(rows))
    assert same(alerts(), batch_scores(world.flows, Path("whole.log")))


def test_as_many_normal_rows_raise_an_alert_as_was_asked_for(world, models):
    """Normal rows for the threshold and fresh ones, both unknown to the model."""
    for name, seed in (("normal.log", 11), ("fresh.log", 12)):
        flows.zeek(Path(name), flows.Flows(1000, seed))
    words = ("--normal", "normal.log", "--false-alarms", "0.05", "--alerts", "alerts.jsonl")
    assert run(world.flows, "fresh.log", *words) == 0
    found = alerts()
    assert 25 <= len(found) <= 80  # 50 +- 3.5 standard deviations of both samples together
    assert all(page["p"] <= 0.05 for page in found)


def test_the_threshold_of_held_out_rows_is_kept_with_the_model(world):
    model = Path("m")
    shutil.copytree(world.flows, model)
    data = Path("moved.log")
    kept = model / "usual-16.safetensors"
    fitted = load_file(kept)["scores"]  # by fit
    kept.unlink()
    assert run(model, world.log, "--false-alarms", "0.1", "--alerts", "a.jsonl") == 0
    scores = load_file(kept)["scores"]  # measured anew, as the training rows are still there
    assert len(scores) == 40 and (np.diff(scores) >= 0).all() and np.allclose(scores, fitted)
    assert run(model, world.log, "--false-alarms", "0.1", "--alerts", "b.jsonl") == 0
    assert [p["row"] for p in alerts("a.jsonl")] == [p["row"] for p in alerts("b.jsonl")]
    assert not data.exists()


def test_a_detector_is_followed_as_a_model_is(world, capsys):
    """The same scores as of the file, the same rows at any cut, and reasons that name what was made odd."""
    detector = latelier.Detector.load(world.detector)
    assert detector.schema.kind == "traffic"
    cells = world.rows(seed=3, count=1)[0].split("\t")
    cells[flows.ZEEK.index("id.resp_p")], cells[flows.ZEEK.index("orig_bytes")] = "31337", "999000000"
    Path("conn.log").write_text(world.log.read_text() + "\t".join(cells))
    odd = detector.oddness("conn.log")
    assert run(world.detector, "conn.log", *ALL) == 0
    found = alerts()
    assert len(found) == 121 and same(found, -odd)
    assert found[-1]["p"] == pytest.approx(detector.p_values("conn.log")[-1], rel=1e-3)
    assert {"id.resp_p", "orig_bytes"} <= {reason["column"] for reason in found[-1]["reasons"]}
    assert found[-1]["reasons"][0]["value"] in ("31337", "999000000") and found[-1]["time"] == cells[0]
    run(world.detector, "conn.log", "--false-alarms", "1", "--alerts", "few.jsonl", "--at-once", "7")
    assert same(alerts("few.jsonl"), -odd)
    told = [sum(r["nats"] for r in page["reasons"]) + page["latent"] for page in _all_reasons(world.detector)]
    assert np.allclose(told, -odd, atol=2e-2)
    Path("bad.log").write_text(world.log.read_text() + "too\tfew\n")
    assert run(world.detector, "bad.log", "--alerts", "bad.jsonl", "--false-alarms", "0.2") == 0
    assert "1 bad lines" in capsys.readouterr().err


def _all_reasons(detector):
    run(detector, "conn.log", "--false-alarms", "1", "--alerts", "all.jsonl", "--reasons", "99")
    return alerts("all.jsonl")


def test_a_detector_raises_as_many_alerts_as_were_asked_for_by_its_own_rows_or_others(world):
    rows = "".join(world.rows(seed=11, count=1000))
    Path("fresh.log").write_text(flows.ZEEK_HEAD + rows)
    flows.written("conn.log", Path("."), 2000, seed=12)
    rate, spread = 0.1, np.sqrt(0.1 * 0.9 * (1 / 1000 + 1 / 100))
    for words in ((), ("--normal", "conn.log")):
        Path("alerts.jsonl").unlink(missing_ok=True)
        assert run(world.detector, "fresh.log", "--false-alarms", rate, "--alerts", "alerts.jsonl", *words) == 0
        assert len(alerts()) / 1000 == pytest.approx(rate, abs=3 * spread)


def test_a_file_gets_p_values_and_which_rows_are_odd(world, capsys):
    """Of a model, of a detector, and part by part; a stream raises its alerts at the same rows."""
    for who, draws in ((world.flows, ()), (world.detector, ())):
        out = f"{who.name}.csv"
        assert run(who, world.log, "--p-values", "--false-alarms", "0.1", "--entries", "--out", out, *draws) == 0
        told = pd.read_csv(out)
        assert list(told.columns[:5]) == ["row", "score", "p", "odd", "latent"]
        assert ((told["p"] <= 0.1) == told["odd"]).all() and 0 < told["odd"].sum() < 60
        np.testing.assert_allclose(told.iloc[:, 4:].sum(axis=1), told["score"], atol=1e-2)
        assert f"odd: {told['odd'].sum()}, below" in capsys.readouterr().out
        Path("alerts.jsonl").unlink(missing_ok=True)
        run(who, world.log, "--false-alarms", "0.1", "--alerts", "alerts.jsonl")
        assert [page["row"] for page in alerts()] == told.index[told["odd"]].tolist()
        Path("logs").mkdir(exist_ok=True)
        shutil.copy(world.log, "logs/a.log"), shutil.copy(world.log, "logs/b.log")
        assert run(who, "logs", "--p-values", "--false-alarms", "0.1", "--out", f"parts-{who.name}") == 0
        for part in Path(f"parts-{who.name}").glob("?.log*"):
            np.testing.assert_array_equal(pd.read_csv(part)["odd"], told["odd"])
        assert len(list(Path(f"parts-{who.name}").glob("[ab]*"))) == 2
    limit = float(told["score"].median())
    assert run(world.detector, world.log, "--threshold", limit, "--out", "own.csv") == 0
    assert pd.read_csv("own.csv")["odd"].sum() == (told["score"] < limit).sum()
    model = Model.load(world.flows)
    np.testing.assert_allclose(model.p_values(world.log), pd.read_csv("flows.csv")["p"], atol=1e-6)
    normal = model.p_values(world.log, normal=world.log)
    assert kstest(normal, "uniform").statistic < 0.05  # the rows that it was measured by themselves


def test_pictures_have_p_values_and_a_line_too(world, models):
    assert run(world.digits, models / "pictures", "--p-values", "--false-alarms", "0.25", "--out", "p.csv") == 0
    told = pd.read_csv("p.csv")
    assert list(told.columns) == ["row", "file", "score", "p", "odd"]
    assert told["p"].between(0, 1).all() and ((told["p"] <= 0.25) == told["odd"]).all()


def test_p_values_of_a_model_whose_scores_are_not_kept_need_normal_rows(tmp_path, world, capsys):
    frame = tiny.wines(holes=0.0)
    model = latelier.fit(frame, out=tmp_path / "m", epochs=1, report=False)
    assert 0 < model.p_values(frame).min() <= model.p_values(frame).max() <= 1  # kept by fit, as the frame will be gone
    (tmp_path / "m" / "usual-16.safetensors").write_bytes(b"half")
    assert run(tmp_path / "m", world.wine, "--p-values", "--out", "p.csv") == 2
    assert "--normal FILE" in capsys.readouterr().err
    assert run(tmp_path / "m", world.wine, "--p-values", "--normal", world.wine, "--out", "p.csv") == 0
    assert pd.read_csv("p.csv")["p"].between(1 / 179, 1).all()


def mistakes() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """What is typed after ``score``; {x} is a place of the world, in which conn.log is a good file."""
    yield "no such file", "{flows} con.log --follow", ("con.log", "no such file", "did you mean 'conn.log'")
    yield "a folder", "{flows} . --follow", ("a folder",)
    yield "a packed file", "{flows} conn.log.gz --follow", ("conn.log.gz", "packed", "unpack")
    yield "pictures", "{digits} conn.log --follow", ("images", "only tables can be followed")
    yield "state of a pipe", "{flows} - --state s.json", ("--state", "standard input")
    yield "no share", "{flows} conn.log --false-alarms 0", ("--false-alarms 0", "above 0")
    yield "a share above one", "{flows} conn.log --false-alarms 5", ("--false-alarms 5", "at most 1")
    yield "too rare", "{flows} conn.log --false-alarms 1e-6", ("40 normal rows", "0.0244", "999,999")
    yield "negative seconds", "{flows} conn.log --every -1", ("--every",)
    yield "no rows at once", "{flows} conn.log --at-once 0", ("--at-once 0", "1 or more")
    yield "negative reasons", "{flows} conn.log --reasons -2", ("--reasons",)
    yield "draws of a detector", "{detector} conn.log --draws 4", ("is a detector", "--draws")
    yield "normal rows for nothing", "{flows} conn.log --normal conn.log", ("--normal", "--p-values")
    yield "two limits", "{flows} conn.log --threshold -9 --false-alarms 0.1", ("--threshold", "--false-alarms")
    yield "a limit and normal rows", "{flows} conn.log --threshold -9 --normal conn.log", ("--threshold", "--normal")
    yield "an output as well", "{flows} conn.log --follow --out x.csv", ("--out", "--alerts")
    yield "entries as well", "{flows} conn.log --follow --entries", ("--entries", "alerts")
    yield "normal rows that are not there", "{flows} conn.log --normal no.log --p-values", ("no.log", "no such file")
    yield "alerts into the data", "{flows} conn.log --alerts conn.log", ("--alerts conn.log", "file of the rows")
    yield "state into the data", "{flows} conn.log --state conn.log", ("--state conn.log", "file of the rows")
    yield (
        "alerts into no folder",
        "{flows} conn.log --alerts no/a.jsonl --false-alarms 0.1",
        ("--alerts no/a.jsonl", "cannot be written"),
    )
    yield "state into no folder", "{flows} conn.log --state no/s.json", ("--state no/s.json", "no folder")
    yield (
        "a state that is none",
        "{flows} conn.log --state notes.txt",
        ("--state notes.txt", "not a file that --state wrote"),
    )
    yield "the state of another file", "{flows} conn.log --state other.json", ("--state other.json", "elsewhere.log")
    yield "a state of another version", "{flows} conn.log --state newer.json", ("--state newer.json", "another version")
    yield "no header", "{flows} headless.log --follow --false-alarms 0.1", ("headless.log", "header")
    yield "another table", "{flows} wine.csv --follow --false-alarms 0.1", ("wine.csv", "no flow record")
    yield (
        "a table without its header",
        "{wines} headless.csv --follow --false-alarms 0.1",
        ("headless.csv", "first line names none", "header"),
    )
    yield "a column missing", "{flows} lacking.log --follow --false-alarms 0.1", ("'conn_state' is not there",)
    yield (
        "nothing but bad lines",
        "{flows} bad.log --follow --threshold 0",
        ("none of 1,100 lines could be read", "line 1108"),
    )
    yield "an unknown option", "{flows} conn.log --folow", ("--folow", "--follow")
    yield "no data", "{flows} --follow", ("DATA", "--help")
    yield "a wrong number", "{flows} conn.log --every soon", ("--every", "soon")


MISTAKES = list(mistakes())


@pytest.mark.parametrize(("typed", "words"), [m[1:] for m in MISTAKES], ids=[m[0].replace(" ", "-") for m in MISTAKES])
def test_a_mistake_gets_one_line(typed, words, world, capsys):
    rows = world.rows(count=5)
    Path("conn.log").write_text(flows.ZEEK_HEAD + "".join(rows))
    Path("conn.log.gz").write_bytes(b"\x1f\x8b")
    Path("headless.log").write_text("".join(rows))
    Path("lacking.log").write_text(flows.ZEEK_HEAD.replace("conn_state", "state") + "".join(rows))
    Path("bad.log").write_text(flows.ZEEK_HEAD + "too\tfew\n" * 1100)
    Path("notes.txt").write_text("buy milk\n")
    page = {
        "format": 1,
        "path": "/data/elsewhere.log",
        "place": {"offset": 0},
        "line": 1,
        "count": {"rows": 0},
        "stream": {},
    }
    Path("other.json").write_text(json.dumps(page))
    Path("newer.json").write_text(json.dumps({**page, "format": 9}))
    shutil.copy(world.wine, "wine.csv")
    Path("headless.csv").write_text("".join(world.wine.read_text().splitlines(keepends=True)[1:]))
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    places = {name: str(getattr(world, name)) for name in ("flows", "detector", "wines", "digits")}
    assert run(*typed.format(**places).split()) == 2
    told = capsys.readouterr().err.splitlines()
    errors = [line for line in told if not line.startswith("bad line: ")]
    assert len(errors) == 1 and errors[0].startswith("error: ")
    assert [word for word in words if word not in errors[0]] == [], errors
    assert {path: path.read_bytes() for path in before} == before


def test_there_are_many_mistakes_and_each_has_a_name_of_its_own():
    assert len({name for name, *_ in MISTAKES}) == len(MISTAKES) >= 30


def test_normal_rows_must_be_named_where_the_training_rows_are_gone(world, capsys):
    shutil.copytree(world.flows, "m")
    for kept in Path("m").glob("usual-*.safetensors"):
        kept.unlink()
    moved = world.flows.with_name("conn.log")
    os.rename(moved, "elsewhere.log")
    try:
        assert run("m", world.log, *ALL) == 2
    finally:
        os.rename("elsewhere.log", moved)
    assert "--normal FILE" in capsys.readouterr().err


def test_no_line_is_lost_or_doubled_however_the_bytes_are_cut(tmp_path):
    text = b"".join(b"%d,%s\n" % (i, b"x" * (i % 50)) for i in range(3000)) + b"last"
    (tmp_path / "rows.csv").write_bytes(text)
    with FileTail(tmp_path / "rows.csv", False) as tail:
        found = list(pieces(tail, 0.0, 7, lambda: False))
    assert b"".join(line for piece in found for line in piece.lines) == text
    assert found[-1].end == len(text) and max(len(piece.lines) for piece in found) == 7
    assert [piece.first for piece in found] == [1 + sum(len(p.lines) for p in found[:i]) for i in range(len(found))]


def test_a_line_without_an_end_does_not_fill_the_memory(monkeypatch):
    """64 MB of one line: of which never more than a few MB are kept."""
    receiving, sending = os.pipe()
    code = f"import os\nfor _ in range(64): os.write({sending}, b'x' * (1 << 20))\nos.write({sending}, b'\\nrow\\n')"
    child = subprocess.Popen([sys.executable, "-c", code], pass_fds=[sending])
    os.close(sending)
    import tracemalloc

    tracemalloc.start()
    with os.fdopen(receiving) as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        found = list(pieces(PipeTail(), 0.0, 100, lambda: False))
    child.wait()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [line for piece in found for line in piece.lines] == [b"\n", b"row\n"]
    assert [piece.cut for piece in found if piece.cut] == [(1,)]
    assert found[-1].end == (64 << 20) + 5 and most < 16e6
