"""How long the records of a log span. A log of some hours says nothing of the others, which would all be odd."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from latelier.kinds.cells.columns import since_midnight
from latelier.kinds.flows.roles import CLOCK_IN_TEXT, as_clock, since_epoch

DAY = 86_400.0  # seconds
SHORT = 23 / 24 * DAY  # a day's log may begin a little after midnight, and end before it


class Span:
    """First and last moment. Of text that is no number, dates are told apart as words, and the clock is read: two dates are
    under a day where all that is of the one that came first is later on the clock than all that is of the other."""

    def __init__(self) -> None:
        self.first, self.last = np.inf, -np.inf
        self.dates: dict[str, tuple[float, float]] = {}
        self.long = False

    def add(self, array: pa.Array) -> None:
        """(n,) time stamps as a file has them."""
        array = array.drop_null()
        if self.long or not len(array):
            return
        if not _has_clock(array):
            seconds = since_epoch(array)
            seconds = seconds[np.isfinite(seconds)]
            if len(seconds):
                self.first, self.last = min(self.first, seconds.min()), max(self.last, seconds.max())
            return
        clock, _ = since_midnight(as_clock(array))
        dates = pc.utf8_trim_whitespace(pc.replace_substring_regex(array, CLOCK_IN_TEXT, "")).dictionary_encode()
        places = dates.indices.to_numpy()
        for place, date in enumerate(dates.dictionary.to_pylist()):
            own = clock[(places == place) & np.isfinite(clock)]
            if len(own):
                first, last = self.dates.get(date, (np.inf, -np.inf))
                self.dates[date] = min(first, own.min()), max(last, own.max())
        # Without a date nothing can be told.
        self.long = len(self.dates) > 2 or any(not date for date in self.dates)

    @property
    def seconds(self) -> float:
        """inf where it is long, or is not known."""
        if self.long:
            return np.inf
        if not self.dates:
            return float(self.last - self.first) if self.last >= self.first else np.inf
        (first, last), *other = self.dates.values()
        if not other:
            return last - first
        gap = first - other[0][1]
        return DAY - gap if gap > 0 else np.inf

    @property
    def short(self) -> bool:
        return self.seconds < SHORT


def _has_clock(array: pa.Array) -> bool:
    return pa.types.is_string(array.type) and pc.any(pc.match_substring_regex(array, CLOCK_IN_TEXT)).as_py()
