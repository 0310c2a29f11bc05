"""Faults of the rows: scales, constants and identifiers among the columns, huge values, leaks, too few held out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from latelier.doctor.evidence import Evidence
from latelier.doctor.finding import Finding, NotLooked
from latelier.noise import Keyed
from latelier.wording import measured, number, percent

# Thresholds were set on models of other seeds than those of benchmarks/doctor.py (its --seed0 1000).
UNEVEN = 30.0  # times that one column's spread may be another's, as the model reads them
OFFSET = 10.0  # times its own spread that a column's mean may lie from 0
HUGE = 1e4  # as the model reads values: standard deviations of a column
LEAKED = 0.02  # share of held-out rows that are training rows too
FEW = 30  # held-out rows
RICH = 30.0  # nats of entropy of a row's entries, summed, from which rows that agree in all of them are copies


def unnormalised(e: Evidence) -> Iterator[Finding]:
    """Columns that the network reads on very different scales, or far from 0."""
    spreads: list[tuple[float, float, str]] = []
    for field in e.schema.modelled:
        if field.support != "real":
            continue
        x = e.any_rows.fields[field.name].double().cpu()
        seen = e.any_rows.seen.get(field.name)
        x = x if seen is None else x.masked_fill(~seen.cpu().expand_as(x), torch.nan)
        flat = x.numpy() if len(field.shape) == 1 else x.reshape(-1, 1).numpy()
        for place in range(flat.shape[1]):
            column = flat[np.isfinite(flat[:, place]), place]
            if len(column) > 2 and column.std() > 0:
                name = field.columns[place] if place < len(field.columns) else field.name
                # By quantiles: a few outliers, which are a fault of their own, do not make a column wide.
                low, high = np.quantile(column, [0.05, 0.95])
                width = (high - low) / 3.29 or column.std()
                spreads.append((float(width), abs(float(np.median(column))), name))
    if not spreads:
        raise NotLooked("there are no values on a scale of their own")
    widths = [width for width, _, _ in spreads]
    far = max(spreads, key=lambda s: s[1] / s[0])
    uneven, off = max(widths) / min(widths), far[1] / far[0]
    # A narrow column with a few far values is narrow for being standardised: units are off where nothing is near 1.
    if not (uneven > UNEVEN and (max(widths) > 5 or min(widths) < 0.02)) and not off > OFFSET:
        return
    wide, narrow = max(spreads), min(spreads)
    yield Finding(
        "unnormalised input",
        "poor",
        f"As the network reads them, {wide[2]} spreads by {number(wide[0])} and {narrow[2]} by {number(narrow[0])}; "
        f"{far[2]} lies {number(off, 2)} times its own spread from 0.",
        "The widest columns decide every step, and the others are learned late or never.",
        "Let the columns be standardised when they are read: fit again from the data, without a transform of your own.",
        {},
        {"uneven": uneven, "off": off},
    )


def useless_columns(e: Evidence) -> Iterator[Finding]:
    """Columns of one value, and columns that number the rows."""
    constant = [c.name for c in getattr(e.schema, "columns", ()) if c.family == "constant"]
    if constant:
        yield Finding(
            "constant column",
            "fair",
            f"{_some(constant)} always {'has' if len(constant) == 1 else 'have'} the same value, or none.",
            "It is not modelled, and written back as it is; a constant often is a mistake in the export.",
            "Leave it out, or look at where it comes from.",
            {"data.ignore": [*e.spec.data.ignore, *constant]},
            {"columns": float(len(constant))},
        )
    numbering = list(_numbering(e))
    if numbering:
        yield Finding(
            "ID-like column",
            "fair",
            f"{_some(numbering)}: every row has a value of its own, and they are evenly spaced.",
            "It numbers the rows and says nothing of them, but its nats are in every score, and codes carry it.",
            "Leave it out.",
            {"data.ignore": [*e.spec.data.ignore, *numbering]},
            {"columns": float(len(numbering))},
        )


def _numbering(e: Evidence) -> Iterator[str]:
    """Columns of different whole numbers without large gaps: those of a random sample of 1, 2, 3, ..., in whatever order."""
    if e.data is None:
        return
    stored = e.schema.to_data(e.data.rows.only([f.name for f in e.schema.modelled if len(f.shape) == 1]))
    columns = {c.name: c for c in getattr(e.schema, "columns", ())}
    for field in e.schema.modelled:
        if field.support not in ("real", "count", "amount") or field.name not in stored.fields:
            continue
        for place, name in enumerate(field.columns):
            x = np.round(stored.fields[field.name][:, place].double().cpu().numpy(), 3)
            if len(x) < FEW or getattr(columns.get(name), "dated", False) or (x != np.round(x)).any():
                continue
            gaps = np.diff(np.unique(x))
            if len(gaps) == len(x) - 1 and gaps.max() <= 2 * gaps.min():
                yield name


def huge_values(e: Evidence) -> Iterator[Finding]:
    """Values that no network can read without its gradients going astray."""
    found: list[tuple[float, str, int]] = []
    rows = e.data.rows if e.data is not None else e.held_settled
    for field in e.schema.modelled:
        if len(field.shape) > 1 or field.support not in ("real", "amount"):
            continue
        x = rows.fields[field.name].double().abs()
        seen = rows.seen.get(field.name)
        x = x if seen is None else torch.where(seen, x, 0.0)
        most, places = x.max(0)
        found += [(float(m), name, int(r)) for m, r, name in zip(most, places, field.columns, strict=False) if m > HUGE]
    if not found:
        return
    size, name, row = max(found)
    yield Finding(
        "huge values",
        "poor",
        f"Row {row} has {name} at {number(size)} times the column's spread as the model reads it; {len(found)} column(s) reach "
        f"{number(HUGE)}.",
        "One such value gives a loss and gradients that are huge or not finite (NaN), and every step with its row is skipped or "
        "spoils the weights.",
        "Correct or leave out these values, or treat the column as a count of bins.",
        {"data.bins": 64, "train.clip": 10.0},
        {"largest": size, "columns": float(len(found))},
    )


def leak(e: Evidence) -> Iterator[Finding]:
    """Held-out rows that stand among the training rows, where rows are too rich to agree by chance."""
    if e.data is None or not len(e.data.training):
        raise NotLooked(e.absent)
    if _entropy(e) < RICH:
        raise NotLooked("rows have too few different values to tell copies from rows that agree by chance")
    names = [f.name for f in e.schema.modelled]
    trained = set(Keyed.of(e.data.rows.take(e.data.training).only(names)).keys.tolist())
    held = Keyed.of(e.data.held.only(names)).keys.tolist()
    copies = sum(key in trained for key in held)
    share = copies / len(held)
    if share <= LEAKED:
        return
    yield Finding(
        "leak of duplicated rows",
        "poor",
        f"{copies:,} of {len(held):,} held-out rows ({percent(share)}) are training rows too, value by value.",
        "The held-out bound is measured in part on rows that were trained on, so it is too good, and overfitting does not show.",
        "Remove the copies from the data before they are split, or hold out rows of your own with --test.",
        {},
        {"share": share},
    )


def _entropy(e: Evidence) -> float:
    """Nats of the entries of held-out rows, each by itself, summed."""
    total = 0.0
    for field in e.schema.modelled:
        values = e.held_settled.fields[field.name].flatten(1).cpu().numpy()
        for place in range(values.shape[1]):
            share = np.unique(values[:, place], return_counts=True)[1] / len(values)
            total -= float((share * np.log(share)).sum())
    return total


def few_held_out(e: Evidence) -> Iterator[Finding]:
    """So few rows that the held-out figures say little."""
    rows = len(e.data.held) if e.data is not None else int(e.figures["rows"])
    if rows >= FEW:
        return
    bound = measured(float(e.figures["elbo"]), float(e.figures["elbo_error"]))
    yield Finding(
        "too few held-out rows",
        "fair",
        f"{rows} row(s) were held out; the bound is {bound} nats a row.",
        "The best epoch is chosen, and every figure is measured, on so few rows that chance decides.",
        "Hold out a larger share.",
        {"data.holdout": 0.3},
        {"rows": float(rows)},
    )


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
