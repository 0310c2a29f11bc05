"""What rows can be given as, and which kind of data reads them."""

from __future__ import annotations

from difflib import get_close_matches
from functools import partial
from glob import iglob
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latelier.build import choose
from latelier.errors import BadInput
from latelier.kinds import KINDS
from latelier.kinds.base import Kind, Opened, Source, is_pattern
from latelier.spec import DataSpec

Values = str | Path | np.ndarray[Any, Any] | pd.DataFrame | Opened


def as_source(x: Values) -> Source:
    """Paths as Path; arrays and frames as they are. BadInput where there is nothing, with the nearest name that there is."""
    if not isinstance(x, (str, Path)):
        return x
    path = Path(x).expanduser()
    if is_pattern(path):
        if not any(iglob(str(path), recursive=True)):
            raise BadInput(f"{path}: no file matches; check the pattern")
    elif not path.exists():
        near = [p.name for p in path.parent.glob("*")] if path.parent.exists() else []
        hint = (
            f"; did you mean {close[0]!r}?" if (close := get_close_matches(path.name, near, 1)) else "; check the path"
        )
        raise BadInput(f"{path}: no such file or folder{hint}")
    return path


def named_source(source: Source) -> str:
    """How messages call it."""
    return str(source) if isinstance(source, Path) else f"the {type(source).__name__} given"


def find_kind(source: Source, name: str) -> Kind[Any]:
    """The kind of that name, or (``auto``) the one that recognises the source."""
    if name != "auto":
        found: Kind[Any] = choose("kind", name, KINDS)
        return found
    for kind in KINDS.values():
        if kind.recognise(source):
            return kind
    raise BadInput(
        f"{named_source(source)}: not recognised; {'; '.join(map(partial(_why_not, source), KINDS.values()))}"
    )


def _why_not(source: Source, kind: Kind[Any]) -> str:
    """What speaks against a kind, in its own words."""
    try:
        kind.scan(source, DataSpec())
    except BadInput as error:
        return f"as {kind.name}: {str(error).removeprefix(f'{source}: ')}"
    return f"it can be read as {kind.name} with --kind {kind.name}"
