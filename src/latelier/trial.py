"""Which likelihood suits each column, by a held-out fit. n = rows, D = columns of a field; nats.

One small model is trained whose decoder has every candidate as a head, so that all of them are conditioned on the same z and
see the same steps; it maximises the ELBO with the mean of the candidates' log-probabilities in place of one. On rows that it
was not trained on, a candidate is taken for a column if it beats the usual one by more than chance and more than a trifle.
Only rows that the model itself will be trained on are looked at.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.build import assemble, make_head
from latelier.data.rows import evenly, split
from latelier.data.schema import Field, Schema
from latelier.kinds.base import Kind, Source
from latelier.likelihoods.base import seen_terms
from latelier.means import standard_error_of
from latelier.noise import Keyed, seeded
from latelier.spec import LatentSpec, NetworkSpec, Spec
from latelier.vae import VAE

ROWS, LEAST = (
    20_000,
    1_000,
)  # rows that are looked at, and from how many on: a few hundred tell likelihoods apart by chance
HELD = 0.25  # share of them that is compared on
TRIED, BESIDE = 128, 32  # most columns of a field that is tried, or that stands beside for z to know of
STEPS, BATCH, RATE = 250, 256, 4e-3
WORK = 2e11  # most multiplications and additions of the steps, a few seconds of a processor
CLEAR, WORTH = 2.0, 0.01  # standard errors, and nats, by which a candidate must be better than the usual one


@dataclass(frozen=True)
class Compared:
    """Mean held-out nats of one column under every candidate, and the standard error of the best's lead."""

    column: str
    field: str
    nats: Mapping[str, float]
    lead_error: float
    chosen: str


def suited(kind: Kind[Any], schema: Any, source: Source, spec: Spec, tested: bool = False) -> Any:
    """The schema with the likelihoods that suit its columns best, and the evidence.

    Fields and columns whose likelihood (or its options) the user names stay as they are. ``tested``: are the held-out rows
    somewhere else? Otherwise those that training will hold out are not looked at.
    """
    named = {*spec.likelihood, *spec.head}
    candidates = {name: found for name, found in kind.alternatives(schema).items() if name not in named}
    if spec.data.choose == "rule" or not candidates or schema.rows < 2:
        return schema
    ids = torch.arange(schema.rows) if tested else split(schema.rows, spec.data.holdout, spec.train.seed)[0]
    if len(ids) < LEAST:
        told = f"likelihoods: {len(ids):,} training rows are too few to compare them, so the usual ones are taken"
        return schema.model_copy(update={"evidence": (*schema.evidence, told)})
    generator = torch.Generator().manual_seed(spec.train.seed)
    some = ids[torch.randperm(len(ids), generator=generator)[:ROWS]].sort().values
    rows = kind.rows_at(source, schema, some.numpy())
    compared = compare(schema, candidates, rows, spec.train.seed)
    chosen = {found.column: found.chosen for found in compared}
    for field in schema.modelled:  # columns that were not tried: as most of those that were
        if field.name in candidates and len(field.columns) > TRIED:
            best = _best_of_all([c for c in compared if c.field == field.name], candidates[field.name])
            chosen |= {name: best for name in field.columns if name not in chosen}
    chosen = {name: likelihood for name, likelihood in chosen.items() if name not in named}
    head = (
        f"likelihoods: compared on {len(some):,} training rows, a quarter of them held out, in nats per row under one small "
        "model; skip with --set data.choose=rule"
    )
    wide = len(compared) > 40
    lines = _by_field(schema, candidates, compared) if wide else [_line(c) for c in compared]
    return kind.with_likelihoods(schema, chosen, (head, *lines))


def compare(schema: Schema, candidates: Mapping[str, tuple[str, ...]], rows: Batch, seed: int = 0) -> list[Compared]:
    """Every candidate of every column (of at most ``TRIED`` a field) on a quarter of the stored ``rows``."""
    schema, rows = _narrowed(schema, candidates, rows)
    names = {f.name: candidates.get(f.name, (f.likelihood,)) for f in schema.modelled}
    settled = schema.settle(rows)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    held, trained = order[: round(HELD * len(rows))], order[round(HELD * len(rows)) :]
    with seeded(seed):
        vae = _model(schema, names)
        _train(vae, names, lambda ids: _beside(settled.take(ids), names), trained)
        nats = _held_out(vae, names, (_beside(settled.take(ids), names) for ids in torch.split(held, 1024)))
    found = []
    for field in schema.modelled:
        if field.name in candidates:
            terms, seen = nats[field.name]
            found += [
                _compared(field, names[field.name], i, terms[:, seen[:, i], i]) for i in range(len(field.columns))
            ]
    return found


