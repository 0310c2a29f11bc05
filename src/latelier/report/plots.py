"""Charts as inline SVG: sharp at any size, small, and coloured by the page, so that one drawing serves light and dark.

Classes ``one``, ``two`` and ``c0`` ... ``c9`` get their colours from ``style.css``. Coordinates are pixels of the drawing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latelier.report.elements import Html, escape, number, percent

Numbers = npt.NDArray[np.float64]
COLOURS = 10  # classes c0 ... c9
WIDTH, HEIGHT = 360, 220
TALL = 9  # of a line of words


@dataclass(frozen=True)
class Axes:
    """Data coordinates -> the drawing's, and the frame around them."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = 44
    right: int = 10
    top: int = 10
    bottom: int = 34
    whole: bool = False  # only whole numbers make sense along x, as of epochs

    def across(self, x: Numbers | float) -> Numbers:
        low, high = self.x
        return self.left + (np.asarray(x, float) - low) / ((high - low) or 1.0) * (self.width - self.left - self.right)

    def down(self, y: Numbers | float) -> Numbers:
        low, high = self.y
        return (
            self.height
            - self.bottom
            - (np.asarray(y, float) - low) / ((high - low) or 1.0) * (self.height - self.top - self.bottom)
        )

    def frame(self, x_name: str = "", y_name: str = "", x_ticks: bool = True, y_ticks: bool = True) -> str:
        """Grid lines, their values, and what the axes are."""
        floor, right = self.height - self.bottom, self.width - self.right
        parts = []
        for value, words in zip(*labelled(*self.y, 4), strict=True) if y_ticks else ():
            at = float(self.down(value))
            parts.append(f'<path class="grid" d="M{self.left} {at:.1f}H{right}"/>')
            if not y_name or at > self.top + TALL:  # else both would stand in one place
                parts.append(note(self.left - 5, at + 3.5, words, "end"))
        for value, words in zip(*labelled(*self.x, max(2, self.width // 70)), strict=True) if x_ticks else ():
            if self.whole and value % 1:
                continue
            parts.append(note(float(self.across(value)), floor + 14, words, "middle"))
        parts.append(f'<path class="axis" d="M{self.left} {floor}H{right}"/>')
        parts.append(note((self.left + right) / 2, self.height - 4, escape(x_name, 60), "middle") if x_name else "")
        parts.append(note(2, self.top, escape(y_name, 60)) if y_name else "")
        return "".join(parts)


def note(x: float, y: float, words: str, css: str = "start") -> str:
    """Escaped words at a place: from there, around there, or up to there."""
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}">{words}</text>'


def rect(css: str, x: float, y: float, width: float, height: float, opacity: float = 1.0) -> str:
    fade = f' opacity="{opacity:.2f}"' if opacity < 1 else ""
    return f'<rect class="{css}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"{fade}/>'


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most about ``most`` round numbers from ``low`` to ``high``.

    >>> ticks(0, 97, 5), ticks(-0.3, 0.31, 4)
    ([0.0, 20.0, 40.0, 60.0, 80.0], [-0.2, 0.0, 0.2])
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low] if math.isfinite(low) else []
    rough = (high - low) / most
    base = 10.0 ** math.floor(math.log10(rough))
    step = next(base * m for m in (1, 2, 2.5, 5, 10) if base * m >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def labelled(low: float, high: float, most: int) -> tuple[list[float], list[str]]:
    """Ticks and their words, with as many digits as tell neighbours apart."""
    marks = ticks(low, high, most)
    largest = max((abs(m) for m in marks), default=0.0)
    gap = marks[1] - marks[0] if len(marks) > 1 else largest
    digits = 3 if not gap or not largest else min(12, 2 + max(1, math.ceil(math.log10(largest / gap) + 1e-9)))
    if 1e4 <= largest < 1e9 and gap >= 1000:
        return marks, [number(m / 1000) + "k" if m else "0" for m in marks]
    return marks, [number(m, digits) for m in marks]


def span(*values: Numbers, pad: float = 0.05) -> tuple[float, float]:
    """The range of all finite values, with some air; never empty."""
    finite = np.concatenate([np.asarray(v, float).ravel() for v in values]) if values else np.zeros(0)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    air = (high - low) * pad or max(abs(low) * 0.05, 0.5)
    return low - air, high + air


def drawing(body: str, alt: str, width: int = WIDTH, height: int = HEIGHT) -> Html:
    """The whole of a chart; it grows with its card, up to a point."""
    about = f'role="img" aria-label="{escape(alt, 400)}"'
    return Html(f'<svg viewBox="0 0 {width} {height}" style="max-width:{int(width * 1.45)}px" {about}>{body}</svg>')


def legend(names: Sequence[tuple[str, str]]) -> Html:
    """(class, words) pairs, as text below a chart."""
    keys = "".join(f'<span><i class="{css}"></i>{escape(words, 40)}</span>' for css, words in names)
    return Html(f'<p class="legend">{keys}</p>')


def path(x: Numbers, y: Numbers) -> str:
    """A line through finite points."""
    keep = np.isfinite(x) & np.isfinite(y)
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x[keep], y[keep], strict=True)) if keep.any() else ""


