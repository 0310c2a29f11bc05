"""Where results go: a name if none was given, and never over what is there already unless asked to."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from latelier.errors import BadInput

if TYPE_CHECKING:
    from latelier.batch import Batch
    from latelier.model import Model

# The parameters that several verbs share, so that they are the same everywhere.
Folder = Annotated[Path, Parameter(help="the folder that fit wrote")]
Data = Annotated[Path, Parameter(help="rows of the form that the model was fitted to")]
Out = Annotated[Path | None, Parameter(help="where to write: the form follows from the suffix, none is a folder")]
Overwrite = Annotated[bool, Parameter(help="replace what --out holds")]
Seed = Annotated[int, Parameter(help="decides every draw")]
Temperature = Annotated[float, Parameter(help="scales the spread of z: below 1 more typical, above 1 more varied")]

_OURS = re.compile(r"\d{6}\.png|labels\.csv")  # the names that a folder of pictures of ours can hold


def opened(folder: Path) -> Model:
    """The model of a folder, and as many threads as were found best for it."""
    import torch

    from latelier.model import Model

    model = Model.load(folder)
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
        if path.suffix.lower() == ".png":
            model.kind.write_sheet(batches, place, model.schema, columns)
        else:
            model.kind.write(batches, place, model.schema)
    print(f"wrote {path}")


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
