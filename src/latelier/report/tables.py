"""What a report shows of tables: rows, sampled columns against the data's, what each latent dimension moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from latelier.batch import join
from latelier.doctor.evidence import masked
from latelier.report.cells import reconstructions, show_rows
from latelier.report.columns import Numbers, Shown, correlations, noise_floor, shown
from latelier.report.elements import Html, escape, figure, folded, joined, number, table
from latelier.report.plots import heat, histograms, legend, paired_bars
from latelier.report.study import Colouring, Study
from latelier.report.verdicts import of_columns
from latelier.tasks.sample import sample
from latelier.tasks.walk import traverse

__all__ = ["colourings", "reconstructions", "samples", "show_rows", "walks"]

SAMPLES = 2000
PANELS = 24  # columns that get a chart of their own, the farthest from the data first
MATRIX = 24  # columns of a correlation matrix
WIDE, TALL = 250, 130  # of a small chart


@dataclass(frozen=True)
class Beside:
    """A column of the data and of the samples, how far apart they are, and how far chance alone would put them."""

    column: Shown
    data: Numbers
    samples: Numbers
    distance: float
    chance: float


def samples(s: Study) -> list[Html]:
    """Sampled columns against the data's, the farthest first, and their correlations."""
    ids = torch.arange(SAMPLES) % len(s.held)
    drawn = s.model.stored(join(list(sample(s.model.vae, [s.held.take(ids.to(s.model.vae.device))]))))
    # Under conditions the samples follow the held-out rows' conditions, so it is these that they are compared with.
    real = s.held_stored if s.schema.conditions else join([masked(s.trained_stored), masked(s.held_stored)])
    lines = []
    for c in shown(s.schema):
        one, two = c.values(real), c.values(drawn)
        lines.append(Beside(c, one, two, c.distance(one, two), noise_floor(one, two)))
    order = sorted(lines, key=lambda line: -line.distance)
    verdict = of_columns([line.distance for line in order], [line.chance for line in order])
    parts = [
        Html(f"<p>{escape(verdict.text)}</p>"),
        legend([("one", "data"), ("two", "samples")]),
        Html(f'<div class="panels">{joined(_panel(line) for line in order[:PANELS])}</div>'),
        folded("All distances", _distances(order)),
    ]
    words = (
        "How far samples are from the data, the farthest column first. KS: the largest gap between the two cumulative shares. "
        "TV: the share of rows that would have to change their category. 0 is the same, 1 is apart."
    )
    more = f" The {PANELS} farthest of {len(order)} columns." if len(order) > PANELS else ""
    return [figure(joined(parts), "Column by column", words + more, wide=True), *_pairs(lines)]


def walks(s: Study) -> list[Html]:
    """What each latent dimension moves: the decode at +2 less the decode at -2, in each column's own spread."""
    columns = [c for c in shown(s.schema) if not c.named][:MATRIX]
    dims = s.model.liveliest()[:12]
    if not columns or not dims:
        return []
    start = s.held.take(torch.tensor([0], device=s.model.vae.device)) if s.schema.conditions else None
    ends = s.model.stored(traverse(s.model.vae, start, len(dims), 2, 2.0, dims))
    moved = np.zeros((len(dims), len(columns)))
    for j, c in enumerate(columns):
        at = c.values(ends).reshape(len(dims), 2)
        known = c.values(s.trained_stored)
        moved[:, j] = (at[:, 1] - at[:, 0]) / ((np.nanstd(known) if np.isfinite(known).any() else 0.0) or 1.0)
    moved = np.nan_to_num(moved, nan=0.0, posinf=0.0, neginf=0.0)
    most = max(1.0, float(np.abs(moved).max()))
    names = [f"{s.model.vae.latents.first.name}[{d}]" for d in dims]
    chart = heat(moved, names, [c.name for c in columns], "Change of every column along every dimension", most)
    words = (
        "The mean of p(x | z) at +2 less that at −2, the other dimensions at their centre; the liveliest dimension first. "
        f"Full colour is {number(most, 2)} standard deviations of the column."
    )
    body = joined([chart, legend([("two", "rises"), ("one", "falls")])])
    return [figure(body, "What each dimension moves", words)]


def colourings(s: Study) -> list[Colouring]:
    """Columns of the training rows, then of the held-out rows."""
    out = []
    for c in shown(s.schema, conditions=True)[:60]:
        values = np.concatenate([c.values(b) for b in (s.trained_stored, s.held_stored)])
        names = tuple(c.word(code) for code in range(len(c.shares(values)[0]))) if c.coded else ()
        out.append(Colouring(c.name, values, names))
    return out


def _panel(line: Beside) -> Html:
    c = line.column
    alt = f"Column {c.name}: data and samples"
    chart = _bars(line, alt) if c.coded else histograms(line.data, line.samples, alt, width=WIDE, height=TALL)
    words = f"{'TV' if c.coded else 'KS'} {number(line.distance, 2)}"
    return Html(f'<div class="panel"><p><b>{escape(c.name, 40)}</b><span>{words}</span></p>{chart}</div>')


def _bars(line: Beside, alt: str, most: int = 6) -> Html:
    """The most frequent categories, and all others together."""
    c = line.column
    a, b = c.shares(line.data, line.samples)
    order = np.argsort(-a, kind="stable")
    if len(a) <= most:
        return paired_bars([c.word(int(k)) for k in order], a[order], b[order], alt, WIDE, TALL)
    first, rest = order[: most - 1], order[most - 1 :]
    names = [*(c.word(int(k)) for k in first), f"{len(rest)} others"]
    return paired_bars(names, np.append(a[first], a[rest].sum()), np.append(b[first], b[rest].sum()), alt, WIDE, TALL)


def _distances(lines: Sequence[Beside]) -> Html:
    rows = [
        [
            escape(line.column.name, 60),
            escape(line.column.field.support),
            *(escape(number(v, 2)) for v in (line.distance, line.chance)),
        ]
        for line in lines
    ]
    heads = [Html(word) for word in ("column", "family", "distance", "of chance alone")]
    return table(heads, rows, "Distances", numeric=True)


def _pairs(lines: Sequence[Beside]) -> list[Html]:
    """Correlations of data and samples, side by side."""
    ordered = [line for line in lines if not line.column.named][:MATRIX]
    if len(ordered) < 2:
        return []
    names = [line.column.name for line in ordered]
    one, two = correlations([line.data for line in ordered]), correlations([line.samples for line in ordered])
    gap = float(np.abs(one - two)[~np.eye(len(names), dtype=bool)].mean())
    keys = legend([("two", "together"), ("one", "against")])
    words = f"A pair of columns is {number(gap, 2)} off on average."
    return [
        figure(joined([heat(one, names, names, "Correlations of the data"), keys]), "Correlations of the data"),
        figure(
            joined([heat(two, names, names, "Correlations of the samples"), keys]), "Correlations of the samples", words
        ),
    ]
