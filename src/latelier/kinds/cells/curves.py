"""By which curve a column of numbers comes nearest to a Gaussian: held-out nats decide. n = values of a sample."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from latelier.data.transforms import Standardise
from latelier.kinds.cells.columns import Floats
from latelier.noise import FRESH

HEAVY = 8.0  # span of 99 % of the values in spans of half of them; 3.8 for a Gaussian, 4.8 for an exponential
LEAST = 200  # values from which halves of them can be compared
CLEAR, WORTH = 2.0, 0.02  # standard errors, and nats, by which a logarithm or logit must be better
MARGIN = 0.01  # share of the range at either end that a logit leaves straight


@dataclass(frozen=True)
class Curve:
    """The parameters of one column of ``Standardise``, and why they were taken."""

    bend: float = 0.0
    log: float = 0.0
    origin: float = 0.0
    margin: float = 0.0
    why: str = ""

    def bent(self, sample: Floats, low: float, high: float) -> tuple[Floats, Floats]:
        """The values by the curve, and the logs of its slope there."""
        one = Standardise(
            loc=(0.0,),
            scale=(1.0,),
            bend=(self.bend,),
            log=(self.log,),
            origin=(self.origin,),
            margin=(self.margin,),
            low=(low,),
            high=(high,),
        )
        x = torch.from_numpy(sample)[:, None]
        return one.to_model(x, FRESH)[:, 0].double().numpy(), one.log_det(x)[:, 0].double().numpy()


def curve_of(sample: Floats, low: float, high: float, origin: float = 0.0, held_out: bool = True) -> Curve:
    """arcsinh where tails are heavy; with ``held_out``, a logarithm or a logit where a Gaussian of it gives more nats to the
    half of the sample that it was not fitted to. ``low`` and ``high`` is the range of the column, ``origin`` from where a
    logarithm counts. A logit is tried where both ends of the range are reached by some of the values, as bounds are."""
    bend = bend_of(sample) if len(sample) else 0.0
    usual = Curve(bend=bend, why="heavy tails" if bend else "")
    if not held_out or len(sample) < LEAST or not high > low:
        return usual
    candidates = []
    share = (sample - low) / (high - low)
    if min(np.mean(share < MARGIN), np.mean(share > 1 - MARGIN)) > MARGIN / 2:
        candidates.append(Curve(margin=MARGIN))
    above = sample[sample > origin] - origin
    if sample.min() >= origin and 2 * len(above) > len(sample):
        candidates.append(Curve(log=float(np.quantile(above, 0.005)), origin=origin))
    nats = gaussian_nats(usual, sample, low, high)
    best = usual
    for candidate in candidates:
        found = gaussian_nats(candidate, sample, low, high)
        lead = found - nats
        if lead.mean() > max(CLEAR * lead.std() / np.sqrt(len(lead)), WORTH):
            why = f"{found.mean():.2f} nats by a Gaussian, {nats.mean():.2f} {'bent' if usual.bend else 'as it is'}"
            best, nats = replace(candidate, why=why), found
    return best


def gaussian_nats(curve: Curve, sample: Floats, low: float, high: float) -> Floats:
    """(n,) log-density of each value, in its own units, under a Gaussian fitted to the other half of the bent values."""
    bent, log_slope = curve.bent(sample, low, high)
    out = np.empty(len(sample))
    halves = np.arange(len(sample)) % 2 == 0  # the sample is in random order
    for fitted in (halves, ~halves):
        mean, deviation = bent[fitted].mean(), bent[fitted].std()
        z = (bent[~fitted] - mean) / max(deviation, 1e-12)
        out[~fitted] = -0.5 * z**2 - np.log(max(deviation, 1e-12)) - 0.5 * np.log(2 * np.pi) + log_slope[~fitted]
    return out


def bend_of(sample: Floats) -> float:
    """Where arcsinh(x / bend) turns from linear to logarithmic: 0 for columns without heavy tails, or where bending them
    does not help. In units of the column."""
    span = _tail(sample)
    if span < HEAVY:
        return 0.0
    low, high = np.quantile(sample, [0.25, 0.75])
    away = np.abs(sample[sample != 0])
    bend = float((high - low) / 1.35) or float(np.median(away))
    return bend if bend > 0 and _tail(np.arcsinh(sample / bend)) < span / 1.5 else 0.0


def _tail(values: Floats) -> float:
    """How far the outer 99 % span, in spans of the inner half."""
    a, b, c, d = np.quantile(values, [0.005, 0.25, 0.75, 0.995])
    return float((d - a) / (c - b)) if c > b else (np.inf if d > a else 0.0)
