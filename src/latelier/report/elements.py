"""Pieces of a page: escaped text, cards, tables, pictures. Names come from users, so every text passes ``escape``."""

from __future__ import annotations

import base64
import html
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal, NewType

Html = NewType("Html", str)  # safe to stand in a page as it is; the type checker keeps plain text out
OPTION = re.compile(r"(--(?:set )?[a-z][\w.=-]*)")
Mark = Literal["good", "fair", "poor", "plain"]


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


def number(value: float, digits: int = 3) -> str:
    """A number as a person writes it: some digits, thousands apart, a real minus sign.

    >>> number(-1234.567), number(0.00123456), number(float("nan"))
    ('−1,235', '0.00123', '–')
    """
    if not math.isfinite(value):
        return "–"
    if value != 0 and not 1e-4 <= abs(value) < 1e9:
        text = f"{value:.{digits - 1}e}"
    else:
        places = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
        text = f"{value:,.{places}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−")


def measured(value: float, error: float) -> str:
    """A value with its standard error, to the places that the error leaves certain.

    >>> measured(-186.3512, 1.3), measured(-19.7, 0.0042)
    ('−186.4 ± 1.3', '−19.7000 ± 0.0042')
    """
    if not math.isfinite(value) or not math.isfinite(error) or error <= 0:
        return number(value, 5)
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:,.{places}f} ± {error:,.{places}f}".replace("-", "−")


def percent(share: float) -> str:
    """A share in percent: whole from 10 % on, one decimal below.

    >>> percent(0.123), percent(0.0123), percent(0.0001), percent(21.4)
    ('12 %', '1.2 %', '< 0.1 %', '21 times')
    """
    if share >= 10:
        return f"{share:,.0f} times"
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{100 * share:.{0 if share >= 0.0995 or share == 0 else 1}f} %"


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