def curve(
    x: Numbers, y: Numbers, x_name: str, y_name: str, alt: str, best: int | None = None, zoom: bool = False
) -> Html:
    """One line, with point ``best`` marked. ``zoom`` leaves the first, far lower values out of the range."""
    shown = y[np.isfinite(y)]
    if zoom and len(shown) > 4:
        shown = shown[shown >= np.quantile(shown, 0.25) - 2 * (shown.max() - np.quantile(shown, 0.25))]
    axes = Axes(span(x, pad=0.02), span(shown, pad=0.08), whole=True)
    clear = np.where(np.isfinite(y) & (y >= axes.y[0]), y, np.nan)
    body = axes.frame(x_name, y_name) + f'<path class="line one" d="{path(axes.across(x), axes.down(clear))}"/>'
    if best is not None and math.isfinite(clear[best]):
        a, b = float(axes.across(x[best])), float(axes.down(y[best]))
        side = "end" if a > axes.width / 2 else "start"
        body += f'<circle class="dot two" cx="{a:.1f}" cy="{b:.1f}" r="4.5"/>'
        body += note(a, b - 9 if b > axes.height / 2 else b + 19, number(float(y[best]), 5), side)
    return drawing(body, alt)


def bars(values: Numbers, names: Sequence[str], x_name: str, y_name: str, alt: str) -> Html:
    """Upright bars from 0; names are shown as far as there is room."""
    values = np.nan_to_num(values)
    top = float(values.max(initial=0.0)) or 1.0
    axes = Axes((-0.6, len(values) - 0.4), (min(0.0, float(values.min(initial=0.0))), top * 1.08))
    width = min(26.0, 0.8 * float(axes.across(1.0) - axes.across(0.0)))
    zero = float(axes.down(0.0))
    body = axes.frame(x_name, y_name, x_ticks=False)
    every = max(1, math.ceil(len(values) / 20))
    for i, value in enumerate(values):
        x, y = float(axes.across(i)), float(axes.down(value))
        body += rect("one", x - width / 2, min(y, zero), width, max(abs(zero - y), 0.5))
        if i % every == 0:
            body += note(x, axes.height - axes.bottom + 14, escape(names[i], 8), "middle")
    return drawing(body, alt)


def histograms(
    one: Numbers, two: Numbers, alt: str, x_name: str = "", bins: int = 24, width: int = WIDTH, height: int = 150
) -> Html:
    """Two samples over each other, in equal bins: areas of equal size. The outer half percent is gathered in the end bins."""
    one, two = one[np.isfinite(one)], two[np.isfinite(two)]
    if not len(one) and not len(two):
        return Html('<p class="empty">no values</p>')
    low, high = np.quantile(one if len(one) else two, [0.005, 0.995])
    if high <= low:
        low, high = span(one if len(one) else two)
    edges = np.linspace(low, high, bins + 1)
    shares = [np.histogram(v.clip(low, high), edges)[0] / max(len(v), 1) for v in (one, two)]
    axes = Axes(
        (low, high),
        (0.0, max(float(s.max()) for s in shares) * 1.05 or 1.0),
        width=width,
        height=height,
        left=12,
        top=6,
        bottom=34 if x_name else 18,
    )
    steps = np.repeat(axes.across(edges), 2)
    floor = axes.height - axes.bottom
    body = ""
    for css, share in zip(("area one", "line two"), shares, strict=True):
        tops = np.concatenate([[floor], np.repeat(axes.down(share), 2), [floor]])
        body += f'<path class="{css}" d="{path(steps, tops)}"/>'
    return drawing(axes.frame(x_name, y_ticks=False) + body, alt, width, height)


