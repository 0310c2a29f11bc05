"""Many files and many processes: the same scores bit for bit, no row lost or twice, whoever is killed when."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from sklearn.datasets import load_digits, load_wine

import latelier
from latelier.cli import main
from latelier.data.rows import hold
from latelier.errors import BadInput
from latelier.kinds.base import Part
from latelier.kinds.cells.several import Several, files_of, open_table, parts_of
from latelier.model import Model
from latelier.share import PAGE, Rank, begin, left, seed_of
from latelier.tasks.score import score, score_entries
from tiny import fitted, wines, write_wines

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scale")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    """Of wines: numbers with holes, and a word."""
    return fitted(folder / "model", write_wines(folder / "wines.csv"))


def rows(number: int = 1500) -> pd.DataFrame:
    """Wines over and over, each a little different."""
    frame = pd.concat([wines()] * -(-number // 178), ignore_index=True).iloc[:number]
    numbers = frame.select_dtypes("number").columns
    shift = 1 + 0.01 * np.random.default_rng(1).standard_normal((number, 1))
    frame[numbers] = (frame[numbers] * shift).round(4)
    frame[["magnesium", "proline"]] = frame[["magnesium", "proline"]].round()
    return frame


def write_parts(frame: pd.DataFrame, folder: Path, count: int, suffix: str) -> list[Path]:
    """Rows in turn in so many files, of which 10 comes after 9."""
    folder.mkdir(parents=True)
    ends = np.linspace(0, len(frame), count + 1).astype(int)
    paths = [folder / f"part-{i + 1}{suffix}" for i in range(count)]
    for path, first, last in zip(paths, ends, ends[1:], strict=False):
        piece = frame.iloc[first:last]
        piece.to_parquet(path, index=False) if suffix == ".parquet" else piece.to_csv(path, index=False)
    return paths


def read(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


def bits(scores: object) -> bytes:
    return np.asarray(scores, np.float32).tobytes()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 17, 33, 100, 257, 899])
def test_a_score_has_the_same_bits_in_a_batch_of_any_size(model: Path, size: int) -> None:
    loaded = Model.load(model)
    batch = hold(loaded.read(rows(900)))
    alone = torch.cat(list(score(loaded.vae, batch.slices(size), draws=5)))
    assert torch.equal(alone, torch.cat(list(score(loaded.vae, [batch], draws=5))))
    one = torch.cat([s.total for s in score_entries(loaded.vae, batch.slices(size), draws=5)])
    assert torch.equal(one, torch.cat([s.total for s in score_entries(loaded.vae, [batch], draws=5)]))


@pytest.mark.parametrize("in_flight", [32, 1000, 4096, 1 << 16])
def test_a_score_has_the_same_bits_in_any_order_and_however_many_rows_are_in_flight(
    model: Path, in_flight: int
) -> None:
    loaded = Model.load(model)
    batch = hold(loaded.read(rows(900)))
    turned = torch.randperm(900, generator=torch.Generator().manual_seed(0))
    other = torch.cat(list(score(loaded.vae, [batch.take(turned)], draws=5, rows=in_flight)))
    assert torch.equal(other, torch.cat(list(score(loaded.vae, [batch], draws=5)))[turned])


def test_a_score_of_pictures_by_convolutions_has_the_same_bits_in_a_batch_of_any_size(folder: Path) -> None:
    pictures = np.kron(load_digits().images[:150] * 15, np.ones((2, 2))).astype(np.uint8)
    settings = {"network": {"name": "conv", "channels": (8, 8)}, "train": {"threads": 1, "precision": "float32"}}
    loaded = latelier.fit(pictures, out=folder / "conv", epochs=1, report=False, settings=settings)
    whole = loaded.score(pictures, draws=3)
    assert bits(np.concatenate([loaded.score(pictures[i : i + 37], draws=3) for i in range(0, 150, 37)])) == bits(whole)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".csv.gz", ".tsv"])
def test_a_pattern_and_a_folder_are_the_rows_of_their_files_in_natural_order(
    model: Path, tmp_path: Path, suffix: str
) -> None:
    frame = rows(600)
    for i in range(11):
        piece = frame.iloc[i * 50 : (i + 1) * 50 if i < 10 else None]
        place = tmp_path / "many" / f"part-{i}{suffix}"
        place.parent.mkdir(exist_ok=True)
        columns = piece.columns if i % 2 else piece.columns[::-1]  # in any order
        if suffix == ".parquet":
            piece[columns].to_parquet(place, index=False)
        else:
            piece[columns].to_csv(place, index=False, sep="\t" if suffix == ".tsv" else ",")
    (tmp_path / "many" / "_SUCCESS").touch()
    (tmp_path / "many" / "README.txt").write_text("about\nthese\nfiles\n")
    loaded = Model.load(model)
    whole = loaded.score(frame)
    assert bits(loaded.score(tmp_path / "many" / f"part-*{suffix}")) == bits(whole)
    assert bits(loaded.score(tmp_path / "many")) == bits(whole)
    filled = loaded.impute(str(tmp_path / "many"))
    assert list(filled.columns) == list(frame.columns)
    assert len(filled) == 600 and not filled.isna().any().any()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_model_is_fitted_to_many_files_as_to_one(tmp_path: Path, suffix: str) -> None:
    frame = wines()
    write_parts(frame, tmp_path / "many", 5, suffix)
    one = tmp_path / f"one{suffix}"
    frame.to_parquet(one, index=False) if suffix == ".parquet" else frame.to_csv(one, index=False)
    options = {"epochs": 2, "report": False, "seed": 3, "threads": 1, "precision": "float32"}
    many = latelier.fit(tmp_path / "many", out=tmp_path / "a", **options)
    single = latelier.fit(one, out=tmp_path / "b", **options)
    assert many.schema.columns == single.schema.columns
    for one_field, other in zip(many.schema.fields, single.schema.fields, strict=True):
        assert one_field.model_dump(exclude={"transform"}) == other.model_dump(exclude={"transform"})
    # Means are joined file by file, so their last digits differ, and with them those of all that follows.
    np.testing.assert_allclose(many.score(frame), single.score(frame), atol=0.05)
    assert many.schema.evidence[1] == f"5 file(s) as one table: part-1{suffix} to part-5{suffix}"


def test_whole_numbers_in_one_file_and_broken_ones_or_none_in_another_are_numbers(tmp_path: Path) -> None:
    frame = load_wine(as_frame=True).data[["alcohol", "proline", "ash"]]
    (tmp_path / "many").mkdir()
    first, second = frame.iloc[:90].copy(), frame.iloc[90:].copy()
    first["proline"] = first["proline"].astype(int)
    second["ash"] = None
    first.to_parquet(tmp_path / "many" / "1.parquet")
    second.to_parquet(tmp_path / "many" / "2.parquet")
    loaded = latelier.fit(tmp_path / "many", out=tmp_path / "model", epochs=1, report=False)
    assert {c.name: c.family for c in loaded.schema.columns}["ash"] == "real"
    assert loaded.score(tmp_path / "many").shape == (178,)


def test_a_folder_of_pictures_is_still_pictures(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "both").mkdir()
    for i in range(4):
        Image.fromarray((load_digits().images[i] * 15).astype(np.uint8)).save(tmp_path / "both" / f"{i}.png")
    (tmp_path / "both" / "labels.csv").write_text("file,label\n0.png,0\n")
    assert latelier.model.find_kind(tmp_path / "both", "auto").name == "images"


def bad_column(folder: Path) -> str:
    rows(60).rename(columns={"ash": "cinder"}).to_csv(folder / "part-2.csv", index=False)
    return r"part-2\.csv: column 'ash' is not there, and .*part-1\.csv has it"


def one_more(folder: Path) -> str:
    rows(60).assign(extra=1).to_csv(folder / "part-2.csv", index=False)
    return r"part-2\.csv: column 'extra' is not in .*part-1\.csv"


def word_among_numbers(folder: Path) -> str:
    frame = rows(60).astype({"ash": object})
    frame.loc[7, "ash"] = "grey"
    frame.to_csv(folder / "part-2.csv", index=False)
    return r"column 'ash': 1 value is not a number \('grey', .*part-2\.csv, line 9\)"


def ragged(folder: Path) -> str:
    with open(folder / "part-2.csv", "a") as file:
        file.write("1,2,3\n")
    return r"part-2\.csv: line 52 has 3 values where others have 14"


def broken(folder: Path) -> str:
    (folder / "part-2.csv").unlink()
    rows(60).to_parquet(folder / "part-1.parquet")
    (folder / "part-2.parquet").write_bytes((folder / "part-1.parquet").read_bytes()[:-100])
    return r"part-2\.parquet: not a readable Parquet file"


@pytest.mark.parametrize("spoil", [bad_column, one_more, word_among_numbers, ragged, broken])
def test_what_is_wrong_with_one_of_many_files_is_told_with_its_name(
    model: Path, tmp_path: Path, spoil: Callable[[Path], str]
) -> None:
    write_parts(rows(100), tmp_path / "many", 2, ".csv")
    message = spoil(tmp_path / "many")
    with pytest.raises(BadInput, match=message):
        Model.load(model).score(tmp_path / "many")


def test_types_that_do_not_go_together_are_told_with_file_and_column(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    pd.DataFrame({"a": [1.5, 2.5], "b": [1, 2]}).to_parquet(tmp_path / "many" / "1.parquet")
    pd.DataFrame({"a": ["x", "y"], "b": [1, 2]}).to_parquet(tmp_path / "many" / "2.parquet")
    with pytest.raises(BadInput, match=r"2\.parquet: column 'a' holds string, but double in the files before"):
        Several(tmp_path / "many")


def test_a_pattern_that_nothing_matches_and_a_folder_without_tables_are_bad_input(model: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nothing-\*\.csv: no file matches"):
        Model.load(model).score(tmp_path / "nothing-*.csv")
    with pytest.raises(BadInput, match=r"a folder without tables"):
        Model.load(model).score(tmp_path)


def test_files_without_rows_are_passed_over(model: Path, tmp_path: Path) -> None:
    frame = rows(100)
    write_parts(frame, tmp_path / "many", 2, ".csv")
    (tmp_path / "many" / "part-0.csv").write_text(",".join(frame.columns) + "\n")
    (tmp_path / "many" / "part-3.csv").touch()
    assert bits(Model.load(model).score(tmp_path / "many")) == bits(Model.load(model).score(frame))
    assert [p.name for p in parts_of(tmp_path / "many", list(frame.columns), 1000)] == ["part-1.csv", "part-2.csv"]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n"])
@pytest.mark.parametrize("rows_a_part", [1, 7, 100])
def test_a_text_file_is_cut_between_its_rows_and_nowhere_else(tmp_path: Path, ending: str, rows_a_part: int) -> None:
    lines = [f'{i},"line one{ending}{i}, ""quoted"" x",{"word" * (i % 5)}' for i in range(700)]
    path = tmp_path / "rows.csv"
    path.write_bytes(ending.join(["number,text,word", *lines, ""]).encode())
    whole = words_of(open_table(path), "number")
    parts = parts_of(path, ["number", "text", "word"], rows_a_part)
    assert len(parts) == -(-700 // rows_a_part)
    found = []
    for part in parts:
        own = words_of(part.source, "number")
        assert own[0] == str(part.start)
        found += own
    assert found == whole == [str(i) for i in range(700)]


def words_of(source: object, column: str) -> list[str]:
    """The column of an open table."""
    return [word for block in open_table(source).blocks([column], (), 50) for word in block[column].to_pylist()]


def test_a_mark_inside_of_a_value_that_would_cut_a_row_in_two_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "pipes.csv"
    lines = [f'{i},pipe {i} "{i}' if i % 50 == 49 else f'{i},"a{chr(10)}b"' for i in range(400)]
    path.write_text("number,text\n" + "\n".join(lines) + "\n")
    parts = parts_of(path, ["number", "text"], 20)
    with pytest.raises(BadInput, match=r"pipes\.csv"):
        [words_of(part.source, "number") for part in parts]


def test_a_parquet_file_is_cut_between_row_groups(tmp_path: Path) -> None:
    table = pa.table({"x": np.arange(1000)})
    pa.parquet.write_table(table, tmp_path / "x.parquet", row_group_size=90)
    parts = parts_of(tmp_path / "x.parquet", ["x"], 200)
    assert [p.name for p in parts] == [f"x-{i:05}.parquet" for i in range(4)]
    assert [p.start for p in parts] == [0, 270, 540, 810]
    numbers = [number for p in parts for number in words_of(p.source, "x")]
    assert numbers == list(range(1000))
    assert parts[2].source.place(5).endswith("x.parquet, row 546")


def test_every_part_is_one_ranks_own() -> None:
    parts = [Part(str(i), Path(), Path()) for i in range(10)]
    shared = [left(Path("nowhere"), parts, Rank(i, 3)) for i in range(3)]
    assert sorted(int(p.name) for own in shared for p in own) == list(range(10))


@pytest.mark.parametrize("environment", [{"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "-1"}, {"WORLD_SIZE": "two"}])
def test_a_rank_that_cannot_be_is_bad_input(environment: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="WORLD_SIZE"):
        Rank.here(environment)


def test_parts_have_seeds_of_their_own_and_all_rows_at_once_the_one_that_was_given() -> None:
    seeds = [seed_of(Part(name, Path(), Path()), 0) for name in ("", "a.csv", "b.csv")]
    assert seeds[0] == 0 and len(set(seeds)) == 3


def run_ranks(monkeypatch: pytest.MonkeyPatch, ranks: int, *words: object) -> list[int]:
    """One rank after the other, in this process."""
    found = []
    for rank in range(ranks):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(ranks))
        found.append(main([str(word) for word in words]))
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    return found


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("verb", ["score", "impute", "encode"])
def test_ranks_write_what_one_process_writes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, suffix: str
) -> None:
    paths = write_parts(rows(500), tmp_path / "many", 5, suffix)
    assert run_ranks(monkeypatch, 3, verb, model, tmp_path / "many", "--out", tmp_path / "ranks") == [0, 0, 0]
    assert main([verb, str(model), str(tmp_path / "many"), "--out", str(tmp_path / "one")]) == 0
    assert {p.name for p in (tmp_path / "ranks").iterdir()} == {*(p.name for p in paths), PAGE}
    for path in paths:
        assert (tmp_path / "ranks" / path.name).read_bytes() == (tmp_path / "one" / path.name).read_bytes()
        assert main([verb, str(model), str(path), "--out", str(tmp_path / f"{path.stem}-alone{suffix}")]) == 0
        assert (tmp_path / "one" / path.name).read_bytes() == (tmp_path / f"{path.stem}-alone{suffix}").read_bytes()


def test_parts_of_one_large_file_have_the_scores_and_row_numbers_of_the_whole(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = rows(900)
    frame.to_csv(tmp_path / "all.csv", index=False)
    frame.to_parquet(tmp_path / "all.parquet", row_group_size=128)
    monkeypatch.setattr("latelier.share.ROWS", 250)
    for suffix in (".csv", ".parquet"):
        whole, out = tmp_path / f"whole{suffix}", tmp_path / f"parts{suffix[1:]}"
        assert main(["score", str(model), str(tmp_path / f"all{suffix}"), "--out", str(whole)]) == 0
        assert run_ranks(monkeypatch, 2, "score", model, tmp_path / f"all{suffix}", "--out", out) == [0, 0]
        files = files_of(out)
        assert len(files) == 4
        together = pd.concat([read(path) for path in files], ignore_index=True)
        assert together["row"].tolist() == list(range(900))
        assert bits(together["score"]) == bits(read(whole)["score"])


def test_a_folder_of_pictures_is_shared_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiny import write_digits

    digits = write_digits(tmp_path / "digits")
    model = fitted(tmp_path / "model", digits)
    monkeypatch.setattr("latelier.share.ROWS", 25)
    assert run_ranks(monkeypatch, 2, "score", model, digits, "--out", tmp_path / "parts") == [0, 0]
    assert main(["score", str(model), str(digits), "--out", str(tmp_path / "whole.csv")]) == 0
    together = pd.concat([read(path) for path in files_of(tmp_path / "parts")], ignore_index=True)
    pd.testing.assert_frame_equal(together, read(tmp_path / "whole.csv"))


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    return capsys.readouterr().err


def test_a_folder_is_of_one_run_only(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_parts(rows(200), tmp_path / "many", 2, ".csv")
    command = ["score", model, tmp_path / "many", "--out", tmp_path / "scores"]
    assert main([str(word) for word in command]) == 0
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "scores").iterdir()}
    assert main([str(word) for word in command]) == 0  # everything is there: nothing is written again
    assert before == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "scores").iterdir()}
    assert "draws was 16, and is 4" in refused(capsys, *command, "--draws", 4)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert "2 processes cannot replace" in refused(capsys, *command, "--draws", 4, "--overwrite")
    assert "cannot write one result" in refused(capsys, "score", model, paths[0], "--out", tmp_path / "scores.csv")
    monkeypatch.delenv("WORLD_SIZE")
    assert main([str(word) for word in (*command, "--draws", 4, "--overwrite")]) == 0
    with open(paths[1], "a") as file:
        file.write(paths[1].read_text().splitlines()[1] + "\n")
    assert "part-2.csv has changed" in refused(capsys, *command, "--draws", 4)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    assert "holds letter.txt" in refused(capsys, *command[:-1], tmp_path / "other")


KILLED = """
import os, signal, sys
sys.path[:0] = {paths!r}
from latelier.cli import main
from latelier.kinds.pictures import write
calls, moment = 0, {moment!r}
replace = os.replace
def deadly(source, target):
    global calls
    calls += 1
    if moment == (calls, "before"):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
    if moment == (calls, "after"):
        os.kill(os.getpid(), signal.SIGKILL)
