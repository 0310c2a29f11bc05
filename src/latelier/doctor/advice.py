"""The command that fits again as a model was fitted, with something changed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from latelier.doctor.finding import spelled
from latelier.kinds.base import Kind
from latelier.spec import Spec

# What is found out anew on the machine at hand, or has no part in what is fitted.
OF_THE_MACHINE = ("train.threads", "train.precision", "train.compiled", "train.device", "train.checkpoint")


def command(
    spec: Spec, kind: Kind[Any], schema: Any, changes: Mapping[str, Any], data: str | None, folder: Path | None
) -> str:
    """A whole line for a shell: every setting that is not the usual one for these data, then the changes."""
    usual = dict(leaves(Spec.of({}, kind.defaults(schema, schema.rows, spec.size)).model_dump(mode="json")))
    settings = {
        name: value
        for name, value in leaves(spec.model_dump(mode="json"))
        if name not in OF_THE_MACHINE and usual.get(name) != value
    }
    out = f"{folder}-2" if folder is not None else "NEW"
    words = ["latelier", "fit", data or "DATA", "--out", out]
    for name, value in {**settings, **changes}.items():
        words += ["--set", f"{name}={spelled(value)}"]
    return " ".join(shlex.quote(word) for word in words)


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of a nested dictionary."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
