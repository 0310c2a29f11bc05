"""Verbs that look at a model: ``show``, ``evaluate``, ``report``. What is slow is imported inside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from latelier.cli.draw import at_least_one
from latelier.cli.places import Data, Folder, Overwrite, Seed, fresh, opened
from latelier.errors import BadInput

if TYPE_CHECKING:
    from latelier.model import Model

Json = Annotated[bool, Parameter("--json", help="as JSON, for programs")]


def show(model: Folder, /, *, as_json: Json = False) -> None:
    """Print what a model is: data, latents, networks, figures, settings, files."""

    page = described(opened(model), model)
    if as_json:
        print(json.dumps(page, indent=1))
        return
    for title, values in page.items():
        if not isinstance(values, dict):
            print(f"{title}: {values}")
            continue
        print(f"{title}:")
        width = max((len(str(name)) for name in values), default=0)
        for name, value in values.items():
            print(f"  {name!s:<{width}}  {value}")


def described(model: Model, folder: Path) -> dict[str, Any]:
    """Everything that ``show`` prints, by title."""
    spec, vae = model.spec.model_dump(mode="json"), model.vae
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in vae.named_children()}
    return {
        "model": str(folder),
        "kind": model.schema.kind,
        "rows seen": model.schema.rows,
        "fields": dict(_columns(model)),
        "conditions": {f.name: ", ".join(f.columns) or "x".join(map(str, f.shape)) for f in model.schema.conditions},
        "latents": {
            block.name: f"{type(block).__name__} of {'x'.join(map(str, block.shape))}" for block in vae.latents.blocks
        },
        "parameters": {**sizes, "all": sum(sizes.values())},
        "figures": {name: value for name, value in model.figures.items() if not isinstance(value, (dict, list))},
        "options": dict(_flat(spec)),
        "files": {p.name: f"{p.stat().st_size:,} bytes" for p in sorted(folder.iterdir()) if p.is_file()},
    }


def evaluate(
    model: Folder,
    data: Annotated[Path | None, Parameter(help="rows of the form that the model was fitted to")] = None,
    /,
    *,
    against: Annotated[Path | None, Parameter(help="real rows of a table that made ones are compared with")] = None,
    train: Annotated[
        Path | None, Parameter(help="with --against: the rows of training; without it halves of the real rows stand in")
    ] = None,
    target: Annotated[
        str | None, Parameter(help="with --against: the column that trees are to predict; the last if not named")
    ] = None,
    out: Annotated[
        Path | None, Parameter(help="with --against: the page; fidelity.html in the model's folder if not given")
    ] = None,
    draws: Annotated[int, Parameter(help="draws of z per row in the importance-weighted bound")] = 64,
    seed: Seed = 0,
    as_json: Json = False,
    overwrite: Overwrite = False,
) -> None:
    """Measure a model on rows (bounds in nats, reconstruction error), or the rows it makes --against real ones.

    The first gives bounds with standard errors, bits/dim and active units; the second column shapes, pair trends, what can be
    learnt from made rows, whether they can be told from real ones, and how near they come to training rows.
    """
    if against is not None:
        if data is not None:
            raise BadInput(
                f"{data}: rows are measured, or made ones are compared --against real ones; leave out one of the two"
            )
        compare(model, against, train, target, out, seed, as_json, overwrite)
        return
    if data is None:
        raise BadInput("nothing to evaluate: give DATA, or --against REAL to compare made rows with real ones")
    for option, value in (("--train", train), ("--target", target), ("--out", out)):
        if value is not None:
            raise BadInput(f"{option} {value}: goes with --against; leave it out, or add --against REAL")
    at_least_one("--draws", draws)
    from latelier.model import coded

    loaded = opened(model)
    figures = loaded.evaluate(data, draws)
    if as_json:
        print(json.dumps(figures.plain(), indent=1))
        return
    told = [
        ("rows", f"{figures.rows:,}"),
        ("ELBO", f"{figures.elbo:.3f} +- {figures.elbo_error:.3f} nats/row"),
        ("KL", f"{figures.kl:.3f} nats/row, {figures.active} of {figures.units} latent units active"),
    ]
    if figures.iw is not None:
        told.insert(2, (f"IW bound, {figures.draws} draws", f"{figures.iw:.3f} +- {figures.iw_error:.3f} nats/row"))
    if figures.bits_per_dim is not None:
        told.append(("bits/dim", f"{figures.bits_per_dim:.4f}"))
    names = {column for field in loaded.schema.modelled if coded(field) for column in field.columns}
    told += [
        (f"reconstruction of {name}", f"{error:.1%} wrong" if name in names else f"{error:.4g} RMS error")
        for name, error in (figures.reconstruction or {}).items()
    ]
    width = max(len(name) for name, _ in told)
    for name, value in told:
        print(f"{name:<{width}}  {value}")


def compare(
    model: Path,
    against: Path,
    train: Path | None,
    target: str | None,
    out: Path | None,
    seed: int,
    as_json: bool,
    overwrite: bool,
) -> None:
    """Prints how like real rows made ones are, and writes the page."""
    from latelier.report import write_likeness

    loaded = opened(model)
    path = out or model / "fidelity.html"
    with fresh(path, overwrite) as place:
        found = loaded.fidelity(against, train, target, seed)
        write_likeness(found, model.resolve().name, place)
    page = found.plain()
    if as_json:
        print(json.dumps(page, indent=1))
        return
    made, real = page["distance_to_closest"].values()
    told = [
        ("rows", f"{found.rows:,} made, {len(found.table.parts[0]):,} real"),
        ("column shapes", f"{found.column_likeness:.4f} (1 is the same)"),
        ("pair trends", f"{found.pair_likeness:.4f} (1 is the same)"),
        *(
            (f"{found.target}, {name}", f"{value:.4f} from made rows, {found.on_real[name]:.4f} from real rows")
            for name, value in found.on_made.items()
        ),
        ("discriminator", f"AUC {found.discriminator:.4f} (0.5 is chance)"),
        *(
            (f"closest training row, {name}", f"{made[name]:.4f} of made rows, {real[name]:.4f} of other real rows")
            for name in made
        ),
        *((f"shape of {name}", f"{value:.4f}") for name, value in found.columns.items()),
    ]
    width = max(len(name) for name, _ in told)
    for name, value in told:
        print(f"{name:<{width}}  {value}")
    print(f"wrote {path}")


def report(
    model: Folder,
    data: Data,
    /,
    *,
    out: Annotated[Path | None, Parameter(help="the page; report.html in the model's folder if not given")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a model's report.html again."""
    from latelier.model import gather
    from latelier.report import write_report

    loaded = opened(model)
    path = out or model / "report.html"
    with fresh(path, overwrite) as place:
        rows = gather(loaded.spec, loaded.schema, data, where={"path": str(data.resolve())})
        write_report(loaded, rows, place)
    print(f"wrote {path}")


def _columns(model: Model) -> Iterator[tuple[str, str]]:
    for field in model.schema.modelled:
        shape = "x".join(map(str, field.shape))
        yield field.name, f"{shape}, {field.likelihood}, {field.transform.type}{', with holes' if field.holes else ''}"
        for i, column in enumerate(field.columns):
            codes = f", {field.sizes[i]} values" if field.sizes else ""
            yield f"  {column}", f"{field.likelihood}{codes}"


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
