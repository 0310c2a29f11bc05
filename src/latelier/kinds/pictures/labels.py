"""The labels of pictures: from sub-folders, a CSV or an array; and as a condition. N = rows."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from latelier.data.schema import Field
from latelier.errors import BadInput
from latelier.kinds.pictures.arrays import Grid
from latelier.kinds.pictures.evidence import some
from latelier.kinds.pictures.files import Folder, natural

LabelForm = Literal["none", "sub-folders", "csv", "array"]

_HOW = (
    "put them in a sub-folder for each label, pass a CSV with --set data.labels=FILE, or an .npz with an array 'labels'"
)


@dataclass(frozen=True)
class Labels:
    """The label of every row: ``names[ids[i]]``. Names are in natural order."""

    names: tuple[str, ...]
    ids: npt.NDArray[np.int64]  # (N,)
    form: LabelForm

    @classmethod
    def of(cls, words: Iterable[str], form: LabelForm) -> Labels:
        """From one word a row.

        >>> Labels.of(["10", "9", "10"], "csv")
        Labels(names=('9', '10'), ids=array([1, 0, 1]), form='csv')
        """
        places: dict[str, int] = {}
        ids = np.fromiter((places.setdefault(word, len(places)) for word in words), np.int64)
        names = sorted(places, key=natural)
        rank = np.empty(len(names), np.int64)
        rank[[places[name] for name in names]] = np.arange(len(names))
        return cls(tuple(names), rank[ids], form)

    def among(self, names: tuple[str, ...]) -> npt.NDArray[np.int64]:
        """(N,) places in ``names``; -1 for labels that are not there."""
        places = {name: i for i, name in enumerate(names)}
        return np.array([places.get(name, -1) for name in self.names], np.int64)[self.ids]


def labels_of(pictures: Folder | Grid, file: str | None) -> Labels | None:
    """The labels beside the pictures: from ``file`` (a CSV), sub-folders, an array; None where there are none.

    BadInput names a picture that the CSV has no label for.
    """
    if file is not None:
        return _csv_labels(pictures, _labels_file(pictures, file))
    if isinstance(pictures, Grid):
        return None if pictures.labels is None else Labels.of(map(_word, pictures.labels.tolist()), "array")
    tops = [name.partition("/") for name in pictures.names]
    if not all(slash for _, slash, _ in tops) or pictures.form == "file":
        return None
    return Labels.of((top for top, _, _ in tops), "sub-folders")


def known_labels(pictures: Folder | Grid, names: tuple[str, ...], file: str | None) -> npt.NDArray[np.int64]:
    """(N,) places in ``names``; BadInput says where labels could stand, or which picture has a new one."""
    found = labels_of(pictures, file)
    if found is None:
        raise BadInput(f"this model is conditioned on label, and the pictures have none; {_HOW}")
    ids = found.among(names)
    if (ids < 0).any():
        row = int(np.argmax(ids < 0))
        place = (
            str(pictures.root / pictures.names[row]) if isinstance(pictures, Folder) else f"{pictures.place}, row {row}"
        )
        word = found.names[found.ids[row]]
        raise BadInput(f"{place}: label {word!r} is new; the model knows {some(names)}; remove it or fit again")
    return ids


def conditions(labels: Labels | None, given: tuple[str, ...]) -> tuple[Field, ...]:
    """The field ``label``, where ``given`` asks for it."""
    for name in given:
        if name != "label":
            raise BadInput(f"--given {name}: pictures can be conditioned on 'label' alone")
    if not given:
        return ()
    if labels is None:
        raise BadInput(f"--given label: the pictures have no labels; {_HOW}")
    sizes = (len(labels.names),)
    return (Field(name="label", shape=(1,), support="category", sizes=sizes, columns=("label",), role="condition"),)


def told_of_labels(labels: Labels | None, given: bool) -> str:
    """How many there are, from where, and what for."""
    if labels is None:
        return ""
    use = "the model is conditioned on them" if given else "not modelled; condition on them with --given label"
    return f"labels: {len(labels.names)} ({some(labels.names)}) from the {labels.form}; {use}"


def _word(label: object) -> str:
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def _labels_file(pictures: Folder | Grid, file: str) -> Path:
    """Other data than those that were fitted have a file of that name in or beside them; else it is the one given."""
    given = Path(file).expanduser()
    place = pictures.path if isinstance(pictures, Folder) else Path(pictures.place)
    for path in (place / given.name, place.parent / given.name, given):
        if path.is_file():
            return path
    raise BadInput(f"labels {file}: no such file; it should be a CSV with columns file,label")


def _csv_labels(pictures: Folder | Grid, path: Path) -> Labels:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"labels {path}: not a CSV ({error}); it should have columns file,label") from None
    wanted = {"label"} if isinstance(pictures, Grid) else {"file", "label"}
    if not lines or not wanted <= set(lines[0]):
        raise BadInput(
            f"labels {path}: columns {','.join(lines[0]) if lines else 'none'}; expected {','.join(sorted(wanted))}"
        )
    for number, line in enumerate(lines, 2):
        if any(not line[column] for column in wanted):
            raise BadInput(f"labels {path}: line {number} is incomplete; it should give {' and '.join(sorted(wanted))}")
    if isinstance(pictures, Grid):
        if len(lines) != len(pictures):
            raise BadInput(f"labels {path}: {len(lines)} labels for {len(pictures)} pictures")
        return Labels.of((line["label"] for line in lines), "csv")
    named = {Path(line["file"]).as_posix(): line["label"] for line in lines}
    short = {Path(name).name: label for name, label in named.items()}
    words = []
    for name in pictures.names:
        word = named.get(name) or short.get(Path(name).name)
        if word is None:
            raise BadInput(f"labels {path}: there is no line for picture {name}; add one or remove the picture")
        words.append(word)
    return Labels.of(words, "csv")