write.os.replace = deadly
sys.exit(main(sys.argv[1:]))
"""


def start(rank: int, ranks: int, moment: tuple[int, str] | None, *words: object) -> subprocess.Popen[bytes]:
    code = KILLED.format(paths=[str(ROOT / "src"), *sys.path], moment=moment)
    environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(ranks)}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], env=environment, stdout=subprocess.DEVNULL)


def same_parts(folder: Path, truth: Path, paths: list[Path]) -> None:
    """Every part is there, whole, with the bytes of a run that was not killed; and nothing half-written."""
    assert {p.name for p in folder.iterdir()} == {*(p.name for p in paths), PAGE}
    for path in paths:
        assert (folder / path.name).read_bytes() == (truth / path.name).read_bytes()
    assert list(json.loads((folder / PAGE).read_text())["parts"]) == [p.name for p in paths]


@pytest.mark.parametrize("moment", [(1, "before"), (2, "before"), (2, "after")])
def test_killed_between_writing_and_committing_a_part_is_done_again_and_only_that(
    model: Path, tmp_path: Path, moment: tuple[int, str]
) -> None:
    paths = write_parts(rows(300), tmp_path / "many", 3, ".csv")
    command = ("score", model, tmp_path / "many", "--draws", 2, "--out")
    assert main([str(word) for word in (*command, tmp_path / "truth")]) == 0
    assert start(0, 1, moment, *command, tmp_path / "scores").wait() == -signal.SIGKILL
    done = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "scores").glob("part-*")}
    assert len(done) == moment[0] - (moment[1] == "before")
    assert len(list((tmp_path / "scores").glob(".part-*"))) == 1  # what was being written, or its empty shelter
    assert main([str(word) for word in (*command, tmp_path / "scores")]) == 0
    for name, moment_written in done.items():
        assert (tmp_path / "scores" / name).stat().st_mtime_ns == moment_written
    same_parts(tmp_path / "scores", tmp_path / "truth", paths)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["score", "impute"])
def test_ranks_killed_at_random_moments_lose_no_row_and_write_none_twice(
    model: Path, tmp_path: Path, verb: str
) -> None:
    moments = random.Random(verb)
    paths = write_parts(rows(6000), tmp_path / "many", 24, ".parquet")
    command = (verb, model, tmp_path / "many", "--draws", 16, "--out")
    begun = time.monotonic()
    assert start(0, 1, None, *command, tmp_path / "truth").wait() == 0
    usual = time.monotonic() - begun
    kills, between, ranks = 0, 0, 3
    while kills < 9:
        # A random moment each, and for one of them one between writing and committing.
        deadly = moments.choice([None, (1, "before"), (1, "after"), (2, "before")])
        running = [start(i, ranks, deadly if i == 0 else None, *command, tmp_path / "ranks") for i in range(ranks)]
        for one in moments.sample(running[1:] if deadly else running, ranks - 1):
            time.sleep(moments.uniform(0, usual * 0.6))
            one.kill()
        kills += sum(one.wait() == -signal.SIGKILL for one in running)
        between += deadly is not None
        done = list((tmp_path / "ranks").glob("part-*")) if (tmp_path / "ranks").exists() else []
        for path in done:  # what is there is whole at every moment
            assert path.read_bytes() == (tmp_path / "truth" / path.name).read_bytes()
        if len(done) == len(paths):
            for path in done:
                path.unlink()
    assert kills >= 9 and between
    ends = [start(i, 2, None, *command, tmp_path / "ranks") for i in range(2)]  # another number of processes
    assert [one.wait() for one in ends] == [0, 0]
    same_parts(tmp_path / "ranks", tmp_path / "truth", paths)
    together = pd.concat([read(path) for path in files_of(tmp_path / "ranks")], ignore_index=True)
    assert len(together) == 6000


@pytest.mark.filterwarnings("ignore")  # what Ray itself still calls by old names
def test_ray_gives_the_scores_of_one_process(model: Path, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="pip install 'latelier[ray]'")
    pytest.importorskip("ray.data")
    from latelier.ray import Encode, Impute, Score

    frame = rows(300)
    write_parts(frame, tmp_path / "many", 4, ".parquet")
    loaded = Model.load(model)
    # Two for the actors; with none left to read the files, all would wait for ever.
    ray.init(num_cpus=4, include_dashboard=False, logging_level="error")
    try:
        data = ray.data.read_parquet(str(tmp_path / "many"))
        for actor, column, expected in (
            (Score, "score", loaded.score(frame)),
            (Encode, "z[0]", loaded.encode(frame)[:, 0]),
            (Impute, "ash", loaded.impute(frame)["ash"]),
        ):
            found = data.map_batches(
                actor,
                fn_constructor_kwargs={"model": str(model)},
                batch_format="pandas",
                batch_size=37,
                concurrency=2,
            ).to_pandas()
            # What is filled in may differ in its last digit with the batch; scores and codes may not.
            np.testing.assert_allclose(sorted(found[column]), sorted(expected), rtol=0, atol=1e-4 * (actor is Impute))
    finally:
        ray.shutdown()


def test_an_interrupted_page_is_written_by_whoever_comes_first(tmp_path: Path) -> None:
    part = Part("a.csv", tmp_path / "a.csv", tmp_path / "a.csv")
    part.file.write_text("x\n1\n")
    for _ in range(2):
        begin(tmp_path / "out", {"verb": "score"}, [part], Rank(0, 2))
    with pytest.raises(BadInput, match="verb was score, and is impute"):
        begin(tmp_path / "out", {"verb": "impute"}, [part], Rank(1, 2))
    assert [p.name for p in (tmp_path / "out").iterdir()] == [PAGE]
