"""What a kind of data must say: how to recognise, read and write it, and what suits it. N = rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from latelier.batch import Batch, join
from latelier.data.schema import Schema
from latelier.errors import BadInput
from latelier.spec import DataSpec


class Opened:
    """What a kind has opened already, such as some of a file's rows: read as it is."""


Source = Path | np.ndarray[Any, Any] | pd.DataFrame | Opened
S = TypeVar("S", bound=Schema)
Words = (
    str | Sequence[str]
)  # a value as it is typed, several between commas, or a list of them, which are taken in turn


@dataclass(frozen=True)
class Held:
    """What new rows are to hold of the modelled fields: stored values with masks of what is held, and which rows drawn
    (stored values) ``accept`` takes, (n,) bool; None: all."""

    batch: Batch
    accept: Callable[[Batch], Tensor] | None = None


@dataclass(frozen=True)
class Arrived:
    """Rows that lines said: stored values, and the number of each row's line; ``bad`` has a message for every line that is
    none, ``passed`` counts those that stand under a header without the model's columns. ``cell`` is a row's cell as it was
    spelled, by the name of a column of the file or of the model."""

    batch: Batch | None
    lines: list[int]
    bad: list[str]
    passed: int
    cell: Callable[[int, str], str | None]


class Stream(ABC):
    """Lines that come bit by bit, as rows. A line that cannot be read costs itself alone."""

    moment: str | None = None  # the column that says when a row was

    @abstractmethod
    def begin(self) -> None:
        """What comes next is the start of a file."""

    @abstractmethod
    def rows(self, lines: Sequence[bytes], first: int) -> Arrived:
        """Whole lines, of which the first has the number ``first``. BadInput where none can be read, whatever comes."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What a later stream must know of these lines to go on, as plain values."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from there."""


@dataclass(frozen=True)
class Part:
    """Rows that are worked on in one go, by one process: a file or a piece of it, ``name`` being what its output is to be
    called, ``start`` the number of its first row in ``file``."""

    name: str
    file: Path
    source: Source
    start: int = 0


def is_pattern(path: Path) -> bool:
    """Does the path stand for those that match it?

    >>> is_pattern(Path("day-*.csv")), is_pattern(Path("day-1.csv"))
    (True, False)
    """
    return has_magic(str(path)) and not path.exists()


