"""What a column of a flow record is read as: its family, and the change from the file's cells to that family's. n = rows.

========== =========================================================================================================
word       a category; a cell that is unset is a value of its own, ``-``; the 200 most common words are kept
port       a category: ports to 1023 each; to 49151 those of one row in a thousand (and 5 rows); the rest by their range
clock      the time of day of a time stamp, cyclic
amount     bytes and packets: counts to 2^24 (what float32 holds exactly), above that real numbers on a log scale
log        durations, speeds, means: real numbers on a log scale; an amount where one value, such as 0, stands out
share      numbers between 0 and 1: real, or an amount where one value stands out
address    left out, as are label and identifier
========== =========================================================================================================

A word or port that did not occur in training is read as ``(other)``, ``(registered)`` or ``(ephemeral)``, which every such
column has room for: so a row with a new service is odd, and not an error. A negative amount is an exporter's overflow, or its
word for "does not apply", and is read as missing; so is an infinite or undefined speed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from latelier.kinds.cells.columns import number_of, numbers

OTHER, REGISTERED, EPHEMERAL = "(other)", "(registered)", "(ephemeral)"
UNSET = "-"
KEPT = 200  # words of one column that are told apart
PORT_SHARE, PORT_ROWS = (
    1e-3,
    5,
)  # the rows from which a port above the well-known ones is told apart: their share and number
WELL_KNOWN, LAST_REGISTERED = 1023, 49_151  # RFC 6335, section 6
EXACT = float(2**24)  # whole numbers to here are float32s
CLOCK = "time_of_day"  # what the column of a time stamp becomes
CLOCK_IN_TEXT = (
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?(?:[.,][0-9]+)?\s*(?P<half>[AaPp]?)"
)


@dataclass(frozen=True)
class Role:
    """``family`` is "" where the column is left out; ``change`` makes the cells (n,) of a file those (n,) of the family."""

    family: str
    change: Callable[[pa.Array], pa.Array]
    groups: tuple[str, ...] = ()  # values that every column of the role has room for
    spiked: str = ""  # the family of a column of which one value stands out, where that is another


def as_words(array: pa.Array) -> pa.Array:
    """(n,) text; 80 and 80.0 are one word, an unset cell is ``-``."""
    return pc.fill_null(_spelled(array), UNSET)


def as_ports(array: pa.Array) -> pa.Array:
    """(n,) text: the port, without judging whether it is kept."""
    return as_words(array)


def as_clock(array: pa.Array) -> pa.Array:
    """(n,) text 00:00:00 to 23:59:59, null where there is no time. Numbers are seconds since 1970, or as many thousandths or
    millionths.

    >>> as_clock(pa.array(["02/03/2018 08:47:38", "5/7/2017 3:30 PM", None])).to_pylist()
    ['08:47:38', '15:30:00', None]
    >>> as_clock(pa.array(["1331901000.1"])).to_pylist()
    ['12:30:00']
    """
    if pa.types.is_string(array.type) and array.null_count < len(array):
        found = pc.extract_regex(array, CLOCK_IN_TEXT)
        if found.null_count < len(found):
            hours, minutes, seconds = (numbers(_digits(found, part))[0] for part in ("hour", "minute", "second"))
            half = pc.utf8_lower(pc.struct_field(found, "half"))
            late, early = (pc.fill_null(pc.equal(half, h), False).to_numpy(zero_copy_only=False) for h in "pa")
            hours = np.where(late & (hours < 12), hours + 12, np.where(early & (hours == 12), 0, hours))
            legal = (hours < 24) & (minutes < 60) & ~(seconds >= 60)
            return _spelled_clock(np.where(legal, hours * 3_600 + minutes * 60 + np.nan_to_num(seconds), np.nan))
    return _spelled_clock(np.floor(since_epoch(array) % 86_400))


def since_epoch(array: pa.Array) -> np.ndarray:
    """(n,) seconds since 1970, NaN where there is no number."""
    if pa.types.is_temporal(array.type):
        array = array.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    seconds, _ = numbers(array)
    for limit, unit in ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3)):
        seconds = np.where(seconds > limit, seconds / unit, seconds)
    return np.asarray(seconds)


def as_amounts(array: pa.Array) -> pa.Array:
    """(n,) as it was, null where it is negative, infinite or undefined. Words stay, for the column to complain of."""
    values, bad = numbers(array)
    wrong = (values < 0) | np.isinf(values)
    return pc.if_else(pa.array(wrong), None, array) if wrong.any() and bad is None else array


def as_finite(array: pa.Array) -> pa.Array:
    """(n,) as it was, null where it is infinite."""
    values, bad = numbers(array)
    wrong = np.isinf(values)
    return pc.if_else(pa.array(wrong), None, array) if wrong.any() and bad is None else array


def as_it_is(array: pa.Array) -> pa.Array:
    return array


ROLES: dict[str, Role] = {
    "word": Role("category", as_words, (OTHER,)),
    "port": Role("category", as_ports, (OTHER, REGISTERED, EPHEMERAL)),
    "clock": Role("cyclic", as_clock),
    "amount": Role("count", as_amounts),
    "log": Role("real", as_finite, spiked="amount"),
    "share": Role("real", as_finite, spiked="amount"),
    "address": Role("", as_it_is),
    "label": Role("", as_it_is),
    "identifier": Role("", as_it_is),
    "": Role("", as_it_is, (OTHER,)),
}


def grouped(array: pa.Array, role: str, kept: Collection[str]) -> pa.Array:
    """(n,) words: those that are kept, the others by the group they fall into. Nulls stay.

    >>> grouped(pa.array(["80", "51000", "6667", "0.0", None]), "port", {"80", "0"}).to_pylist()
    ['80', '(ephemeral)', '(registered)', '0', None]
    """
    coded = _spelled(array).dictionary_encode()
    numeric = {value: word for word in kept if (value := _number(word)) is not None}
    known = [
        word if word in kept else numeric.get(_number(word), _group(word, role))  # type: ignore[arg-type]
        for word in coded.dictionary.to_pylist()
    ]
    return pa.array(known, pa.string()).take(coded.indices)


def kept_of(counts: dict[str, int], role: str) -> set[str]:
    """Which of the words of a column are told apart, given how many rows have each: see the table above."""
    rows = sum(counts.values())
    common = sorted(counts, key=lambda word: (-counts[word], word))
    if role == "port":
        least = {OTHER: 1.0, REGISTERED: max(PORT_SHARE * rows, PORT_ROWS), EPHEMERAL: np.inf}
        common = [word for word in common if counts[word] >= least[_group(word, role)]]
    return set(common[:KEPT])


def _group(word: str, role: str) -> str:
    port = _number(word) if role == "port" else None
    if port is None or port <= WELL_KNOWN:
        return OTHER
    return REGISTERED if port <= LAST_REGISTERED else EPHEMERAL


def _spelled(array: pa.Array) -> pa.Array:
    """As text; whole numbers without a point, which a frame or a CSV of pandas gives them where some are missing."""
    if pa.types.is_boolean(array.type):
        return pc.if_else(array, "T", "F")  # as Zeek spells them
    if pa.types.is_floating(array.type):
        whole = pc.equal(pc.floor(array), array)
        return pc.if_else(whole, pc.cast(array, pa.int64(), safe=False).cast(pa.string()), array.cast(pa.string()))
    text = array if pa.types.is_string(array.type) else array.cast(pa.string())
    return pc.replace_substring_regex(text, r"^([0-9]+)\.0+$", r"\1")


def _number(word: str | None) -> float | None:
    try:
        return None if word is None else number_of(word)
    except ValueError:
        return None


def _digits(found: pa.Array, part: str) -> pa.Array:
    """(n,) the digits of a part of a match, null where it is empty."""
    words = pc.struct_field(found, part)
    return pc.if_else(pc.equal(words, ""), None, words)


def _spelled_clock(seconds: np.ndarray) -> pa.Array:
    """Seconds of the day as text, null where they are no number."""
    there = np.isfinite(seconds.astype(np.float64))
    moments = pa.array(np.where(there, seconds, 0).astype(np.int32), pa.time32("s"), mask=~there)
    return moments.cast(pa.string())
