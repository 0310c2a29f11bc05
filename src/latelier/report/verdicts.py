"""What a figure means, in plain words. Pure functions of numbers: nats per row, shares, seconds.

Those of a fit's own figures are the doctor's (``doctor/verdicts.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from latelier.doctor.latent import IGNORED
from latelier.doctor.verdicts import Verdict as Verdict
from latelier.doctor.verdicts import of_bound as of_bound
from latelier.doctor.verdicts import of_codes as of_codes
from latelier.doctor.verdicts import of_gap as of_gap
from latelier.doctor.verdicts import of_kl as of_kl
from latelier.doctor.verdicts import of_length as of_length
from latelier.doctor.verdicts import of_units as of_units
from latelier.wording import Mark, number, percent


def of_bits(bits: float, raw: int) -> Verdict:
    """Bits per dimension against storage without a model (8 for grey levels, 1 for black and white).

    >>> of_bits(2.0, 8).text
    'Pixels without a model take 8 bits each; this decoder needs 25 % of that.'
    """
    name = "bit" if raw == 1 else "bits"
    if bits <= raw:
        return Verdict(
            "good",
            f"Pixels without a model take {raw} {name} each; this decoder needs {percent(max(bits, 0.0) / raw)} of that.",
        )
    return Verdict(
        "poor", f"Pixels without a model take {raw} {name} each: this decoder is worse than none. Train longer."
    )


def of_parameters(count: int, rows: int) -> Verdict:
    """The size of the networks.

    >>> of_parameters(250_000, 1000).text
    '1 MB of weights; trained on 1,000 rows.'
    """
    return Verdict("plain", f"{number(count * 4 / 1e6, 2)} MB of weights; trained on {rows:,} rows.")


def of_columns(distances: Sequence[float], floors: Sequence[float]) -> Verdict:
    """Sampled against real columns: ``floors`` is the distance that two samples of one source would have.

    >>> of_columns([0.02, 0.3], [0.05, 0.05]).text
    '1 of 2 columns cannot be told from the data or nearly so; the worst is off by 0.3.'
    """
    close = sum(d <= max(f, 0.1) for d, f in zip(distances, floors, strict=True))
    worst = max(distances, default=0.0)
    mark: Mark = "good" if close == len(distances) else "fair" if close >= 0.5 * len(distances) else "poor"
    text = f"{close} of {len(distances)} columns cannot be told from the data or nearly so"
    return Verdict(mark, text + ("." if close == len(distances) else f"; the worst is off by {number(worst, 2)}."))


def of_imputation(ratios: Sequence[float]) -> Verdict:
    """Errors of filled cells, each column's over that of its mean or mode.

    >>> of_imputation([0.5, 0.7, 1.2]).text
    'Better than the mean or mode in 2 of 3 columns; in the middle column the error is 70 % of theirs.'
    """
    known = sorted(r for r in ratios if math.isfinite(r))
    if not known:
        return Verdict("plain", "No column had cells to hide.")
    better = sum(r < 1 for r in known)
    middle = known[len(known) // 2]
    mark: Mark = "good" if middle < 0.95 else "fair" if middle <= 1.05 else "poor"
    return Verdict(
        mark,
        f"Better than the mean or mode in {better} of {len(known)} columns; "
        f"in the middle column the error is {percent(middle)} of theirs.",
    )


def of_likeness(likeness: float, what: str) -> Verdict:
    """A mean of similarities, 1 the same.

    >>> of_likeness(0.985, "columns").text
    'On average 98 % of the way from unrelated to the same: columns are hard to tell from real ones.'
    """
    if not math.isfinite(likeness):
        return Verdict("plain", f"There are no {what} to compare.")
    mark: Mark = "good" if likeness >= 0.95 else "fair" if likeness >= 0.85 else "poor"
    words = {
        "good": "are hard to tell from real ones.",
        "fair": "differ visibly: see which below, and try --for synthesis or longer training.",
        "poor": "are far from real ones: fit with --for synthesis, or train longer.",
    }[mark]
    return Verdict(mark, f"On average {100 * likeness:.0f} % of the way from unrelated to the same: {what} {words}")


def of_use(on_made: float, on_real: float, chance: float) -> Verdict:
    """What trees reach that learnt from made rows, against what they reach from real ones, above ``chance``.

    >>> of_use(0.90, 0.92, 0.5).text
    'Trees that saw made rows alone reach 0.9 where real rows give 0.92: 95 % of what there is to learn.'
    """
    if on_real <= chance:
        return Verdict("plain", "Even real rows do not predict this column; name another with --target.")
    share = max(0.0, (on_made - chance) / (on_real - chance))
    mark: Mark = "good" if share >= 0.9 else "fair" if share >= 0.7 else "poor"
    return Verdict(
        mark,
        f"Trees that saw made rows alone reach {number(on_made, 3)} where real rows give {number(on_real, 3)}: "
        f"{100 * share:.0f} % of what there is to learn.",
    )


def of_discriminator(auc: float) -> Verdict:
    """
    >>> of_discriminator(0.97).text
    'Trees know made rows from real ones nearly always: something is off that the other figures may not show.'
    """
    if auc < 0.6:
        return Verdict("good", "Trees can hardly tell made rows from real ones.")
    if auc < 0.8:
        return Verdict("fair", "Trees can tell made rows from real ones more often than not.")
    return Verdict(
        "poor",
        f"Trees know made rows from real ones {'nearly always' if auc > 0.9 else 'in most cases'}: something is off that the "
        "other figures may not show.",
    )


def of_distance(made: float, real: float, copies: float, copies_real: float) -> Verdict:
    """Of the nearest twentieth of rows to the closest training row, and the share of exact copies.

    >>> of_distance(0.010, 0.008, 0.0, 0.001).mark
    'good'
    """
    if copies > copies_real + 0.005:
        return Verdict(
            "poor",
            f"{percent(copies)} of made rows are copies of training rows, against {percent(copies_real)} of real ones: the "
            "model repeats what it saw. Use a smaller network or fewer epochs before sharing these rows.",
        )
    if made < 0.9 * real:
        return Verdict(
            "fair",
            "Made rows come nearer to training rows than other real rows do: look at the nearest before sharing them.",
        )
    return Verdict(
        "good", "Made rows are no nearer to training rows than other real rows are. This is no proof of privacy."
    )


def of_exchange(loss: float, error: float, kl: float | None) -> Verdict:
    """What is lost when rows are given each other's code (``kl`` is what a code costs) or condition (None).

    >>> of_exchange(0.02, 0.05, 12.0).text
    'Whose code is decoded makes no difference: the decoder ignores z.'
    """
    what = "condition" if kl is None else "code"
    if loss <= max(IGNORED, 2 * error):
        letter = "c" if kl is None else "z"
        return Verdict("poor", f"Whose {what} is decoded makes no difference: the decoder ignores {letter}.")
    return Verdict(
        "good", f"A row is {number(loss)} nats less likely under another row's {what}: the decoder reads it."
    )


def of_spread(losses: Sequence[float], felt: Sequence[bool]) -> Verdict:
    """Are many dimensions needed, or few? Losses of one dimension at a time, and which are beyond chance.

    >>> of_spread([5.0, 3.0, 0.0], [True, True, False]).text
    '2 of 3 dimensions (or groups of them) matter to the decoder.'
    """
    needed = sum(felt)
    mark: Mark = "good" if needed >= len(losses) / 2 else "fair" if needed else "poor"
    return Verdict(mark, f"{needed} of {len(losses)} dimensions (or groups of them) matter to the decoder.")
