"""Faults of p(x | z): blur, scales at their floor, a likelihood that does not fit the data, modes that samples leave out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from latelier.batch import Batch
from latelier.data.schema import Field
from latelier.doctor.advice import resized
from latelier.doctor.evidence import Evidence
from latelier.doctor.finding import Finding, NotLooked
from latelier.doctor.probes import LEVELS, Numbers, coverage, steepness
from latelier.kinds.pictures.schema import likelihood_for
from latelier.likelihoods.base import Likelihood, Ordered
from latelier.wording import number, percent

# Thresholds were set on models of other seeds than those of benchmarks/doctor.py (its --seed0 1000).
BLURRED, FLAT = 0.4, 0.1  # of the fine detail of pictures, and of the variance of columns, that comes back
FLOORED = 0.2  # share of a column's scales that lie at their floor
OFF = 0.1  # by which the share of values below a predicted quantile may miss its level
FEWEST = 40  # values of a column from which quantiles are judged
PILED = 0.05  # share of a column's values at one end of its range
COUNTS = 1000  # whole numbers up to here are counts, as the kind has it
SHARPER = 0.25  # of a column's grid: a median scale below says that the density lives between the steps
DROPPED = 0.08  # share of rows in clusters that samples hardly visit


def over_smooth(e: Evidence) -> Iterator[Finding]:
    """What comes back of a row has little of its detail."""
    field = e.schema.modelled[0]
    if len(field.shape) > 1:
        share = _detail(e, field)
        low, what = BLURRED, "of the squared differences between neighbouring pixels"
    else:
        share = _variance(e)
        low, what = FLAT, "of the variance of the columns of numbers"
    if share >= low:
        return
    beta = e.spec.objective.beta
    changes: dict[str, Any] = {"objective.beta": 1.0} if beta > 1 else {}
    options = field.options
    if isinstance(options.get("scale"), (int, float)):
        changes |= {f"head.{field.name}.scale": "shared"}
    changes = changes or {"train.epochs": 2 * e.spec.train.epochs, **resized(e.spec, 2)}
    yield Finding(
        "over-smooth output",
        "fair",
        f"The centres of p(x | z) of held-out rows have {percent(share)} {what} of the rows themselves.",
        "What comes back is an average over many rows: the code, or an output scale that is too wide, leaves the detail to "
        "noise.",
        "Let codes carry more, and the output's scale be learned.",
        changes,
        {"share": share},
    )


def _detail(e: Evidence, field: Field) -> float:
    own = e.schema.to_data(e.held_settled.only([field.name])) if not field.transform.random else e.held_settled
    back = e.schema.to_data(e.centres.only([field.name]))
    two, one = (steepness(b.fields[field.name].double().cpu().numpy()) for b in (back, own))
    return two / one if one > 0 else 1.0


def _variance(e: Evidence) -> float:
    """Over all columns of numbers, each in its own spread; seen entries only."""
    shares: list[Numbers] = []
    for field in e.schema.modelled:
        if field.support not in ("real", "count", "amount"):
            continue
        x, back = (b.fields[field.name].double().cpu() for b in (e.held, e.centres))
        if field.support == "count":
            x, back = x.log1p(), back.log1p()
        seen = e.held.seen.get(field.name)
        hidden = torch.zeros_like(x, dtype=torch.bool) if seen is None else ~seen.cpu()
        a, b = (t.masked_fill(hidden, torch.nan).numpy() for t in (x, back))
        enough = np.isfinite(a).sum(0) > 2
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.nanvar(b[:, enough], 0) / np.nanvar(a[:, enough], 0)
        shares.append(share[np.isfinite(share)])
    if not shares or not sum(map(len, shares)):
        raise NotLooked("there are no columns of numbers")
    return float(np.minimum(np.concatenate(shares), 1.0).mean())


def scale_at_floor(e: Evidence) -> Iterator[Finding]:
    """Columns whose predicted scales are held up by the likelihood's limit alone."""
    rows, px = e.decoded
    heads: dict[str, Any] = dict(getattr(e.vae.decoder, "likelihoods", {}).items())
    found: list[tuple[float, str, Field]] = []
    looked = False
    for field in e.schema.modelled:
        head = heads.get(field.name)
        at = head.at_floor(px[field.name]) if isinstance(head, Likelihood) else None
        if at is None:
            continue
        looked = True
        share = _per_column(at.double(), rows, field)
        found += [(float(v), name, field) for name, v in zip(_names(field), share, strict=False) if v > FLOORED]
    if not looked:
        raise NotLooked("no likelihood of this model has a least scale")
    if not found:
        return
    found.sort(key=lambda pair: -pair[0])
    field = found[0][2]
    several = f" and {len(found) - 1} more" if len(found) > 1 else ""
    yield Finding(
        "variance at its floor",
        "poor",
        f"The scale of {found[0][1]}{several} is at the least that its likelihood ({field.likelihood}) allows for "
        f"{percent(found[0][0])} of the held-out rows.",
        "The density would grow without bound if it were let: values are repeated, rounded, or follow from other columns to "
        "the last digit, and the bound in nats says how fine the floor is rather than how good the model is.",
        "Give repeated or rounded values a family that has probabilities, not densities; or leave a copied column out; or raise "
        "the floor to the precision of the values.",
        {f"head.{field.name}.floor": 0.1} if len(_names(field)) == 1 or field.columns == () else {"data.bins": 64},
        {"share": found[0][0], "columns": len(found)},
    )


