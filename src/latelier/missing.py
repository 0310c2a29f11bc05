"""p(missing | x), entry by entry: for data whose cells are missing because of what stood in them. N = rows, m = points.

Not-MIWAE (Ipsen, Mattei & Frellsen 2021) with self-masking, but for one thing: a missing value is not drawn from p(x | z) but
summed over, which one dimension at a time costs a few points and has no variance.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import ndtr
from torch import Tensor, nn

from latelier.batch import Batch
from latelier.data.schema import Field
from latelier.likelihoods.base import Distribution, Joint, Ordered
from latelier.likelihoods.category import Coded, Levels
from latelier.likelihoods.count import CountDistribution

POINTS, COUNT_POINTS = 9, 32
CANDIDATES = 32  # values of which one is drawn in proportion to its chance of being missing


class Missingness(nn.Module):
    """For every field with holes, log p(missing | x) / p(seen | x) = offset + slope g(x) per entry, g being x in units of its
    spread (of counts: of log1p), or a number per level of codes. Entries are missing or not independently, given x."""

    def __init__(self, fields: Iterable[Field]):
        super().__init__()
        self.fields = {f.name: f for f in fields if f.holes}
        self.offset, self.slope = nn.ParameterDict(), nn.ParameterDict()
        for name, field in self.fields.items():
            coded = field.support in ("category", "ordinal")
            self.offset[name] = nn.Parameter(torch.zeros(field.shape))
            self.slope[name] = nn.Parameter(torch.zeros(sum(field.sizes) if coded else field.shape))
            self.register_buffer(f"{name}_loc", torch.zeros(field.shape))
            self.register_buffer(f"{name}_scale", torch.ones(field.shape))

    def begin(self, batch: Batch) -> None:
        """Told once, before training, of some rows: how often entries are missing, and how large counts are."""
        for name, field in self.fields.items():
            x, seen = batch.fields[name], self.seen(batch, name)
            share = ((~seen).double().sum(0) + 0.5) / (len(x) + 1)
            self.offset[name].data.copy_(share.logit())
            if field.support == "count":
                rows, grown = seen.sum(0).clamp_min(1), torch.log1p(x)
                loc = (grown * seen).sum(0) / rows
                self.get_buffer(f"{name}_loc").copy_(loc)
                spread = (((grown - loc).square() * seen).sum(0) / rows).sqrt().clamp_min(1e-2)
                self.get_buffer(f"{name}_scale").copy_(spread)

    def log_prob(self, px: Joint, batch: Batch) -> Tensor:
        """(N,) log p(which entries are seen | z, what is seen), nats: the missing ones summed over p(x | z)."""
        total = torch.zeros(len(batch), device=self.offset[next(iter(self.offset))].device)
        for name in self.fields:
            here = F.logsigmoid(-self.logit(name, batch.fields[name], px[name]))
            away = self.chance(name, px[name]).clamp_min(1e-12).log()
            total = total + torch.where(self.seen(batch, name), here, away).flatten(1).sum(1)
        return total

    def logit(self, name: str, x: Tensor, p: Distribution) -> Tensor:
        """(..., *shape) values -> the log-odds of their being missing."""
        if isinstance(p, Coded):
            levels = p.levels
            return self.offset[name] + self.slope[name][levels.legal(x) + levels.start]
        if self.fields[name].support == "count":
            x = (torch.log1p(x) - self.get_buffer(f"{name}_loc")) / self.get_buffer(f"{name}_scale")
        return self.offset[name] + self.slope[name] * x

    def chance(self, name: str, p: Distribution) -> Tensor:
        """(N, *shape) p(missing | z) of each entry."""
        if isinstance(p, Coded):
            return p.levels.total(p.probs() * self.of_levels(name, p.levels))
        values, weights = points(p, self.training)
        return (weights * torch.sigmoid(self.logit(name, values, p))).sum(0)

    def of_levels(self, name: str, levels: Levels) -> Tensor:
        """(S,) p(missing | level)"""
        return torch.sigmoid(self.offset[name][levels.column] + self.slope[name])

    def of_the_missing(self, px: Joint) -> Joint:
        """p(x | z, missing) of every field with holes; the others as they are."""
        made = Joint(px)
        for name in self.fields:
            p = px[name]
            made[name] = MissingCodes(self, name, p) if isinstance(p, Coded) else MissingNumbers(self, name, p)
        return made

    def seen(self, batch: Batch, name: str) -> Tensor:
        seen = batch.seen.get(name)
        return torch.ones_like(batch.fields[name], dtype=torch.bool) if seen is None else seen


class MissingNumbers(Distribution):
    """p(x | z, missing), proportional to p(x | z) p(missing | x)."""

    def __init__(self, missingness: Missingness, name: str, p: Distribution):
        self.missingness, self.name, self.p = missingness, name, p

    def entry_log_prob(self, x: Tensor) -> Tensor:
        odds = F.logsigmoid(self.missingness.logit(self.name, x, self.p))
        return self.p.entry_log_prob(x) + odds - self.missingness.chance(self.name, self.p).clamp_min(1e-12).log()

    @torch.no_grad()
    def sample(self) -> Tensor:
        values = torch.stack([self.p.sample() for _ in range(CANDIDATES)])
        chances = F.logsigmoid(self.missingness.logit(self.name, values, self.p))
        gumbel = -torch.empty_like(chances).exponential_().clamp_min_(1e-30).log_()
        return values.gather(0, (chances + gumbel).argmax(0, keepdim=True))[0]

    def point_estimate(self) -> Tensor:
        values, weights = points(self.p, self.missingness.training)
        weights = weights * torch.sigmoid(self.missingness.logit(self.name, values, self.p))
        return (weights * values).sum(0) / weights.sum(0).clamp_min(1e-12)


class MissingCodes(Coded):
    """The same for codes."""

    def __init__(self, missingness: Missingness, name: str, p: Coded):
        self.missingness, self.name, self.p, self.levels = missingness, name, p, p.levels

    def entry_log_prob(self, x: Tensor) -> Tensor:
        return self.probs().gather(1, self.levels.legal(x) + self.levels.start).clamp_min(1e-30).log()

    def probs(self) -> Tensor:
        raw = self.p.probs() * self.missingness.of_levels(self.name, self.levels)
        return raw / self.levels.spread(self.levels.total(raw).clamp_min(1e-30))

    @torch.no_grad()
    def sample(self) -> Tensor:
        logits = self.probs().clamp_min(1e-30).log()
        return self.levels.argmax(logits - torch.empty_like(logits).exponential_().clamp_min_(1e-30).log_())

    def point_estimate(self) -> Tensor:
        return self.levels.argmax(self.probs())


def points(p: Distribution, training: bool = False) -> tuple[Tensor, Tensor]:
    """Values (m, N, *shape) and weights (m, N, *shape) whose weighted sums are expectations of smooth functions.

    Quantiles at the nodes of Gauss and Hermite, and the two values of a coin. Of counts, equally likely ones, and in training
    draws, as their quantiles take long. Gradients go through the weights: the values stay where they are, and their
    likelihood ratio, which is 1, changes.
    """
    if not isinstance(p, Ordered):
        like = p.point_estimate()
        values = torch.stack([torch.zeros_like(like), torch.ones_like(like)])
        return values, torch.stack([p.entry_log_prob(value).exp() for value in values])
    count = isinstance(p, CountDistribution)
    levels, shares = _equal() if count else _nodes()
    with torch.no_grad():
        values = torch.stack([p.sample() if count and training else p.quantile(level) for level in levels])
    log_p = torch.stack([p.entry_log_prob(value) for value in values])
    share = log_p.new_tensor(shares).view(-1, *[1] * (log_p.ndim - 1))
    return values, share * (log_p - log_p.detach()).exp()


@cache
def _nodes() -> tuple[list[float], list[float]]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(POINTS)
    return ndtr(nodes).tolist(), (weights / weights.sum()).tolist()


def _equal() -> tuple[list[float], list[float]]:
    return [(i + 0.5) / COUNT_POINTS for i in range(COUNT_POINTS)], [1 / COUNT_POINTS] * COUNT_POINTS
