"""Where results go: a name if none was given, and never over what is there already unless asked to."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from latelier.errors import BadInput

if TYPE_CHECKING:
    from latelier.batch import Batch
    from latelier.judges import Judge
    from latelier.kinds.base import Part
    from latelier.model import Model

# The parameters that several verbs share, so that they are the same everywhere.
Folder = Annotated[Path, Parameter(help="the folder that fit wrote")]
Data = Annotated[
    Path, Parameter(help="rows of the form that the model was fitted to; 'day-*.csv' or a folder are several files")
]
Out = Annotated[Path | None, Parameter(help="where to write: the form follows from the suffix, none is a folder")]
Overwrite = Annotated[bool, Parameter(help="replace what --out holds")]
NewCategories = Annotated[
    Literal["error", "missing"] | None,
    Parameter(help="what words that training did not have are: an error (usual), or missing, and how many is told"),
]
Seed = Annotated[int, Parameter(help="decides every draw")]
Temperature = Annotated[float, Parameter(help="scales the spread of z: below 1 more typical, above 1 more varied")]

_OURS = re.compile(r"\d{6}\.png|labels\.csv")  # the names that a folder of pictures of ours can hold


def opened(folder: Path, new_categories: NewCategories = None) -> Model:
    """The model of a folder, and as many threads as were found best for it."""
    import torch

    from latelier.model import Model

    model = Model.load(folder)
    if new_categories is not None and "new_categories" in type(model.schema).model_fields:
        model.schema = model.schema.model_copy(update={"new_categories": new_categories})
    if isinstance(model.spec.train.threads, int):
        torch.set_num_threads(min(model.spec.train.threads, torch.get_num_threads()))
    return model


@contextmanager
def fresh(path: Path, overwrite: bool) -> Iterator[Path]:
    """A free path to write to: ``path``, or a neighbour that replaces it at the end. BadInput where it may not be replaced."""
    if not (path.is_file() or (path.is_dir() and any(path.iterdir()))):
        yield path
        return
    if not overwrite:
        raise BadInput(f"{path}: is already there; replace it with --overwrite, or name another with --out")
    if path.is_dir() and (other := _not_ours(path)):
        raise BadInput(
            f"{path}: holds {other}, which was not written here, so it is not replaced; name another with --out"
        )
    neighbour = path.with_name(f".new-{path.name}")
    _remove(neighbour)
    try:
        yield neighbour
        _remove(path)
        neighbour.rename(path)
    finally:
        _remove(neighbour)


def write(model: Model, batches: Iterable[Batch], path: Path, overwrite: bool, columns: int | None = None) -> None:
    """Stored batches to the data's own form; one .png of many pictures is a sheet, ``columns`` wide or about square."""
    with fresh(path, overwrite) as place:
        put(model, batches, place, columns)
    print(f"wrote {path}")


def put(model: Model, batches: Iterable[Batch], place: Path, columns: int | None = None) -> None:
    """The same to a place that is free."""
    if place.suffix.lower() == ".png":
        model.kind.write_sheet(batches, place, model.schema, columns)
    else:
        model.kind.write(batches, place, model.schema)


def out_for(model: Model | Judge, out: Path | None, name: str, data: Path) -> Path:
    """``out``, or where nothing was asked for the file ``name``, and of several tables or by several processes a folder."""
    from latelier.kinds.base import is_pattern
    from latelier.share import Rank

    several = is_pattern(data) or (data.is_dir() and bool(model.kind.suffix)) or Rank.here().of > 1
    return out or (Path(name).with_suffix("") if several else Path(name))


def portions(
    model: Model | Judge, data: Path, out: Path, overwrite: bool, run: Mapping[str, object], folders: bool = True
) -> Iterator[tuple[Part, Path]]:
    """What to work on, and a free place to write it to: all rows to a file, or to a folder part by part.

    Of a folder's parts only this process's own come, less those that are there from the same ``run``. Without ``folders`` a
    folder is one result.
    """
    from latelier.kinds.base import Part
    from latelier.model import as_source
    from latelier.share import ROWS, Rank, begin, left

    source, rank = as_source(data), Rank.here()
    assert isinstance(source, Path)
    if out.suffix or not folders:
        if rank.of > 1:
            raise BadInput(
                f"{out}: {rank.of} processes cannot write one result; give --out a folder, of a table's parts"
            )
        with fresh(out, overwrite) as place:
            yield Part("", source, source), place
        print(f"wrote {out}")
        return
    parts = model.kind.parts(source, model.schema, ROWS)
    # What rows are read as is the schema's, options such as --new-categories among it.
    schema = sha256(model.schema.model_dump_json().encode()).hexdigest()[:12]
    begin(out, {**run, "weights": model.digest, "schema": schema}, parts, rank, overwrite)
    own, done = len(parts[rank.number :: rank.of]), 0
    for part in left(out, parts, rank):
        yield part, out / part.name
        print(f"wrote {out / part.name}", flush=True)
        done += 1
    mine = f"rank {rank.number} of {rank.of}: " if rank.of > 1 else ""
    print(f"{mine}{done} part(s) written to {out}, {own - done} were there")


def numbered(path: Path, copies: int) -> list[Path]:
    """
    >>> [str(p) for p in numbered(Path("whole.csv"), 2)]
    ['whole-1.csv', 'whole-2.csv']
    """
    return [path] if copies < 2 else [path.with_name(f"{path.stem}-{i}{path.suffix}") for i in range(1, copies + 1)]


def _not_ours(folder: Path) -> str | None:
    return next(
        (str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir() and not _OURS.fullmatch(p.name)), None
    )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
