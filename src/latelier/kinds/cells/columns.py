"""One column of a table: its family, and the way between Arrow arrays and the numbers that are stored. n = rows of a block.

Stored are float64 for ``real``, ``amount``, ``cyclic`` and ``binned``, whole float32 for ``count``, int64 codes for
``category`` and ``ordinal``, 0 or 1 for ``binary``. Dates are ``real``: seconds since 1970. Times of day are ``cyclic``:
seconds since midnight.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from difflib import get_close_matches
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from latelier.errors import BadInput

Family = Literal["real", "amount", "cyclic", "count", "binned", "category", "ordinal", "binary", "constant"]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Place = Callable[[int], str]  # a row of the block, from 0, as the user would look it up
New = dict[str, tuple[int, str]]  # column -> how many values did not occur in training, and the first with its place
FAMILIES = ("real", "amount", "cyclic", "count", "binned", "category", "ordinal", "binary")
NUMBERS = ("real", "amount", "cyclic", "count", "binned")  # families whose values are numbers and not codes
DECIMALS = 6  # most decimals that are kept in mind; columns of more are not rounded
WHOLE_LIMIT = float(2**53)  # beyond, float64 skips whole numbers
DAY = 86_400.0  # seconds
_NAMED = {"date32[day]": pa.date32(), "date64[ms]": pa.date64(), "double": pa.float64(), "float": pa.float32()}


class Column(BaseModel):
    """What a column was in training, so that new data are read the same way and written in the original form.

    ``dtype`` is the Arrow type that is written, ``levels`` are the values behind the codes (or the one value of a
    constant; none where it was empty) as they were spelled, ``decimals`` how many numbers had, ``daily`` are dates without
    a time of day, or times of day without seconds, ``spelt`` says that dates or times were text, ``T`` that this stands between
    the two, ``low`` and ``high`` is the range, ``start`` and ``period`` where a cyclic
    column begins and how soon it comes round, ``missing`` the share of rows without a value, ``pandas`` the type in a frame.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    family: Family
    dtype: str = "string"
    levels: tuple[str, ...] = ()
    categorical: Literal["", "plain", "ordered"] = ""
    decimals: int | None = None
    daily: bool = False
    spelt: Literal["", "plain", "T"] = ""
    low: float | None = None
    high: float | None = None
    start: float = 0.0
    period: float = 0.0
    missing: float = 0.0
    pandas: str = ""

    @property
    def whole(self) -> bool:
        return "int" in self.dtype

    @property
    def dated(self) -> bool:
        return self.dtype.startswith(("date", "timestamp"))

    @property
    def timed(self) -> bool:
        return self.dtype.startswith(("time32", "time64"))

    @cached_property
    def arrow(self) -> pa.DataType:
        return type_of(self.dtype)

    @cached_property
    def keys(self) -> dict[Any, int]:
        """What to look a value up by -> its code."""
        return {self._key(level): code for code, level in enumerate(self.levels)}

    def encode(
        self, array: pa.Array, place: Place, decimal: str = ".", new: New | None = None
    ) -> tuple[npt.NDArray[Any], Bools]:
        """(n,) stored values with 0 where missing, and (n,) which are there. BadInput names column, value, place and remedy.

        With ``new``, values that did not occur in training are missing, and are told there."""
        if self.family in NUMBERS:
            return self._numbers(array, place, decimal)
        coded = array.dictionary_encode()
        codes = np.array([self._code(value, decimal) for value in coded.dictionary.to_pylist()] + [-1], np.int64)
        found = codes[coded.indices.fill_null(len(codes) - 1).to_numpy()]
        if (found == -2).any():
            row = int(np.argmax(found == -2))
            if new is None or self.family == "constant":
                raise self._unknown(array[row].as_py(), place(row))
            count, first = new.get(self.name) or (0, f"{str(array[row].as_py())!r}, {place(row)}")
            new[self.name] = (count + int((found == -2).sum()), first)
        return np.maximum(found, 0), found >= 0

    def decode(self, values: npt.NDArray[Any], seen: Bools | None) -> pa.Array:
        """(n,) stored values -> an array of the column's own type, null where not ``seen``."""
        hidden = None if seen is None or seen.all() else ~seen
        if self.family in NUMBERS:
            return self._written(values.astype(np.float64), hidden)
        codes = np.rint(values).astype(np.int32).clip(0, len(self.levels) - 1)
        coded = pa.array(codes, mask=hidden)
        if self.categorical:
            return pa.DictionaryArray.from_arrays(coded, self._level_values(), ordered=self.categorical == "ordered")
        return self._level_values().take(coded)

    def same(self, rows: int) -> pa.Array:
        """(rows,) of a column that is not modelled: its one value, or nulls."""
        if not self.levels:
            return pa.nulls(rows, self.arrow)
        array = self._level_values().take(pa.array(np.zeros(rows, np.int32)))
        return array.dictionary_encode() if self.categorical else array

    def spelled(self, array: pa.Array) -> pa.Array:
        """As text says it: bools as they were spelled, days without a time, times without seconds, moments with thousandths or
        millionths of a second where they had any."""
        if self.timed:
            words = array.cast(pa.string())
            return pc.utf8_slice_codeunits(words, 0, 5 if self.daily else 8 if not self.decimals else 9 + self.decimals)
        if self.dtype == "bool" and len(self.levels) == 2:
            return pc.if_else(array, self.levels[1], self.levels[0])
        if self.dated:
            words = array.cast(pa.date32() if self.daily else self.arrow).cast(pa.string())
            if self.decimals is not None:
                fraction = rf"(\.\d{{{3 if self.decimals < 4 else 6}}})\d*" if self.decimals else r"()\.\d+"
                words = pc.replace_substring_regex(words, fraction + r"(Z|[+-]\d\d:?\d\d)?$", r"\1\2")
            return pc.replace_substring(words, " ", "T") if self.spelt == "T" else words
        return array

    def _numbers(self, array: pa.Array, place: Place, decimal: str) -> tuple[npt.NDArray[Any], Bools]:
        read = seconds if self.dated else since_midnight if self.timed else partial(numbers, decimal=decimal)
        values, bad = read(array)
        if bad is not None:
            row, what = int(np.argmax(bad)), "dates" if self.dated else "times" if self.timed else "numbers"
            raise not_numbers(self.name, what, int(bad.sum()), array[row].as_py(), place(row))
        seen = ~np.isnan(values)
        legal = np.isfinite(values) & ((values % 1 == 0) if self.whole or self.family == "count" else True)
        if self.family == "count":
            legal &= values >= 0
        if not (legal | ~seen).all():
            row = int(np.argmax(seen & ~legal))
            value, where = array[row].as_py(), place(row)
            if not np.isfinite(values[row]):
                raise infinite(self.name, value, where)
            what = "a count (0, 1, 2, ...)" if self.family == "count" else "a whole number, as all were in training"
            raise BadInput(
                f"column {self.name!r}: {value} ({where}) is not {what}; correct it, or leave the cell empty"
            )
        return np.where(seen, values, 0.0), seen

    def _written(self, values: Floats, hidden: Bools | None) -> pa.Array:
        if self.period:  # what is rounded up to the end of a turn is at its start
            values = self.start + self._rounded(values - self.start) % self.period
        if self.timed:
            return _times(values, hidden, self.arrow)
        if self.dated:
            values = np.rint(values / DAY) * DAY if self.daily else values
            return _moments(values, hidden, self.arrow, self.decimals)
        if self.whole:
            # Limits that a float can hold: int64's own upper one would be rounded up.
            limits = np.iinfo(self.arrow.to_pandas_dtype())
            values = np.rint(values).clip(float(limits.min), min(float(limits.max), WHOLE_LIMIT))
            return pa.array(values.astype(np.int64), mask=hidden).cast(self.arrow)
        if self.decimals is not None:
            # What was read has few decimals and stays as it is; what was generated has many and gets the column's.
            values = np.where(few_decimals(values, DECIMALS), values, np.round(values, self.decimals))
        return pa.array(values, mask=hidden).cast(self.arrow)

    def _rounded(self, values: Floats) -> Floats:
        """As fine as the data were."""
        step = 60.0 if self.timed and self.daily else 1.0
        return np.asarray(np.round(values / step, self.decimals if self.decimals is not None else DECIMALS) * step)

    def _level_values(self) -> pa.Array:
        if self.dtype == "bool":
            return pa.array([level.lower() == "true" for level in self.levels])
        words = pa.array(self.levels, pa.string())
        return _times(since_midnight(words)[0], None, self.arrow) if self.timed else words.cast(self.arrow)

    def _key(self, level: str) -> Any:
        if self.dtype == "bool":
            return level.lower()
        return number_of(level) if self.arrow in _NUMBERS else level

    def _code(self, value: Any, decimal: str) -> int:
        """The code of a value; -1 where it says nothing, -2 where it did not occur in training."""
        if value is None or value != value:
            return -1
        try:
            word = str(value)
            return self.keys.get(self._key(word.replace(decimal, ".") if self.arrow in _NUMBERS else word), -2)
        except ValueError:
            return -2

    def _unknown(self, value: Any, where: str) -> BadInput:
        if self.family == "constant":
            known = f"always {self.levels[0]!r}" if self.levels else "empty"
            return BadInput(
                f"column {self.name!r}: {str(value)!r} ({where}), but it was {known} in training and so is not in the model; "
                f"leave the column out, or fit again on data in which it varies"
            )
        near = get_close_matches(str(value), self.levels, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        known = ", ".join(self.levels[:8]) + (f", ... {len(self.levels)} in all" if len(self.levels) > 8 else "")
        numeric = self.arrow in _NUMBERS and self.family == "ordinal"
        again = f"with --set {shlex.quote(f'data.families.{self.name}=real')}" if numeric else "on data that have it"
        return BadInput(
            f"column {self.name!r}: {str(value)!r} ({where}) did not occur in training{hint} (known: {known}); "
            f"correct it, leave the cell empty, pass --new-categories missing, or fit again {again}"
        )


def numbers(array: pa.Array, decimal: str = ".") -> tuple[Floats, Bools | None]:
    """(n,) float64, NaN where missing; and which are words that are no numbers, None where there are none."""
    if pa.types.is_string(array.type):
        text = array if decimal == "." else pc.replace_substring(array, decimal, ".")
        try:
            return _floats(text.cast(pa.float64())), None
        except pa.ArrowInvalid:
            values = pd.to_numeric(pd.Series(text.to_pylist(), dtype=object), errors="coerce").to_numpy(
                np.float64, copy=True
            )
            bad = np.isnan(values) & array.is_valid().to_numpy(zero_copy_only=False)
            return values, bad if bad.any() else None
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    elif pa.types.is_time(array.type):
        return since_midnight(array)
    elif pa.types.is_temporal(array.type):
        return seconds(array)
    return _floats(array.cast(pa.float64(), safe=False)), None


def seconds(array: pa.Array) -> tuple[Floats, Bools | None]:
    """(n,) seconds since 1970, NaN where missing; and which are words that are no ISO dates."""
    if pa.types.is_string(array.type):
        try:
            array = array.cast(pa.timestamp("us"))
        except pa.ArrowInvalid:
            found = pd.to_datetime(
                pd.Series(array.to_pylist(), dtype=object), errors="coerce", format="ISO8601", utc=True
            )
            bad = found.isna().to_numpy() & array.is_valid().to_numpy(zero_copy_only=False)
            moments = pa.array(found.dt.tz_localize(None), pa.timestamp("us"), from_pandas=True)
            return seconds(moments)[0], bad if bad.any() else None
    if not pa.types.is_temporal(array.type):
        return np.full(len(array), np.nan), array.is_valid().to_numpy(zero_copy_only=False)
    zone = array.type.tz if pa.types.is_timestamp(array.type) else None
    return _floats(
        array.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64()).cast(pa.float64(), safe=False)
    ) / 1e6, None


