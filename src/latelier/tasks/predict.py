"""Which class a row is of: p(y | x) from the classifier, or from the bound of every class. n = rows of a part, K = classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.means import standard_error
from latelier.noise import Keyed
from latelier.vae import VAE

BINS = 10  # of confidence, in the calibration error


@dataclass(frozen=True)
class Classified:
    """How well the classes of ``rows`` rows with a label are told. ``error`` is a share, ``error_error`` its standard error,
    ``log_loss`` the mean of -log p(y | x) in nats, ``calibration`` the expected calibration error: how far the share of right
    answers is from the confidence, in ten bins of it (Naeini et al. 2015)."""

    rows: int
    error: float
    error_error: float
    log_loss: float
    calibration: float


@torch.no_grad()
def predict(vae: VAE, batches: Iterable[Batch], rows: int | None = None) -> Iterator[Tensor]:
    """log q(y | x, c) of every class, (n, K) nats, whatever label the row itself has."""
    for batch in batches:
        for part in batch.slices(rows or vae.rows):
            c = vae.embed(part)
            yield vae.classify(vae.encoder(part, c), c)


@torch.no_grad()
def predict_by_bound(
    vae: VAE, batches: Iterable[Batch], draws: int = 16, rows: int | None = None, seed: int = 0
) -> Iterator[Tensor]:
    """The same by Bayes' rule: p(y | x, c) in proportion to p(x, y | c), of which every class has its importance-weighted bound
    from ``draws`` of z. What a row's own label says is not looked at; noise is keyed by the rest."""
    assert vae.label is not None
    classes = vae.label.shape[0]
    for batch in batches:
        for part in batch.slices(max(1, (rows or vae.rows) // classes)):
            bare = part.only([name for name in part.fields if name != vae.label.name])
            features = vae.encoder(bare, vae.embed(bare))
            noise = Keyed.of(bare, seed)
            total = torch.full((classes, len(bare)), -math.inf, device=vae.device, dtype=vae.dtype)
            for k in range(draws):
                one = noise.repeat(1, k)
                assert isinstance(one, Keyed)
                alike = Keyed(one.keys.repeat(classes))  # the same noise for every class: what is compared are classes
                log_w = vae.enumerate(bare, noise=alike, features=features).log_weights()
                total = torch.logaddexp(total, log_w.view(classes, -1))
            yield total.T.log_softmax(1)


def classified(log_p: Iterable[Tensor], truth: Iterable[Tensor]) -> Classified | None:
    """From (n, K) nats and (n,) classes, -1 where a row has none; None where no row has one."""
    rows, wrong, loss = 0, 0.0, 0.0
    bins = torch.zeros(3, BINS, dtype=torch.float64)  # rows, right answers, confidence
    for found, classes in zip(log_p, truth, strict=True):
        known = (classes >= 0).cpu()
        found, classes = found.double().cpu()[known], classes.cpu()[known]
        confidence, answer = found.exp().max(1)
        right = (answer == classes).double()
        rows, wrong = rows + len(classes), wrong + float((1 - right).sum())
        loss -= float(found.gather(1, classes[:, None]).sum())
        place = (confidence * BINS).long().clamp_max(BINS - 1)
        bins += torch.stack(
            [torch.bincount(place, weight, BINS) for weight in (torch.ones_like(right), right, confidence)]
        )
    if not rows:
        return None
    error = wrong / rows
    calibration = float((bins[1] - bins[2]).abs().sum() / rows)
    return Classified(rows, error, standard_error(error * (1 - error), rows), loss / rows, calibration)
