"""Work that several processes share, part by part: each part is done once and whole, whoever is killed when.

The results are a folder with a file for each part, and a page that says of what run they are. A part is done when its file is
there, for files come there whole, by a rename. Which parts are a process's own follows from its rank alone, and what a part's
file holds from the part alone, so nothing is agreed on while the work goes on, and a second try, even a second process at the
same part, changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

from latelier.errors import BadInput
from latelier.kinds.base import Part
from latelier.store import write_beside

PAGE = "parts.json"
ROWS = 1 << 19  # of a part, about: some ten seconds of scoring on one core, which is what a kill can cost


@dataclass(frozen=True)
class Rank:
    """Which of several processes this is, as torchrun says.

    >>> Rank.here({"RANK": "1", "WORLD_SIZE": "4"}), Rank.here({})
    (Rank(number=1, of=4), Rank(number=0, of=1))
    """

    number: int = 0
    of: int = 1

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> Rank:
        """From RANK and WORLD_SIZE; alone where they are not set."""
        number, of = environment.get("RANK", "0"), environment.get("WORLD_SIZE", "1")
        if not (number.isdecimal() and of.isdecimal() and int(number) < int(of)):
            raise BadInput(f"RANK={number}, WORLD_SIZE={of}: should be a number from 0 and how many there are")
        return cls(int(number), int(of))


def begin(folder: Path, run: Mapping[str, Any], parts: Sequence[Part], rank: Rank, overwrite: bool = False) -> None:
    """Makes the folder and its page, or checks that the page there is of the same run on the same files.

    BadInput where it is of another, or where the folder holds anything else. ``overwrite`` removes the parts of another run.
    """
    page = {"format": 1, **run, "parts": {part.name: _described(part) for part in parts}}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: cannot be made a folder ({error.strerror}); name another --out") from None
    before = _page(folder)
    if before is not None and before != page and overwrite:
        if rank.of > 1:
            raise BadInput(f"{folder}: {rank.of} processes cannot replace what it holds; remove it before they start")
        for name in before["parts"]:
            (folder / name).unlink(missing_ok=True)
        (folder / PAGE).unlink()
        before = None
    if before is None:
        other = next((path.name for path in folder.iterdir() if path.name[0] != "." and path.name != PAGE), None)
        if other and _page(folder) is None:
            raise BadInput(f"{folder}: holds {other}, which is not of this run; name another with --out")
        before = _first_of(folder, page)
    if before != page:
        raise BadInput(
            f"{folder}: holds parts of another run ({_difference(before, page)}); replace them with --overwrite, "
            "or name another with --out"
        )


def left(folder: Path, parts: Sequence[Part], rank: Rank) -> Iterator[Part]:
    """This process's parts that are not done; what a killed process left of its own is swept."""
    for part in parts[rank.number :: rank.of]:
        place = folder / part.name
        for half in place.parent.glob(f".{escape(place.name)}-????????"):  # where writers let files grow
            shutil.rmtree(half, ignore_errors=True)
        if not place.exists():
            yield part


def seed_of(part: Part, seed: int) -> int:
    """A seed of the part's own, so that parts do not share their draws; the same seed where all rows are one part."""
    if not part.name:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} {part.name}".encode()).digest()[:6])


def _described(part: Part) -> dict[str, Any]:
    status = part.file.stat()
    return {"file": str(part.file), "start": part.start, "bytes": status.st_size, "changed": status.st_mtime_ns}


def _page(folder: Path) -> dict[str, Any] | None:
    try:
        page = json.loads((folder / PAGE).read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise BadInput(f"{folder / PAGE}: not readable ({error}); remove the folder, or name another --out") from None
    return dict(page)


def _first_of(folder: Path, page: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the page unless another process has, and returns the one that is there."""
    temporary = write_beside(folder / PAGE, json.dumps(page, indent=1).encode())
    try:
        os.link(temporary, folder / PAGE)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links: the last one stays, and all say the same
        os.replace(temporary, folder / PAGE)
    temporary.unlink(missing_ok=True)
    found = _page(folder)
    assert found is not None
    return found


def _difference(before: Mapping[str, Any], page: Mapping[str, Any]) -> str:
    for name in {**page, **before}:
        if name != "parts" and before.get(name) != page.get(name):
            return f"{name} was {before.get(name)}, and is {page.get(name)}"
    for name in {**page["parts"], **before["parts"]}:
        if name not in before["parts"] or name not in page["parts"]:
            return f"{name} was {'not ' if name in page['parts'] else ''}one of them"
        if before["parts"][name] != page["parts"][name]:
            return f"{page['parts'][name]['file']} has changed"
    return "format"
