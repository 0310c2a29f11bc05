"""``demo``: real data that ship with scikit-learn, and every step as the user would type it. What is slow is imported inside."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from latelier.cli.draw import grid, interpolate, sample
from latelier.cli.figures import encode, score
from latelier.cli.fitting import fit
from latelier.cli.look import evaluate, show
from latelier.cli.places import Out, Overwrite
from latelier.cli.rows import impute, reconstruct
from latelier.errors import BadInput
from latelier.wording import percent

HOLES = 0.1  # share of cells that are emptied in the table

app = App(result_action="return_value", default_parameter=Parameter(negative=()))  # the verbs that are shown
for function in (fit, show, sample, reconstruct, interpolate, grid, impute, score, encode, evaluate):
    app.command(function)


def demo(
    what: Annotated[Literal["images", "tables"], Parameter(help="which demonstration")] = "images",
    /,
    *,
    out: Out = None,
    overwrite: Overwrite = False,
) -> None:
    """Train on real data and use every everyday verb, in about a minute, offline.

    Handwritten digits as a folder of PNG files, or measurements of wines as a CSV with holes, are written beside --out; then
    each command is shown before it runs, so that you can type it yourself.
    """
    model = out or Path("runs", {"images": "digits", "tables": "wine"}[what])
    data, made = model.with_name(f"{model.name}-data"), model.with_name(f"{model.name}-made")
    for place in (model, data, made):
        if place.exists() and not overwrite:
            raise BadInput(f"{place}: is already there; replace it with --overwrite, or name another with --out")
    again = ["--overwrite"] if overwrite else []
    steps = {"images": of_pictures, "tables": of_a_table}[what](model, data, made)
    for words in steps:
        run([*words, *(again if words[0] not in ("show", "evaluate") else [])])
    print(f"\nreport: {model / 'report.html'}\nresults: {made}")


def of_pictures(model: Path, data: Path, made: Path) -> list[list[str]]:
    """Writes the digits, and says what to do with them."""
    write_digits(data)
    m, d = str(model), str(data)
    return [
        ["fit", d, "--out", m, "--given", "label", "--epochs", "60", "--minutes", "1"],
        ["show", m],
        ["sample", m, "-n", "100", "--given", "label=0,1,2,3,4,5,6,7,8,9", "--out", str(made / "samples.png")],
        ["sample", m, "-n", "16", "--given", "label=7", "--out", str(made / "sevens")],
        ["reconstruct", m, d, "--out", str(made / "reconstructions")],
        ["interpolate", m, d, "--rows", "0,700,1500", "--out", str(made / "walk.gif")],
        ["grid", m, "--given", "label=3", "--out", str(made / "grid.png")],
        ["impute", m, d, "--mask", "left", "--out", str(made / "imputed")],
        ["score", m, d, "--out", str(made / "scores.csv")],
        ["evaluate", m, d],
    ]


def of_a_table(model: Path, data: Path, made: Path) -> list[list[str]]:
    """Writes the wines with holes, and says what to do with them."""
    file = data / "wine.csv"
    write_wines(file)
    m, d = str(model), str(file)
    return [
        ["fit", d, "--out", m],
        ["show", m],
        ["sample", m, "-n", "200", "--out", str(made / "samples.csv")],
        ["impute", m, d, "--out", str(made / "whole.csv")],
        ["score", m, d, "--entries", "--out", str(made / "scores.csv")],
        ["encode", m, d, "--out", str(made / "z.csv")],
        ["evaluate", m, d],
    ]


def run(words: Sequence[str]) -> None:
    """Shows a command as it would be typed, and runs it."""
    print(f"\n$ latelier {shlex.join(words)}", flush=True)
    app(words, exit_on_error=False, print_error=False)


def write_digits(folder: Path) -> None:
    """1,797 grey pictures of 8 x 8, a sub-folder for each digit (Alpaydin & Kaynak, UCI 1998)."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    # 0 to 16 in the data, 0 to 255 in a file
    pictures = (digits.images * (255 / 16)).round().astype("uint8")
    for label in range(10):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
    for i, (picture, label) in enumerate(zip(pictures, digits.target, strict=True)):
        Image.fromarray(picture).save(folder / str(label) / f"{i:04}.png")
    print(f"wrote {folder}: {len(pictures):,} pictures of handwritten digits")


def write_wines(file: Path) -> None:
    """178 wines of three cultivars, 13 measurements each (Forina et al., UCI 1991), with holes made at random."""
    import numpy as np
    from sklearn.datasets import load_wine

    wines = load_wine(as_frame=True)
    frame = wines.data.round(4)
    frame = frame.mask(np.random.default_rng(0).random(frame.shape) < HOLES)
    frame["cultivar"] = wines.target_names[wines.target]
    file.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(file, index=False)
    print(f"wrote {file}: {len(frame)} wines, {percent(HOLES)} of the measurements missing")
