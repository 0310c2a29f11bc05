"""Verbs that look at a model: ``show``, ``evaluate``, ``report``. What is slow is imported inside."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from latelier.cli.places import Data, Folder, Overwrite, Seed, fresh, opened
from latelier.errors import BadInput, at_least
from latelier.wording import percent

if TYPE_CHECKING:
    from latelier.disentanglement import Disentanglement
    from latelier.fidelity.likeness import Likeness
    from latelier.model import Model
    from latelier.tasks.evaluate import Figures

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
        "label": {f.columns[0]: f"{f.sizes[0]} classes" for f in model.schema.told if f.role == "label"},
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
    draws: Annotated[int, Parameter(help="draws of z per row in the importance-weighted bound")] = 64,
    samples: Annotated[
        int, Parameter(help="so many new rows are made and compared with DATA: FID, KID, precision, recall, coverage")
    ] = 0,
    features: Annotated[
        Path | None,
        Parameter(
            help="with --samples of pictures: the feature network, trained and written if not there; or any network as .onnx"
        ),
    ] = None,
    ais: Annotated[
        int, Parameter(help="so many chains of annealed importance sampling for each of --ais-rows rows")
    ] = 0,
    ais_steps: Annotated[int, Parameter(help="with --ais: temperatures; more of them come nearer to log p(x)")] = 500,
    ais_rows: Annotated[int, Parameter(help="with --ais: rows, evenly from DATA")] = 128,
    ais_from: Annotated[
        Literal["prior", "posterior"],
        Parameter(help="with --ais: where chains start; the prior asks nothing of the encoder"),
    ] = "posterior",
    factors: Annotated[
        list[str] | None,
        Parameter(
            help="known factors, for MIG, DCI and SAP: columns of DATA with commas, label of pictures, or a table beside them"
        ),
    ] = None,
    against: Annotated[Path | None, Parameter(help="real rows of a table that made ones are compared with")] = None,
    train: Annotated[
        Path | None,
        Parameter(help="with --samples or --against: the rows of training; halves of the real ones stand in for them"),
    ] = None,
    target: Annotated[
        str | None, Parameter(help="with --against: the column that trees are to predict; the last if not named")
    ] = None,
    out: Annotated[
        Path | None, Parameter(help="with --against: the page; fidelity.html in the model's folder if not given")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
    overwrite: Overwrite = False,
) -> None:
    """Measure a model on rows (bounds in nats, reconstruction error), or the rows it makes --against real ones.

    The first gives bounds with standard errors, bits/dim, active units and what z tells of the rows; --samples adds how like
    DATA made rows are, --ais a closer estimate of log p(x), --factors how well z tells known factors apart. The second gives
    column shapes, pair trends, what can be learnt from made rows, whether they can be told from real ones, and how near they
    come to training rows.
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
    for option, value in (("--target", target), ("--out", out)):
        if value is not None:
            raise BadInput(f"{option} {value}: goes with --against; leave it out, or add --against REAL")
    for option, path in (("--train", train), ("--features", features)):
        if path is not None and not samples:
            other = " or --against REAL" if path is train else ""
            raise BadInput(f"{option} {path}: goes with --samples{other}; leave it out, or add --samples 10000")
    at_least(1, **{"--draws": draws, "--ais-steps": ais_steps, "--ais-rows": ais_rows})
    at_least(0, **{"--samples": samples, "--ais": ais})
    if samples == 1:
        raise BadInput("--samples 1: give 2 or more")
    from dataclasses import replace

    loaded = opened(model)
    known = [name.strip() for word in factors or () for name in word.split(",")]
    figures = replace(
        loaded.evaluate(data, draws),
        ais=loaded.annealed(data, ais, ais_steps, ais_from, ais_rows, draws) if ais else None,
        samples=loaded.likeness(data, samples, train, features, seed) if samples else None,
        factors=loaded.disentangled(data, known, seed) if known else None,
    )
    if as_json:
        print(json.dumps(figures.plain(), indent=1))
        return
    _tell(list(measured(loaded, figures)))


