"""Imports go downwards only. Read from the source, so that an import hidden inside a function counts too."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
PACKAGE = SRC / "latelier"

# From the ground up. A part may import what stands on a lower line, and its own files; parts of one line are siblings
# and do not know each other.
LAYERS = [
    ["errors", "wording", "means", "clock"],
    ["batch"],
    ["noise"],
    ["spec", "data", "fidelity", "disentanglement"],
    ["machine", "likelihoods", "latents", "nets"],
    ["encoders", "decoders", "missing"],
    ["vae", "networks"],
    ["objectives"],
    ["kinds"],
    ["build"],
    ["tasks", "store", "trial"],
    ["log", "share", "calibration", "run"],
    ["step"],
    ["train"],
    ["refit", "doctor"],
    ["report"],
    ["model"],
    ["detector"],
    ["judges"],
    ["ray", "sklearn"],
    ["cli"],
]
HEIGHT = {part: height for height, parts in enumerate(LAYERS) for part in parts}

TABLES = {
    "likelihoods": "LIKELIHOODS",
    "latents": "LATENTS",
    "latents/priors": "PRIORS",
    "latents/posteriors": "POSTERIORS",
    "objectives": "OBJECTIVES",
    "kinds": "KINDS",
    "doctor": "CHECKS",
    "cli": "VERBS",
}


def module_name(file: Path) -> str:
    parts = file.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def imported(tree: ast.AST) -> set[str]:
    """The modules of this package that a tree of source imports, wherever in it the imports stand."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are written out in full"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in SOURCES else str(node.module) for name in inner}
    return {name for name in found if name.split(".")[0] == "latelier"}


def part(module: str) -> str:
    """latelier.kinds.images -> kinds; the package itself -> ''."""
    return [*module.split("."), ""][1]


def upward(module: str, targets: set[str]) -> list[str]:
    """What ``module`` may not import."""
    own = part(module)
    return sorted(t for t in targets if part(t) != own and HEIGHT.get(part(t), len(LAYERS)) >= HEIGHT[own])


GRAPH = {name: imported(ast.parse(file.read_text(encoding="utf-8"))) - {name} for name, file in SOURCES.items()}


def test_every_part_of_the_package_has_a_place_in_the_order() -> None:
    assert {part(name) for name in SOURCES} - {"", "__main__"} <= HEIGHT.keys()


@pytest.mark.parametrize("module", [name for name in SOURCES if part(name) in HEIGHT])
def test_imports_go_downwards_only(module: str) -> None:
    assert upward(module, GRAPH[module]) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("latelier.nets.mlp", "from latelier.likelihoods.base import Joint"),
        ("latelier.batch", "from latelier import vae"),
        ("latelier.objectives.elbo", "def f():\n    import latelier.cli"),
        ("latelier.vae", "from latelier import load"),
    ],
)
def test_an_import_upwards_or_sideways_is_noticed(module: str, line: str) -> None:
    assert len(upward(module, imported(ast.parse(line)))) == 1


def test_no_module_imports_itself_through_others() -> None:
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_objectives_never_see_a_likelihood_and_tasks_never_see_a_part_of_the_model() -> None:
    hidden = {"objectives": {"likelihoods", "decoders", "encoders", "nets"}, "tasks": {"encoders", "decoders", "nets"}}
    for own, others in hidden.items():
        for name in SOURCES:
            if part(name) == own:
                assert {part(target) for target in GRAPH[name]} & others == set(), name


@pytest.mark.parametrize("folder", TABLES)
def test_a_table_is_a_plain_dict_of_one_entry_a_line(folder: str) -> None:
    tree = ast.parse((PACKAGE / folder / "__init__.py").read_text(encoding="utf-8"))
    tables = [
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == TABLES[folder]
    ]
    assert len(tables) == 1
    table = tables[0]
    assert isinstance(table, ast.Dict)
    lines = []
    keys = []
    for key, value in zip(table.keys, table.values, strict=True):
        assert isinstance(key, ast.Constant)
        assert isinstance(key.value, str)
        assert key.lineno == value.end_lineno
        assert not isinstance(value, ast.Lambda), f"{key.value}: what an entry does stands in its own file"
        lines.append(key.lineno)
        keys.append(key.value)
    assert keys
    assert len(set(keys)) == len(keys)
    assert len(set(lines)) == len(lines)


@pytest.mark.parametrize("module", ["latelier", "latelier.cli"])
def test_importing_it_costs_neither_torch_nor_pandas(module: str) -> None:
    slow = {"torch", "pandas", "pyarrow", "matplotlib", "sklearn", "scipy"}
    code = f"import sys, {module}; print(*sorted({slow!r} & set(sys.modules)))"
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.split() == []
