"""How likely each row is: the importance-weighted bound on log p(x | c), repeatable. n = rows of a part, K = draws; nats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.noise import Keyed
from latelier.vae import VAE

# The last bits of a row's score depend on how many rows are computed beside it, for vector units take 8 or 16 numbers at a
# time and the rest one by one, by other formulas. With a multiple of this they do not, on AVX2 and AVX-512; where fewer may be
# in flight, memory comes first.
STEADY = 32


@dataclass(frozen=True)
class Scored:
    """What each entry contributes, nats: ``total`` (n,) = sum of ``entries`` (n, *entries) of all fields + ``latent`` (n,)."""

    total: Tensor
    entries: dict[str, Tensor]
    latent: Tensor


@torch.no_grad()
def score(
    vae: VAE, batches: Iterable[Batch], draws: int = 16, rows: int | None = None, seed: int = 0
) -> Iterator[Tensor]:
    """log 1/K sum_k p(x, z_k | c) / q(z_k | x, c) (Burda et al. 2016), (n,) at a time, in nats of the data's own units.

    Noise is keyed by the row's content: another batch size, order or call gives the same score, bit for bit on one machine.
    """
    rows = rows or vae.rows
    for batch in batches:
        for part in batch.slices(steady(rows)):
            bound = importance_bound(vae, part, draws, rows, seed)
            yield bound + part.stretch().to(bound.device)


def steady(rows: int) -> int:
    """At most so many rows, a multiple of ``STEADY`` where they are as many."""
    return rows - rows % STEADY or rows


def importance_bound(vae: VAE, part: Batch, draws: int, rows: int, seed: int = 0) -> Tensor:
    """log 1/K sum_k w_k of every row, (n,) nats of the model's units. Summed as it goes: small tensors that are kept between
    large ones that are not would keep the allocator from using the large ones' room again."""
    draws = 1 if vae.latents.certain else draws  # others would be the same
    whole = part.padded(STEADY if rows >= STEADY else 1)
    total = torch.full((len(whole),), -math.inf, device=vae.device, dtype=vae.dtype)
    for log_w in log_weights(vae, whole, draws, rows, seed):
        for one in log_w:  # in the same order however many are at hand at once
            torch.logaddexp(total, one, out=total)
    return total[: len(part)] - math.log(draws)


def log_weights(vae: VAE, part: Batch, draws: int, rows: int, seed: int = 0) -> Iterator[Tensor]:
    """log p(x, z) - log q(z | x), (k, n) at a time until K draws are done; at most ``rows`` rows in flight."""
    noise = Keyed.of(part, seed)
    features = vae.encoder(part, vae.embed(part))
    at_once = max(1, rows // len(part))
    for first in range(0, draws, at_once):
        k = min(at_once, draws - first)
        yield vae(part, k, noise=noise.repeat(k, first), features=features).log_weights().view(k, -1)


@torch.no_grad()
def score_entries(
    vae: VAE, batches: Iterable[Batch], draws: int = 16, rows: int | None = None, seed: int = 0
) -> Iterator[Scored]:
    """The same score, told apart: an entry's share is its log-probability averaged over draws by their weights."""
    rows, draws = rows or vae.rows, 1 if vae.latents.certain else draws
    for batch in batches:
        at_once = steady(max(1, rows // draws))
        for some in batch.slices(at_once):
            part, n = some.padded(STEADY if at_once >= STEADY else 1), len(some)
            terms = vae(part, draws, noise=Keyed.of(part, seed).repeat(draws))
            log_w = terms.log_weights().view(draws, -1)
            total = log_w.logsumexp(0) - math.log(draws) + part.stretch().to(log_w.device)
            weights = log_w.softmax(0)
            entries = {}
            for name, terms_k in terms.px.entry_log_prob(part.repeat(draws)).items():
                share = terms_k.view(draws, len(part), *terms_k.shape[1:])
                mean = torch.einsum("kn,kn...->n...", weights, share)
                stretch = part.log_det.get(name)
                if stretch is not None:
                    seen = part.seen.get(name)
                    mean = mean + (stretch if seen is None else torch.where(seen, stretch, 0.0))
                entries[name] = mean[:n]
            explained = torch.stack([e.flatten(1).sum(1) for e in entries.values()]).sum(0)
            yield Scored(total[:n], entries, total[:n] - explained)
