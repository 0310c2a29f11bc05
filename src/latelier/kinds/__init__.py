"""Kinds of data by name. A new one is one file and one line here."""

from typing import Any

from latelier.kinds.base import Kind
from latelier.kinds.images import Images
from latelier.kinds.tables import Tables

KINDS: dict[str, Kind[Any]] = {
    "images": Images(),
    "tables": Tables(),
}
