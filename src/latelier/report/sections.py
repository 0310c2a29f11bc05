"""The parts of a report that are the same for every kind of data: figures, curves, settings."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from latelier.doctor import Finding
from latelier.doctor.finding import NotLooked
from latelier.report import verdicts
from latelier.report.card import of_draws
from latelier.report.elements import (
    Html,
    bullets,
    code,
    escape,
    figure,
    folded,
    headline,
    joined,
    measured,
    number,
    percent,
    table,
)
from latelier.report.plots import bars, curve, histograms, legend
from latelier.report.study import Study, parameters
from latelier.report.usage import cli_use, python_use


def headlines(s: Study) -> list[Html]:
    """One card a figure, with what it means."""
    f, held, trained = s.figures, s.held_figures, s.trained_figures
    units, count = int(f["units"]), parameters(s.model.vae)

    def card(name: str, value: str, unit: str, verdict: verdicts.Verdict, *about: str) -> Html:
        """``about``: findings of the doctor that speak of this figure, and of which the first that was made has the word."""
        told = next((f for f in s.diagnosis.findings if f.name in about), None)
        said = (
            verdict
            if told is None
            else verdicts.Verdict(told.severity, f"{told.name[0].upper()}{told.name[1:]}: {told.try_}")
        )
        return headline(name, value, unit, said.mark, said.text)

    bound = measured(float(f["elbo"]), float(f["elbo_error"]))
    cards = [card("Held-out ELBO", bound, "nats/row", verdicts.of_bound(held.elbo, s.baseline), "underfitting")]
    if "iw" in f:
        closer = "The bound that was trained, closer to log p(x) than the ELBO."
        value = measured(float(f["iw"]), float(f["iw_error"]))
        cards.append(card(of_draws(f).capitalize(), value, "nats/row", verdicts.Verdict("plain", closer)))
    if "bits_per_dim" in f:
        raw = 1 if s.schema.modelled[0].support == "binary" else 8
        cards.append(
            card("Bits per dimension", number(f["bits_per_dim"], 4), "bits", verdicts.of_bits(f["bits_per_dim"], raw))
        )
    books = [book for every in (f.get("books") or {}).values() for book in every]
    unit = "code" if books else "latent dimension"
    apart = math.hypot(held.elbo_error, trained.elbo_error)
    gap = verdicts.of_gap(trained.elbo, held.elbo, apart)
    cards += [
        card("Code (KL)", number(f["kl"], 4), "nats/row", verdicts.of_kl(float(f["kl"]), units, unit), *OF_KL),
        card(
            "Places in use" if books else "Active units",
            f"{f['active']} of {units}",
            "",
            verdicts.of_codes(int(f["active"]), units, books) if books else verdicts.of_units(int(f["active"]), units),
            "posterior collapse",
            "dead codes",
        ),
        card("Training less held out", number(trained.elbo - held.elbo), "nats/row", gap, "overfitting"),
    ]
    if s.log:
        bounds = [float(event["elbo"]) for event in s.log]
        length = verdicts.of_length(bounds, best_of(bounds) + 1, s.model.spec.train.epochs)
        unit = f"epoch{'s' * (len(bounds) != 1)} in {duration(seconds_of(s))}"
        cards.append(card("Training", f"{len(bounds):,}", unit, length, *OF_PACE))
    cards.append(card("Parameters", f"{count:,}", "", verdicts.of_parameters(count, len(s.data.training))))
    return cards


OF_KL = ("KL weight too large", "KL weight too small", "free nats above the KL", "posterior collapse")
OF_PACE = ("learning rate too high", "learning rate too low", "too few epochs")


def doctor(s: Study) -> list[Html]:
    """A card a finding, what was looked at without one, and what could not be looked at."""
    found = s.diagnosis
    cards = [_finding(finding) for finding in found.findings]
    if not cards:
        cards.append(figure(Html("<p>Nothing found.</p>"), "The doctor"))
    words = [escape(f"Nothing found of: {', '.join(found.passed)}.", 2000)] if found.passed else []
    lists = [Html(f"<p>{text}</p>") for text in words]
    if found.skipped:
        lists.append(folded("Not looked for", bullets([f"{name}: {why}" for name, why in found.skipped.items()])))
    return [*cards, figure(joined(lists), "What was looked for", wide=True)]


def _finding(finding: Finding) -> Html:
    """What was found, what it means, and what to type."""
    parts = [Html(f"<p>{escape(text, 1200)}</p>") for text in (finding.evidence, finding.meaning)]
    if finding.with_it:
        parts.append(Html(f"<p>It brings with it: {escape(', '.join(finding.with_it))}.</p>"))
    parts.append(Html(f"<p><b>Try:</b> {escape(finding.try_, 600)}</p>"))
    if finding.options:
        parts.append(code("\n".join(finding.options)))
        parts.append(folded("The whole command", code(finding.command)))
    badge = {"poor": "act", "fair": "look"}[finding.severity]
    title = Html(
        f'<h3 class="finding {finding.severity}">{escape(finding.name)} <span class="badge">{badge}</span></h3>'
    )
    return figure(joined([title, *parts]))


CURVES = (
    ("elbo", "Held-out bound", "ELBO after every epoch; the dot is the model that was kept."),
    ("log_px", "Reconstruction term", "E log p(x | z): how well codes bring rows back."),
    ("kl", "Code (KL)", "What the codes cost: the bound is the reconstruction term less this."),
)


def curves(s: Study) -> list[Html]:
    """The held-out bound and its two terms after every epoch, and how scores of both sorts of rows spread."""
    cards = []
    best = best_of([float(event["elbo"]) for event in s.log])
    spent = duration(seconds_of(s))
    bounds = s.figures.get("refit", {}).get("bounds", (0.0, 0.0))
    refitted = bounds[0] != bounds[1]
    for key, name, caption in CURVES if s.log else ():
        x, y = (np.array([float(event.get(k, math.nan)) for event in s.log]) for k in ("epoch", key))
        alt = f"{name} by epoch, {number(float(y[best]), 5)} at the best one"
        if refitted and key in ("elbo", "kl"):
            caption += f" Then the prior was fitted anew, which gave the {number(float(s.figures[key]), 5)} of the figures above."
        # Early bounds lie far below: the curve is read where it settles. The KL begins near 0, and its peak matters.
        chart = curve(x, y, f"epoch, {spent} in all", "nats/row", alt, best, zoom=key != "kl")
        cards.append(figure(chart, name, caption))
    alt = "Histogram of scores of training and held-out rows"
    both = histograms(s.trained_scores, s.held_scores, alt, "score, nats", height=200)
    keys = legend([("one", "training"), ("two", "held out")])
    words = "log p(x) of single rows, importance-weighted. Two hills that lie apart mean overfitting."
    return [*cards, figure(joined([both, keys]), "Scores", words)]


def coverage(s: Study) -> list[Html]:
    """Whether samples visit every sort of row, as often as there are rows of it."""
    try:
        found = s.seen.modes
    except NotLooked as reason:
        return [figure(Html(f"<p>{escape(str(reason))}</p>"), "Coverage")]
    ratio = found.made / found.real
    missed = int(found.dropped.sum())
    chart = bars(
        ratio,
        [str(i + 1) for i in range(len(ratio))],
        "cluster of rows, the largest first",
        "share of samples / share of rows",
        f"Visits of samples to {len(ratio)} clusters of rows; {missed} are hardly visited",
    )
    told = (
        f"{missed} of them, with {percent(found.lost)} of the rows, are hardly visited" if missed else "all are visited"
    )
    words = (
        f"Rows fall into {len(ratio)} clusters; {told}. At 1 a sort has its share of the samples; at 0 it is left out."
    )
    return [figure(chart, "Coverage", words)]


def settings(s: Study) -> list[Html]:
    """How to use the model, and everything that made it."""
    folder = s.model.folder.name if s.model.folder is not None else "MODEL"
    about = {
        **dict(leaves(s.model.spec.model_dump(mode="json"))),
        "latelier": version("latelier"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    rows = [[escape(name), Html(f"<code>{escape(value)}</code>")] for name, value in about.items()]
    every = table([Html("setting"), Html("value")], rows, "Settings")
    made = [folded("Every setting, seed and version", every), folded("The networks", code(str(s.model.vae)))]
    return [
        figure(joined([code(cli_use(folder, s.schema)), code(python_use(folder, s.schema))]), "Use it", wide=True),
        figure(joined(made), "What made it", wide=True),
    ]


def seconds_of(s: Study) -> float:
    """How long training took."""
    return float(s.log[-1].get("seconds", 0.0)) if s.log else 0.0


def best_of(bounds: list[float]) -> int:
    """The place of the largest finite bound, 0 if there is none."""
    return max(range(len(bounds)), key=lambda i: bounds[i] if math.isfinite(bounds[i]) else -math.inf, default=0)


def duration(seconds: float) -> str:
    """
    >>> duration(12.3), duration(200), duration(9000)
    ('12 s', '3 min 20 s', '2 h 30 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Dotted names and values of a nested dictionary."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
