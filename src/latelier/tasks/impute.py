"""What is missing, given what is seen: importance-weighted imputation. n = rows of a part, K = draws of z, S = levels.

Every weighted mean is summed as draws come, so memory grows neither with the rows nor with the draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor

from latelier.batch import Batch
from latelier.data.transforms import Transform
from latelier.likelihoods.base import Distribution, Joint, Ordered
from latelier.likelihoods.category import Coded, Levels
from latelier.likelihoods.real import LocationScale
from latelier.noise import FRESH, Keyed
from latelier.vae import VAE

SAMPLES = 4  # values of x per z, where what is asked for is not known in closed form
_NODES, _MASSES = np.polynomial.hermite_e.hermegauss(5)  # of a standard normal, whose quantiles others are read at
LEVELS, WEIGHTS = ndtr(_NODES).tolist(), (_MASSES / _MASSES.sum()).tolist()


@dataclass(frozen=True)
class Imputed:
    """``rows`` without holes, and how sure each filled entry is: the standard ``deviation`` (n, *entries) of numbers in the
    data's own units, the ``probability`` (n, C) of the code that was chosen. NaN where an entry was seen."""

    rows: Batch
    deviation: dict[str, Tensor] = field(default_factory=dict)
    probability: dict[str, Tensor] = field(default_factory=dict)


