"""Kinds of data by name. A new one is one file and one line here."""

from typing import Any

from latelier.kinds.base import Kind
from latelier.kinds.images import Images
from latelier.kinds.tables import Tables
from latelier.kinds.traffic import Traffic

KINDS: dict[str, Kind[Any]] = {
    "images": Images(),
    "traffic": Traffic(),  # before tables, of which it is a special case: the first that recognises the data takes them
    "tables": Tables(),
}
