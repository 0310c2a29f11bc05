"""The report: one HTML file without network, scripts or other files. Sections are measured, drawn and put together here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from latelier.noise import seeded
from latelier.report import latent, pictures, sections, tables
from latelier.report.card import write_card
from latelier.report.codes import code_maps
from latelier.report.elements import Html, escape, figure, joined, section
from latelier.report.study import Colouring, Study, Subject, study
from latelier.report.usage import given_names
from latelier.store import write_atomically
from latelier.train import Data

STYLE = Path(__file__).with_name("style.css")


class Parts(Protocol):
    """What a kind of data shows of its own: each part is a list of cards."""

    def show_rows(self, s: Study) -> list[Html]: ...
    def reconstructions(self, s: Study) -> list[Html]: ...
    def samples(self, s: Study) -> list[Html]: ...
    def walks(self, s: Study) -> list[Html]: ...
    def colourings(self, s: Study) -> list[Colouring]: ...


PARTS: dict[str, Parts] = {
    "images": pictures,
    "tables": tables,
    "traffic": tables,
}
FIGURES = "On rows that were held out of training; nats are summed over a row's values and averaged over rows."
BROKEN = "This part could not be drawn"


def write_report(model: Subject, data: Data, path: Path) -> Path:
    """Looks at the model on its data, and writes the page to ``path`` and the card into the model's folder, both atomically.

    Takes seconds: it looks at no more than some thousand rows. Draws are the same at every call.
    """
    with seeded(model.spec.train.seed):
        write_atomically(path, page(study(model, data)).encode())
    if model.folder is not None:
        write_card(model, model.folder / "README.md")
    return path


def page(s: Study) -> Html:
    """The whole document."""
    own = PARTS[s.schema.kind]
    # Name, title, what it is about, and how its cards are made.
    plan: list[tuple[str, str, str, Callable[[], list[Html]]]] = [
        ("figures", "Figures", FIGURES, lambda: sections.headlines(s)),
        ("doctor", "Doctor", "What this model suffers from, and what to change.", lambda: sections.doctor(s)),
        ("data", "The data", "What was read, and as what.", lambda: own.show_rows(s)),
        ("training", "Training", "How the model came about, on held-out rows.", lambda: sections.curves(s)),
        ("back", "Through the latent and back", "What is kept of new rows.", lambda: own.reconstructions(s)),
        (
            "samples",
            "Samples",
            "New rows, from nothing but the prior.",
            lambda: [*own.samples(s), *sections.coverage(s)],
        ),
        (
            "inside",
            "Inside the latent",
            "What its dimensions mean.",
            lambda: [*own.walks(s), *latent.units(s), *code_maps(s)],
        ),
        ("map", "Map", "Where rows lie in the latent.", lambda: latent.latent_map(s, own.colourings(s))),
        ("settings", "Settings", "How to use this model, and how it was made.", lambda: sections.settings(s)),
    ]
    name = escape(s.model.folder.resolve().name if s.model.folder is not None else "model")
    return document("report", name, opening(s), plan)


def document(what: str, name: Html, lead: Html, plan: list[tuple[str, str, str, Callable[[], list[Html]]]]) -> Html:
    """A page of sections that needs nothing beside itself."""
    body = joined(section(place, title, words, drawn(cards)) for place, title, words, cards in plan)
    links = joined(Html(f'<a href="#{place}">{escape(title)}</a>') for place, title, _, _ in plan)
    return Html(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>{name} · {what}</title><style>{STYLE.read_text('utf-8')}</style></head><body>"
        f'<header><p class="eyebrow">Latelier · {what}</p><h1>{name}</h1><p class="lead">{lead}</p>'
        f'<nav aria-label="Sections">{links}</nav></header><main>{body}</main></body></html>\n'
    )


def opening(s: Study) -> Html:
    """What was trained on what."""
    schema, spec, given = s.schema, s.model.spec, given_names(s.schema)
    fields = "; ".join(_field(f.name, f.shape, f.likelihood) for f in schema.modelled)
    under = f" given {', '.join(given)}" if given else ""
    width = sum(block.parts for block in s.model.vae.latents.blocks if block is not s.model.vae.label)
    part = "position" if s.held_figures.books else "dimension"
    return escape(
        f"A decoder for {schema.kind}{under}: {len(s.data.training):,} rows trained on, {len(s.data.held):,} held out. {fields}. "
        f"Latent {spec.latent.name} of {width} {part}{'s' * (width != 1)}, network {spec.network.name}, "
        f"objective {spec.objective.name}.",
        900,
    )


def drawn(cards: Callable[[], list[Html]]) -> list[Html]:
    """The cards of a section. A part that fails says so and leaves the others, for behind a report stand hours of training."""
    try:
        return cards()
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        return [figure(Html(f"<p>{BROKEN} ({type(error).__name__}: {escape(error)}).</p>"))]


def _field(name: str, shape: tuple[int, ...], likelihood: str) -> str:
    if len(shape) == 1:
        return f"{shape[0]} {name} column{'s' * (shape[0] != 1)}: {likelihood}"
    return f"{name} {' × '.join(map(str, shape))}: {likelihood}"
