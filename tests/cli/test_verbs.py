"""Every verb from the words that are typed to the files that are written."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import tiny
from latelier.cli import VERBS, app, main
from latelier.cli.progress import watching
from latelier.spec import SHORT, Spec
from latelier.wording import percent


@dataclass(frozen=True)
class World:
    """Data and models that all tests of this file share and none changes."""

    digits: Path
    wine: Path
    pictures: Path  # a model of the digits
    labelled: Path  # another, conditioned on the label
    table: Path  # a model of the wines


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    digits, wine = tiny.write_digits(root / "digits"), tiny.write_wines(root / "wine.csv")
    return World(
        digits,
        wine,
        tiny.fitted(root / "pictures", digits),
        tiny.fitted(root / "labelled", digits, "--given", "label"),
        tiny.fitted(root / "table", wine),
    )


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    return capsys.readouterr().err


def form(file: str | Path) -> tuple[tuple[int, int], str]:
    """(width, height), and Pillow's mode."""
    with Image.open(file) as image:
        return image.size, image.mode


def pixels(file: str | Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image)


def pngs(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.png"))


def test_fit_says_what_it_recognised_and_ends_with_the_next_commands(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("fit", world.wine, "--out", "m", "--epochs", 2, "--no-report", "--set", "network.hidden=16,8", "--holdout", 0.2)
    out = capsys.readouterr().out
    assert "178 rows, 14 columns" in out
    assert "--set likelihood.category=NAME" in out
    assert "epoch 1: " in out
    assert "epoch 2: " in out
    assert "held-out bound" in out
    assert "latelier sample m -n 16" in out
    spec = Spec.of(json.loads(Path("m/model.json").read_text())["spec"])
    assert (spec.train.epochs, spec.network.hidden, spec.data.holdout) == (2, (16, 8), 0.2)


def test_the_log_is_a_table_too(world: World) -> None:
    run("fit", world.wine, "--out", "m", "--epochs", 3, "--no-report")
    log, lines = pd.read_csv("m/log.csv"), [json.loads(line) for line in Path("m/log.jsonl").read_text().splitlines()]
    assert log.epoch.tolist() == [1, 2, 3]
    assert np.allclose(log.elbo, [line["elbo"] for line in lines])


def test_settings_come_from_a_file_then_set_then_short_options(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = {
        "run.yaml": "epochs: 5\nlatent: {dims: 2}\ntrain.batch: 16\n",
        "run.json": '{"epochs": 5, "latent": {"dims": 2}, "train.batch": 16}',
        "run.toml": 'epochs = 5\n"train.batch" = 16\n[latent]\ndims = 2\n',
    }
    for name, page in pages.items():
        Path(name).write_text(page)
        run(
            "fit",
            world.wine,
            "--out",
            f"{name}-m",
            "--config",
            name,
            "--set",
            "train.batch=32",
            "--epochs",
            1,
            "--no-report",
        )
        spec = Spec.of(json.loads(Path(f"{name}-m/model.json").read_text())["spec"])
        assert (spec.train.epochs, spec.latent.dims, spec.train.batch) == (1, 2, 32)


def test_every_short_name_is_an_option_of_fit() -> None:
    options = {name for argument in app["fit"].assemble_argument_collection() for name in argument.names}
    assert {f"--{name}" for name in SHORT} <= options


def test_a_run_goes_on_from_its_folder_alone(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    run("fit", world.wine, "--out", "m", "--epochs", 2, "--no-report")
    run("fit", "--resume", "m", "--epochs", 4, "--no-report")
    assert pd.read_csv("m/log.csv").epoch.tolist() == [1, 2, 3, 4]
    run("fit", "--resume", "--out", "m", "--epochs", 5, "--no-report")
    assert pd.read_csv("m/log.csv").epoch.tolist() == [1, 2, 3, 4, 5]


def test_an_interrupted_fit_says_how_to_go_on(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from latelier import train

    before, looks = train.look, []

    def interrupted(*given: object) -> object:
        looks.append(1)
        if len(looks) == 3:
            raise KeyboardInterrupt
        return before(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(train, "look", interrupted)
    assert main(["fit", str(world.wine), "--out", "m", "--epochs", "9", "--no-report"]) == 130
    assert "interrupted; saved; go on with: latelier fit --resume m" in capsys.readouterr().err
    run("fit", "--resume", "m", "--no-report")
    assert pd.read_csv("m/log.csv").epoch.tolist()[-1] == 9


class Terminal(io.StringIO):
    """What a program takes for a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_and_the_figures_of_every_epoch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    run("fit", world.wine, "--out", "m", "--epochs", 3, "--no-report")
    shown = screen.getvalue()
    assert "178 rows, 14 columns" in shown
    assert "epoch 3: " in shown
    assert "rows/s" in shown
    assert "held-out bound" in shown


def test_a_skipped_step_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with watching(tensorboard=False) as show:
        show({"event": "skipped", "where": "epoch 1, step 7, rows 3", "loss": math.nan, "norm": math.inf})
    assert capsys.readouterr().out == "skipped a step: loss nan, gradient norm inf (epoch 1, step 7, rows 3)\n"


def test_curves_go_to_tensorboard_where_it_is_installed(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    line = refused(capsys, "fit", world.wine, "--out", "m", "--tensorboard")
    assert "pip install 'latelier[tensorboard]'" in line
    assert not Path("m").exists()
    written: list[tuple[str, int]] = []

    class SummaryWriter:
        def __init__(self, folder: str):
            self.folder = folder

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, step))

        def close(self) -> None:
            written.append((self.folder, -1))

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    run("fit", world.wine, "--out", "m", "--epochs", 2, "--no-report", "--tensorboard")
    log = pd.read_csv("m/log.csv")
    assert [step for name, step in written if name == "held_out/elbo"] == log.step.tolist()
    assert written[-1] == ("m/tensorboard", -1)


def test_a_test_path_takes_the_place_of_the_split(world: World) -> None:
    tiny.wines().head(30).to_csv("test.csv", index=False)
    run("fit", world.wine, "--out", "m", "--epochs", 1, "--test", "test.csv", "--no-report")
    assert json.loads(Path("m/model.json").read_text())["figures"]["rows"] == 30


def test_show_names_every_column_and_prints_json(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    run("show", world.table)
    text = capsys.readouterr().out
    assert all(column in text for column in tiny.wines().columns)
    run("show", world.table, "--json")
    page = json.loads(capsys.readouterr().out)
    assert page["kind"] == "tables"
    assert page["parameters"]["all"] == sum(v for k, v in page["parameters"].items() if k != "all")
    assert page["figures"]["rows"] == 18


def test_pictures_are_sampled_into_a_folder_an_array_or_a_sheet(world: World) -> None:
    run("sample", world.pictures, "-n", 5)
    files = pngs(Path("samples"))
    assert [file.name for file in files] == [f"{i:06}.png" for i in range(5)]
    assert {form(file) for file in files} == {((8, 8), "L")}
    run("sample", world.pictures, "-n", 5, "--out", "s.npz")
    assert np.load("s.npz")["images"].shape == (5, 8, 8)
    assert (np.load("s.npz")["images"][0] == pixels(files[0])).all()
    run("sample", world.pictures, "-n", 5, "--out", "s.png")
    assert form("s.png")[0] == (3 * 66 + 2, 2 * 66 + 2)


def test_samples_differ_by_seed_and_repeat_with_it(world: World) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("sample", world.table, "-n", 6, "--seed", seed, "--out", f"{name}.csv")
    assert Path("a.csv").read_text() == Path("b.csv").read_text() != Path("c.csv").read_text()


def test_samples_of_a_table_have_its_columns_and_types(world: World) -> None:
    run("sample", world.table, "--rows", 7)
    samples, data = pd.read_csv("samples.csv"), tiny.wines()
    assert samples.columns.tolist() == data.columns.tolist()
    assert len(samples) == 7
    assert set(samples.cultivar) <= set(data.cultivar)
    assert not samples.isna().any(axis=None)
    run("sample", world.table, "--rows", 7, "--out", "s.parquet")
    assert pd.read_parquet("s.parquet").dtypes.equals(tiny.wines(0).dtypes)


def test_a_conditioned_model_draws_what_it_is_given(world: World) -> None:
    run("sample", world.labelled, "-n", 3, "--given", "label=7", "--out", "sevens")
    assert [file.parent.name for file in pngs(Path("sevens"))] == ["7", "7", "7"]
    run("grid", world.labelled, "--given", "label=7", "--side", 3)
    assert form("grid.png")[0] == (3 * 66 + 2, 3 * 66 + 2)


def test_reconstructions_are_one_a_row_and_their_draws_stand_in_numbered_outputs(world: World) -> None:
    run("reconstruct", world.pictures, world.digits, "--out", "again")
    assert len(pngs(Path("again"))) == 60
    run("reconstruct", world.table, world.wine, "--draws", 2, "--out", "r.csv")
    first, second = pd.read_csv("r-1.csv"), pd.read_csv("r-2.csv")
    assert len(first) == len(second) == 178
    assert not np.allclose(first.alcohol, second.alcohol)


def test_codes_are_written_as_table_and_as_array(world: World) -> None:
    run("encode", world.pictures, world.digits)
    run("encode", world.pictures, world.digits, "--out", "z.npy")
    run("encode", world.pictures, world.digits, "--out", "z.parquet")
    codes = pd.read_csv("z.csv")
    assert codes.columns.tolist() == ["row", "file", "z[0]", "z[1]", "z[2]"]
    assert codes.row.tolist() == list(range(60)) and (world.digits / codes.file[7]).is_file()
    assert np.allclose(codes.iloc[:, 2:], np.load("z.npy"))
    pd.testing.assert_frame_equal(codes, pd.read_parquet("z.parquet"), rtol=1e-6, check_dtype=False)
    assert np.load("z.npy").shape == (60, 3)


def test_a_walk_is_a_strip_an_animation_a_folder_or_a_table(world: World) -> None:
    run("interpolate", world.pictures, world.digits, "--from", 3, "--to", 40, "--steps", 5)
    assert form("interpolation.png")[0] == (5 * 66 + 2, 66 + 2)
    run("interpolate", world.pictures, world.digits, "--rows", "0,5,9", "--steps", 4, "--out", "walk")
    assert len(pngs(Path("walk"))) == 8
    run(
        "interpolate", world.pictures, world.digits, "--rows", "0,5,9", "--steps", 4, "--spherical", "--out", "walk.gif"
    )
    with Image.open("walk.gif") as walk:
        assert (walk.format, walk.size) == ("GIF", (64, 64))
    run("interpolate", world.table, world.wine, "--steps", 4)
    assert len(pd.read_csv("interpolation.csv")) == 4


def test_the_ends_of_a_walk_are_the_reconstructions_of_its_rows(world: World) -> None:
    run("reconstruct", world.pictures, world.digits, "--out", "again.npy")
    run("interpolate", world.pictures, world.digits, "--rows", "0,59", "--steps", 3, "--out", "walk.npy")
    again, walk = np.load("again.npy").astype(int), np.load("walk.npy").astype(int)
    assert abs(walk[[0, -1]] - again[[0, 59]]).max() <= 1  # a batch of another size may round otherwise


def test_a_traversal_has_a_line_for_each_dimension(world: World) -> None:
    run("traverse", world.pictures, world.digits, "--row", 2, "--steps", 5)
    assert form("traversal.png")[0] == (5 * 66 + 2, 3 * 66 + 2)
    run("traverse", world.table, "--dims", "1", "--steps", 5)
    assert len(pd.read_csv("traversal.csv")) == 5


def test_scores_repeat_and_are_summed_up(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    run("score", world.table, world.wine)
    told = capsys.readouterr().out
    run("score", world.table, world.wine, "--out", "again.csv")
    assert Path("scores.csv").read_text() == Path("again.csv").read_text()
    scores = pd.read_csv("scores.csv")
    assert scores.row.tolist() == list(range(178))
    assert f"mean {scores.score.mean():.2f} nats" in told
    assert f"counted from 0: {scores.score.idxmin()} (" in told


def test_a_row_has_the_same_score_wherever_it_stands(world: World) -> None:
    tiny.wines().iloc[::-1].to_csv("turned.csv", index=False)
    run("score", world.table, world.wine)
    run("score", world.table, "turned.csv", "--out", "turned-scores.csv")
    ahead, back = pd.read_csv("scores.csv").score, pd.read_csv("turned-scores.csv").score
    assert np.allclose(ahead, back[::-1], atol=1e-4)


def test_the_shares_of_entries_sum_to_the_score(world: World) -> None:
    run("score", world.table, world.wine, "--entries", "--out", "blame.parquet")
    blame = pd.read_parquet("blame.parquet")
    assert list(blame.columns) == ["row", "score", "latent", *tiny.wines().columns]
    assert np.allclose(blame.drop(columns=["row", "score"]).sum(axis=1), blame.score, atol=1e-3)


def test_scores_of_a_folder_name_its_files(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    run("score", world.pictures, world.digits)
    scores = pd.read_csv("scores.csv")
    names = sorted(p.relative_to(world.digits).as_posix() for p in pngs(world.digits))
    assert scores.columns.tolist() == ["row", "file", "score"] and scores.file.tolist() == names
    odd = scores.file[scores.score.idxmin()]
    assert f"the oddest pictures: {odd} (" in capsys.readouterr().out
    run("score", world.pictures, world.digits / odd, "--out", "one.csv")
    one = pd.read_csv("one.csv")
    assert one.file.tolist() == [Path(odd).name] and np.allclose(one.score, scores.score.min(), atol=1e-4)
    run("score", world.pictures, world.digits, "--out", "scores.npy")
    assert np.allclose(np.load("scores.npy"), scores[["score"]])


def test_imputed_tables_are_whole_and_keep_what_was_there(world: World) -> None:
    data = tiny.wines()
    run("impute", world.table, world.wine)
    whole = pd.read_csv("imputed.csv")
    assert not whole.isna().any(axis=None)
    seen = data.notna().to_numpy()
    assert (whole.to_numpy()[seen] == data.to_numpy()[seen]).all()
    run("impute", world.table, world.wine, "--copies", 2, "--out", "copy.csv")
    one, two = pd.read_csv("copy-1.csv"), pd.read_csv("copy-2.csv")
    assert (one.to_numpy()[seen] == data.to_numpy()[seen]).all()
    assert not one.equals(two)


def test_how_sure_filled_cells_are_stands_beside_them(world: World) -> None:
    data = tiny.wines()
    run("impute", world.table, world.wine, "--draws", 40, "--uncertainty", "sure.csv")
    sure, whole = pd.read_csv("sure.csv"), pd.read_csv("imputed.csv")
    assert list(sure) == list(data) and len(sure) == len(data) == len(whole)
    assert (sure.isna() == data.notna().to_numpy()).all(axis=None)
    for name in data:
        filled = sure[name].dropna()
        if pd.api.types.is_float_dtype(data[name]):
            assert (filled > 0).all(), name
    assert (sure.alcohol.dropna() < 3 * data.alcohol.std()).all()
    run("impute", world.table, world.wine, "--draws", 40, "--out", "again.csv")
    assert np.allclose(whole.select_dtypes("number"), pd.read_csv("again.csv").select_dtypes("number"), rtol=1e-3)
    assert main(["impute", str(world.table), str(world.wine), "--uncertainty", "u.csv", "--copies", "2"]) == 2
    assert main(["impute", str(world.pictures), str(world.digits), "--mask", "left", "--uncertainty", "u.csv"]) == 2
    assert not Path("u.csv").exists()


def test_a_model_for_imputation_is_one_option(world: World) -> None:
    run("fit", world.wine, "--for", "imputation", "--epochs", 2, "--out", "filler", "--no-report")
    page = json.loads(Path("filler/model.json").read_text())
    assert page["spec"]["network"]["name"] == page["spec"]["latent"]["name"] == "factors"
    run("impute", "filler", world.wine, "--out", "filled.csv")
    assert not pd.read_csv("filled.csv").isna().any(axis=None)


def test_pixels_under_a_mask_are_filled_and_the_others_kept(world: World) -> None:
    run("impute", world.pictures, world.digits, "--mask", "left", "--out", "filled.npy")
    mask = np.zeros((8, 8), np.uint8)
    mask[:, :4] = 255
    Image.fromarray(mask).save("mask.png")
    run("impute", world.pictures, world.digits, "--mask", "mask.png", "--out", "again.npy")
    filled = np.load("filled.npy")
    given = np.stack([pixels(file) for file in pngs(world.digits)])
    assert (filled == np.load("again.npy")).all()
    assert (filled[:, :, 4:] == given[:, :, 4:]).all()
    assert (filled[:, :, :4] != given[:, :, :4]).any()


def test_denoised_and_augmented_rows_have_the_form_of_the_data(world: World) -> None:
    run("denoise", world.pictures, world.digits)
    run("augment", world.labelled, world.digits, "--copies", 2, "--out", "more")
    run("augment", world.table, world.wine, "--copies", 3)
    assert len(pngs(Path("denoised"))) == 60
    assert len(pngs(Path("more"))) == 120
    count = {folder.name: len(pngs(folder)) for folder in Path("more").iterdir()}
    assert count == {folder.name: 2 * len(pngs(folder)) for folder in world.digits.iterdir()}
    assert len(pd.read_csv("augmented.csv")) == 3 * 178


def test_evaluate_prints_words_and_json(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    run("evaluate", world.pictures, world.digits, "--draws", 4)
    assert "bits/dim" in capsys.readouterr().out
    run("evaluate", world.table, world.wine, "--draws", 8, "--json")
    page = json.loads(capsys.readouterr().out)
    assert page["rows"] == 178
    assert page["iw"] >= page["elbo"] - 0.5
    assert list(page["reconstruction"]) == list(tiny.wines().columns)
    run("evaluate", world.table, world.wine, "--draws", 2)
    told = capsys.readouterr().out
    error = page["reconstruction"]["alcohol"]
    assert 0 < error < 2 and f"{error:.4g} RMS error" in told  # of alcohol, which spreads over 0.8 %
    assert f"{percent(page['reconstruction']['cultivar'], 1)} wrong" in told


def test_a_report_made_again_colours_its_map_by_label(world: World) -> None:
    run("report", world.pictures, world.digits, "--out", "page.html")
    assert "Coloured by label" in Path("page.html").read_text()


def test_a_report_can_be_made_again(world: World) -> None:
    run("report", world.table, world.wine, "--out", "page.html")
    assert Path("page.html").read_text().lstrip().lower().startswith("<!doctype html>")


def test_nothing_is_overwritten_unless_asked(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    run("sample", world.table, "--out", "s.csv")
    before = Path("s.csv").read_text()
    assert "--overwrite" in refused(capsys, "sample", world.table, "--seed", 5, "--out", "s.csv")
    assert Path("s.csv").read_text() == before
    run("sample", world.table, "--seed", 5, "--out", "s.csv", "--overwrite")
    assert Path("s.csv").read_text() != before
    assert [path.name for path in Path().iterdir()] == ["s.csv"]


def test_a_folder_with_files_of_other_people_is_never_replaced(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    run("sample", world.pictures, "-n", 2, "--out", "s")
    run("sample", world.pictures, "-n", 3, "--out", "s", "--overwrite")
    assert len(pngs(Path("s"))) == 3
    Path("s/thesis.txt").write_text("years of work")
    assert "thesis.txt" in refused(capsys, "sample", world.pictures, "--out", "s", "--overwrite")
    assert len(list(Path("s").iterdir())) == 4


def test_the_demonstration_of_tables_runs_the_commands_that_it_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from latelier.cli import demonstration as demo

    steps = demo.of_a_table

    def shorter(*places: Path) -> list[list[str]]:
        fit, *rest = steps(*places)
        return [[*fit, "--epochs", "1"], *rest]

    monkeypatch.setattr(demo, "of_a_table", shorter)
    run("demo", "tables", "--out", "d/wine")
    told = capsys.readouterr().out
    for line in [line for line in told.splitlines() if line.startswith("$ ")]:
        app.parse_args(line.removeprefix("$ latelier "), exit_on_error=False, print_error=False)
    assert Path("d/wine/report.html").exists()
    assert not pd.read_csv("d/wine-made/whole.csv").isna().any(axis=None)
    assert pd.read_csv("d/wine-data/wine.csv").isna().any(axis=None)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["images", "tables"])
def test_a_demonstration_ends_in_a_report_in_time(what: str) -> None:
    begun = time.monotonic()
    run("demo", what, "--out", "d/m")
    assert Path("d/m/report.html").exists()
    assert time.monotonic() - begun < 150


@pytest.mark.parametrize("words", [["--help"], *([verb, "--help"] for verb in VERBS)])
def test_help_is_printed_for_every_verb(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run(*words)
    out = capsys.readouterr().out
    assert "Usage: latelier" in out
    if words == ["--help"]:
        assert all(verb in out for verb in VERBS)


def test_help_is_quick_and_loads_nothing_slow() -> None:
    slow = {"torch", "pandas", "numpy", "pyarrow", "sklearn", "matplotlib", "PIL", "pydantic"}
    code = (
        "import sys\nfrom latelier.cli import main\nmain(['--help'])\n"
        f"print(*sorted({slow!r} & set(sys.modules)), file=sys.stderr)"
    )
    source = Path(__file__).parents[2] / "src"
    env = {**os.environ, "PYTHONPATH": str(source)}
    times = []
    for _ in range(3):
        begun = processor_seconds()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
        times.append(processor_seconds() - begun)
        assert done.stderr.split() == []
    assert min(times) < 1.0  # of the processor, however busy it is: 0.2 s


def processor_seconds() -> float:
    """Of processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_whoever_stops_reading_gets_no_complaint(world: World) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    command = [sys.executable, "-m", "latelier", "show", str(world.table)]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, env=env)
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 141


def test_a_bug_is_one_line_and_its_trace_is_for_those_who_ask(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from latelier.model import Model

    def broken(folder: Path) -> Model:
        raise ZeroDivisionError("seven\nlines")

    monkeypatch.setattr(Model, "load", broken)
    assert main(["show", "m"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "ZeroDivisionError: seven lines" in error
    assert main(["show", "m", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_too_little_memory_is_said_in_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from latelier.model import Model

    def greedy(folder: Path) -> Model:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8000000000000 bytes")

    monkeypatch.setattr(Model, "load", greedy)
    assert "not enough memory" in refused(capsys, "show", "m")


def test_tables_of_scores_are_read_by_any_csv_reader(world: World) -> None:
    run("score", world.pictures, world.digits, "--entries")
    with open("scores.csv", newline="") as file:
        lines = list(csv.reader(file))
    assert len(lines) == 61
    assert {len(line) for line in lines} == {4 + 64}  # row, file, score, latent, pixels
