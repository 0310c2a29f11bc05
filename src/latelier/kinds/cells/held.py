"""What new rows are to hold: values and ranges in words, read as the columns read their files. n = rows of a batch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.errors import BadInput
from latelier.kinds.base import Held, Words
from latelier.kinds.cells.columns import NUMBERS, Column, number_of, seconds
from latelier.kinds.cells.files import Block
from latelier.kinds.cells.schema import TableSchema, batch_of

BOUND = re.compile(r"(>=|<=|>|<)\s*(.+)")
BETWEEN = re.compile(r"(.*?)\s*\.\.\s*(.*)")


@dataclass(frozen=True)
class Span:
    """Numbers from ``low`` to ``high``, the ends included unless they are open."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def has(self, x: Tensor) -> Tensor:
        """(n,) bool"""
        above = x > self.low if self.low_open else x >= self.low
        return above & (x < self.high if self.high_open else x <= self.high)


def held(text: Mapping[str, Words], schema: TableSchema, rows: int, start: int = 0) -> Held:
    """``age=40``, ``sex=F,M`` in turn, ``age=30..40``, ``hours>=40`` of modelled columns. BadInput: a column that is not
    modelled, a value or range that the data did not have, a range of words."""
    block: Block = {name: pa.nulls(rows, pa.string()) for field in schema.modelled for name in field.columns}
    spans: dict[str, Span] = {}
    for name, words in text.items():
        column = schema.by_name[name]
        if name not in block:
            raise BadInput(
                f"--given {name}: {name!r} is {column.family} and not modelled, so there is nothing to choose"
            )
        span = span_of(words, column) if isinstance(words, str) else None
        if span is not None:
            spans[name] = span
            continue
        every = in_turn(words, column, schema.missing)
        for word in every:
            _check_range(word, column)
        block[name] = pa.array([every[(start + i) % len(every)] for i in range(rows)], pa.string())
    batch = batch_of(block, schema, schema.modelled, lambda row: "in --given", always_masked=True)
    return Held(batch, Within(schema, spans).accept if spans else None)


@dataclass(frozen=True)
class Within:
    """Which rows lie in all of some ranges."""

    schema: TableSchema
    spans: Mapping[str, Span]

    def accept(self, stored: Batch) -> Tensor:
        """(n,) bool, of values as they will be written."""
        here = torch.ones(len(stored), dtype=torch.bool)
        for field in self.schema.modelled:
            for place, name in enumerate(field.columns):
                if name in self.spans:
                    here &= self._of(stored.fields[field.name][:, place].cpu(), self.schema.by_name[name])
        return here

    def _of(self, values: Tensor, column: Column) -> Tensor:
        span = self.spans[column.name]
        if column.family in NUMBERS:
            places = None if column.dated else 0 if column.whole else column.decimals
            return span.has(values.double() if places is None else values.double().round(decimals=places))
        numbers = torch.tensor([number_of(level) for level in column.levels], dtype=torch.float64)
        return span.has(numbers)[values.long().clamp(0, len(numbers) - 1)]


def in_turn(words: Words, column: Column, missing: Sequence[str]) -> list[str | None]:
    """One word after the other; None where a word says that nothing is there. BadInput where one cannot be read."""
    several = [words] if isinstance(words, str) and words in column.levels else words
    parts = [word.strip() for word in several.split(",")] if isinstance(several, str) else list(several)
    every = [None if word in missing else word for word in parts]
    column.encode(pa.array(list(dict.fromkeys(every)), pa.string()), lambda row: "in --given")
    return every


def span_of(words: str, column: Column) -> Span | None:
    """The range that the words are; None where they are values. BadInput where the column has none, or the data had nothing
    there."""
    bound, between = BOUND.fullmatch(words), BETWEEN.fullmatch(words)
    if words in column.levels or not (bound or between):
        return None
    if column.family not in NUMBERS and not all(_is_number(level) for level in column.levels):
        raise BadInput(
            f"--given {column.name}: {words!r} is a range, and {column.name!r} holds words; name them, with commas"
        )
    if bound:
        sign, end = bound.group(1), _number(bound.group(2), column)
        span = Span(low=end, low_open=sign == ">") if sign[0] == ">" else Span(high=end, high_open=sign == "<")
    else:
        assert between is not None
        low, high = between.groups()
        span = Span(_number(low, column) if low else -math.inf, _number(high, column) if high else math.inf)
    least, most = _extent(column)
    if span.low > span.high or span.low > most or span.high < least:
        raise BadInput(f"--given {column.name}: there is nothing in {words!r}; the data had {_told(column)}")
    return span


def _number(word: str, column: Column) -> float:
    if column.dated:
        values, bad = seconds(pa.array([word], pa.string()))
        if bad is None and np.isfinite(values[0]):
            return float(values[0])
    elif _is_number(word):
        return float(number_of(word))
    raise BadInput(
        f"--given {column.name}: {word!r} is not a {'date' if column.dated else 'number'}; write it as 30..40 or >=40"
    )


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(number_of(word.strip()))
    except ValueError:
        return False


def _extent(column: Column) -> tuple[float, float]:
    if column.family in NUMBERS:
        return float(column.low or 0.0), float(column.high or 0.0)
    levels = [float(number_of(level)) for level in column.levels]
    return min(levels), max(levels)


def _check_range(word: str | None, column: Column) -> None:
    """A number beyond those of the data: the model has nothing to say of it."""
    if word is None or column.family not in NUMBERS:
        return
    least, most = _extent(column)
    if not least <= _number(word, column) <= most:
        raise BadInput(f"--given {column.name}: {word} lies outside of the data, which had {_told(column)}")


def _told(column: Column) -> str:
    least, most = _extent(column)
    if column.dated:
        least, most = (np.datetime64(round(end), "s") for end in (least, most))  # type: ignore[assignment]
        return f"{least} .. {most}"
    return f"{least:g} .. {most:g}"
