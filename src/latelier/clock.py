"""How long something has taken, how long it may take, and whether somebody asks it to stop. Times in seconds."""

from __future__ import annotations

import math
import signal
import threading
import time
from typing import Any


class Clock:
    """Seconds of work, counted on over interruptions."""

    def __init__(self, before: float = 0.0):
        self.begun = time.monotonic() - before

    def seconds(self) -> float:
        return time.monotonic() - self.begun


class Limit:
    """So many seconds from now on; None: as many as it takes.

    >>> Limit(None).spent(), Limit(0.0).spent(), Limit(90.0).spent() < 0.5
    (0.0, inf, True)
    """

    def __init__(self, seconds: float | None = None):
        self.allowed, self.clock = seconds, Clock()

    def spent(self) -> float:
        """The share of the time that has passed, 1 or more where all has."""
        if self.allowed is None:
            return 0.0
        return self.clock.seconds() / self.allowed if self.allowed > 0 else math.inf

    def part(self, share: float) -> Limit:
        """A limit of its own, for a share of what is left."""
        return Limit(None if self.allowed is None else share * max(0.0, self.allowed - self.clock.seconds()))


class Pause:
    """Ctrl-C (and SIGTERM) wait for the end of the step, so that what is saved is a state that training passes through.

    A second Ctrl-C does not wait.
    """

    def __init__(self) -> None:
        self.asked = False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Pause:
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
