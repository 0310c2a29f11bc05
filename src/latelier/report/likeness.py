"""The page that sets made rows beside real ones: columns, pairs, use, distance. Measured in ``fidelity``, drawn here."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from latelier.fidelity import Fidelity
from latelier.fidelity.frames import Numbers
from latelier.fidelity.shapes import correlations, seen
from latelier.report import verdicts
from latelier.report.elements import Html, escape, figure, folded, headline, joined, number, percent, table
from latelier.report.page import document
from latelier.report.plots import heat, histograms, legend, paired_bars
from latelier.store import write_atomically

PANELS = 48  # columns that get a chart, the least alike first
MATRIX = 24  # columns of a matrix
BARS = 6  # categories of a chart
WIDE, TALL = 250, 130
KEYS = (("one", "real"), ("two", "made"))


def write_likeness(found: Fidelity, name: str, path: Path) -> Path:
    """One HTML file that needs no other, written atomically."""
    write_atomically(path, likeness(found, name).encode())
    return path


def likeness(found: Fidelity, name: str) -> Html:
    """The whole document."""
    split = "two halves of them stood for training and test rows" if found.split else "held out of training"
    lead = f"{found.rows:,} made rows beside {len(found.table.parts[0]):,} real ones; {split}."
    return document(
        "fidelity",
        escape(name),
        escape(lead),
        [
            (
                "figures",
                "Figures",
                "Made rows against real rows, each figure with what it means.",
                lambda: headlines(found),
            ),
            ("columns", "Columns", "Each column by itself, the least alike first.", lambda: columns(found)),
            ("pairs", "Pairs", "How columns go together.", lambda: pairs(found)),
            ("use", "Use", "What can be learnt from made rows in place of real ones.", lambda: use(found)),
            ("distance", "Distance", "How near made rows come to the rows of training.", lambda: distance(found)),
        ],
    )


def headlines(found: Fidelity) -> list[Html]:
    (made, real), (copies, copies_real) = found.distances.at(0.05), found.distances.copies
    measure = next(reversed(found.on_made))
    chance = 0.5 if measure == "AUC" else 0.0
    cards = [
        (
            "Column shapes",
            found.column_likeness,
            "1 is the same",
            verdicts.of_likeness(found.column_likeness, "columns"),
        ),
        ("Pair trends", found.pair_likeness, "1 is the same", verdicts.of_likeness(found.pair_likeness, "pairs")),
        (
            f"Predicting {found.target}",
            found.on_made[measure],
            measure,
            verdicts.of_use(found.on_made[measure], found.on_real[measure], chance),
        ),
        ("Discriminator", found.discriminator, "AUC, 0.5 is chance", verdicts.of_discriminator(found.discriminator)),
        (
            "Nearest twentieth",
            made,
            f"from a training row; real {number(real, 3)}",
            verdicts.of_distance(made, real, copies, copies_real),
        ),
    ]
    return [headline(name, number(value, 3), unit, said.mark, said.text) for name, value, unit, said in cards]


def columns(found: Fidelity) -> list[Html]:
    """A chart of each, and all similarities."""
    order = sorted(found.columns, key=lambda name: found.columns[name])
    panels = joined(_panel(found, name) for name in order[:PANELS])
    rows = [[escape(name, 60), escape(number(found.columns[name], 3))] for name in order]
    words = (
        "KS: the largest gap between the cumulative shares of numbers; TV: the share of rows that would have to change their "
        "category. The similarity is 1 less that."
    )
    more = f" The {PANELS} least alike of {len(order)} columns." if len(order) > PANELS else ""
    body = [
        legend(KEYS),
        Html(f'<div class="panels">{panels}</div>'),
        folded("All similarities", table([Html("column"), Html("similarity")], rows, "Similarities", numeric=True)),
    ]
    return [figure(joined(body), "Column by column", words + more, wide=True)]


def _panel(found: Fidelity, name: str) -> Html:
    place = found.table.column(name)
    real, made = (seen(part[:, place]) for part in found.table.parts)
    alt = f"Column {name}: real and made"
    if found.table.numeric(place):
        chart = histograms(real, made, alt, width=WIDE, height=TALL)
    else:
        chart = _bars(found.table.levels[place], real, made, alt)
    words = f"{'KS' if found.table.numeric(place) else 'TV'} {number(1 - found.columns[name], 2)}"
    return Html(f'<div class="panel"><p><b>{escape(name, 40)}</b><span>{words}</span></p>{chart}</div>')


def _bars(levels: tuple[str, ...], real: Numbers, made: Numbers, alt: str) -> Html:
    """The most frequent categories, and all others together."""
    a, b = (np.bincount(v.astype(int), minlength=len(levels)) / max(len(v), 1) for v in (real, made))
    order = np.argsort(-a, kind="stable")
    first, rest = (order, order[:0]) if len(order) <= BARS else (order[: BARS - 1], order[BARS - 1 :])
    names = [levels[k] for k in first] + [f"{len(rest)} others"] * (len(rest) > 0)
    one, two = ([*side[first], *([side[rest].sum()] if len(rest) else [])] for side in (a, b))
    return paired_bars(names, np.array(one), np.array(two), alt, WIDE, TALL)


def pairs(found: Fidelity) -> list[Html]:
    """Correlations of both sides, and where two columns go together otherwise than they should."""
    if len(found.pairs) < 2:
        return []
    numeric = [i for i in range(len(found.pairs)) if found.table.numeric(i)][:MATRIX]
    cards = []
    if len(numeric) > 1:
        names = [found.table.names[i] for i in numeric]
        keys = legend([("two", "together"), ("one", "against")])
        for part, whose in zip(found.table.parts, ("real", "made"), strict=True):
            matrix = correlations(part[:, numeric], [True] * len(numeric)) + np.eye(len(numeric))
            title = f"Correlations of {whose} rows"
            cards.append(figure(joined([heat(matrix, names, names, title), keys]), title))
    some = list(range(min(len(found.pairs), MATRIX)))
    names = [found.table.names[i] for i in some]
    apart = np.nan_to_num(1 - found.pairs[np.ix_(some, some)])
    words = (
        "One less the similarity of every two columns: half the difference of correlations of two numbers, total variation of "
        "the contingency table elsewhere. Full colour is 0.25."
    )
    cards.append(
        figure(heat(apart, names, names, "How far pairs are apart", most=0.25), "How far pairs are apart", words)
    )
    worst = [
        (found.pairs[i, j], i, j) for i in range(len(found.pairs)) for j in range(i) if not np.isnan(found.pairs[i, j])
    ]
    rows = [
        [escape(found.table.names[i], 40), escape(found.table.names[j], 40), escape(number(float(value), 3))]
        for value, i, j in sorted(worst)[:10]
    ]
    heads = [Html("column"), Html("and"), Html("similarity")]
    cards.append(figure(table(heads, rows, "The least alike pairs", numeric=True), "The least alike pairs"))
    return cards


def use(found: Fidelity) -> list[Html]:
    rows = [
        [escape(name), escape(number(found.on_made[name], 4)), escape(number(found.on_real[name], 4))]
        for name in found.on_made
    ]
    heads = [Html("on real test rows"), Html("from made rows"), Html("from real rows")]
    words = "Gradient-boosted trees. Another column is predicted with --target COLUMN."
    return [figure(table(heads, rows, "Use", numeric=True), f"Predicting {found.target}", words)]


def distance(found: Fidelity) -> list[Html]:
    near = found.distances
    rows = []
    for name, share in (("5th percentile", 0.05), ("median", 0.5), ("95th percentile", 0.95)):
        made, real = near.at(share)
        rows.append([escape(name), escape(number(made, 3)), escape(number(real, 3))])
    copies, copies_real = near.copies
    rows.append([Html("copies"), escape(percent(copies)), escape(percent(copies_real))])
    words = (
        "Gower's distance to the closest training row, a mean over columns: 0 or 1 for categories, the difference of ranks for "
        "numbers. Real: rows that were not among the training rows."
    )
    chart = joined([legend(KEYS), histograms(near.real, near.made, "Distance to the closest training row", "distance")])
    heads = [Html("distance"), Html("made rows"), Html("real rows")]
    return [
        figure(chart, "Distance to the closest training row", words),
        figure(table(heads, rows, "Distances", numeric=True), "In figures"),
    ]
