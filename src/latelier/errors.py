"""What the user gave cannot be used: one line, in the user's terms, raised at the boundary."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class BadInput(ValueError):
    """One line that names what was given, where, why it cannot be used, and what to do.

    The command line prints it and leaves with exit status 2; Python users catch it as a ``ValueError``.

    >>> raise BadInput("column 'age': 3 values are not numbers (first 'n/a', row 17); pass --missing n/a")
    Traceback (most recent call last):
    latelier.errors.BadInput: column 'age': 3 values are not numbers (first 'n/a', row 17); pass --missing n/a
    """


def unknown(what: str, name: str, options: Iterable[str]) -> BadInput:
    """The error for a name that is not in a table, with the nearest known one.

    >>> print(unknown("likelihood", "bernouli", ["bernoulli", "gaussian"]))
    unknown likelihood 'bernouli'; did you mean 'bernoulli'? (known: bernoulli, gaussian)
    """
    known = sorted(options)
    near = get_close_matches(name, known, 1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return BadInput(f"unknown {what} {name!r};{hint} (known: {', '.join(known)})")