class Kind(ABC, Generic[S]):
    """One kind of data. A new kind is one file and one line in the table ``KINDS``."""

    name: ClassVar[str]
    schema: type[S]
    centre: ClassVar[bool] = (
        False  # do people expect the centre of p(x | z), as of pictures, rather than a draw from it?
    )
    suffix: ClassVar[str] = ".csv"  # of the files that are written where no name is given; "" is a folder
    filling_draws: ClassVar[int] = 64  # of z per row with holes, unless told otherwise
    walk_suffix: ClassVar[str] = ".csv"  # the same for rows that are looked at side by side, such as steps of a walk

    @abstractmethod
    def recognise(self, source: Source) -> str | None:
        """The evidence that the source is of this kind, in one line, or None."""

    @abstractmethod
    def scan(self, source: Source, spec: DataSpec) -> S:
        """Reads enough to know every field; constant memory. ``evidence`` tells each guess and its override."""

    @abstractmethod
    def read(self, source: Source, schema: S, rows: int = 4096) -> Iterator[Batch]:
        """Stored values, at most ``rows`` rows at a time, constant memory. Raises BadInput where data and schema differ."""

    def follow(self, schema: S, where: str) -> Stream:
        """Rows that come line by line from what messages call ``where``. Only kinds whose files are lines can."""
        raise BadInput(f"{where}: {self.name} do not come line by line; only tables can be followed")

    @abstractmethod
    def write(self, batches: Iterable[Batch], path: Path, schema: S) -> list[Path]:
        """Stored values -> files of the data's own form, streamed and atomic. Returns what was written."""

    def write_sheet(self, batches: Iterable[Batch], path: Path, schema: S, columns: int | None = None) -> list[Path]:
        """All rows side by side as one picture, ``columns`` to a line, or about as many as lines. Not every kind can."""
        raise BadInput(f"{path}: {self.name} cannot be written as one picture; name a file that ends in {self.suffix}")

    @abstractmethod
    def present(self, batch: Batch, schema: S) -> Any:
        """Stored values as a Python user expects them: an array of pictures, a frame with the original columns."""

    @abstractmethod
    def defaults(self, schema: S, rows: int, size: str) -> dict[str, Any]:
        """Settings of ``Spec`` that suit this many rows of this shape; the user's own override them."""

    def rows_at(self, source: Source, schema: S, ids: npt.NDArray[np.int64]) -> Batch:
        """Stored values of the rows at these places, which rise."""
        parts, start = [], 0
        for batch in self.read(source, schema):
            here = ids[(ids >= start) & (ids < start + len(batch))] - start
            start += len(batch)
            if len(here):
                parts.append(batch.take(torch.from_numpy(here)))
        return join(parts)

    def alternatives(self, schema: S) -> dict[str, tuple[str, ...]]:
        """Per modelled field the likelihoods that may suit its columns, that of the field first; none to be tried where
        a field is not named."""
        return {}

    def with_likelihoods(self, schema: S, chosen: dict[str, str], evidence: Sequence[str]) -> S:
        """The schema with a likelihood for each of these columns, and the evidence for that."""
        raise NotImplementedError(f"{self.name} have no alternatives")

    def purposes(self, schema: S, rows: int) -> dict[str, dict[str, Any]]:
        """Dotted settings that are better than the defaults for one purpose, by its name in ``Spec.purpose``."""
        return {"imputation": {"train.holes": 0.3}}

    @abstractmethod
    def with_likelihood(self, schema: S, field: str, likelihood: str, support: str) -> S:
        """The schema with another likelihood (of that support) for a field (or one column), and the transform that goes
        with it. BadInput where there is no such field."""

    def augmentation(self, spec: DataSpec, schema: S) -> Callable[[Batch], Batch] | None:
        """What to do to every training batch of stored values, or None."""
        return None

    def read_mask(self, mask: Any, schema: S) -> Tensor:
        """(1, 1, *space) bool, True where values are missing. Only kinds whose files cannot say so take masks."""
        raise BadInput(f"{self.name} have their missing values in the data; masks are for pictures")

    def ordered(self, names: Iterable[str], schema: S) -> list[str]:
        """Names of entries in the order that the data have them; here as they come."""
        return list(names)

    def files(self, source: Source, schema: S) -> list[str] | None:
        """The name of every row's own file, in order of reading; None where rows have none."""
        return None

    def parts(self, source: Path, schema: S, rows: int) -> list[Part]:
        """The same rows in parts that several processes can share, of about ``rows`` rows where a file is larger. They follow
        from the data alone; here there is one."""
        return [Part(source.name, source, source)]

    @abstractmethod
    def parse_given(self, text: Mapping[str, Words], schema: S, rows: int, start: int = 0) -> Batch:
        """Conditions from words such as ``label=7`` or ``sex=F``: a stored batch of ``rows`` rows of condition fields, those
        from row ``start`` on of all that are asked for."""

    def held(self, text: Mapping[str, Words], schema: S, rows: int, start: int = 0) -> Held:
        """The same of modelled fields, ranges too. Only kinds whose fields have names can hold some of them."""
        name = next(iter(text))
        raise BadInput(f"this model was not conditioned on anything; fit it with --given {name}")

    def classes(self, name: str, schema: S) -> tuple[str, ...]:
        """The values of a column of classes. BadInput where there is none of that name."""
        raise BadInput(f"--balance {name}: {self.name} have no columns; draw each class with --given")
