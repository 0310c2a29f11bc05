"""Text whose values stand between runs of blanks, as text with single tabs, block by block."""

from __future__ import annotations

import re
from typing import IO

BLOCK = 1 << 20  # bytes that are read at a time
_BLANKS, _EDGES = re.compile(rb"[ \t]+"), re.compile(rb"\t?(\r?\n)\t?")


class Tabbed:
    """A file whose runs of blanks and tabs are single tabs, none at a line's ends; whole lines at a time."""

    closed = False

    def __init__(self, file: IO[bytes]):
        self._file, self._rest, self._ready = file, b"", b""

    def read(self, size: int = -1) -> bytes:
        while len(self._ready) < size:
            block = self._file.read(BLOCK)
            whole, newline, rest = (self._rest + block).rpartition(b"\n")
            text, self._rest = (whole + newline, rest) if block else (self._rest + b"\n" if self._rest else b"", b"")
            self._ready += tidy(text)
            if not block:
                break
        out, self._ready = self._ready[:size], self._ready[size:]
        return out

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True


def tidy(text: bytes) -> bytes:
    """Whole lines with runs of blanks and tabs as single tabs, and none at a line's ends."""
    return _EDGES.sub(rb"\1", _BLANKS.sub(b"\t", text)).lstrip(b"\t")
