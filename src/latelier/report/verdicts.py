"""What a figure means, in plain words. Pure functions of numbers: nats per row, shares, seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from latelier.report.elements import Mark, number, percent

NATS_PER_BIT = math.log(2)


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
    if 0 <= gain < 0.5:
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


def of_kl(kl: float, units: int) -> Verdict:
    """How much of a row its code carries.

    >>> of_kl(20.8, 16).text
    'A row leaves 30 bits in its code, 1.3 nats per latent dimension.'
    """
    if kl == 0:
        return Verdict(
            "plain",
            "This latent costs nothing by definition (a plain autoencoder): the figures are no bound on log p(x).",
        )
    if kl < 0.1:
        return Verdict("poor", "Hardly anything passes through the latent: codes say nothing of their rows.")
    bits, each = number(kl / NATS_PER_BIT, 2), number(kl / max(units, 1), 2)
    return Verdict(
        "plain", f"A row leaves {bits} bit{'s' * (bits != '1')} in its code, {each} nats per latent dimension."
    )


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