def _model(schema: Schema, names: Mapping[str, tuple[str, ...]]) -> VAE:
    entries = sum(f.shape[0] for f in schema.modelled)
    spec = Spec(network=NetworkSpec(hidden=(128,)), latent=LatentSpec(dims=max(2, min(16, entries // 2))))
    heads = {_key(f.name, name): make_head(f, name) for f in schema.modelled for name in names[f.name]}
    bare = schema.with_fields(
        schema.modelled
    )  # conditions are left out: they cost nothing and are known to no one here
    return assemble(spec, bare, heads)


def _train(vae: VAE, names: Mapping[str, tuple[str, ...]], rows: Callable[[Tensor], Batch], ids: Tensor) -> None:
    """A few epochs of Adam at a rate that falls like a cosine."""
    vae.begin(rows(evenly(ids, 4096)))
    weights = sum(p.numel() for p in vae.parameters())
    batch = min(BATCH, max(32, len(ids) // 20))
    steps = int(max(60, min(STEPS, WORK / (6 * batch * weights), 40 * len(ids) / batch)))
    optimiser = torch.optim.Adam(vae.train().parameters(), RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, 0.02 * RATE)
    for _ in range(steps):
        part = rows(ids[torch.randint(len(ids), (batch,))])
        draw = vae.infer(part)
        terms = vae.decode(draw).entry_log_prob(part)
        total = -draw.kl()
        for field, tried in names.items():
            for name in tried:
                total = total + terms[_key(field, name)].flatten(1).sum(1) / len(tried)
        (-total.mean()).backward()  # type: ignore[no-untyped-call]
        # One row far out can be worth more than all others; steps that are not finite are left out.
        norm = torch.nn.utils.clip_grad_norm_(vae.parameters(), 100.0)
        if math.isfinite(norm.item()):
            optimiser.step()
        optimiser.zero_grad()
        schedule.step()


@torch.no_grad()
def _held_out(
    vae: VAE, names: Mapping[str, tuple[str, ...]], batches: Iterable[Batch]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Per field (candidates, n, D) nats and (n, D) which entries are seen."""
    vae.eval()
    nats: dict[str, list[Tensor]] = {field: [] for field in names}
    masks: dict[str, list[Tensor]] = {field: [] for field in names}
    for part in batches:
        px = vae.decode(vae.infer(part, noise=Keyed.of(part.only(list(names)))))
        for field, tried in names.items():
            terms = [px[_key(field, name)].entry_log_prob(part.fields[field]) for name in tried]
            seen = part.seen.get(field, torch.ones_like(terms[0], dtype=torch.bool))
            nats[field].append(torch.stack([seen_terms(t, seen) for t in terms]))
            masks[field].append(seen)
    return {field: (torch.cat(nats[field], 1), torch.cat(masks[field])) for field in names}


def _compared(field: Field, names: tuple[str, ...], column: int, nats: Tensor) -> Compared:
    """``nats`` (candidates, n) of the rows where the column is seen."""
    means = nats.double().mean(1) if nats.shape[1] else nats.new_zeros(len(names)).double()
    means = torch.where(means.isfinite(), means, -math.inf)
    best = int(means.argmax())
    lead = (nats[best] - nats[0]).double()
    error = standard_error_of(lead) if len(lead) > 1 else math.inf
    better = best != 0 and not float(lead.mean()) <= max(CLEAR * error, WORTH)
    figures = dict(zip(names, means.tolist(), strict=True))
    return Compared(field.columns[column], field.name, figures, error, names[best if better else 0])


def _best_of_all(compared: Iterable[Compared], names: tuple[str, ...]) -> str:
    """The candidate with the most nats over all columns that were tried."""
    return max(names, key=lambda name: sum(c.nats[name] for c in compared))


def _narrowed(schema: Schema, candidates: Mapping[str, tuple[str, ...]], rows: Batch) -> tuple[Schema, Batch]:
    """The same with so few columns a field that a trial stays short however wide the table is."""
    fields, values, seen = [], dict(rows.fields), dict(rows.seen)
    for field in schema.modelled:
        most = TRIED if field.name in candidates else BESIDE
        kept = evenly(torch.arange(field.shape[0]), most)
        if len(kept) < field.shape[0]:
            places = kept.tolist()
            field = field.model_copy(
                update={
                    "shape": (len(places),),
                    "sizes": tuple(field.sizes[i] for i in places) if field.sizes else (),
                    "columns": tuple(field.columns[i] for i in places),
                    "transform": field.transform.of(places),
                }
            )
            for part in (values, seen):
                if field.name in part:
                    part[field.name] = part[field.name].index_select(1, kept)
        fields.append(field)
    return schema.with_fields(tuple(fields)), Batch(values, seen).only([f.name for f in fields])


def _beside(batch: Batch, names: Mapping[str, tuple[str, ...]]) -> Batch:
    """The rows with every field once for the encoder, and once for each candidate: the same tensors under more names."""
    fields, seen = dict(batch.fields), dict(batch.seen)
    for field, tried in names.items():
        for name in tried:
            fields[_key(field, name)] = batch.fields[field]
            if field in batch.seen:
                seen[_key(field, name)] = batch.seen[field]
    return Batch(fields, seen)


def _key(field: str, likelihood: str) -> str:
    return f"{field}:{likelihood}"


def _line(found: Compared) -> str:
    figures = ", ".join(f"{name} {nats:.3f}" for name, nats in found.nats.items())
    other = next(name for name in found.nats if name != found.chosen)
    override = shlex.quote(f"likelihood.{found.column}={other}")
    return f"{found.column}: likelihood {found.chosen} ({figures}; override with --set {override})"


def _by_field(schema: Schema, candidates: Mapping[str, tuple[str, ...]], compared: Iterable[Compared]) -> Iterator[str]:
    for field in schema.modelled:
        own = [c for c in compared if c.field == field.name]
        if not own:
            continue
        names = candidates[field.name]
        figures = ", ".join(f"{name} {sum(c.nats[name] for c in own):.2f}" for name in names)
        counts = {name: sum(c.chosen == name for c in own) for name in names}
        won = ", ".join(f"{name} for {count}" for name, count in counts.items() if count)
        rest = len(field.columns) - len(own)
        others = f", {_best_of_all(own, names)} for the {rest:,} others" if rest else ""
        yield (
            f"{field.name}: likelihood {won} of {len(own)} columns{others} (sums over these columns: {figures}; "
            f"override with --set likelihood.{field.name}=NAME)"
        )