def measured(model: Model, figures: Figures) -> Iterator[tuple[str, str]]:
    """What ``evaluate`` prints, name by name."""
    from latelier.model import coded

    yield "rows", f"{figures.rows:,}"
    bound = figures.kl != 0  # a plain autoencoder's costs nothing, and has none
    name = "ELBO" if bound else "log p(x | z), no bound"
    yield name, f"{figures.elbo:.3f} +- {figures.elbo_error:.3f} nats/row"
    if figures.iw is not None and bound:
        yield f"IW bound, {figures.draws} draws", f"{figures.iw:.3f} +- {figures.iw_error:.3f} nats/row"
    if (a := figures.ais) is not None:
        chains = "" if a.chain_error is None else f" (of the chains alone {a.chain_error:.3f})"
        yield f"AIS, {a.chains} chains", f"{a.value:.3f} +- {a.error:.3f} nats/row{chains}, {a.rows:,} rows"
        how = f"{a.steps:,} steps from the {a.start}, {percent(a.accepted)} of paths accepted"
        yield "  beside the bound", f"{a.gap:+.3f} +- {a.gap_error:.3f} nats above IW-{a.iw_draws} of these rows; {how}"
    yield "KL", f"{figures.kl:.3f} nats/row, {figures.active} of {figures.units} latent units active"
    if (latent := figures.latent) is not None:
        told = f"{latent.mutual_information:.3f} +- {latent.mutual_information_error:.3f} nats"
        most = f"at most {latent.information_most:.3f} for rows without end"
        yield "  information on the row", f"{told} of log {latent.rows:,} = {math.log(latent.rows):.3f}; {most}"
        least = f"{latent.marginal_kl_least:.3f} +- {latent.marginal_kl_least_error:.3f} nats ({latent.density})"
        yield (
            "  KL(q(z) || p(z))",
            f"at least {least}, at most {latent.marginal_kl:.3f}: what draws from the prior miss",
        )
    for name, obeyed in (figures.obeyed or {}).items():
        share = f"{percent(obeyed.share, 1)} +- {percent(obeyed.error, 1)} of {obeyed.rows:,}"
        yield f"draws that obey {name}", f"{share} (chance {percent(obeyed.chance, 1)})"
    if (found := figures.classes) is not None:
        yield f"classes of {found.rows:,} rows", f"{percent(found.error, 2)} +- {percent(found.error_error, 2)} wrong"
        yield "  log-loss", f"{found.log_loss:.4f} nats; calibration error {percent(found.calibration, 2)}"
    if figures.bits_per_dim is not None:
        yield "bits/dim", f"{figures.bits_per_dim:.4f}"
    for name, books in (figures.books or {}).items():
        for b, use in enumerate(books):
            told = f"{percent(use['used'], 1)} of {use['codes']} used, perplexity {use['perplexity']:.1f}"
            yield f"codes of {name}, book {b + 1}", told
    names = {column for field in model.schema.modelled if coded(field) for column in field.columns}
    for name, error in (figures.reconstruction or {}).items():
        yield f"reconstruction of {name}", f"{percent(error, 1)} wrong" if name in names else f"{error:.4g} RMS error"
    if figures.samples is not None:
        yield from _likeness(figures.samples)
    if figures.factors is not None:
        yield from _disentanglement(figures.factors)


def _likeness(found: Likeness) -> Iterator[tuple[str, str]]:
    made, floor = found.made, found.floor
    yield "features", f"{found.features}; digest {found.digest}"
    yield "made rows", f"{made.rows:,} beside {made.real:,} real ones"
    other = "one half of them beside the other" if found.halves else "rows of training beside them"
    yield "floor", f"real rows in their place, {other}: {floor.rows:,} beside {floor.real:,}"
    yield "FID", f"{made.fid:.4g} (floor {floor.fid:.4g}{_not_alike(found)})"
    yield "KID", f"{made.kid:.4g} +- {made.kid_error:.2g} (floor {floor.kid:.4g} +- {floor.kid_error:.2g})"
    for name, means in (
        ("precision", "made rows that lie among real ones"),
        ("recall", "real rows that lie among made ones"),
        ("density", "how many real neighbourhoods a made row is in"),
        ("coverage", "real rows with a made one in their neighbourhood"),
    ):
        value, error = getattr(made.prdc, name), made.prdc.errors[name]
        yield name, f"{value:.4f} +- {error:.4f} (floor {getattr(floor.prdc, name):.4f}): {means}"


def _not_alike(found: Likeness) -> str:
    """FID falls with the number of rows, so a floor of fewer lies too high."""
    same = (found.made.rows, found.made.real) == (found.floor.rows, found.floor.real)
    return "" if same else ", of other numbers of rows"


def _disentanglement(found: Disentanglement) -> Iterator[tuple[str, str]]:
    def said(value: float | None) -> str:
        return "not defined" if value is None else f"{value:.4f}"

    yield "factors", f"{', '.join(found.factors)}; {found.rows:,} rows, means of z"
    yield "MIG", said(found.mig)
    yield "SAP", said(found.sap)
    parts = (found.disentanglement, found.completeness, found.informativeness)
    named = zip(("disentanglement", "completeness", "informativeness"), parts, strict=True)
    yield "DCI", ", ".join(f"{name} {said(value)}" for name, value in named)
    for name, values in found.factors.items():
        told = f"MIG {said(values['mig'])}, predicted {said(values['informativeness'])}"
        yield f"  {name}", f"{told}, most of it in dimension {values['dimension']:.0f}"


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
    _tell(told)
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


def _tell(told: Sequence[tuple[str, str]]) -> None:
    """A line for each name and value, the values below one another."""
    width = max(len(name) for name, _ in told)
    for name, value in told:
        print(f"{name:<{width}}  {value}")
