"""log p(x | c) by annealed importance sampling, for latents whose values have a density. n = rows of a part, K = chains,
D = dimensions of all latent variables; nats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from latelier.batch import Batch, repeat
from latelier.errors import BadInput
from latelier.means import standard_error_of
from latelier.noise import Keyed, Noise
from latelier.tasks.decode import every
from latelier.tasks.score import score
from latelier.vae import VAE

Start = Literal["prior", "posterior"]
LEAPS = 10  # of a leapfrog path; as Wu et al. 2017, section 5
GOAL = 0.65  # of the paths are accepted, for which step sizes are adapted (Neal 2011, section 5.4.4)
STEEP = 4.0  # how much denser than in the middle the path's ends are: a sigmoid from -4 to 4 (Grosse et al. 2015)
PILOT = 4  # chains that find the step sizes, and whose weights count for nothing
FAR = 1 << 20  # the number of the pilots' first chain: their noise is not that of the chains that count


@dataclass(frozen=True)
class Annealed:
    """Of each row: log of the mean weight, its standard error over chains (NaN for one chain), the share of paths accepted."""

    value: Tensor  # (n,) nats of the data's own units
    error: Tensor  # (n,)
    accepted: Tensor  # (n,)


@dataclass(frozen=True)
class Ais:
    """Means over rows, nats. ``error``: standard error over rows, chains included; ``chain_error``: what it would be of these
    very rows. ``gap``: how far AIS is above the IW bound of the same rows, which is how loose that bound is at least."""

    rows: int
    chains: int
    steps: int
    start: Start
    value: float
    error: float
    chain_error: float | None
    accepted: float
    iw: float
    iw_draws: int
    gap: float
    gap_error: float


def annealed(
    vae: VAE,
    batches: Iterable[Batch],
    chains: int = 16,
    steps: int = 500,
    start: Start = "posterior",
    rows: int | None = None,
    seed: int = 0,
) -> Iterator[Annealed]:
    """Neal 2001: each chain walks from a draw of f0 to p(z | x, c) through f0^(1 - t) p(x, z | c)^t at ``steps`` temperatures,
    by one Hamiltonian path at each (Neal 2011), and its weight has the mean p(x | c).

    f0 is the ``posterior`` q(z | x, c), from which fewer steps do where the encoder is good (with one step this is the
    importance-weighted bound), or the ``prior`` p(z | c), which asks nothing of the encoder. The log of a mean of weights is,
    in expectation, a lower bound. Step sizes are found for each row by chains of their own, so that the weights keep their
    mean; noise is keyed by the row's content. BadInput for latents without a density.
    """
    for block in vae.latents.blocks:
        if not block.density:
            remedy = "with --latent gaussian or ladder" if block.choices is None else "without --label"
            raise BadInput(
                f"AIS walks along the gradient of log p(x, z), and latent {block.name!r} ({type(block).__name__}) has no "
                f"density; leave out --ais, or fit {remedy}"
            )
    rows = rows or vae.rows
    times = path(steps)
    for batch in batches:
        for part in batch.slices(max(1, rows // max(chains, PILOT))):
            sizes = _pilot(vae, part, times, start, seed)
            weights, shares = [], []
            at_once = max(1, rows // len(part))
            for first in range(0, chains, at_once):
                k = min(at_once, chains - first)
                target = _Target(vae, part, k, start)
                log_w, accepted = _walk(target, times, sizes, Keyed.of(part, seed).repeat(k, first), k)
                weights.append(log_w)
                shares.append(accepted)
            log_w = torch.cat(weights)
            value = log_w.logsumexp(0) - math.log(chains)
            # The delta method: var(log of the mean) = var(mean) / mean².
            error = (log_w - value).exp().std(0) / math.sqrt(chains) if chains > 1 else torch.full_like(value, math.nan)
            yield Annealed(value + part.stretch().to(value.device), error, torch.cat(shares).mean(0))


@torch.no_grad()
def beside_the_bound(
    vae: VAE,
    batches: Iterable[Batch],
    chains: int = 16,
    steps: int = 500,
    start: Start = "posterior",
    draws: int = 64,
    rows: int | None = None,
    seed: int = 0,
) -> Ais:
    """Means over these rows, and the importance-weighted bound of the same rows."""
    values, errors, accepted, bounds = [], [], [], []
    for batch in batches:
        for found in annealed(vae, [batch], chains, steps, start, rows, seed):
            values.append(found.value.double().cpu())
            errors.append(found.error.double().cpu())
            accepted.append(found.accepted.double().cpu())
        bounds += [bound.double().cpu() for bound in score(vae, [batch], draws, rows, seed)]
    value, bound, error = torch.cat(values), torch.cat(bounds), torch.cat(errors)
    n = len(value)

    return Ais(
        rows=n,
        chains=chains,
        steps=steps,
        start=start,
        value=float(value.mean()),
        error=standard_error_of(value),
        chain_error=float(error.square().sum().sqrt() / n) if chains > 1 else None,
        accepted=float(torch.cat(accepted).mean()),
        iw=float(bound.mean()),
        iw_draws=draws,
        gap=float((value - bound).mean()),
        gap_error=standard_error_of(value - bound),
    )


def path(steps: int) -> Tensor:
    """(steps + 1,) from 0 to 1, denser at both ends, where the chains' distribution changes the most.

    >>> path(4)
    tensor([0.0000, 0.1050, 0.5000, 0.8950, 1.0000], dtype=torch.float64)
    """
    t = torch.sigmoid(torch.linspace(-STEEP, STEEP, steps + 1, dtype=torch.float64))
    return (t - t[0]) / (t[-1] - t[0])


class _Target:
    """f0 and f1 = p(x, z | c) of K chains of n rows, at flat values z (K * n, D) of all latent variables side by side."""

    def __init__(self, vae: VAE, part: Batch, k: int, start: Start):
        self.vae, self.start = vae, start
        self.many = part.repeat(k)
        with torch.no_grad():
            c = vae.embed(part)
            self.c = None if c is None else repeat(c, k)
            features = vae.encoder(part, c) if start == "posterior" else ()
            self.features: Sequence[Tensor] | None = tuple(repeat(h, k) for h in features) or None

    def draw(self, noise: Noise) -> Tensor:
        with torch.no_grad():
            draw = self.vae.latents(len(self.many), self.c, self.features, noise=noise)
        return torch.cat([step.value.flatten(1) for step in draw.steps.values()], 1)

    def logs(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(K * n,) log f0(z), log f1(z)."""
        draw = self.vae.latents(len(z), self.c, self.features, every(self.vae, z), centre=True)
        log_p = torch.stack([step.p.log_prob(step.value) for step in draw.steps.values()]).sum(0)
        log_f1 = self.vae.log_px(self.vae.decode(draw), self.many) + log_p
        if self.features is None:
            return log_p, log_f1
        return torch.stack([step.q.log_prob(step.value) for step in draw.steps.values() if step.q is not None]).sum(
            0
        ), log_f1

    def at(self, z: Tensor, time: float) -> tuple[Tensor, Tensor, Tensor]:
        """log f0, log f1, and the gradient (K * n, D) of the logarithm of the density at this temperature."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            log_f0, log_f1 = self.logs(z)
            (slope,) = torch.autograd.grad(((1 - time) * log_f0 + time * log_f1).sum(), z)
        return log_f0.detach(), log_f1.detach(), slope


def _pilot(vae: VAE, part: Batch, times: Tensor, start: Start, seed: int) -> Tensor:
    """(steps, n) step sizes at which about ``GOAL`` of the paths of each row are accepted at each temperature."""
    target, noise = _Target(vae, part, PILOT, start), Keyed.of(part, seed).repeat(PILOT, FAR)
    size = torch.full((len(part),), 0.1, device=vae.device, dtype=vae.dtype)
    z, found = target.draw(noise), []
    for time in times[1:].tolist():
        found.append(size)
        z, _, accepted = _moved(target, z, time, size.repeat(PILOT), noise)
        size = (size * torch.exp(0.1 * (accepted.view(PILOT, -1).mean(0) - GOAL))).clamp(1e-4, 2.0)
    return torch.stack(found) if found else size[:0, None]


def _walk(target: _Target, times: Tensor, sizes: Tensor, noise: Noise, k: int) -> tuple[Tensor, Tensor]:
    """(k, n) log-weights, and the share of paths accepted."""
    z = target.draw(noise)
    with torch.no_grad():
        log_f0, log_f1 = target.logs(z)
    log_w, accepted = torch.zeros_like(log_f1), torch.zeros_like(log_f1)
    for i, (before, time) in enumerate(zip(times[:-1].tolist(), times[1:].tolist(), strict=True)):
        log_w += (time - before) * (log_f1 - log_f0)
        if time < 1:  # a move at the end changes no weight
            z, (log_f0, log_f1), chance = _moved(target, z, time, sizes[i].repeat(k), noise)
            accepted += chance / (len(times) - 2)
    return log_w.view(k, -1), accepted.view(k, -1)


def _moved(
    target: _Target, z: Tensor, time: float, size: Tensor, noise: Noise
) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """z after one Hamiltonian path that leaves f0^(1 - t) f1^t as it is, log f0 and log f1 there, and the chance (K * n,) with
    which the path's end was accepted."""
    momentum = noise.normal(z).to(z.dtype)
    log_f0, log_f1, slope = target.at(z, time)
    step = size[:, None]
    to, p = z, momentum + 0.5 * step * slope
    for leap in range(LEAPS):
        to = to + step * p
        new_f0, new_f1, slope = target.at(to, time)
        p = p + (step if leap < LEAPS - 1 else 0.5 * step) * slope
    gain = (1 - time) * (new_f0 - log_f0) + time * (new_f1 - log_f1)
    gain = gain + 0.5 * (momentum.square().sum(1) - p.square().sum(1))
    chance = torch.nan_to_num(gain, nan=-math.inf).clamp_max(0).exp()  # a path that ends nowhere is not accepted
    take = noise.uniform(chance) < chance
    logs = torch.where(take, new_f0, log_f0), torch.where(take, new_f1, log_f1)
    return torch.where(take[:, None], to, z), logs, chance
