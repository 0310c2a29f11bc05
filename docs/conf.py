"""Sphinx settings, and two directives that read the package, so that no page can lag behind it."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import tokenize
from collections.abc import Iterator
from importlib.metadata import version as installed_version
from io import StringIO
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

project = "Latelier"
author = "The Latelier authors"
release = installed_version("latelier")
extensions = ["myst_parser", "sphinx.ext.autodoc", "cyclopts.ext.sphinx"]
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"Latelier {release}"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": True}
pygments_style = "friendly"


def plain_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain words and mathematics: the stars and bars of (N, *shape) or |x| are no markup."""
    example = False
    for number, line in enumerate(lines):
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if not example:
            parts = re.split(r"(``.*?``)", line)
            lines[number] = "".join(part if part.startswith("``") else _literally(part) for part in parts)


def _literally(words: str) -> str:
    return re.sub(r"[*|]|_(?=\W|$)", lambda match: "\\" + match.group(0), words)


class Modules(SphinxDirective):
    """Reference of every module of a package, and so of every one that will be added to it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        package = importlib.import_module(self.arguments[0])
        names = [f"{package.__name__}.{m.name}" for m in pkgutil.iter_modules(package.__path__)]
        lines: list[str] = []
        for name in sorted(names, key=lambda n: (not n.endswith(".base"), n)):
            short = name.rsplit(".", 1)[1]
            lines += [f"## {short}", "", "```{eval-rst}", f".. automodule:: {name}", "```", ""]
        return _markdown(self, lines)


class Options(SphinxDirective):
    """The tables of every option of ``Spec``: default and what the comment beside it says, or the one above it."""

    def run(self) -> list[nodes.Node]:
        module = importlib.import_module("latelier.spec")
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        comments = {  # one that has a line to itself is about the next
            token.start[0] + token.line.lstrip().startswith("#"): token.string.lstrip("# ")
            for token in tokenize.generate_tokens(StringIO(source).readline)
            if token.type == tokenize.COMMENT
        }
        lines: list[str] = []
        classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
        sections = {info.annotation.__name__: name for name, info in module.Spec.model_fields.items() if _section(info)}
        for class_name, section in [("Spec", ""), *sections.items()]:
            rows = list(_rows(classes[class_name], section, set(sections), comments))
            what = (ast.get_docstring(classes[class_name]) or "").splitlines()[0]
            lines += [
                f"## {section or 'top level'}",
                "",
                what,
                "",
                "| option | type | default | meaning |",
                "|---|---|---|---|",
            ]
            lines += [*rows, ""]
        return _markdown(self, lines)


def _section(info: Any) -> bool:
    return hasattr(info.annotation, "model_fields")


def _rows(node: ast.ClassDef, section: str, sections: set[str], comments: dict[int, str]) -> Iterator[str]:
    for line in node.body:
        if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name) or line.value is None:
            continue
        kind = ast.unparse(line.annotation)
        if kind in sections:
            continue
        value = line.value.args[0] if isinstance(line.value, ast.Call) and line.value.args else line.value
        name = f"{section}.{line.target.id}".lstrip(".")
        cells = [
            f"`{name}`",
            f"`{kind}`",
            f"`{ast.unparse(value)}`",
            comments.get(line.end_lineno or 0) or comments.get(line.lineno, ""),
        ]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _markdown(directive: SphinxDirective, lines: list[str]) -> list[nodes.Node]:
    box = nodes.Element()
    directive.state.nested_parse(StringList(lines, source="generated"), 0, box, match_titles=True)
    return list(box.children)


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", plain_docstring)
    app.add_directive("modules", Modules)
    app.add_directive("options", Options)
