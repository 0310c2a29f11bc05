"""Are the values of a label names of classes, or measurements of which each would be a class of its own?"""

from __future__ import annotations

from collections.abc import Sequence

from latelier.errors import BadInput

MANY = 20  # numbers up to so many may well be names of classes
MOST = 1_000  # classes: whatever is summed over them is computed for each


def remark(label: str, values: Sequence[str]) -> str:
    """What is to be said of classes that are many numbers, "" of others. ``label`` is the column.

    >>> remark("digit", [str(k) for k in range(10)])
    ''
    >>> remark("age", [str(k) for k in range(18, 91)])
    'its 73 numbers are names, none nearer to another; for amounts use --given age'
    """
    if len(values) <= MANY or None in map(_number, values):
        return ""
    return f"its {len(values):,} numbers are names, none nearer to another; for amounts use --given {label}"


def check_classes(label: str, values: Sequence[str], remedy: str) -> None:
    """BadInput where there are too many classes, or they are measurements. ``remedy`` ends the line.

    >>> check_classes("alcohol", [f"{11 + k / 10}" for k in range(30)], "round it")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    latelier.errors.BadInput: --label alcohol: its 30 different numbers have fractions, ... --given alcohol, or round it
    """
    if len(values) > MOST:
        raise BadInput(
            f"--label {label}: {len(values):,} classes are too many to sum over, the most is {MOST:,}; condition on it with "
            f"--given {label}, or {remedy}"
        )
    numbers = [number for number in map(_number, values) if number is not None]
    if len(values) > MANY and len(numbers) == len(values) and not all(map(float.is_integer, numbers)):
        raise BadInput(
            f"--label {label}: its {len(values):,} different numbers have fractions, so they are measured, and each would be a "
            f"class by itself; condition on it with --given {label}, or {remedy}"
        )


def _number(value: str) -> float | None:
    try:
        return float(value.replace(",", "."))
    except ValueError:
        return None
