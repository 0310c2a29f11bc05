"""What is measured of a model for a finding. n = rows, D = entries of a row; nats a row unless a unit is in the name."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.doctor.finding import NotLooked
from latelier.likelihoods.base import Ordered
from latelier.means import standard_error_of
from latelier.noise import Keyed
from latelier.vae import VAE

Numbers = npt.NDArray[np.float64]
STEP = 0.05  # by which the logarithm of a posterior's spread is moved
LEVELS = (0.001, 0.05, 0.25, 0.5, 0.75, 0.95, 0.999)  # of predictive quantiles
NEIGHBOURS = 5


@dataclass(frozen=True)
class Mean:
    """A mean over rows and its standard error."""

    value: float
    error: float

    @classmethod
    def of(cls, values: Tensor) -> Mean:
        return cls(float(values.double().mean()), standard_error_of(values) if len(values) > 1 else math.inf)


@torch.no_grad()
def weight_of_kl(vae: VAE, batch: Batch) -> float:
    """The factor of the KL under which the posteriors have the width that they have; 1 in a bound.

    Where a posterior is as wide as is best for E log p(x | z) - w KL, a small change of its width changes both terms by as
    much; w is the ratio of their slopes in the logarithm of the width (of all dimensions together), by differences with the
    same noise. NotLooked where posteriors have no width, or hardly say anything.
    """
    draw = vae.infer(batch, noise=Keyed.of(batch))
    names = [block.name for block in vae.latents.movable]
    for step in (draw.steps[name] for name in names):
        if step.q is None or not step.value.is_floating_point() or bool((step.q.mean() == step.value).all()):
            raise NotLooked("this latent's posterior has no width")
    features = vae.encoder(batch, vae.embed(batch))
    held = torch.ones(len(batch), dtype=torch.bool, device=vae.device)
    terms = []
    for change in (-STEP, STEP):
        given = {name: (step.value, held) for name, step in draw.steps.items()}  # a label stays as it is
        for name in names:
            step = draw.steps[name]
            assert step.q is not None
            given[name] = step.q.mean() + math.exp(change) * (step.value - step.q.mean()), held
        moved = vae.latents(len(batch), draw.c, features, given)
        log_p = torch.stack([moved.steps[name].p.log_prob(moved.steps[name].value) for name in names]).sum(0)
        terms.append((vae.log_px(vae.decode(moved), batch).double().mean(), log_p.double().mean()))
    dimensions = sum(math.prod(draw.steps[name].value.shape[1:]) for name in names)
    explained = float(terms[1][0] - terms[0][0]) / (2 * STEP)
    entropy_and_prior = dimensions + float(terms[1][1] - terms[0][1]) / (2 * STEP)
    if entropy_and_prior < 0.5:
        raise NotLooked("codes say hardly anything, so that their width means nothing")
    return -explained / entropy_and_prior


@torch.no_grad()
def exchanged(vae: VAE, batch: Batch, of_z: bool) -> Mean:
    """What log p(x | z, c) loses if each row has the z (or the c) of another. It keeps its own label."""
    draw = vae.infer(batch, noise=Keyed.of(batch))
    own = vae.log_px(vae.decode(draw), batch)
    generator = torch.Generator().manual_seed(0)
    circle = torch.randperm(len(batch), generator=generator)
    partner = torch.empty_like(circle)
    partner[circle] = circle.roll(1)
    partner = partner.to(vae.device)
    held = torch.ones(len(batch), dtype=torch.bool, device=vae.device)
    given = {name: (step.value, held) for name, step in draw.steps.items()}
    if of_z:
        given |= {block.name: (draw.steps[block.name].value[partner], held) for block in vae.latents.movable}
    c = draw.c if of_z or draw.c is None else draw.c[partner]
    other = vae.log_px(vae.decode(vae.latents(len(batch), c, None, given)), batch)
    return Mean.of(own - other)


def told_apart(one: Numbers, two: Numbers, seed: int = 0) -> float:
    """How well trees tell rows (n, D) of two sources apart: area under the curve, out of bag; 0.5 is chance."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score

    x, y = np.concatenate([one, two]), np.repeat([1, 0], [len(one), len(two)])
    x = np.concatenate([x, np.square(x).sum(1, keepdims=True)], 1)  # how far out a code lies
    forest = RandomForestClassifier(60, min_samples_leaf=5, oob_score=True, random_state=seed, n_jobs=1)
    forest.fit(x, y)
    votes = forest.oob_decision_function_[:, 1]
    known = np.isfinite(votes)
    return float(roc_auc_score(y[known], votes[known]))


