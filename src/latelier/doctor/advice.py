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


# Latent -> the options that say how much its values can tell.
SIZES: dict[str, tuple[str, ...]] = {
    "gaussian": ("dims",),
    "factors": ("dims",),
    "point": ("dims",),
    "ladder": ("rungs",),
    "hierarchy": ("rungs",),
    "codes": ("codes",),
    "fsq": ("levels",),
}


def resized(spec: Spec, times: float) -> dict[str, Any]:
    """The options of a latent so many times as large.

    >>> resized(Spec.of({"latent.dims": 16}), 0.25), resized(Spec.of({"latent.name": "ladder"}), 2)
    ({'latent.dims': 4}, {'latent.rungs': (16, 32)})
    """
    changes: dict[str, Any] = {}
    for name in SIZES[spec.latent.name]:
        now, least = getattr(spec.latent, name), 2 if name in ("codes", "levels") else 1
        many = isinstance(now, tuple)
        sizes = tuple(max(least, round(times * size)) for size in (now if many else (now,)))
        changes[f"latent.{name}"] = sizes if many else sizes[0]
    return changes


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of a nested dictionary."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
