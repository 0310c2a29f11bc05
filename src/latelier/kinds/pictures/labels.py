"""The labels of pictures: from sub-folders, a CSV or an array; and as a condition. N = rows."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from latelier.data.schema import Field, Role
from latelier.errors import BadInput
from latelier.kinds.classes import check_classes, remark
from latelier.kinds.pictures.arrays import Grid
from latelier.kinds.pictures.evidence import some
from latelier.kinds.pictures.files import Folder, natural
from latelier.spec import DataSpec

LabelForm = Literal["none", "sub-folders", "csv", "array"]

_HOW = (
    "put them in a sub-folder for each label, pass a CSV with --set data.labels=FILE, or an .npz with an array 'labels'"
)


@dataclass(frozen=True)
class Labels:
    """The label of every row: ``names[ids[i]]``, or none where ids[i] is -1. Names are in natural order."""

    names: tuple[str, ...]
    ids: npt.NDArray[np.int64]  # (N,)
    form: LabelForm

    @classmethod
    def of(cls, words: Iterable[str | None], form: LabelForm, unlabelled: Sequence[str] = ()) -> Labels:
        """From one word a row; None, and the words that are ``unlabelled``, stand for no label.

        >>> Labels.of(["10", "9", "10"], "csv")
        Labels(names=('9', '10'), ids=array([1, 0, 1]), form='csv')
        >>> Labels.of(["10", "-1", "9"], "array", unlabelled=["-1"]).ids.tolist()
        [1, -1, 0]
        """
        places: dict[str, int] = {}
        none = {None, *unlabelled}
        ids = np.fromiter(
            (-1 if word in none else places.setdefault(str(word), len(places)) for word in words), np.int64
        )
        names = sorted(places, key=natural)
        rank = np.full(len(names) + 1, -1, np.int64)  # the last, which is also place -1, is none
        rank[[places[name] for name in names]] = np.arange(len(names))
        return cls(tuple(names), rank[ids], form)

    def among(self, names: tuple[str, ...]) -> npt.NDArray[np.int64]:
        """(N,) places in ``names``; -1 for labels that are not there."""
        places = {name: i for i, name in enumerate(names)}
        return np.array([*(places.get(name, -1) for name in self.names), -1], np.int64)[self.ids]


def labels_of(pictures: Folder | Grid, file: str | None, unlabelled: Sequence[str] = ()) -> Labels | None:
    """The labels beside the pictures: from ``file`` (a CSV), sub-folders, an array; None where there are none.

    BadInput names a picture that the CSV has no label for. Where words for ``unlabelled`` pictures are given, there may be
    such: with such a label, without one in the CSV, or in no sub-folder.
    """
    if file is not None:
        return _csv_labels(pictures, _labels_file(pictures, file), unlabelled)
    if isinstance(pictures, Grid):
        words = None if pictures.labels is None else map(_word, pictures.labels.tolist())
        return None if words is None else Labels.of(words, "array", unlabelled)
    tops = [name.partition("/") for name in pictures.names]
    some = any if unlabelled else all
    if not some(slash for _, slash, _ in tops) or pictures.form == "file":
        return None
    return Labels.of((top if slash else None for top, slash, _ in tops), "sub-folders", unlabelled)


def known_labels(
    pictures: Folder | Grid, names: tuple[str, ...], file: str | None, unlabelled: Sequence[str] = ()
) -> npt.NDArray[np.int64]:
    """(N,) places in ``names``, -1 where a picture is ``unlabelled``, if any may be. BadInput says where labels could stand, or
    which picture has a new one."""
    if unlabelled and file is not None and not _has_file(pictures, file):
        return np.full(len(pictures), -1, np.int64)
    found = labels_of(pictures, file, unlabelled)
    if unlabelled and (found is None or (found.form == "sub-folders" and not set(found.names) & set(names))):
        return np.full(len(pictures), -1, np.int64)  # folders of other names are places
    if found is None:
        raise BadInput(f"this model is conditioned on label, and the pictures have none; {_HOW}")
    ids = found.among(names)
    new = (ids < 0) & (found.ids >= 0)
    if new.any():
        row = int(np.argmax(new))
        place = (
            str(pictures.root / pictures.names[row]) if isinstance(pictures, Folder) else f"{pictures.place}, row {row}"
        )
        word = found.names[found.ids[row]]
        raise BadInput(f"{place}: label {word!r} is new; the model knows {some(names)}; remove it or fit again")
    return ids


def label_field(labels: Labels | None, spec: DataSpec) -> tuple[Field, ...]:
    """The field ``label``, where it is to be a condition or a latent variable."""
    for name in spec.given:
        if name != "label":
            raise BadInput(f"--given {name}: pictures can be conditioned on 'label' alone")
    if spec.label not in (None, "label"):
        raise BadInput(f"--label {spec.label}: of pictures it is called 'label'; pass --label label")
    if not spec.given and spec.label is None:
        return ()
    option = "--given label" if spec.given else "--label label"
    if spec.given and spec.label is not None:
        raise BadInput("--label label: is given too; it is a condition or a latent variable, leave out one of the two")
    if labels is None:
        raise BadInput(f"{option}: the pictures have no labels; {_HOW}")
    if spec.label is not None and len(labels.names) < 2:
        raise BadInput(f"{option}: there is one label, {labels.names[0]!r}; a classifier needs two or more")
    if spec.label is not None:
        check_classes("label", labels.names, "round them to classes")
    role: Role = "condition" if spec.given else "label"
    sizes = (len(labels.names),)
    return (Field(name="label", shape=(1,), support="category", sizes=sizes, columns=("label",), role=role),)


def told_of_labels(labels: Labels | None, spec: DataSpec) -> str:
    """How many there are, from where, and what for."""
    if labels is None:
        return ""
    use = "not modelled; condition on them with --given label"
    if "label" in spec.given:
        use = "the model is conditioned on them"
    elif spec.label is not None:
        without = int((labels.ids < 0).sum())
        many = remark("label", labels.names)
        use = f"a latent variable; {without:,} of {len(labels.ids):,} pictures without" + (f"; {many}" if many else "")
    return f"labels: {len(labels.names)} ({some(labels.names)}) from the {labels.form}; {use}"


def _has_file(pictures: Folder | Grid, file: str) -> bool:
    try:
        return _labels_file(pictures, file).is_file()
    except BadInput:
        return False


def _word(label: object) -> str | None:
    if isinstance(label, float) and math.isnan(label):
        return None
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def _labels_file(pictures: Folder | Grid, file: str) -> Path:
    """Other data than those that were fitted have a file of that name in or beside them; else it is the one given."""
    given = Path(file).expanduser()
    place = pictures.path if isinstance(pictures, Folder) else Path(pictures.place)
    for path in (place / given.name, place.parent / given.name, given):
        if path.is_file():
            return path
    raise BadInput(f"labels {file}: no such file; it should be a CSV with columns file,label")


def _csv_labels(pictures: Folder | Grid, path: Path, unlabelled: Sequence[str]) -> Labels:
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
        if any(not line[column] for column in (wanted - {"label"} if unlabelled else wanted)):
            raise BadInput(f"labels {path}: line {number} is incomplete; it should give {' and '.join(sorted(wanted))}")
    if isinstance(pictures, Grid):
        if len(lines) != len(pictures):
            raise BadInput(f"labels {path}: {len(lines)} labels for {len(pictures)} pictures")
        return Labels.of((line["label"] or None for line in lines), "csv", unlabelled)
    named = {Path(line["file"]).as_posix(): line["label"] for line in lines}
    short = {Path(name).name: label for name, label in named.items()}
    words = []
    for name in pictures.names:
        word = named.get(name) or short.get(Path(name).name)
        if word is None and not unlabelled:
            raise BadInput(f"labels {path}: there is no line for picture {name}; add one or remove the picture")
        words.append(word or None)
    return Labels.of(words, "csv", unlabelled)