def wrong_likelihood(e: Evidence) -> Iterator[Finding]:
    """Values that the likelihood cannot have, or has no use for; and quantiles that do not hold."""
    for field in e.schema.modelled:
        if len(field.shape) > 1:
            yield from _of_pictures(e, field)
        else:
            yield from _of_columns(e, field)
    yield from _of_quantiles(e)


def _of_pictures(e: Evidence, field: Field) -> Iterator[Finding]:
    if not field.transform.random:
        return
    stored = e.held_settled.fields[field.name]
    if stored.dtype != torch.uint8:
        return
    levels = torch.bincount(stored.flatten().long().cpu(), minlength=256).numpy()
    better, support, _ = likelihood_for("grey" if field.shape[0] == 1 else "rgb", stored[0].numel(), levels)
    grey = float(levels[13:243].sum() / max(levels.sum(), 1))
    binary = field.support == "binary"
    if binary == (support == "binary") or not (binary or support == "binary"):
        return
    if not binary and levels[1:255].any():
        return  # nearly binary pictures under a likelihood of levels lose nothing
    yield Finding(
        "wrong likelihood",
        "poor",
        f"{percent(grey)} of the values of {field.name} are levels between black and white, and {field.likelihood} is a "
        f"distribution of {field.support} values.",
        "Grey is drawn as black or white: the model learns coin flips, and its samples have no greys."
        if binary
        else "All values are black or white, and the likelihood spends its mass on what lies between.",
        f"The likelihood that these values call for is {better}.",
        {f"likelihood.{field.name}": better},
        {"grey": grey},
    )


def _of_columns(e: Evidence, field: Field) -> Iterator[Finding]:
    """Densities on counts, and on numbers that pile up at the end of their range or are coarsely rounded."""
    if field.support != "real":
        return
    stored = e.schema.to_data(_settled(e).only([field.name]))
    values = stored.fields[field.name].double().cpu().numpy()
    seen = stored.seen.get(field.name)
    about = {column.name: column for column in getattr(e.schema, "columns", ())}
    _, px = e.decoded
    for place, name in enumerate(_names(field)):
        column = values[:, place] if seen is None else values[seen[:, place].cpu().numpy(), place]
        if len(column) < FEWEST or getattr(about.get(name), "dated", False):
            continue
        decimals = getattr(about.get(name), "decimals", None)
        column = np.round(column, 6 if decimals is None else decimals) + 0.0  # as read, before float32; and no -0
        levels, times = np.unique(column, return_counts=True)
        if len(levels) < 2:
            continue
        whole = bool((column == np.round(column)).all())
        if whole and levels[0] >= 0 and levels[-1] <= COUNTS and len(levels) > 2:
            few = len(levels) <= 20 and len(column) >= 5 * len(levels)
            yield _misfit(
                name,
                f"All {len(column):,} values of {name} are whole numbers from {levels[0]:g} to {levels[-1]:g}, {len(levels)} "
                f"different ones, under the density {field.likelihood}.",
                "A density of numbers that are counted puts its mass between them; its nats have no lower end, and what it "
                "draws is no count.",
                "ordinal" if few else "count",
                {"distinct": float(len(levels))},
            )
            continue
        end = max(times[0], times[-1]) / len(column)
        if end > max(PILED, 3 / len(column)) and len(levels) > 10:
            value = levels[0] if times[0] >= times[-1] else levels[-1]
            yield _misfit(
                name,
                f"{percent(end)} of the values of {name} are {value:g}, an end of its range, under the density "
                f"{field.likelihood}.",
                "A density cannot say that one value has a share of its own: draws fall beyond the end, and the narrowest "
                "scale is rewarded without end.",
                "amount",
                {"share": float(end)},
            )
            continue
        step = float(np.min(np.diff(levels)))
        on_grid = np.allclose((column - levels[0]) / step, np.round((column - levels[0]) / step), atol=1e-3)
        if on_grid and len(levels) < 0.2 * len(column) and isinstance(px[field.name], Ordered):
            scale = _median_scale(e, field, place)
            if scale < SHARPER * step:
                yield _misfit(
                    name,
                    f"The values of {name} lie {step:g} apart, {len(levels)} different ones, and the middle half of what is "
                    f"predicted is {number(scale, 2)} wide in the median.",
                    "The density lives on the rounding: it stands at the steps and is nearly zero between them, which earns "
                    "nats that say nothing of the quantity.",
                    "binned",
                    {"step": step, "scale": scale},
                )