def since_midnight(array: pa.Array) -> tuple[Floats, Bools | None]:
    """(n,) seconds of times of day (9:30, 09:30:15), NaN where missing; and which are words that are none."""
    if pa.types.is_string(array.type):
        padded = pc.if_else(
            pc.equal(pc.find_substring(array, ":"), 1), pc.binary_join_element_wise("0", array, ""), array
        )
        return seconds(pc.binary_join_element_wise("1970-01-01 ", padded, ""))
    if not pa.types.is_time(array.type):
        return np.full(len(array), np.nan), array.is_valid().to_numpy(zero_copy_only=False)
    return _floats(array.cast(pa.time64("us")).cast(pa.int64()).cast(pa.float64(), safe=False)) / 1e6, None


def number_of(word: str) -> float:
    """Whole numbers exactly, however large; True and False are 1 and 0."""
    word = {"true": "1", "false": "0"}.get(word.lower(), word)
    return int(word) if word.lstrip("+-").isdecimal() else float(word)


def few_decimals(values: Floats, decimals: int) -> Bools:
    """(n,) is it a number of at most so many decimals?"""
    with np.errstate(over="ignore"):  # of which the largest floats have none
        return np.asarray((np.round(values, decimals) == values) | (np.abs(values) > WHOLE_LIMIT))


