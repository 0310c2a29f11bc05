"""Do rows that are drawn under a condition show it? By Bayes' rule, with the model's own bound. N = rows, A = alternatives."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from latelier.batch import Batch, join
from latelier.means import standard_error
from latelier.noise import Keyed
from latelier.tasks.sample import sample
from latelier.vae import VAE

MOST = 8  # alternatives of a condition, the one that was given among them


@dataclass(frozen=True)
class Obeyed:
    """Of ``rows`` draws the ``share`` whose condition is, given what was drawn, the most likely of all alternatives, its standard
    ``error``, and the share that ``chance`` would have: that of a decoder that does not read the condition."""

    rows: int
    share: float
    error: float
    chance: float


@dataclass(frozen=True)
class Recognised:
    """Of ``rows`` draws the share in which a classifier of real rows finds the code that was given, and the share of as many
    ``real`` rows, which it had not seen either, in which it finds theirs."""

    rows: int
    share: float
    real: float


@torch.no_grad()
def obeyed(
    vae: VAE, conditions: Iterable[Batch], draws: int = 8, guidance: float = 1.0, rows: int | None = None
) -> dict[tuple[str, int], Obeyed]:
    """Per field and entry of the conditions (and of the label, entry 0): a row is drawn under each row of ``conditions``, and
    log p(x | c) is bounded for it under the alternatives, each with the same noise.

    The alternatives of a code are all codes, at most ``MOST``; of a number, values at equal ranks among those of ``conditions``.
    Which is most likely is asked with all of them equally likely beforehand; where several are, chance decides. Rows in which
    the entry is not given are left out.
    """
    given = join(list(conditions))
    parts = given.slices(rows or vae.rows)
    made = join([part for some in parts for part in sample(vae, [some], guidance=guidance, rows=rows)])
    made = made.only([name for name in made.fields if name not in given.fields])
    found = {}
    for name, sizes in fields_of(vae).items():
        values, seen = given.fields[name], given.seen.get(name)
        for entry in range(values.shape[1]):
            there = torch.ones(len(given), dtype=torch.bool) if seen is None else seen[:, entry].cpu()
            some = there.nonzero()[:, 0]
            choices = alternatives(values[some.to(values.device), entry], sizes[entry] if sizes else 0)
            if len(some) and choices.shape[1] > 1:
                nats = under(vae, made.take(some), given.take(some), name, entry, choices, draws, rows or vae.rows)
                found[name, entry] = share(nats)
    return found


def fields_of(vae: VAE) -> dict[str, tuple[int, ...]]:
    """What a model can be given: fields of the condition, and the label, and how many codes each entry has; () for numbers."""
    found = {} if vae.condition is None else {field.name: field.sizes for field in vae.condition.inputs}
    for field in vae.condition.inputs if vae.condition is not None else ():
        found[field.name] = (2,) * field.shape[0] if field.support == "binary" else field.sizes
    return found if vae.label is None else {**found, vae.label.name: (vae.label.shape[0],)}


def alternatives(values: Tensor, codes: int) -> Tensor:
    """(n,) values -> (n, A), the own one first."""
    if codes:
        others = torch.arange(codes, device=values.device)
        turned = (values.long()[:, None] + others) % codes  # each row's own, then those after it
        return turned[:, :MOST].to(values.dtype)
    known = values.unique()  # type: ignore[no-untyped-call]
    ranks = torch.linspace(0, len(known) - 1, min(MOST - 1, len(known)), device=values.device).round().long()
    return torch.cat([values[:, None], known[ranks].expand(len(values), -1)], 1)


def under(vae: VAE, made: Batch, given: Batch, name: str, entry: int, choices: Tensor, draws: int, rows: int) -> Tensor:
    """(n, A) log p(x | c) of the rows ``made`` with each alternative in place of the entry, nats; -inf where it is the own value
    once more."""
    columns = []
    for a in range(choices.shape[1]):
        values = given.fields[name].clone()
        values[:, entry] = choices[:, a]
        whole = Batch({**given.fields, name: values, **made.fields}, given.seen)
        nats = torch.cat([bound(vae, part, list(made.fields), draws) for part in whole.slices(rows)])
        same = choices[:, a] == choices[:, 0] if a else torch.zeros_like(nats, dtype=torch.bool)
        columns.append(torch.where(same.to(nats.device), -math.inf, nats))
    return torch.stack(columns, 1)


def bound(vae: VAE, part: Batch, made: list[str], draws: int) -> Tensor:
    """(n,) importance-weighted bound on log p(x | c), its noise keyed by x alone; what a label costs is left out."""
    features = vae.encoder(part, vae.embed(part))
    noise, total = Keyed.of(part.only(made)), torch.full((len(part),), -math.inf, device=vae.device, dtype=vae.dtype)
    for k in range(draws):
        terms = vae(part, noise=noise.repeat(1, k), features=features)
        log_w = terms.log_weights()
        for name, step in terms.draw.steps.items():
            if vae.label is not None and name == vae.label.name and step.held is not None:
                log_w = log_w - torch.where(step.held, step.p.log_prob(step.value), 0.0)
        total = torch.logaddexp(total, log_w)
    return total - math.log(draws)


def share(nats: Tensor) -> Obeyed:
    """From (n, A) nats, the own condition first."""
    best = nats == nats.max(1, keepdim=True).values
    hits = best[:, 0].double() / best.sum(1)
    n = len(hits)
    p = float(hits.mean())
    chance = float((1 / (nats > -math.inf).sum(1).double()).mean())
    return Obeyed(n, p, standard_error(p * (1 - p), n), chance)


@torch.no_grad()
def recognised(vae: VAE, rows: Batch, guidance: float = 1.0, seed: int = 0) -> dict[tuple[str, int], Recognised]:
    """Per field and entry of codes that rows can be given: a logistic regression of them, on the numbers that the encoder reads,
    is trained on one half of the real ``rows`` and tried on the other half, and on draws under the conditions of that half."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    names, order = fields_of(vae), torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    half, other = rows.take(order[: len(rows) // 2]), rows.take(order[len(rows) // 2 :])
    made = join(
        [d for part in other.only(list(names)).slices(vae.rows) for d in sample(vae, [part], guidance=guidance)]
    )
    half_x, other_x, made_x = (vae.encoder.read(part).flatten(1).double().cpu().numpy() for part in (half, other, made))
    found = {}
    for name, sizes in names.items():
        for entry in range(len(sizes)):
            (learnt_from, y), (there, truth) = (_codes(part, name, entry) for part in (half, other))
            if len(there) and len(set(y.tolist())) > 1:
                learnt = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
                learnt.fit(half_x[learnt_from], y)
                shares = (float(learnt.score(x[there], truth)) for x in (made_x, other_x))
                found[name, entry] = Recognised(len(there), *shares)
    return found


def _codes(rows: Batch, name: str, entry: int) -> tuple[Tensor, Tensor]:
    """Places of the rows in which the entry is seen, and its codes there."""
    values, seen = rows.fields[name][:, entry].long().cpu(), rows.seen.get(name)
    there = torch.arange(len(values)) if seen is None else seen[:, entry].cpu().nonzero()[:, 0]
    return there, values[there]
