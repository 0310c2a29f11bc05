"""The model's card, README.md in its folder: what it is, its figures, how to load it, its limits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latelier.report.elements import measured, number
from latelier.report.study import Subject, parameters
from latelier.report.usage import cli_use, given_names, python_use
from latelier.store import write_atomically
from latelier.wording import percent

MARK = "<!-- made by latelier; take this line out to keep your own text -->"
LIMITS = (
    "It knows the distribution of its training rows and nothing else: what is rare there is drawn badly, what is biased there "
    "stays biased.",
    "Samples can be close to training rows. Do not take them for anonymous without checking.",
    "A score is a lower bound on log p(x): compare scores between models of the same data and units only.",
    "Values that did not occur in training, such as a new category, are refused.",
)


def write_card(model: Subject, path: Path) -> Path:
    """Markdown, written atomically, from what the model knows of itself. A card that someone made their own is left alone."""
    if not path.exists() or MARK in path.read_text("utf-8", errors="replace"):
        write_atomically(path, card(model, path.resolve().parent.name).encode())
    return path


def card(model: Subject, folder: str) -> str:
    """The card's text."""
    schema, given = model.schema, given_names(model.schema)
    decoder = "p(x | z, c)" if given else "p(x | z)"
    words = f"A variational autoencoder made by Latelier: {decoder} with the latent `{model.spec.latent.name}`"
    words += f", fitted to {schema.rows:,} rows." if schema.rows else "."
    words += f" It is conditioned on {', '.join(map(plain, given))}." if given else ""
    fields = [(plain(f.name), " × ".join(map(str, f.shape)), f.likelihood, f.support) for f in schema.modelled]
    parts = [
        f"# {plain(folder)}: a decoder for {schema.kind}",
        words,
        lines([("field", "shape", "likelihood", "support"), *fields]),
        "## Figures",
        "On rows that were not trained on. Sums over dimensions, means over rows, in nats of the data's own units; ± is one "
        "standard error.",
        lines([("figure", "value"), *figures(model)]),
        "## Use",
        f"```python\n{python_use(folder, schema)}\n```",
        f"```sh\n{cli_use(folder, schema)}\n```",
        "The folder holds `model.json` and one `.safetensors` file; loading them runs no code. `report.html` shows the model at "
        "work.",
        "## Limits",
        "\n".join(f"- {limit}" for limit in LIMITS),
        MARK,
    ]
    return "\n\n".join(parts) + "\n"


def figures(model: Subject) -> list[tuple[str, str]]:
    """Names and values, as far as they are known."""
    f = model.figures
    out = []
    if "elbo" in f:
        out.append(("held-out ELBO", f"{measured(float(f['elbo']), float(f['elbo_error']))} nats/row"))
    if "iw" in f:
        out.append((of_draws(f), f"{measured(float(f['iw']), float(f['iw_error']))} nats/row"))
    if "bits_per_dim" in f:
        out.append(("bits per dimension", number(f["bits_per_dim"], 4)))
    if "kl" in f:
        out.append(("KL", f"{number(f['kl'], 4)} nats/row"))
    if "active" in f:
        out.append(("active units", f"{f['active']} of {f['units']}"))
    for name, books in (f.get("books") or {}).items():
        for b, use in enumerate(books):
            told = f"{percent(use['used'])} of {use['codes']:,}, perplexity {number(use['perplexity'], 4)}"
            out.append((f"codes used of {name}" + (f", book {b + 1}" if len(books) > 1 else ""), told))
    out += [(name, f"{f[key]:,}") for name, key in (("held-out rows", "rows"), ("best epoch", "epoch")) if key in f]
    return [*out, ("parameters", f"{parameters(model.vae):,}")]


def of_draws(f: Mapping[str, Any]) -> str:
    """How the bound of several draws is called, of which bits per dimension are where it is known."""
    return f"held-out bound of {f['draws']} draws"


def lines(rows: list[tuple[str, ...]]) -> str:
    """A Markdown table; the first row is its head."""
    head, *rest = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rest))


def plain(text: str) -> str:
    """User text inside Markdown: one line, nothing that opens markup.

    >>> print(plain("a|b <script>"))
    a\\|b \\<script\\>
    """
    line = " ".join(str(text).split())[:120]
    return "".join("\\" + c if c in "\\`*_{}[]<>|#" else c for c in line)
