"""What a whole column holds, tallied block by block in constant memory. n = rows of a block."""

from __future__ import annotations

import math
import re
import zlib
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from latelier.kinds.cells.columns import (
    DAY,
    DECIMALS,
    Bools,
    Floats,
    few_decimals,
    number_of,
    numbers,
    seconds,
    since_midnight,
)
from latelier.kinds.cells.files import Categories, has_byte

LEVELS = 1_000  # most distinct values that are told apart
RESERVOIR = 20_000  # most values kept, evenly at random, for quantiles
_TIME = re.compile(r"([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")
_JOINED = re.compile(r"\d{4}-\d{2}-\d{2}T.*")
_ZONED = re.compile(r"\d{4}-\d{2}-\d{2}[T ].*(Z|[+-]\d{2}(:?\d{2})?)")
_PADDED = r"^[+-]?0[0-9]"  # 007 is a code, not a number


class Tally:
    """Counts, moments, range, distinct values and a random sample of one column.

    The sample is of the rows with the smallest of random keys drawn in row order, so that it does not depend on how the
    rows are cut into blocks. Mean and squared deviation are joined block to block (Chan et al. 1979).
    """

    def __init__(
        self,
        name: str,
        categories: Categories | None = None,
        pandas: str = "",
        decimal: str = ".",
        reservoir: int = 0,
    ):
        self.name, self.categories, self.pandas, self.decimal = name, categories, pandas, decimal
        self.reservoir = reservoir or RESERVOIR
        self.type: pa.DataType = pa.string()
        self.rows = self.missing = self.words = self.zeros = 0
        self.levels: dict[str, int] | None = {}
        self.unique_share = 0.0  # of the rows up to the one at which there were too many levels to tell apart
        self.first_word: tuple[str, int] | None = None
        self.dated: bool | None = None
        self.timed = False  # times of day, without a date
        self.joined = self.zoned = False  # text that has a T between the date and the time, and that says its zone
        self.clock = False  # a time of day beside the date, or seconds beside the time of day
        self.whole, self.pointed, self.padded = True, False, False
        self.decimals: int | None = 0
        self.low, self.high = math.inf, -math.inf
        self.count, self.mean, self.squares = 0, 0.0, 0.0
        self._random = np.random.default_rng(zlib.crc32(name.encode()))
        self._keys: Floats = np.empty(0)
        self._sample: Floats = np.empty(0)
        self._bound = math.inf

    @property
    def seen(self) -> int:
        return self.rows - self.missing

    @property
    def deviation(self) -> float:
        """Standard deviation of the numbers."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0

    @property
    def text(self) -> bool:
        """Are there words in it, or numbers that are spelled as codes?"""
        return self.words > 0 or (self.padded and self.whole and not self.pointed and not self.timed)

    @property
    def sample(self) -> Floats:
        """At most ``reservoir`` values, evenly at random."""
        return self._sample[np.argsort(self._keys, kind="stable")[: self.reservoir]]

    @cached_property
    def repeated(self) -> tuple[float, float, float]:
        """The most frequent number of the sample, its share, and that of the next."""
        values, counts = np.unique(self.sample, return_counts=True)
        if not len(values):
            return 0.0, 0.0, 0.0
        first, *second = np.argsort(counts, kind="stable")[::-1][:2]
        shares = counts / counts.sum()
        return float(values[first]), float(shares[first]), float(shares[second[0]]) if second else 0.0

    @cached_property
    def distinct(self) -> int | None:
        """How many values there are, None if more than LEVELS. To be asked once all blocks are in."""
        if self.levels is None:
            return None
        return len(self.levels) if self.text or self.dated or self.timed else len(self.numeric_levels)

    @cached_property
    def numeric_levels(self) -> list[float]:
        """The distinct numbers in order; 1 and 1.0 are one."""
        return sorted({number_of(level.replace(self.decimal, ".")) for level in self.levels or ()})

    def add(self, array: pa.Array) -> None:
        """The next block. Raises Infinite where a value is."""
        self.type = array.type
        if self.dated is None and len(array) > array.null_count:
            self.dated = _looks_dated(array)
            self.timed = _looks_timed(array)
            if self.dated and pa.types.is_string(array.type):
                self.joined, self.zoned = _mostly(array, _JOINED), _mostly(array, _ZONED)
        counted = self._count_levels(array) if self.levels is not None else None
        if counted is None:
            values, bad = self._values(array)
        else:
            values, bad = self._values(counted.dictionary)
            place = counted.indices.fill_null(len(values)).to_numpy()
            values = np.append(values, np.nan)[place]
            bad = None if bad is None else np.append(bad, False)[place]
        self._add_spelling(array if counted is None else counted.dictionary)
        gone = np.isnan(values) if bad is None else np.isnan(values) & ~bad
        if bad is not None:
            if self.first_word is None:
                row = int(np.argmax(bad))
                self.first_word = (str(array[row].as_py()), self.rows + row)
            self.words += int(bad.sum())
        self.missing += int(gone.sum())
        self._add_numbers(values[~gone & ~bad] if bad is not None else values[~gone], values)
        self.rows += len(array)

    def _values(self, array: pa.Array) -> tuple[Floats, Bools | None]:
        if self.levels is None and self.words > 0.5 * max(self.seen, 1):  # text for good: counting the words is enough
            return np.full(len(array), np.nan), array.is_valid().to_numpy(zero_copy_only=False)
        if self.timed:
            return since_midnight(array)
        return seconds(array) if self.dated else numbers(array, self.decimal)

    def _count_levels(self, array: pa.Array) -> pa.DictionaryArray | None:
        """The block as codes, its values added to ``levels``; None, for good, once there are too many."""
        assert self.levels is not None
        coded = array.dictionary_encode()
        if len(coded.dictionary) > LEVELS:
            fresh = len(coded.dictionary)
        else:
            counts = np.bincount(coded.indices.drop_null().to_numpy(), minlength=len(coded.dictionary))
            for value, count in zip(coded.dictionary.to_pylist(), counts.tolist()):
                word = str(value)
                self.levels[word] = self.levels.get(word, 0) + count
            fresh = len(self.levels)
        if fresh <= LEVELS:
            return coded
        self.unique_share = fresh / max(self.seen + len(array) - array.null_count, 1)
        self.levels = None
        return None

    def _add_spelling(self, array: pa.Array) -> None:
        """Is it spelled with points, or with leading zeros? Only whole numbers are in question."""
        if not pa.types.is_string(array.type) or not self.whole:
            return
        self.pointed = self.pointed or any(has_byte(array, mark) for mark in (self.decimal.encode(), b"e", b"E"))
        if not self.pointed and not self.padded:
            self.padded = bool(pc.any(pc.match_substring_regex(array, _PADDED)).as_py())
        if self.dated and not self.clock:
            self.clock = bool((pc.max(pc.utf8_length(array)).as_py() or 0) > 10)
        if self.timed and not self.clock:
            self.clock = bool((pc.max(pc.utf8_length(array)).as_py() or 0) > 5)

    def _add_numbers(self, numbers: Floats, column: Floats) -> None:
        if not len(numbers):
            return
        low, high = float(numbers.min()), float(numbers.max())
        if math.isinf(low) or math.isinf(high):
            row = int(np.argmax(np.isinf(column)))
            raise Infinite(row + self.rows, float(column[row]))
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.zeros += int(np.count_nonzero(numbers == 0))
        while self.decimals is not None and not few_decimals(numbers, self.decimals).all():
            self.decimals = self.decimals + 1 if self.decimals < DECIMALS else None
        self.whole = self.decimals == 0
        with np.errstate(all="ignore"):  # numbers that are too large for this are refused once all are seen
            total, mean = self.count + len(numbers), numbers.mean()
            change = mean - self.mean
            self.squares += float(
                np.square(numbers - mean).sum() + np.square(change) * self.count * len(numbers) / total
            )
            self.mean += float(change * len(numbers) / total)
        self.count = total
        self._add_sample(numbers)
        if self.dated and not self.clock and not pa.types.is_string(self.type):
            self.clock = bool((numbers % DAY != 0).any())
        if self.timed and not self.clock:
            self.clock = bool((numbers % 60 != 0).any())

    def _add_sample(self, numbers: Floats) -> None:
        keys = self._random.random(len(numbers))
        few = keys < self._bound
        self._keys, self._sample = np.append(self._keys, keys[few]), np.append(self._sample, numbers[few])
        if len(self._keys) > 2 * self.reservoir:
            kept = np.argpartition(self._keys, self.reservoir)[: self.reservoir]
            self._keys, self._sample = self._keys[kept], self._sample[kept]
            self._bound = float(self._keys.max())


class Infinite(ValueError):
    """An infinite value at a row, which only the table can turn into a place."""

    def __init__(self, row: int, value: float):
        super().__init__(row, value)
        self.row, self.value = row, value


def _looks_dated(array: pa.Array) -> bool:
    if pa.types.is_temporal(array.type):
        return not pa.types.is_time(array.type)
    if not pa.types.is_string(array.type):
        return False
    return _mostly(array, _DATE)


def _looks_timed(array: pa.Array) -> bool:
    return pa.types.is_time(array.type) or (pa.types.is_string(array.type) and _mostly(array, _TIME))


def _mostly(array: pa.Array, form: re.Pattern[str]) -> bool:
    some: list[Any] = array.drop_null()[:100].to_pylist()
    return sum(bool(form.fullmatch(word)) for word in some) > len(some) / 2