def _misfit(name: str, evidence: str, meaning: str, family: str, figures: dict[str, float]) -> Finding:
    return Finding(
        "wrong likelihood",
        "poor",
        evidence,
        meaning,
        f"Read the column as {family}.",
        {f"data.families.{name}": family},
        figures,
    )


def _median_scale(e: Evidence, field: Field, place: int) -> float:
    """Of a column's predicted middle halves, in the data's units."""
    rows, px = e.decoded
    one = px[field.name]
    assert isinstance(one, Ordered)
    ends = [
        e.schema.to_data(Batch({field.name: one.quantile(level).expand(len(rows), *field.shape)})).fields[field.name]
        for level in (0.25, 0.75)
    ]
    return float((ends[1] - ends[0])[:, place].median())


def _of_quantiles(e: Evidence) -> Iterator[Finding]:
    """Columns of which too many or too few held-out values lie where they are predicted to lie."""
    rows, px = e.decoded
    worst: tuple[float, str, Field, Numbers] | None = None
    several = 0
    for field in e.schema.modelled:
        one = px.get(field.name)
        if not isinstance(one, Ordered) or field.support not in ("real", "count", "levels", "unit"):
            continue
        below, up_to, count = coverage(one, rows.fields[field.name], rows.seen.get(field.name))
        if len(field.shape) > 1:  # all pixels together
            below, up_to, count = below.mean(1, keepdims=True), up_to.mean(1, keepdims=True), count.sum(keepdims=True)
        levels = np.array(LEVELS)[:, None]
        outside = np.maximum(np.maximum(below - levels, levels - up_to), 0.0)
        off = np.where(count >= FEWEST, (outside[1:-1] - 1.36 / np.sqrt(np.maximum(count, 1))).max(0), 0.0)
        names = _names(field) if len(field.shape) == 1 else [field.name]
        several += int((off > OFF).sum())
        at = int(off.argmax())
        if off[at] > OFF and (worst is None or off[at] > worst[0]):
            middle = np.array([up_to[4, at] - below[2, at], up_to[5, at] - below[1, at]])
            worst = (float(off[at]), names[at], field, middle)
    if worst is None:
        return
    _, name, field, middle = worst
    wide = middle[0] > 0.5
    fixed = isinstance(field.options.get("scale"), (int, float))
    more = f" and {several - 1} more" if several > 1 else ""
    yield Finding(
        "miscalibrated likelihood",
        "fair",
        f"Of {name}{more}, {percent(float(middle[0]))} of the held-out values lie in their predicted middle half and "
        f"{percent(float(middle[1]))} in their predicted 90 % under {field.likelihood}.",
        "The predicted spread is too wide nearly everywhere: the likelihood's shape or its scale is not that of the data."
        if wide
        else "Values lie outside of where they are predicted to lie far more often than they should.",
        "Let the scale be predicted." if fixed else "Try a likelihood whose shape is learned.",
        {f"head.{field.name}.scale": "predicted"}
        if fixed
        else {f"likelihood.{field.name}": {"real": "mixture", "count": "count_mixture"}.get(field.support, "logistic")},
        {"middle half": float(middle[0]), "ninety": float(middle[1])},
    )


def mode_dropping(e: Evidence) -> Iterator[Finding]:
    """Clusters of rows that samples hardly visit."""
    found = e.modes
    if found.lost < DROPPED:
        return
    yield Finding(
        "mode dropping",
        "poor",
        f"{found.dropped.sum()} of {len(found.real)} clusters of rows, which hold {percent(found.lost)} of them, get fewer "
        "than a quarter of their share of the samples.",
        "Some sorts of rows hardly ever come out of the model.",
        "Train on rows that have all sorts in them, for longer, with a larger network.",
        {"train.epochs": 2 * e.spec.train.epochs, "network.hidden": [2 * w for w in e.spec.network.hidden]},
        {"share": found.lost, "clusters": float(found.dropped.sum())},
    )


def _settled(e: Evidence) -> Batch:
    return e.trained_settled if e.data is not None and len(e.data.training) else e.held_settled


def _names(field: Field) -> list[str]:
    return list(field.columns) or [field.name] * (field.shape[0] if len(field.shape) == 1 else 1)


def _per_column(values: torch.Tensor, rows: Batch, field: Field) -> Numbers:
    """(D,) means over the seen rows; of pictures one mean of all."""
    seen = rows.seen.get(field.name)
    weight = torch.ones_like(values) if seen is None else seen.expand_as(values).double()
    if len(field.shape) > 1:
        return np.array([float((values * weight).sum() / weight.sum().clamp_min(1))])
    share: Numbers = ((values * weight).sum(0) / weight.sum(0).clamp_min(1)).cpu().numpy()
    return share
