"""The page of a decoder that was taken apart: what each damage costs in nats, and what it looks like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from latelier.batch import Batch
from latelier.kinds.base import Kind
from latelier.report.columns import shown
from latelier.report.elements import (
    Html,
    escape,
    figure,
    folded,
    headline,
    joined,
    measured,
    number,
    percent,
    strip,
    table,
)
from latelier.report.page import document
from latelier.report.plots import losses
from latelier.report.sheets import sheet
from latelier.report.verdicts import of_exchange, of_spread
from latelier.store import write_atomically
from latelier.tasks.dissect import Damage, Dissection

COLUMNS = 8  # that suffer most, of a table
GROUPS = {
    "z": ("The code", "Every row decodes another code than its own."),
    "variables": (
        "Variables",
        "One latent variable is drawn from its prior given those above it; the others are the row's own.",
    ),
    "dimensions": ("Dimensions", "One dimension, or a few, drawn from the prior; the others are the row's own."),
    "temperature": ("Temperature", "Draws of q(z | x) moved towards its mean (below 1) or away from it."),
    "noise": ("Noise", "Normal noise added to the row's own code, in standard deviations."),
    "c": ("The condition", "The row's own code, read under another condition or none."),
    "network": (
        "The network",
        "Skip connections cut, and the weights of one part after the other set back to what they were "
        "before training (Zhang et al. 2022: layers that can be reset at no cost did not need to learn).",
    ),
}
DEFINITION = (
    "A row's loss is log p(x | z, c) with everything whole, less the same with one thing spoilt; z was drawn from q(z | x, c) "
    "once for both. The KL is that of the row's own code on both sides, so the bound loses as much. Nats a row; ± is one "
    "standard error of the paired differences."
)


class Subject(Protocol):
    """The part of a model that this page asks for."""

    schema: Any
    kind: Kind[Any]

    def stored(self, drawn: Batch, conditions: Batch | None = None) -> Batch: ...


def write_dissection(model: Subject, found: Dissection, name: str, path: Path) -> Path:
    """One HTML file that needs no other, written atomically."""
    write_atomically(path, dissection(model, found, name).encode())
    return path


def dissection(model: Subject, found: Dissection, name: str) -> Html:
    """The whole document."""
    lead = f"{found.rows:,} rows through the decoder, with one thing spoilt at a time. {DEFINITION}"
    groups = [group for group in GROUPS if found.of(group)]
    plan = [("figures", "Figures", "What matters most.", lambda: headlines(found))]
    for group in groups:
        title, words = GROUPS[group]
        plan.append((group, title, words, lambda group=group: _group(model, found, group)))  # type: ignore[misc]
    return document("dissection", escape(name), escape(lead, 900), plan)


def headlines(found: Dissection) -> list[Html]:
    """The whole model, and the worst of each sort of damage."""
    cards = [
        headline(
            "Everything whole",
            number(found.log_px, 5),
            "nats/row",
            "plain",
            f"E log p(x | z), with a code of {number(found.kl, 3)} nats of KL.",
        )
    ]
    exchange = found.of("z")[0]
    said = of_exchange(exchange.loss, exchange.error, found.kl)
    cards.append(_card("z exchanged among rows", exchange, said.mark, said.text))
    if found.of("c"):
        one = found.of("c")[0]
        said = of_exchange(one.loss, one.error, None)
        cards.append(_card("c exchanged among rows", one, said.mark, said.text))
    single = sorted(found.of("dimensions"), key=lambda d: -d.loss)
    if len(single) > 1:
        said = of_spread([d.loss for d in single], [d.felt for d in single])
        cards.append(_card(f"Worst dimension, {single[0].name}", single[0], said.mark, said.text))
    network = sorted(found.of("network"), key=lambda d: -d.loss)
    if network:
        idle = [d for d in network if not d.felt]
        words = (
            f"{len(idle)} of {len(network)} can be cut or set back at no cost that can be measured."
            if idle
            else "Every part of the network is needed."
        )
        cards.append(_card(f"Worst part, {part_name(network[0].name)}", network[0], "plain", words))
    return cards


def _card(name: str, damage: Damage, mark: Any, text: str) -> Html:
    return headline(name, measured(damage.loss, damage.error), "nats/row lost", mark, text)


def part_name(name: str) -> str:
    """As a person would say it.

    >>> part_name("decoder.net.layers.1 reset"), part_name("skip net.layers.1.extra cut")
    ('layers.1 reset', 'skip layers.1.extra cut')
    """
    return name.replace("decoder.", "").replace("net.", "").replace("latents.blocks.", "variable ")


def _group(model: Subject, found: Dissection, group: str) -> list[Html]:
    damages = found.of(group)
    names = [part_name(d.name) for d in damages]
    chart = losses(
        names,
        np.array([d.loss for d in damages]),
        np.array([d.error for d in damages]),
        f"Nats lost, {GROUPS[group][0]}",
    )
    cards = [figure(chart, "Nats lost a row", "Bars by their square root, with one standard error.")]
    if len(model.schema.modelled[0].shape) > 1:
        return [*cards, _pictures(model, found, damages)]
    return [*cards, *_columns(model, damages)]


def _pictures(model: Subject, found: Dissection, damages: Sequence[Damage]) -> Html:
    """The first rows, as they are, decoded whole, and decoded under each damage."""

    def line(words: str, rows: Batch) -> Html:
        pixels = model.kind.present(model.stored(rows), model.schema)
        return strip(words, sheet(pixels, len(pixels), words))

    strips = [line("the rows", found.originals.only(list(found.shown.fields))), line("whole", found.shown)]
    strips += [line(f"{part_name(d.name)}", d.shown) for d in damages]
    return figure(joined(strips), "What it looks like", "Centres of p(x | z, c) of the same rows under each damage.")


def _columns(model: Subject, damages: Sequence[Damage]) -> list[Html]:
    """The columns that suffer most, over all damages of the group, and what each damage takes from them."""
    columns = shown(model.schema)
    loss = np.array([[float(d.entries[c.field.name].flatten()[c.place]) for c in columns] for d in damages])
    order = np.argsort(-np.abs(loss).max(0), kind="stable")

    def lines(places: Sequence[int]) -> Html:
        heads = [Html("column"), *(escape(part_name(d.name), 60) for d in damages)]
        rows = [[escape(columns[j].name, 40), *(escape(number(float(v), 2)) for v in loss[:, j])] for j in places]
        return table(heads, rows, "Nats lost by column", numeric=True)

    parts = [lines([int(j) for j in order[:COLUMNS]])]
    if len(order) > COLUMNS:
        parts.append(folded(f"{len(order) - COLUMNS} more", lines([int(j) for j in order[COLUMNS:]])))
    share = np.abs(loss[:, order[:COLUMNS]]).sum() / max(float(np.abs(loss).sum()), 1e-9)
    words = f"Nats a row that each column loses; these {min(COLUMNS, len(order))} have {percent(float(share))} of all."
    return [figure(joined(parts), "The columns that suffer most", words, wide=True)]