def not_numbers(name: str, what: str, count: int, first: str, where: str) -> BadInput:
    """The error for words in a column of numbers or dates."""
    are = f"1 value is not a {what[:-1]} (" if count == 1 else f"{count:,} values are not {what} (first "
    return BadInput(
        f"column {name!r}: {are}{first!r}, {where}); correct {'it' if count == 1 else 'them'}, "
        f"or pass --missing {shlex.quote(first)} when fitting"
    )


def infinite(name: str, value: Any, where: str) -> BadInput:
    return BadInput(f"column {name!r}: {value} ({where}) is infinite; correct it, or leave the cell empty")


def type_of(name: str) -> pa.DataType:
    """The Arrow type that prints as ``name``.

    >>> type_of("timestamp[us, tz=UTC]"), type_of("int64")
    (TimestampType(timestamp[us, tz=UTC]), DataType(int64))
    """
    if time := re.fullmatch(r"time(32|64)\[(\w+)\]", name):
        return (pa.time32 if time[1] == "32" else pa.time64)(time[2])
    if stamp := re.fullmatch(r"timestamp\[(\w+)(?:, tz=(.+))?\]", name):
        return pa.timestamp(*stamp.groups())
    return _NAMED.get(name) or pa.type_for_alias(name)


_NUMBERS = {
    pa.float64(),
    pa.float32(),
    *(type_of(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)),
}


def _floats(array: pa.Array) -> Floats:
    values: Floats = array.to_numpy(zero_copy_only=False)
    return values


def _times(values: Floats, hidden: Bools | None, dtype: pa.DataType) -> pa.Array:
    """Seconds since midnight -> times of day."""
    fine = np.rint(values * 1e6).astype(np.int64) % (24 * 3_600_000_000)
    return pa.array(fine, pa.time64("us"), mask=hidden).cast(dtype, safe=False)


def _moments(values: Floats, hidden: Bools | None, dtype: pa.DataType, decimals: int | None) -> pa.Array:
    """Seconds -> dates or times, as fine as the data were."""
    if pa.types.is_date(dtype):
        return pa.array(np.rint(values / DAY).astype(np.int32), pa.date32(), mask=hidden).cast(dtype)
    fine = np.rint(np.round(values, DECIMALS if decimals is None else decimals) * 1e6).astype(np.int64)
    return pa.array(fine, pa.timestamp("us", dtype.tz), mask=hidden).cast(dtype)
