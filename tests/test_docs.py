"""The documentation is true: its Python blocks run, its commands are understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITH_CODE = [page for page in PAGES if page.exists() and "```python" in page.read_text(encoding="utf-8")]
COMMANDS = [
    (str(page.relative_to(ROOT)), command)
    for page in PAGES
    if page.exists()
    for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    for command in re.findall(r"^\$ latelier (.*?)(?:\s*#.*)?$", block.replace("\\\n", " "), re.M)
]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = list(Sybil([PythonCodeBlockParser()]).parse(page).examples())
    assert examples
    for example in examples:
        example.evaluate()


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_of_a_page_is_one_that_the_command_line_understands(page: str, command: str) -> None:
    from latelier.cli import app

    app.parse_args(shlex.split(command), exit_on_error=False, print_error=False)
