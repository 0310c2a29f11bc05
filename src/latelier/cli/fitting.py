"""``fit``: from data to a model folder. What is slow is imported inside; see the package's first lines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from latelier.cli.progress import watching
from latelier.cli.settings import Settings, settings_of
from latelier.errors import BadInput

if TYPE_CHECKING:
    from latelier.model import Model


NOTHING = Settings()


def fit(
    data: Annotated[
        Path | None, Parameter(help="a folder of pictures, a CSV, TSV or Parquet file, .npz, .npy or IDX")
    ] = None,
    /,
    *,
    out: Annotated[Path | None, Parameter(help="the model's folder; a new one under runs/ if not given")] = None,
    test: Annotated[Path | None, Parameter(help="held-out rows, in place of a split")] = None,
    resume: Annotated[
        list[Path] | None,
        Parameter(help="go on with the run in this folder (or in --out)", consume_multiple=(0, 1)),
    ] = None,
    overwrite: Annotated[bool, Parameter(help="replace what --out holds")] = False,
    config: Annotated[Path | None, Parameter(help="settings from a .yaml, .json or .toml file")] = None,
    assignments: Annotated[
        list[str] | None,
        Parameter(
            "--set", help="NAME=VALUE, any option by its full name, such as network.hidden=512,256; may be repeated"
        ),
    ] = None,
    no_report: Annotated[bool, Parameter(help="make no report.html")] = False,
    tensorboard: Annotated[bool, Parameter(help="also write curves for TensorBoard")] = False,
    short: Settings = NOTHING,
) -> None:
    """Train a model on DATA.

    Prints what was recognised and the options that override it; keeps the weights that are best on held-out rows; ends with
    a report to look at.
    """
    folder = _folder(out, resume)
    settings = settings_of(config, assignments or (), short)
    from latelier.model import fit as train
    from latelier.model import new_folder

    if folder is None:
        folder = new_folder(data)
    with watching(tensorboard) as watch:
        try:
            model = train(
                data,
                out=folder,
                test=test,
                resume=resume is not None,
                overwrite=overwrite,
                report=not no_report,
                watch=watch,
                settings=settings,
            )
        except KeyboardInterrupt:
            from latelier.store import CHECKPOINT

            if not (folder / CHECKPOINT).exists():
                raise
            print(f"\ninterrupted; saved; go on with: latelier fit --resume {folder}", file=sys.stderr)
            raise SystemExit(130) from None
    print(*summary(model, folder, data), sep="\n")


def summary(model: Model, folder: Path, data: Path | None) -> list[str]:
    """What came out, in words, and what can be done next."""
    told, rows = model.figures, data or "DATA"
    lines = [f"model: {folder}"]
    if (folder / "report.html").exists():
        lines.append(f"report: {folder / 'report.html'}")
    if "elbo" in told:
        dims = f", {told['bits_per_dim']:.3f} bits/dim" if "bits_per_dim" in told else ""
        name = "elbo" if told.get("iw") is None else "iw"  # the bound that was trained, which bits/dim are of
        several = f" of {told['draws']} draws" if name == "iw" else ""
        value = f"{told[name]:.2f} +- {told[name + '_error']:.2f} nats/row{dims}"
        units = f"{told['active']} of {told['units']} latent units"
        if told["kl"] == 0:
            lines.append(f"held-out log p(x | z): {value}, best after epoch {told['epoch']}")
            lines.append(f"the code of a row costs nothing (a plain autoencoder), so this is no bound; {units} vary")
        else:
            lines.append(f"held-out bound{several}: {value}, best after epoch {told['epoch']}")
            lines.append(f"the code of a row carries {told['kl']:.1f} nats in {units}")
    return [
        *lines,
        "next:",
        f"  latelier show {folder}",
        f"  latelier sample {folder} -n 16",
        f"  latelier reconstruct {folder} {rows}",
        f"  latelier score {folder} {rows}",
        *([f"  latelier predict {folder} {rows}"] if model.schema.label else []),
    ]


def _folder(out: Path | None, resume: list[Path] | None) -> Path | None:
    if resume is None:
        return out
    named = [*resume, *([out] if out is not None else [])]
    if not named:
        raise BadInput("--resume: name the run's folder: latelier fit --resume DIR")
    if len({path.resolve() for path in named}) > 1:
        raise BadInput(f"--resume {named[0]} and --out {named[1]} are two folders; a run goes on in its own")
    return named[0]
