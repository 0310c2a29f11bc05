"""Lines as they are written: of a file that grows, is rotated or truncated, or of a pipe. No more than plain Python."""

from __future__ import annotations

import hashlib
import os
import select
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from latelier.errors import BadInput

BLOCK = 1 << 20  # bytes that are read at a time
LONGEST = 1 << 20  # bytes of a line; what is longer cannot be a row, and must not fill the memory
POLL = 0.1  # seconds between two looks at a file that does not grow
BEFORE = 256  # bytes in front of the place to go on from, by which the file is known again


@dataclass(frozen=True)
class Piece:
    """Whole lines, the number of the first (from 1), and the place in the file after the last. ``fresh``: they are the first of a
    new file. ``cut``: lines that were too long, by their numbers."""

    lines: list[bytes]
    first: int
    end: int
    fresh: bool
    cut: tuple[int, ...] = ()


class Tail(ABC):
    """Bytes, as they come."""

    @abstractmethod
    def read(self) -> bytes:
        """What is there now; b"" where nothing is."""

    @abstractmethod
    def over(self) -> bool:
        """Is what has been read all that will ever be in this file?"""

    @abstractmethod
    def next_file(self) -> bool:
        """Goes on to the file that has taken this one's place; False where there is none and none will come."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Until more may be there, at most so long."""

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class FileTail(Tail):
    """A file by its name: where another file takes the name, the old one is read to its end first. Where the file becomes shorter
    it is read from its start."""

    def __init__(self, path: Path, follow: bool, start: Path | None = None, offset: int = 0):
        self.path, self.follow = path, follow
        self.file = open(start or path, "rb")  # noqa: SIM115 - closed when the next one is opened, and at the end
        self.file.seek(offset)
        self.lingered = False

    def read(self) -> bytes:
        data = self.file.read(BLOCK)
        self.lingered &= not data
        return data

    def over(self) -> bool:
        """A writer may hold a renamed file for a moment longer: so the first answer after its renaming is No."""
        if not self._replaced():
            return not self.follow
        if self.lingered or not self.follow:
            return True
        self.lingered = True
        time.sleep(2 * POLL)
        return False

    def next_file(self) -> bool:
        if not self._replaced():
            return False
        self.file.close()
        self.file = open(self.path, "rb")  # noqa: SIM115
        self.lingered = False
        return True

    def wait(self, seconds: float) -> None:
        time.sleep(min(seconds, POLL))

    def close(self) -> None:
        self.file.close()

    def place(self, offset: int) -> dict[str, Any]:
        """What is needed to find this place again."""
        about = os.fstat(self.file.fileno())
        return {
            "device": about.st_dev,
            "inode": about.st_ino,
            "offset": offset,
            "before": before(self.file.fileno(), offset),
        }

    def _replaced(self) -> bool:
        try:
            there = self.path.stat()
        except OSError:  # renamed, and the new one is not there yet
            return False
        here = os.fstat(self.file.fileno())
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino) or there.st_size < self.file.tell()


class PipeTail(Tail):
    """Standard input, until it is closed."""

    def __init__(self) -> None:
        self.number, self.closed = sys.stdin.fileno(), False

    def read(self) -> bytes:
        if self.closed or not select.select([self.number], [], [], 0)[0]:
            return b""
        data = os.read(self.number, BLOCK)
        self.closed = not data
        return data

    def over(self) -> bool:
        return self.closed

    def next_file(self) -> bool:
        return False

    def wait(self, seconds: float) -> None:
        select.select([self.number], [], [], min(seconds, POLL))

    def close(self) -> None:
        """It is not ours to close."""


def pieces(
    tail: Tail, every: float, most: int, stopped: Callable[[], bool], line: int = 1, offset: int = 0, fresh: bool = True
) -> Iterator[Piece]:
    """At most ``most`` lines at a time, none of which waits longer than ``every`` seconds. A line without an end is waited for,
    until no more can come. ``stopped`` is asked all the time; lines that are whole by then still come."""
    ready: list[tuple[bytes, int]] = []  # lines, and how many bytes they are in the file
    rest, dropped, since = b"", 0, 0.0

    def taken(count: int) -> Piece:
        nonlocal line, offset, fresh, ready
        lines, sizes = [text for text, _ in ready[:count]], [size for _, size in ready[:count]]
        offset += sum(sizes)
        cut = tuple(line + i for i, text in enumerate(lines) if len(text) != sizes[i])
        piece = Piece(lines, line, offset, fresh, cut)
        line, fresh, ready = line + len(lines), False, ready[count:]
        return piece

    while True:
        data = b"" if stopped() else tail.read()
        if data:
            since = since if ready else time.monotonic()
            *whole, rest = (rest + data).split(b"\n")
            for text in whole:
                size, dropped = dropped + len(text) + 1, 0
                ready.append((text + b"\n" if size <= LONGEST else b"\n", size))
            if dropped + len(rest) > LONGEST:
                dropped, rest = dropped + len(rest), b""
        while len(ready) >= most:
            yield taken(most)
            since = time.monotonic()
        if data:
            continue
        if stopped():
            if ready:
                yield taken(len(ready))
            return
        if tail.over():
            if rest or dropped:
                ready.append((b"\n" if dropped else rest, dropped + len(rest)))
            if ready:
                yield taken(len(ready))
            rest, dropped = b"", 0
            if not tail.next_file():
                return
            line, offset, fresh = 1, 0, True
            continue
        if ready and time.monotonic() - since >= every:
            yield taken(len(ready))
        tail.wait(max(every - (time.monotonic() - since), 0.0) if ready else POLL)


def before(file: int, offset: int) -> str:
    """A digest of the bytes in front of a place."""
    size = min(BEFORE, offset)
    return hashlib.sha256(os.pread(file, size, offset - size)).hexdigest()[:16]


def found_again(path: Path, place: dict[str, Any]) -> Path | None:
    """The file of that place: ``path`` itself, or what it has been renamed to; None where it is gone or was written anew."""
    for candidate in (path, *sorted(path.parent.iterdir())):
        try:
            about = candidate.stat()
            if (about.st_dev, about.st_ino) != (place["device"], place["inode"]) or about.st_size < place["offset"]:
                continue
            with open(candidate, "rb") as file:
                if before(file.fileno(), place["offset"]) == place["before"]:
                    return candidate
        except OSError:  # gone in the meantime, or not ours to read
            continue
    return None


def opened_file(path: Path) -> None:
    """BadInput where it cannot be followed."""
    if path.suffix.lower() == ".gz":
        raise BadInput(f"{path}: a packed file does not grow line by line; unpack it, or score it without --follow")
    try:
        open(path, "rb").close()
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be read ({error.strerror or error}); check the path and its permissions"
        ) from None