@torch.no_grad()
def impute(
    vae: VAE,
    batches: Iterable[Batch],
    draws: int = 64,
    copies: int = 0,
    rounds: int = 0,
    rows: int | None = None,
    seed: int = 0,
    units: Mapping[str, Transform] | None = None,
) -> Iterator[Batch]:
    """The rows with every unseen entry filled.

    ``draws`` values of z per row are weighed by p(x_seen, z) / q(z | x) (Mattei & Frellsen 2019, MIWAE, eq. 12).
    ``copies`` = 0 fills with the weighted mean (numbers), the most likely code or the median one (ordered codes); otherwise
    so many rows per row, draw-major, are drawn by sampling-importance-resampling. ``units`` are the transforms of fields:
    a mean is one of the data's own units. ``rounds`` of filling and encoding again (pseudo-Gibbs, Rezende et al. 2014,
    appendix F) help a model that was not trained with holes. Seen entries are returned as they are, and only rows with
    holes are asked for.
    """
    rows, units, times = rows or vae.rows, units or {}, max(copies, 1)
    for batch in batches:
        for part in batch.slices(max(1, rows // times)):
            here = _holed(part, max(1, rows // max(draws, times)))
            pieces = []
            for some in map(part.take, here):
                weighed = Weighed(vae, some, draws, rounds, rows, seed)
                values = weighed.sample(copies) if copies else _centres(weighed, units)
                pieces.append(_filled(some.repeat(times), values))
            places = [some + draw * len(part) for some in here for draw in range(times)]
            yield _replaced(part.repeat(times), places, pieces)


@torch.no_grad()
def impute_with_spread(
    vae: VAE,
    batches: Iterable[Batch],
    draws: int = 64,
    rounds: int = 0,
    rows: int | None = None,
    seed: int = 0,
    units: Mapping[str, Transform] | None = None,
) -> Iterator[Imputed]:
    """The same weighted means and codes, and how sure they are: the spread over draws of z and of x given z."""
    rows, units = rows or vae.rows, units or {}
    for batch in batches:
        for part in batch.slices(rows):
            here = _holed(part, max(1, rows // draws))
            pieces, spreads = [], []
            for some in map(part.take, here):
                weighed = Weighed(vae, some, draws, rounds, rows, seed)
                found = _with_spread(some, weighed, units)
                pieces.append(_filled(some, found.rows))
                spreads.append(found)
            deviation = _scattered(part, here, [found.deviation for found in spreads])
            probability = _scattered(part, here, [found.probability for found in spreads])
            yield Imputed(_replaced(part, here, pieces), deviation, probability)


class Weighed:
    """The draws of z for some rows, k at a time: p(x | z) of what is missing, and log p(x_seen, z) - log q(z | x), (k, n)."""

    def __init__(self, vae: VAE, part: Batch, draws: int, rounds: int, rows: int, seed: int):
        self.vae, self.part, self.draws, self.at_once = vae, part, draws, max(1, rows // len(part))
        proposal = part
        for _ in range(rounds):
            proposal = _filled(part, vae.decode(vae.infer(proposal, centre=True)).point_estimate())
        self.proposal, self.noise = proposal, Keyed.of(part, seed)
        self.features = vae.encoder(proposal, vae.embed(proposal))

    def __iter__(self) -> Iterator[tuple[Joint, Tensor]]:
        for first in range(0, self.draws, self.at_once):
            k = min(self.at_once, self.draws - first)
            draw = self.vae.infer(self.proposal, k, noise=self.noise.repeat(k, first), features=self.features)
            px = self.vae.decode(draw).given(self.part.repeat(k))
            log_w = self.vae.log_px(px, self.part.repeat(k)) - draw.log_ratio()
            yield self.vae.of_the_missing(px), log_w.view(k, -1)

    def mean(self, terms: Callable[[Joint], Mapping[str, Tensor]]) -> tuple[dict[str, Tensor], Joint]:
        """Self-normalised weighted means over draws of what ``terms`` makes of p(x | z), (k * n, ...) each -> (n, ...); and the
        last p(x | z)."""
        sums: dict[str, Tensor] = {}
        before = torch.full((len(self.part),), -torch.inf, device=self.vae.device)
        for px, log_w in self:
            total = torch.logaddexp(before, log_w.logsumexp(0))
            kept, weights = (before - total).exp(), (log_w - total).exp()  # of what was summed before, and of these
            for name, values in terms(px).items():
                new = torch.einsum(
                    "kn,kn...->n...", weights.to(values.dtype), values.view(*weights.shape, *values.shape[1:])
                )
                old = sums.get(name)
                sums[name] = new if old is None else new + _like(kept, old) * old
            before = total
        return sums, px

    def sample(self, copies: int) -> Batch:
        """(copies * n) values, draw-major: z by its weight, x from p(x | z). Draws come and go, so each copy keeps what it has
        or takes one of the new, by their shares of the weight so far."""
        row = torch.arange(len(self.part), device=self.vae.device).repeat(copies)
        before = torch.full((len(self.part),), -torch.inf, device=self.vae.device)
        kept: Batch | None = None
        for px, log_w in self:
            total = torch.logaddexp(before, log_w.logsumexp(0))
            chosen = torch.multinomial(log_w.softmax(0).T, copies, replacement=True).T.flatten()
            new = px.sample().take(chosen * len(self.part) + row)
            if kept is None:
                kept = new
            else:
                stays = torch.rand(len(row), device=row.device) < (before - total).exp()[row]
                kept = Batch({k: torch.where(_like(stays, v), kept.fields[k], v) for k, v in new.fields.items()})
            before = total
        assert kept is not None
        return kept


def _centres(weighed: Weighed, units: Mapping[str, Transform]) -> Batch:
    """The weighted mean of numbers, the chosen code of codes."""
    means, px = weighed.mean(lambda px: _central(px, units))
    return Batch({name: _centre(means[name], px, name, units) for name in px})


def _with_spread(part: Batch, weighed: Weighed, units: Mapping[str, Transform]) -> Imputed:
    def terms(px: Joint) -> dict[str, Tensor]:
        found = _central(px, units)
        for name, p in px.items():
            if not isinstance(p, Coded):
                stored = torch.stack([_stored(p.sample(), units.get(name)) for _ in range(SAMPLES)])
                found |= {f"{name} 1": stored.mean(0), f"{name} 2": stored.square().mean(0)}
        return found

    means, px = weighed.mean(terms)
    centres = Batch({name: _centre(means[name], px, name, units) for name in px})
    deviation, probability = {}, {}
    for name, p in px.items():
        seen = part.seen.get(name)
        if seen is None:
            continue
        if isinstance(p, Coded):
            spread = means[name].gather(1, centres.fields[name] + p.levels.start)
            probability[name] = torch.where(seen, torch.nan, spread)
        else:
            spread = (means[f"{name} 2"] - means[f"{name} 1"].square()).clamp_min(0).sqrt()
            deviation[name] = torch.where(seen, torch.nan, spread)
    return Imputed(centres, deviation, probability)


def _central(px: Joint, units: Mapping[str, Transform]) -> dict[str, Tensor]:
    """What is averaged over z: probabilities of codes, means of numbers, in the data's units where those are bent."""
    found = {}
    for name, p in px.items():
        if isinstance(p, Coded):
            found[name] = p.probs()
            continue
        found[name] = p.point_estimate()
        bent = _bent(units[name], found[name][:1]) if name in units else None
        if bent is not None and bool(bent.any()):
            found[name] = torch.where(bent, _stored_mean(p, units[name]), _stored(found[name], units[name]))
    return found


def _stored_mean(p: Distribution, unit: Transform) -> Tensor:
    """The mean in the data's units: by Gauss-Hermite quadrature of the quantile function, the same in any batch, where that
    is at hand; by samples elsewhere."""
    if not isinstance(p, LocationScale):
        return torch.stack([_stored(p.sample(), unit) for _ in range(SAMPLES)]).mean(0)
    points = ((weight, _stored(p.quantile(level), unit)) for level, weight in zip(LEVELS, WEIGHTS, strict=True))
    return torch.stack([weight * x for weight, x in points]).sum(0)


def _centre(mean: Tensor, px: Joint, name: str, units: Mapping[str, Transform]) -> Tensor:
    """The mean in the model's units; of codes the most likely one, or the median where they have an order."""
    p = px[name]
    if isinstance(p, Coded):
        return _median(mean, p.levels) if isinstance(p, Ordered) else p.levels.argmax(mean)
    return units[name].to_model(mean, FRESH) if name in units and bends(units[name], mean[:1].float()) else mean


def bends(unit: Transform, like: Tensor) -> bool:
    """Is the way to the data's units other than a straight line, so that a mean of the model's units is none of theirs?
    ``like`` (1, *shape) is one value of the model."""
    bent = _bent(unit, like)
    return bent is not None and bool(bent.any())


def _bent(unit: Transform, like: Tensor) -> Tensor | None:
    """(1, *shape) of which entries that is so; None where stored values are no real numbers."""
    low, middle, high = (unit.to_data(torch.full_like(like, value)) for value in (0.0, 1.0, 2.0))
    if not low.is_floating_point():
        return None
    return ~torch.isclose(middle - low, high - middle, rtol=1e-4)


def _stored(x: Tensor, unit: Transform | None) -> Tensor:
    """float64 in the data's units and range."""
    return x.double() if unit is None else unit.within(unit.to_data(x)).double()


def _median(probs: Tensor, levels: Levels) -> Tensor:
    """(n, S) -> (n, C): the lowest code of each column up to which lies half of the probability."""
    below = probs.double().cumsum(1)
    start = torch.cat([below.new_zeros(len(below), 1), below], 1).index_select(1, levels.start)
    short = (below - levels.spread(start) < 0.5 - 1e-6).to(probs.dtype)
    return torch.minimum(levels.total(short).long(), levels.last)


def _holed(part: Batch, size: int) -> Sequence[Tensor]:
    """The ids of rows with holes, ``size`` at a time."""
    holed = [~seen.flatten(1).all(1) for seen in part.seen.values()]
    ids = torch.stack(holed).any(0).nonzero()[:, 0] if holed else torch.arange(0)
    return torch.split(ids, size) if len(ids) else ()


def _scattered(part: Batch, places: Sequence[Tensor], pieces: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """(n, ...) of every row, NaN in those that are not at ``places``."""
    return {
        name: values.new_full((len(part), *values.shape[1:]), torch.nan).index_copy(
            0, torch.cat(list(places)), torch.cat([piece[name] for piece in pieces])
        )
        for name, values in (pieces[0].items() if pieces else ())
    }


def _like(rows: Tensor, values: Tensor) -> Tensor:
    """(n,) -> (n, 1, ...) that broadcasts with ``values``."""
    return rows.view(-1, *[1] * (values.ndim - 1))


def _replaced(whole: Batch, places: Sequence[Tensor], pieces: Sequence[Batch]) -> Batch:
    """The rows at ``places`` from ``pieces``, the others from ``whole``, where they have no holes."""
    if not pieces:
        return Batch(whole.fields)
    ids = torch.cat(list(places))
    fields = {k: v.index_copy(0, ids, torch.cat([p.fields[k] for p in pieces])) for k, v in whole.fields.items()}
    return Batch(fields, {k: v for k, v in whole.seen.items() if k in pieces[0].seen})


def _filled(part: Batch, values: Batch) -> Batch:
    """Seen entries from ``part``, the others from ``values``, and so no masks; conditions pass through with theirs."""
    fields = {
        k: torch.where(part.seen[k], v, values.fields[k]) if k in part.seen and k in values.fields else v
        for k, v in part.fields.items()
    }
    seen = {k: v for k, v in part.seen.items() if k not in values.fields}
    return Batch(fields, seen)
