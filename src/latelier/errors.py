"""What the user gave cannot be used: one line, in the user's terms, raised at the boundary."""

from __future__ import annotations

import math
from collections.abc import Iterable
from difflib import get_close_matches

LISTED = 15  # so many known names fit into a line; where there are more, the nearest one says it better


class BadInput(ValueError):
    """One line that names what was given, where, why it cannot be used, and what to do.

    The command line prints it and leaves with exit status 2; Python users catch it as a ``ValueError``.

    >>> raise BadInput("column 'age': 3 values are not numbers (first 'n/a', row 17); pass --missing n/a")
    Traceback (most recent call last):
    latelier.errors.BadInput: column 'age': 3 values are not numbers (first 'n/a', row 17); pass --missing n/a
    """


class NewCategories(UserWarning):
    """Values that did not occur in training were taken as missing, as was asked for: which, how many, and the first's place."""


def unknown(what: str, name: str, options: Iterable[str]) -> BadInput:
    """The error for a name that is not in a table, with the nearest known one.

    >>> print(unknown("likelihood", "bernouli", ["bernoulli", "gaussian"]))
    unknown likelihood 'bernouli'; did you mean 'bernoulli'? (known: bernoulli, gaussian)
    """
    known = sorted(options)
    by_last_word = {option.rsplit(".", 1)[-1]: option for option in known}
    near = get_close_matches(name, known, 1) or [
        by_last_word[word] for word in get_close_matches(name.rsplit(".", 1)[-1], by_last_word, 1)
    ]
    if near and len(known) > LISTED:
        return BadInput(f"unknown {what} {name!r}; did you mean {near[0]!r}?")
    hint = f"; did you mean {near[0]!r}?" if near else ""
    rest = f", ... {len(known)} in all" if len(known) > LISTED else ""
    return BadInput(f"unknown {what} {name!r}{hint} (known: {', '.join(known[:LISTED])}{rest})")


def at_least(least: int, **numbers: float) -> None:
    """BadInput where one of the numbers is smaller, or no finite one.

    >>> at_least(1, **{"--draws": 0})
    Traceback (most recent call last):
    latelier.errors.BadInput: --draws 0: give 1 or more
    """
    for name, number in numbers.items():
        if not least <= number < math.inf:
            raise BadInput(f"{name} {number:g}: give {least} or more")
