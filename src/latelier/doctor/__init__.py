"""What a trained model suffers from, and what to change: a check is a function of the evidence, and one line here."""

from collections.abc import Callable, Iterator

from latelier.doctor.evidence import Evidence
from latelier.doctor.finding import Diagnosis, Finding
from latelier.doctor.latent import collapse, dead_codes, ignores_c, ignores_z, kl_weight, prior_holes
from latelier.doctor.output import mode_dropping, over_smooth, scale_at_floor, wrong_likelihood
from latelier.doctor.rows import few_held_out, huge_values, leak, unnormalised, useless_columns
from latelier.doctor.training import not_finite, overfitting, pace, underfitting

__all__ = ["CAUSES", "CHECKS", "Diagnosis", "Evidence", "Finding"]

# What is looked for -> the check. A check yields findings, or raises ``NotLooked`` where it cannot be made.
CHECKS: dict[str, Callable[[Evidence], Iterator[Finding]]] = {
    "NaN in training": not_finite,
    "huge values": huge_values,
    "unnormalised input": unnormalised,
    "constant or ID-like columns": useless_columns,
    "leak of duplicated rows": leak,
    "too few held-out rows": few_held_out,
    "learning rate and epochs": pace,
    "underfitting": underfitting,
    "overfitting": overfitting,
    "posterior collapse": collapse,
    "decoder ignores z": ignores_z,
    "decoder ignores c": ignores_c,
    "KL weight and free nats": kl_weight,
    "prior holes": prior_holes,
    "dead codes": dead_codes,
    "wrong likelihood": wrong_likelihood,
    "variance at its floor": scale_at_floor,
    "over-smooth output": over_smooth,
    "mode dropping": mode_dropping,
}

# What a model has that did not learn its rows, or cannot tell what it learnt.
UNLEARNT = (
    "decoder ignores z",
    "over-smooth output",
    "underfitting",
    "overfitting",
    "KL weight too large",
    "KL weight too small",
    "prior holes",
    "miscalibrated likelihood",
    "variance at its floor",
    "mode dropping",
)

# A fault -> what it brings with it, which is told along with it and not by itself. The first that is there takes its own.
CAUSES: dict[str, tuple[str, ...]] = {
    "huge values": ("NaN in training", "unnormalised input", *UNLEARNT),
    "NaN in training": ("learning rate too high", "posterior collapse", "too few epochs", *UNLEARNT),
    "unnormalised input": UNLEARNT,
    "wrong likelihood": ("miscalibrated likelihood", "underfitting", "over-smooth output", "mode dropping"),
    "learning rate too high": ("posterior collapse", *UNLEARNT),
    "learning rate too low": ("posterior collapse", *UNLEARNT),
    "too few epochs": UNLEARNT,
    "KL weight too large": ("posterior collapse", *UNLEARNT),
    "posterior collapse": UNLEARNT,
    "decoder ignores z": UNLEARNT,
    "decoder ignores c": UNLEARNT,
    "free nats above the KL": ("KL weight too small", "prior holes", "mode dropping", "overfitting"),
    "KL weight too small": ("prior holes", "mode dropping", "overfitting"),
    "overfitting": ("miscalibrated likelihood", "underfitting", "mode dropping"),
    "variance at its floor": ("miscalibrated likelihood", "overfitting", "prior holes"),
    "miscalibrated likelihood": ("underfitting", "over-smooth output"),
    "over-smooth output": ("mode dropping",),
}
