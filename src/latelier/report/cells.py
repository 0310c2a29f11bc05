"""What a report says of a table's cells: rows as read, errors through the latent and back, filled holes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from latelier.batch import Batch, join
from latelier.doctor.evidence import masked
from latelier.report.columns import Shown, shown
from latelier.report.elements import Html, bullets, escape, figure, folded, joined, number, percent, table
from latelier.report.study import Study
from latelier.report.verdicts import of_imputation
from latelier.tasks.reconstruct import reconstruct

MOST = 30  # columns that are shown of a row
LINES = 16  # columns of an error table that are not folded
FILLED = 400  # rows of which cells are hidden; fewer rows are hidden in more than one way


@dataclass(frozen=True)
class Errors:
    """Of one column: the model's error and that of the mean or mode (see ``Shown.error``)."""

    column: Shown
    model: float
    usual: float

    @property
    def ratio(self) -> float:
        return self.model / self.usual if self.usual > 0 else math.nan


def show_rows(s: Study) -> list[Html]:
    """The first rows with every column's family and share of holes, and what was recognised."""
    stored = s.trained_stored
    about = {c.name: c for c in shown(s.schema, conditions=True)}
    frame = s.model.kind.present(stored.take(torch.arange(min(8, len(stored)))), s.schema)
    heads = []
    for name in list(frame.columns)[:MOST]:
        column = about.get(str(name))
        family = (
            "not modelled"
            if column is None
            else column.field.support + {"condition": ", given", "label": ", the label"}.get(column.field.role, "")
        )
        holes = 0.0 if column is None else float(np.isnan(column.values(stored)).mean())
        heads.append(
            Html(f"{escape(name, 40)}<small>{escape(family)}{f'<br>{percent(holes)} missing' if holes else ''}</small>")
        )
    more = f" The first {MOST} of {frame.shape[1]} columns." if frame.shape[1] > MOST else ""
    words = "Below each name: the family of the column, and its missing share." + more
    return [
        figure(table(heads, _rows(frame), "Rows of the table"), "Rows as they are read", words, wide=True),
        figure(bullets(s.schema.evidence), "What was recognised, and what overrides it", wide=True),
    ]


def reconstructions(s: Study) -> list[Html]:
    """Every column's error through the latent and back, against its mean or mode; the least likely held-out rows."""
    back = s.model.stored(next(reconstruct(s.model.vae, [s.held])))
    lines = [_errors(s, c, c.values(s.held_stored), c.values(back)) for c in shown(s.schema)]
    words = (
        "Held-out rows: x, its mean code, and what is decoded. Below 100 % the code knows more of the column than its mean or "
        "mode does. RMS: root mean square, in the column's unit."
    )
    return [
        figure(_table(lines, "Reconstruction errors"), "Errors, column by column", words, wide=True),
        _worst(s),
        *_filled(s),
    ]


def _worst(s: Study) -> Html:
    order = np.argsort(s.held_scores)[:6]
    frame = s.model.kind.present(s.held_stored.take(torch.from_numpy(order.copy())), s.schema)
    scores = [escape(number(float(s.held_scores[i]), 4)) for i in order]
    rows = [[score, *row] for score, row in zip(scores, _rows(frame), strict=True)]
    heads = [Html("score, nats"), *(escape(name, 40) for name in list(frame.columns)[:MOST])]
    middle = number(float(np.median(s.held_scores)), 4)
    words = f"The middle held-out row scores {middle} nats. Mistakes in the data often end up here."
    return figure(
        table(heads, rows, "The least likely held-out rows"), "The least likely held-out rows", words, wide=True
    )


def _filled(s: Study) -> list[Html]:
    """Hides a tenth of the seen cells of held-out rows, and fills them."""
    columns = shown(s.schema)
    if len(columns) < 2:
        return []
    ids = torch.arange(min(FILLED, 10 * len(s.held))) % len(s.held)
    part = s.held.take(ids.to(s.model.vae.device))
    generator = torch.Generator().manual_seed(0)
    seen = dict(part.seen)
    hidden: dict[str, npt.NDArray[np.bool_]] = {}
    for field in s.schema.modelled:
        values = part.fields[field.name]
        before = part.seen.get(field.name, torch.ones_like(values, dtype=torch.bool))
        hide = before & (torch.rand(values.shape, generator=generator) < 0.1).to(before.device)
        seen[field.name], hidden[field.name] = before & ~hide, hide.cpu().numpy()
    filled = join([masked(b) for b in s.model.imputed([Batch(part.fields, seen, part.log_det)], 32)])
    truth = s.held_stored.take(ids)
    lines = []
    for c in columns:
        asked = hidden[c.field.name][:, c.place]
        if asked.any():
            lines.append(_errors(s, c, c.values(truth)[asked], c.values(Batch(filled.fields))[asked]))
    verdict = of_imputation([line.ratio for line in lines])
    body = joined([Html(f"<p>{escape(verdict.text)}</p>"), _table(lines, "Imputation errors")])
    words = "A tenth of the known cells of held-out rows was hidden, and filled by the mean or mode given the rest of the row."
    return [figure(body, "Filling missing cells", words, wide=True)]


def _errors(s: Study, c: Shown, truth: npt.NDArray[np.float64], guess: npt.NDArray[np.float64]) -> Errors:
    return Errors(c, c.error(truth, guess), c.error(truth, c.typical(c.values(s.trained_stored))))


def _table(lines: Sequence[Errors], label: str) -> Html:
    """The columns that gain most from the model first."""
    rows = []
    for line in sorted(lines, key=lambda line: (math.isnan(line.ratio), line.ratio)):
        write = percent if line.column.coded and math.isfinite(line.model) else number
        bar, share = "", "–"
        if math.isfinite(line.ratio):
            share = percent(line.ratio)
            length = f'min="0" max="1.5" low="0.95" high="1.05" optimum="0" value="{min(line.ratio, 1.5):.3f}"'
            bar = f"<meter {length}>{share}</meter>"
        cells = [line.column.name, "wrong" if line.column.coded else "RMS", write(line.model), write(line.usual), share]
        rows.append([*(escape(cell, 60) for cell in cells), Html(bar)])
    heads = [Html(word) for word in ("column", "error", "model", "mean or mode", "model's share", "")]
    first = table(heads, rows[:LINES], label, numeric=True)
    rest = rows[LINES:]
    return joined([first, folded(f"{len(rest)} more", table(heads, rest, label, numeric=True))]) if rest else first


def _rows(frame: pd.DataFrame) -> list[list[Html]]:
    return [[_cell(value) for value in row[:MOST]] for row in frame.itertuples(index=False, name=None)]


def _cell(value: object) -> Html:
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return Html('<span class="hole">missing</span>')
    return escape(number(value, 5) if isinstance(value, float) else value, 60)
