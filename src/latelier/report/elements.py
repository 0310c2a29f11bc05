"""Pieces of a page: escaped text, cards, tables, pictures. Names come from users, so every text passes ``escape``."""

from __future__ import annotations

import base64
import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NewType

from latelier.wording import Mark as Mark
from latelier.wording import measured as measured
from latelier.wording import number as number
from latelier.wording import percent as percent

Html = NewType("Html", str)  # safe to stand in a page as it is; the type checker keeps plain text out
OPTION = re.compile(r"(--(?:set )?[a-z][\w.=-]*)")


def escape(text: object, most: int = 200) -> Html:
    """Text as a page may hold it: escaped, without control characters, at most ``most`` characters of it.

    >>> escape("<script>")
    '&lt;script&gt;'
    """
    clean = "".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in str(text)[: most + 1])
    if len(clean) > most:
        clean = clean[: most - 1] + "…"
    return Html(html.escape(clean, quote=True))


def joined(parts: Iterable[Html]) -> Html:
    return Html("".join(parts))


def figure(body: Html, title: str = "", caption: str = "", wide: bool = False) -> Html:
    """A card with something to look at."""
    head = f"<h3>{escape(title)}</h3>" if title else ""
    foot = f"<figcaption>{escape(caption, 900)}</figcaption>" if caption else ""
    return Html(f'<figure class="card{" wide" if wide else ""}">{head}{body}{foot}</figure>')


def headline(name: str, value: str, unit: str, mark: Mark, verdict: str) -> Html:
    """A card with one figure and what it means."""
    words = {"good": "good", "fair": "look", "poor": "act", "plain": ""}[mark]
    badge = f'<span class="badge">{words}</span>' if words else ""
    return Html(
        f'<div class="card stat {mark}"><p class="name">{escape(name)}{badge}</p>'
        f'<p class="value">{escape(value)} <small>{escape(unit)}</small></p><p>{escape(verdict, 900)}</p></div>'
    )


def table(head: Sequence[Html], rows: Iterable[Sequence[Html]], label: str, numeric: bool = False) -> Html:
    """A table that scrolls sideways by itself, so that the page never does."""
    heads = joined(Html(f'<th scope="col">{cell}</th>') for cell in head)
    lines = joined(Html("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>") for row in rows)
    sort = ' class="numbers"' if numeric else ""
    return Html(
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">'
        f"<table{sort}><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def picture(data: bytes, media: str, alt: str, width: int) -> Html:
    """Encoded bytes inline; ``width`` in pixels of the page, less where the page is narrow."""
    code = base64.b64encode(data).decode("ascii")
    return Html(f'<img src="data:{media};base64,{code}" alt="{escape(alt, 400)}" style="width:{width}px">')


def strip(name: str, body: Html) -> Html:
    """A named row of pictures."""
    return Html(f'<div class="strip"><span>{escape(name)}</span>{body}</div>')


def bullets(lines: Sequence[str], most: int = 24) -> Html:
    """A list; what is beyond ``most`` is folded. Options of the command line are not broken over lines.

    >>> bullets(["override with --set a.b=c"])
    '<ul><li>override with <code>--set a.b=c</code></li></ul>'
    """
    items = ["<li>" + OPTION.sub(r"<code>\1</code>", escape(line, 600)) + "</li>" for line in lines]
    first = Html(f"<ul>{''.join(items[:most])}</ul>")
    return (
        first
        if len(items) <= most
        else Html(first + folded(f"{len(items) - most} more", Html(f"<ul>{''.join(items[most:])}</ul>")))
    )


def folded(title: str, body: Html) -> Html:
    """Open on demand, without a script."""
    return Html(f"<details><summary>{escape(title)}</summary>{body}</details>")


def code(text: str) -> Html:
    return Html(f'<pre tabindex="0"><code>{html.escape(text)}</code></pre>')


def section(name: str, title: str, lead: str, cards: Iterable[Html]) -> Html:
    """A heading, a sentence, and cards in as many columns as there is room for."""
    body = joined(cards)
    return Html(
        f'<section id="{escape(name)}"><h2>{escape(title)}</h2><p class="lead">{escape(lead, 900)}</p>'
        f'<div class="cards">{body}</div></section>'
    )
