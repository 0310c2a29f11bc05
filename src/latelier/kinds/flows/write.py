"""Flow records as Zeek writes them. N = rows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from latelier.kinds.flows.roles import UNSET
from latelier.kinds.pictures.write import beside

HEADER = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n"


def write_zeek(parts: Iterable[pa.Table], path: Path) -> Path:
    """Whole or not at all. The types are those of the columns as they are here, where a port is a word."""
    with beside(path) as unfinished, unfinished.open("wb") as file:
        for number, part in enumerate(parts):
            if number == 0:
                head = (["#fields", *part.column_names], ["#types", *map(_type, part.schema.types)])
                file.write((HEADER + "".join("\t".join(cells) + "\n" for cells in head)).encode())
            columns = [pc.fill_null(column.cast(pa.string()), UNSET).to_pylist() for column in part.columns]
            file.write("".join("\t".join(row) + "\n" for row in zip(*columns, strict=True)).encode())
    return path


def _type(kind: pa.DataType) -> str:
    return "double" if pa.types.is_floating(kind) else "count" if pa.types.is_integer(kind) else "string"
