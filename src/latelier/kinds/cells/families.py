"""Which family a column belongs to, judged by a tally of all its rows, and the line that says so.

======== ==================================================================================================
constant one value, or none: not modelled, written back
binary   two values
ordinal  whole numbers that span at most 20, each seen 5 times or more on average; ordered categories
amount   numbers of which one, such as 0, is repeated in a tenth of the rows or more, and three times as often as the next
cyclic   times of day
count    whole numbers from 0, at most 1,000
category words: at most 1,000 different ones; nearly unique ones are left out as identifiers
real     all other numbers, dates and times
binned   real and count, where bins are asked for: a histogram, with bins of their own for frequent values
======== ==================================================================================================
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from latelier.errors import BadInput, unknown
from latelier.kinds.cells.columns import (
    DAY,
    FAMILIES,
    NUMBERS,
    WHOLE_LIMIT,
    Column,
    Family,
    not_numbers,
    number_of,
)
from latelier.kinds.cells.tally import LEVELS, Tally
from latelier.wording import percent

ORDINAL_LEVELS, ORDINAL_ROWS = 20, 5
COUNT_HIGH = 1_000
MANY_ZEROS = 0.1  # share of zeros that is worth a word
SPIKE, ABOVE_NEXT, BESIDES = 0.1, 3.0, 10  # least share of a spike, and times that of the next; numbers besides it
PERIODS = (7, 12, 24, 31, 52, 53, 60, 360, 366, 1440, 86_400)  # that whole numbers come round in
NUMBERS_SHARE = 0.95  # from which a column of numbers and words is one of numbers with mistakes in it
IDENTIFIER_SHARE, IDENTIFIER_LEVELS = 0.5, 20  # words that differ in more than half of the rows say nothing in common
LARGEST = 1e150  # its square is still a number


@dataclass(frozen=True)
class Judged:
    """What became of a column: how it is modelled (None: left out), why, and the option that would change it."""

    column: Column | None
    why: str
    override: str = ""

    @property
    def family(self) -> str:
        return self.column.family if self.column else "left out"


def judge(tally: Tally, asked: str, place: Callable[[int], str], binned: bool = False) -> Judged:
    """``asked`` is a family, or "" to decide; with ``binned`` numbers are cut into bins. BadInput where the column cannot be of
    that family, or is of none."""
    wanted, period = _parsed(asked, tally.name)
    if not tally.seen:
        return Judged(_column(tally, "constant"), f"no value in {tally.rows:,} rows: not modelled, written back empty")
    if tally.distinct == 1:
        column = _column(tally, "constant")
        return Judged(column, f"always {column.levels[0]!r}: not modelled, written back as it is")
    if wanted:
        _check(tally, wanted, place)
        column = _column(tally, wanted, period)
        return Judged(
            column, f"{_what(tally)}; as asked{_round(column)}", _turn(tally, period) if column.period else ""
        )
    if tally.words and _mostly_numbers(tally):
        raise _mistakes(tally, place)
    family = _family(tally)
    if family is None:
        keep = "real" if not tally.text else "category" if tally.distinct is not None else ""
        return Judged(None, f"{_what(tally)}: looks like an identifier", _option(tally, keep))
    if family == "category" and tally.distinct is None:
        raise _too_many(tally)
    if binned and family in NUMBERS and family != "cyclic":
        return Judged(_column(tally, "binned"), _what(tally), _option(tally, family))
    if family == "amount":
        other = "count" if tally.whole and tally.low >= 0 else "real"
    elif family == "cyclic":
        other = "real"
    elif family == "real":
        few = tally.distinct is not None and tally.distinct <= ORDINAL_LEVELS and not tally.dated
        other = "ordinal" if few else "count" if tally.whole and tally.low >= 0 and not tally.dated else ""
    else:
        other = "category" if tally.text or family == "binary" else "real"
        other = "" if other == family or tally.categories else other
    return Judged(_column(tally, family), _what(tally), _option(tally, other))


def lines(judged: dict[str, Judged]) -> list[str]:
    """What a person reads: one line a column, or one a family in wide tables."""
    if len(judged) <= 40:
        return [_line(name, found) for name, found in judged.items()]
    out = []
    for family in dict.fromkeys(found.family for found in judged.values()):
        group = {name: found for name, found in judged.items() if found.family == family}
        if len(group) <= 3 or family == "left out":
            out += [_line(name, found) for name, found in group.items()]
        else:
            names = list(group)
            out.append(
                f"{len(group)} columns ({names[0]}, {names[1]}, ... {names[-1]}): {family} "
                f"(first: {group[names[0]].why}; override with --set data.families.COLUMN=FAMILY)"
            )
    return out


def _line(name: str, found: Judged) -> str:
    column = found.column
    holes = column is not None and column.missing > 0 and (column.levels or column.family != "constant")
    gone = f", {percent(column.missing)} missing" if column is not None and holes else ""
    how = f"; {'keep' if found.column is None else 'override'} with {found.override}" if found.override else ""
    return f"{name}: {found.family} ({found.why}{gone}{how})"


def _option(tally: Tally, family: str) -> str:
    return f"--set {shlex.quote(f'data.families.{tally.name}={family}')}" if family else ""


def _ignore(tally: Tally) -> str:
    return f"--ignore {shlex.quote(tally.name)}"


def _family(tally: Tally) -> Family | None:
    """None: an identifier, left out."""
    distinct, ordered = tally.distinct, bool(tally.categories and tally.categories.ordered)
    if distinct == 2:
        return "binary"
    if tally.categories:
        return "ordinal" if ordered and distinct is not None else "category"
    if tally.text:
        share = tally.unique_share if distinct is None else distinct / tally.seen
        unique = share > IDENTIFIER_SHARE and (distinct is None or distinct > IDENTIFIER_LEVELS)
        return None if unique else "category"
    if tally.timed:
        return "cyclic"
    if tally.dated:
        return "real"
    if not tally.whole:
        return "amount" if _spiked(tally) else "real"
    if max(abs(tally.low), abs(tally.high)) > WHOLE_LIMIT:
        return None if "int" in _dtype(tally) else "real"
    if distinct is not None and tally.high - tally.low < ORDINAL_LEVELS and tally.seen >= ORDINAL_ROWS * distinct:
        return "ordinal"
    if tally.low >= 0 and tally.high <= COUNT_HIGH:
        return "count"
    return "amount" if _spiked(tally) else "real"


def _spiked(tally: Tally) -> bool:
    """Does one number stand out of many?"""
    _, share, following = tally.repeated
    many = tally.distinct is None or tally.distinct > BESIDES
    return share >= max(SPIKE, ABOVE_NEXT * following) and many


def spike_of(tally: Tally) -> float:
    """The repeated number of an amount: the most frequent where it stands out, else 0."""
    value, share, following = tally.repeated
    return value if share >= max(SPIKE, ABOVE_NEXT * following) else 0.0


def _check(tally: Tally, asked: str, place: Callable[[int], str]) -> None:
    """BadInput where the values cannot be of the family that was asked for."""
    ordered = tally.categories is not None and tally.categories.ordered
    reason = ""
    if asked in NUMBERS and tally.text:
        if tally.words and _mostly_numbers(tally):
            raise _mistakes(tally, place)
        reason = (
            f"it holds words (first {tally.first_word[0]!r}, {place(tally.first_word[1])})" if tally.first_word else ""
        )
        reason = reason or "its numbers have leading zeros"
    elif asked in NUMBERS and pa.types.is_boolean(tally.type):
        reason = "it holds True and False"
    elif asked == "cyclic" and tally.dated:
        reason = "it holds dates; give their time of day, day of week or month a column of its own"
    elif asked == "amount" and (tally.dated or tally.timed):
        reason = f"it holds {_what(tally)}"
    elif asked == "count" and (not tally.whole or tally.low < 0 or tally.dated or tally.timed):
        reason = f"counts are 0, 1, 2, ...; it holds {_what(tally)}"
    elif asked == "ordinal" and tally.text and not ordered:
        reason = "words have no order of their own; use category, or an ordered pandas category"
    elif asked == "binary" and tally.distinct != 2:
        reason = f"binary columns have two values; it holds {_what(tally)}"
    elif asked in ("category", "ordinal") and tally.distinct is None:
        raise _too_many(tally)
    if reason:
        raise BadInput(f"column {tally.name!r} cannot be {asked}: {reason}")


def _parsed(asked: str, name: str) -> tuple[Any, float]:  # Any: a Family, or "" where none is asked for
    """Family and period of ``cyclic:24``; 0 where no period is given."""
    family, colon, words = asked.partition(":")
    if family and family not in FAMILIES:
        raise unknown(f"family of column {name!r}", family, FAMILIES)
    if not colon:
        return family, 0.0
    try:
        period = float(words)
    except ValueError:
        period = 0.0
    if family != "cyclic" or not 0 < period < LARGEST:
        raise BadInput(
            f"family of column {name!r}: {asked!r}; give cyclic:PERIOD with a number above 0, such as cyclic:24"
        )
    return family, period


def _circle(tally: Tally, period: float) -> tuple[float, float]:
    """Where a cyclic column starts and how soon it comes round: the period asked for, or the shortest usual one."""
    if tally.timed:
        return 0.0, DAY
    if not period:
        length = tally.high - tally.low + (1 if tally.whole else 0)
        usual = PERIODS if tally.whole or tally.high > 2 * np.pi * (1 + 1e-6) else (2 * np.pi,)
        period = next((float(p) for p in usual if p >= length), 0.0)
    if not period:
        raise BadInput(
            f"column {tally.name!r}: how soon do {_what(tally)} come round? give the period, "
            f"such as {_option(tally, 'cyclic:1000')}"
        )
    if tally.low < 0:
        return -period / 2, period
    return (1.0 if tally.whole and tally.low >= 1 and tally.high >= period else 0.0), period


def _round(column: Column) -> str:
    return f", comes round every {column.period:g} from {column.start:g}" if column.period else ""


def _turn(tally: Tally, period: float) -> str:
    return "" if period or tally.timed else _option(tally, "cyclic:PERIOD")


def _column(tally: Tally, family: Family, period: float = 0.0) -> Column:
    """Everything to keep of the column."""
    categories = tally.categories
    column = Column(
        name=tally.name,
        family=family,
        dtype=_dtype(tally),
        missing=tally.missing / max(tally.rows, 1),
        pandas=tally.pandas,
        categorical="" if categories is None else "ordered" if categories.ordered else "plain",
    )
    if tally.count and not tally.text:
        numbers = {"decimals": tally.decimals, "low": tally.low, "high": tally.high}
        column = column.model_copy(update={**numbers, "daily": bool(tally.dated or tally.timed) and not tally.clock})
        if (tally.dated or tally.timed) and pa.types.is_string(tally.type):
            column = column.model_copy(update={"spelt": "T" if tally.joined else "plain"})
    if family == "cyclic":
        start, period = _circle(tally, period)
        column = column.model_copy(update={"start": start, "period": period})
    if family in NUMBERS:
        if max(abs(tally.low), abs(tally.high)) > LARGEST:
            raise BadInput(
                f"column {tally.name!r}: values up to {tally.high:g} cannot be standardised; rescale it, or pass {_ignore(tally)}"
            )
        return column.model_copy(update={"categorical": ""})
    return column.model_copy(update={"levels": _levels(tally, family)})


def _levels(tally: Tally, family: Family) -> tuple[str, ...]:
    """In their own order. Between the least and the largest whole number of an ordinal, those that did not occur too."""
    found = tally.levels or {}
    if tally.categories:
        return tuple(value for value in tally.categories.values if value in found)
    if tally.text or tally.dated or tally.timed or _spelled_bool(tally):
        return tuple(sorted(found, key=lambda word: (word.lower(), word)))
    values = tally.numeric_levels
    if family == "ordinal" and tally.whole and tally.high - tally.low < ORDINAL_LEVELS:
        values = [tally.low + i for i in range(int(tally.high - tally.low) + 1)]
    whole = tally.whole and max(map(abs, values), default=0) <= WHOLE_LIMIT and "int" in _dtype(tally)
    return tuple(str(int(v)) if whole else repr(v) for v in values)


def _dtype(tally: Tally) -> str:
    """The Arrow type of values as they are written back."""
    if not pa.types.is_string(tally.type):
        return str(tally.type)
    if not tally.seen:
        return "string"
    if _spelled_bool(tally):
        return "bool"
    if tally.text:
        return "string"
    if tally.dated:
        moment = "timestamp[us, tz=UTC]" if tally.zoned else "timestamp[us]"
        return moment if tally.clock else "date32[day]"
    if tally.timed:
        return "time32[s]" if tally.whole else "time64[us]"
    return "int64" if tally.whole and not tally.pointed else "double"


def _spelled_bool(tally: Tally) -> bool:
    words = [word.lower() for word in tally.levels or ()]
    return sorted(words) == ["false", "true"] or (pa.types.is_boolean(tally.type) and bool(words))


def _what(tally: Tally) -> str:
    """In words: 73 distinct whole numbers 17 .. 90."""
    many = f"more than {LEVELS:,}" if tally.distinct is None else f"{tally.distinct:,}"
    if tally.text:
        if tally.distinct is not None and tally.distinct <= 4:
            return ", ".join(sorted(tally.levels or ()))
        return f"{many} distinct words in {tally.seen:,} values"
    if tally.dated:
        low, high = (str(np.datetime64(int(v), "s")).replace("T00:00:00", "") for v in (tally.low, tally.high))
        return f"{many} dates {low} .. {high}, read as seconds"
    if tally.timed:
        low, high = (str(np.datetime64(int(v), "s")).partition("T")[2] for v in (tally.low, tally.high))
        return f"{many} times of day {low} .. {high}"
    if _spelled_bool(tally):
        return ", ".join(sorted(tally.levels or ()))
    if tally.distinct is not None and tally.distinct <= 4:
        return ", ".join(f"{value:g}" for value in tally.numeric_levels)
    zeros = tally.zeros / tally.count
    value, share, _ = tally.repeated
    extra = (
        f", {percent(zeros)} zero"
        if zeros > MANY_ZEROS
        else f", {percent(share)} are {value:g}"
        if _spiked(tally)
        else ""
    )
    return f"{many} distinct {'whole ' if tally.whole else ''}numbers {tally.low:.6g} .. {tally.high:.6g}{extra}"


def _mostly_numbers(tally: Tally) -> bool:
    """So that words in it are mistakes, or a spelling of missing; few different values may well be codes."""
    kind = sum(_reads(level) for level in tally.levels) if tally.levels is not None else LEVELS
    return tally.count >= NUMBERS_SHARE * tally.seen and (kind > ORDINAL_LEVELS or bool(tally.dated) or tally.timed)


def _mistakes(tally: Tally, place: Callable[[int], str]) -> BadInput:
    assert tally.first_word is not None
    word, row = tally.first_word
    what = "dates" if tally.dated else "times" if tally.timed else "numbers"
    return not_numbers(tally.name, what, tally.words, word, place(row))


def _too_many(tally: Tally) -> BadInput:
    other = "" if tally.text else f", or {_option(tally, 'real')}"
    return BadInput(
        f"column {tally.name!r}: over {LEVELS:,} different values are too many for categories; pass {_ignore(tally)}{other}"
    )


def _reads(level: str) -> bool:
    try:
        number_of(level.replace(",", "."))
    except ValueError:
        return False
    return True
