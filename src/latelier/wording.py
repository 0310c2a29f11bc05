"""Numbers as a person writes them, in every line and page that tells of one."""

from __future__ import annotations

import math
from typing import Literal

Mark = Literal["good", "fair", "poor", "plain"]  # of a figure: fine, have a look, act, no judgement


def number(value: float, digits: int = 3) -> str:
    """A number as a person writes it: some digits, thousands apart, a real minus sign.

    >>> number(-1234.567), number(0.00123456), number(float("nan"))
    ('−1,235', '0.00123', '–')
    """
    if not math.isfinite(value):
        return "–"
    if value != 0 and not 1e-4 <= abs(value) < 1e9:
        text = f"{value:.{digits - 1}e}"
    else:
        places = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
        text = f"{value:,.{places}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−")


def measured(value: float, error: float) -> str:
    """A value with its standard error, to the places that the error leaves certain.

    >>> measured(-186.3512, 1.3), measured(-19.7, 0.0042)
    ('−186.4 ± 1.3', '−19.7000 ± 0.0042')
    """
    if not math.isfinite(value) or not math.isfinite(error) or error <= 0:
        return number(value, 5)
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:,.{places}f} ± {error:,.{places}f}".replace("-", "−")


def percent(share: float, places: int | None = None) -> str:
    """A share in percent: whole from 10 % on, one decimal below; a figure to as many ``places`` as are certain.

    >>> percent(0.123), percent(0.0123), percent(0.0001), percent(21.4), percent(0.12345, 2)
    ('12 %', '1.2 %', '< 0.1 %', '21 times', '12.35 %')
    """
    if places is not None:
        return f"{100 * share:.{places}f} %"
    if share >= 10:
        return f"{share:,.0f} times"
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{100 * share:.{0 if share >= 0.0995 or share == 0 else 1}f} %"