def paired_bars(
    names: Sequence[str], one: Numbers, two: Numbers, alt: str, width: int = WIDTH, height: int = 150
) -> Html:
    """Categories from the top: the data's share as a bar, the samples' as a line across it."""
    line = min(24.0, (height - 12) / max(len(names), 1))
    most = max(float(one.max(initial=0.0)), float(two.max(initial=0.0))) or 1.0
    axes = Axes((0.0, most), (0, 1), width=width, height=height, left=int(0.36 * width), right=38)
    letters = int(axes.left / 6.2)
    body = ""
    for i, name in enumerate(names):
        y = 6 + i * line
        a, b = float(axes.across(one[i])), float(axes.across(two[i]))
        body += note(axes.left - 6, y + line / 2 + 3.5, escape(name, letters), "end")
        body += rect("area one", axes.left, y + line * 0.14, max(a - axes.left, 0.5), line * 0.72)
        body += f'<path class="line two" d="M{b:.1f} {y + 2:.1f}V{y + line - 2:.1f}"/>'
        body += note(max(a, b) + 5, y + line / 2 + 3.5, percent(float(one[i])))
    return drawing(body, alt, width, height)


def scatter(x: Numbers, y: Numbers, classes: Sequence[str], alt: str, x_name: str, y_name: str) -> Html:
    """Points, coloured by class; one path a class, so that thousands stay small."""
    axes = Axes(span(x), span(y), height=320, left=34)
    across, down = axes.across(x), axes.down(y)
    body = axes.frame(x_name, y_name)
    for css in sorted(set(classes)):
        mine = [i for i, c in enumerate(classes) if c == css and math.isfinite(across[i] + down[i])]
        body += f'<path class="points {css}" d="{"".join(f"M{across[i]:.1f} {down[i]:.1f}h0" for i in mine)}"/>'
    return drawing(body, alt, height=320)


def heat(matrix: Numbers, rows: Sequence[str], columns: Sequence[str], alt: str, most: float = 1.0) -> Html:
    """A matrix of signed shares of ``most``: colour is the sign, opacity the size."""
    left, top = 92, 8
    side = (WIDTH - left - 8) / max(len(columns), 1)
    tall = min(side, 26.0)
    bottom = top + tall * len(rows)
    body = ""
    for i, name in enumerate(rows):
        if i % max(1, math.ceil(9 / tall)) == 0:
            body += note(left - 5, top + (i + 0.5) * tall + 3.5, escape(name, 15), "end")
    for (i, j), value in np.ndenumerate(matrix):
        share = min(abs(value) / most, 0.99) if math.isfinite(value) else 0.0
        if share >= 0.01:
            body += rect("one" if value < 0 else "two", left + j * side, top + i * tall, side, tall, share)
    body += rect("outline", left, top, side * len(columns), tall * len(rows))
    for j, name in enumerate(columns):
        if j % max(1, math.ceil(9 / side)) == 0:
            turned = f'transform="translate({left + (j + 0.5) * side + 3:.1f} {bottom + 6:.1f}) rotate(-55)"'
            body += f'<text class="end" {turned}>{escape(name, 15)}</text>'
    return drawing(body, alt, height=int(bottom + 72))


def losses(names: Sequence[str], values: Numbers, errors: Numbers, alt: str) -> Html:
    """Bars that lie, one a line beside its name: to the right what is lost, to the left what is gained, with one standard
    error to both sides. Bars of very different length are told apart by their square roots."""
    letters = min(max(map(len, names), default=0), 26)
    line, height = 24, 24 * len(names) + 12
    known, errors = np.nan_to_num(values), np.nan_to_num(errors)

    def rooted(v: Numbers) -> Numbers:
        return np.sign(v) * np.sqrt(np.abs(v))

    ends = rooted(np.stack([known - errors, known, known + errors]))
    low, high = min(0.0, float(ends.min(initial=0.0))), max(float(ends.max(initial=0.0)), 1e-9)
    axes = Axes((low, high), (0, 1), width=WIDTH, height=height, left=int(6.2 * letters) + 12, right=58)
    zero = float(axes.across(0.0))
    body = ""
    for i, name in enumerate(names):
        y = 6 + i * line
        near, end, far = (float(v) for v in axes.across(ends[:, i]))
        body += note(axes.left - 8, y + 14, escape(name, letters), "end")
        body += rect("one" if known[i] >= 0 else "two", min(zero, end), y + 5, max(abs(end - zero), 0.8), 12)
        body += f'<path class="axis" d="M{near:.1f} {y + 11}H{far:.1f}"/>'
        body += note(max(zero, far) + 6, y + 14, number(float(known[i]), 3))
    return drawing(body, alt, height=height)