@torch.no_grad()
def coverage(px: Ordered, x: Tensor, seen: Tensor | None) -> tuple[Numbers, Numbers, Numbers]:
    """Of each of LEVELS, the share of values (per entry, (levels, D)) below the predicted quantile, and up to it; and how many
    values there are, (D,). Where the model is right, the level lies between the two: given z ~ q(z | x) of new rows,
    values are uniform in their own predictive distribution."""
    flat = x.flatten(1)
    mask = torch.ones_like(flat, dtype=torch.bool) if seen is None else seen.expand_as(x).flatten(1)
    count = mask.sum(0).clamp_min(1).double()
    below, up_to = [], []
    for level in LEVELS:
        quantile = px.quantile(level).expand_as(x).flatten(1).to(flat.dtype)
        edge = 1e-5 * quantile.abs() + 1e-6
        below.append(((flat < quantile - edge) & mask).sum(0) / count)
        up_to.append(((flat <= quantile + edge) & mask).sum(0) / count)
    return (
        torch.stack(below).double().cpu().numpy(),
        torch.stack(up_to).double().cpu().numpy(),
        mask.sum(0).double().cpu().numpy(),
    )


def steepness(pictures: Numbers) -> float:
    """Mean squared difference of neighbouring pixels (n, C, H, W): what fine detail there is."""
    across, down = np.diff(pictures, axis=3), np.diff(pictures, axis=2)
    parts = [np.square(d).mean() for d in (across, down) if d.size]
    return float(np.mean(parts)) if parts else 0.0


@dataclass(frozen=True)
class Modes:
    """Clusters of real rows, the largest first: the shares (k,) of real and of made rows in each, and which the made ones hardly
    visit."""

    real: Numbers
    made: Numbers
    dropped: npt.NDArray[np.bool_]

    @property
    def lost(self) -> float:
        """The share of real rows that lie in clusters which are hardly visited."""
        return float(self.real[self.dropped].sum())


def modes(real: Numbers, made: Numbers, seed: int = 0) -> Modes:
    """Clusters by k-means of the real rows; hardly visited: by less than a quarter of their share, and by fewer than chance would
    leave once in a thousand times (bins that differ: Richardson & Weiss 2018)."""
    from scipy.stats import binom
    from sklearn.cluster import KMeans

    clusters = int(min(20, len(real) // 25, len(np.unique(real, axis=0))))
    if clusters < 3:
        raise NotLooked(f"{len(real)} rows have too few different values, or are too few, to tell clusters apart")
    found = KMeans(clusters, n_init=3, random_state=seed).fit(real)
    rows, visits = (np.bincount(labels, minlength=clusters) for labels in (found.labels_, found.predict(made)))
    order = np.argsort(-rows, kind="stable")
    share, visits = rows[order] / len(real), visits[order]
    rare = (visits / len(made) < share / 4) & (binom.cdf(visits, len(made), share) < 0.001)
    return Modes(share, visits / len(made), rare)


def foretold(numbers: Numbers, targets: Numbers) -> float:
    """The share of the variance of ``targets`` (n, k) that the nearest rows of ``numbers`` (n, D) tell, leave-one-out: at most
    1, about 0 where neither knows of the other."""
    from sklearn.neighbors import NearestNeighbors

    scaled = (numbers - numbers.mean(0)) / np.maximum(numbers.std(0), 1e-6)
    k = min(10, len(scaled) - 1)
    near = NearestNeighbors(n_neighbors=k + 1).fit(scaled).kneighbors(scaled, return_distance=False)[:, 1:]
    whole = np.square(targets - targets.mean(0)).sum()
    guess = targets[near].mean(1)
    if whole <= 0:
        return 0.0
    # the mean of k others has the variance of one over k by itself
    return float(1 - np.square(targets - guess).sum() / (whole * (1 + 1 / k)))
