"""What the figures of a fit mean, in plain words. Pure functions of numbers: nats per row, shares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from latelier.wording import Mark, number, percent

NATS_PER_BIT = math.log(2)
NOTHING = 0.1  # nats of KL a row below which hardly anything passes through the latent
SLIGHT = 0.5  # nats a row above independent values that are no more than a beginning
UNUSED = 0.25  # share of a book's codes that occur, below which codes are dead
UNEVEN = 0.1  # perplexity for each code, below which they are too
FULL = 0.7  # perplexity for each code, above which a book has no room left


@dataclass(frozen=True)
class Verdict:
    """``mark`` says how good it is, ``text`` what it is and what to do, in one or two sentences."""

    mark: Mark
    text: str


def of_bound(elbo: float, baseline: float | None) -> Verdict:
    """Against the same rows under a model of independent entries (see ``baseline``), both in nats per row.

    >>> of_bound(-90.0, -206.3).text
    'Each row is 116 nats more likely than if its values had nothing to do with each other.'
    """
    if not math.isfinite(elbo):
        return Verdict(
            "poor", "The bound is not finite: look for huge values in the data, or try a smaller train.rate."
        )
    if baseline is None or not math.isfinite(baseline):
        return Verdict(
            "plain", "Lower bound on the log-probability of a row that was not trained on; higher is better."
        )
    gain = elbo - baseline
    if 0 <= gain < SLIGHT:
        return Verdict(
            "fair",
            f"Only {number(gain, 2)} nats a row better than a model in which values have nothing to do with each other: "
            "either they have not, or training was too short.",
        )
    if gain > 0:
        return Verdict(
            "good", f"Each row is {number(gain)} nats more likely than if its values had nothing to do with each other."
        )
    return Verdict(
        "poor",
        f"A model of independent values is {number(-gain)} nats a row better: too little was learned. "
        "Train longer, or try another likelihood or a smaller latent.",
    )


def of_kl(kl: float, units: int, unit: str = "latent dimension") -> Verdict:
    """How much of a row its code carries; ``unit`` is what there are so many of.

    >>> of_kl(20.8, 16).text
    'A row leaves 30 bits in its code, 1.3 nats per latent dimension.'
    """
    if kl == 0:
        return Verdict(
            "plain",
            "This latent costs nothing by definition (a plain autoencoder): the figures are no bound on log p(x).",
        )
    if kl < NOTHING:
        return Verdict("poor", "Hardly anything passes through the latent: codes say nothing of their rows.")
    bits, each = number(kl / NATS_PER_BIT, 2), number(kl / max(units, 1), 2)
    return Verdict("plain", f"A row leaves {bits} bit{'s' * (bits != '1')} in its code, {each} nats per {unit}.")


def of_units(active: int, units: int) -> Verdict:
    """How many latent dimensions vary with the row.

    >>> of_units(14, 16).text
    '14 of 16 latent dimensions carry information: healthy.'
    """
    if active == 0:
        return Verdict(
            "poor",
            f"0 of {units}: the decoder ignores z (posterior collapse). "
            "Try objective.free_nats=0.1, objective.anneal=linear or a smaller objective.beta.",
        )
    if active == units:
        more = " A larger latent (dims) may help." if units > 1 else " Others may help (dims)."
        return Verdict("good", f"{active} of {units} latent dimensions carry information: all are in use." + more)
    if active / units >= 0.5:
        return Verdict("good", f"{active} of {units} latent dimensions carry information: healthy.")
    return Verdict(
        "fair",
        f"{active} of {units} latent dimensions carry information; the others idle at no cost. "
        "Fewer (dims) would do, or objective.free_nats=0.1 wakes some.",
    )


def of_codes(active: int, units: int, books: Sequence[Mapping[str, float]]) -> Verdict:
    """How much of its books a latent of codes uses: at how many places the code varies with the row, and of each book how many
    ``codes`` it has, the share ``used`` and their ``perplexity``.

    >>> of_codes(8, 8, [{"codes": 64, "used": 0.9, "perplexity": 40.2}]).text
    '90 % of 64 codes are used, as much as 40 even ones: healthy.'
    """
    if active == 0:
        return Verdict(
            "poor",
            f"At none of {units} places does the code vary with the row: the decoder ignores z (posterior collapse). "
            "Try latent.name=fsq, or a smaller latent.code_dims.",
        )
    worst = min(books, key=lambda book: book["perplexity"] / book["codes"])
    size, even = worst["codes"], worst["perplexity"]
    told = f"{percent(worst['used'])} of {size:,g} codes are used, as much as {number(even, 2)} even ones"
    if len(books) > 1:
        told += f", in the worst of {len(books)} books"
    if active < units:
        told += f"; at {active} of {units} places the code varies with the row"
    if worst["used"] < UNUSED or even < UNEVEN * size:
        return Verdict("fair", told + ". A smaller book (latent.codes) would do, or fewer numbers (latent.code_dims).")
    if even > FULL * size:
        return Verdict("good", told + ": all are in use. A larger book, or more positions, may tell more.")
    return Verdict("good", told + ": healthy.")


def of_gap(trained: float, held: float, error: float) -> Verdict:
    """ELBO of training rows against held-out rows; ``error`` is the standard error of their difference.

    Overfitting is told only where the gap is beyond two standard errors and matters against the bound's size.

    >>> of_gap(-80.0, -95.0, 1.0).mark, of_gap(-80.0, -80.5, 1.0).mark
    ('poor', 'good')
    """
    gap = trained - held
    size = max(abs(held), 1.0)
    if not math.isfinite(gap):
        return Verdict("plain", "The gap between training and held-out rows could not be measured.")
    if gap <= 2 * error or gap / size < 0.02:
        return Verdict(
            "good",
            "Held-out rows are as likely as training rows, to measuring accuracy or nearly so: no sign of overfitting.",
        )
    mild = gap / size < 0.1
    advice = "More data, train.holes, network.dropout or a smaller size would narrow it."
    if mild:
        return Verdict(
            "fair", f"Training rows are {number(gap)} nats likelier than held-out ones: mild overfitting. {advice}"
        )
    return Verdict(
        "poor",
        f"Training rows are {number(gap)} nats likelier than held-out ones: the model learns rows by heart. {advice}",
    )


def of_length(bounds: Sequence[float], best: int, planned: int) -> Verdict:
    """Was training long enough? From the held-out bound after every epoch; ``best`` counts from 1.

    Still improving: the second half of the epochs brought more than 5 % of the whole rise. The end alone would not tell, for
    there the learning rate is small and every curve is flat.

    >>> of_length([-300, -200, -150, -120, -100], 5, 5).mark
    'fair'
    """
    finite = [b for b in bounds if math.isfinite(b)]
    if len(finite) < 4:
        return Verdict(
            "fair",
            f"{len(bounds)} epoch{'s' * (len(bounds) != 1)}: too few to see where the curve goes. Train longer (epochs).",
        )
    half = len(finite) // 2
    rise = max(finite) - finite[0]
    late = max(finite[half:]) - max(finite[:half])
    if rise > 0 and late > 0.05 * rise:
        longer = 2 * max(len(bounds), planned)
        return Verdict(
            "fair",
            f"Still improving: the second half brought {number(late, 2)} nats. Train longer, for example epochs={longer}.",
        )
    if best < 0.5 * len(bounds):
        return Verdict(
            "fair", f"Best at epoch {best}; the later ones did not help on held-out rows. The best weights were kept."
        )
    if len(bounds) < planned:
        return Verdict(
            "good",
            f"Stopped after {len(bounds)} of {planned} epochs: best at epoch {best}, and those weights were kept.",
        )
    return Verdict(
        "good", f"Long enough: the second half brought little. Best at epoch {best}, and those weights were kept."
    )
