"""Sharper pictures on top of a bound: a critic that is trained against the decoder (VAE-GAN), and a distance of features.

N = rows, K = draws, C = channels, space = (L,), (H, W) or (D, H, W).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latelier.batch import Batch, repeat
from latelier.latents.chain import Draw, Given
from latelier.objectives.base import Bound, Drawn, Objective
from latelier.vae import VAE, Terms

Features = Callable[[Tensor], Sequence[Tensor]]  # (N, C, *space) in [0, 1] -> maps, each (N, channels, *space)
MOST = 1e4  # times that a critic's pull may be raised to match the bound's, as in VQGAN


@dataclass(frozen=True)
class View:
    """How a field's values become a picture in [0, 1]: x * scale + shift. ``greys``: they are 0 or 1, drawn anew at every step
    from levels 0 to 255, which are the picture then; and so the probability of 1 is, of p(x|z)."""

    scale: float
    shift: float
    greys: bool = False


class Sharpened(Objective):
    """A bound, plus ``critic`` times what a critic says of pictures, less ``perceptual`` times a distance of features.

    A picture is what ``Distribution.relaxed`` gives: the mean of p(x|z) where values are numbers, and where they are 0 or 1 a
    draw that is passed straight through. A draw of numbers would carry noise that is independent from pixel to pixel given z;
    a critic sees that at once, and all that a decoder could do about it is to deny its own uncertainty, in nats. Where 0 and 1
    are drawn from greys at every step, the greys and the probability are the picture: of draws a critic teaches edges that are
    blacker and whiter than those of the greys, and FID rises.

    The critic's weight is adaptive (Esser et al. 2021, eq. 7): the gradient of its judgement at the decoder's last layer is as
    long as ``critic`` times that of log p(x|z). It begins after a share ``start`` of the run. The critic itself minimises the
    hinge loss (Lim & Ye 2017) on the same pictures, with an optimiser of its own. The bound below is not changed by either.
    """

    balance: Tensor

    def __init__(
        self,
        bound: Bound,
        views: Mapping[str, View],
        critic: nn.Module | None = None,
        pull: float = 0.0,
        start: float = 0.0,
        features: Features | None = None,
        perceptual: float = 0.0,
    ):
        super().__init__()
        self.bound, self.views, self.critic = bound, dict(views), critic
        self.pull, self.start, self.perceptual = pull, start, perceptual
        if isinstance(features, nn.Module):
            features = copy.deepcopy(features).eval().requires_grad_(False)
        self.features = (features,)  # in a tuple: a network that is given is no part of what is trained or saved
        self.bound_draws = bound.bound_draws
        self.register_buffer("balance", torch.ones(()))  # the adaptive weight as it was last
        self.shown: tuple[Tensor, Tensor] | None = None  # real and made pictures of this step, for the critic's turn

    def check(self, draw: Draw) -> None:
        self.bound.check(draw)

    def per_row(self, model: VAE, batch: Batch, given: Given | None = None) -> Tensor:
        self.bound.progress, self.bound.rows = self.progress, self.rows
        draws = self.bound.draws
        terms = model(batch, draws, given)
        drawn = Drawn.of(terms, len(batch), draws)
        value = self.bound.of(drawn, model)
        real, made = self.pictures(terms, batch.repeat(draws))
        if self.features[0] is not None:
            value = value - self.perceptual * drawn.mean(feature_distance(self.features[0], real, made))
        self.shown = None
        if self.critic is not None and self.critic_at_work:
            dreamt = self.dreamt(terms, model, len(batch))
            self.shown = real.detach(), torch.cat([made, dreamt]).detach()
            value = value + self.pull * self.judged(terms, model, torch.cat([made, dreamt]))
        return value

    def opposed(self) -> list[nn.Parameter]:
        return [] if self.critic is None else list(self.critic.parameters())

    @property
    def critic_at_work(self) -> bool:
        """Has the critic begun?"""
        return self.critic is not None and self.progress >= self.start

    def pictures(self, terms: Terms, batch: Batch) -> tuple[Tensor, Tensor]:
        """(K N, C, *space) each, in [0, 1]: the rows, and p(x|z). Pixels that are not seen are the same in both."""
        real, made = [], []
        for name, view in self.views.items():
            x, shown = batch.fields[name], self.shown_of(terms.px[name], view)
            if view.greys and self.stored is not None:
                x = repeat(self.stored.fields[name], len(x) // len(self.stored)) / 255
            if name in batch.seen:
                x = torch.where(batch.seen[name], x, shown.detach())
            real.append(x * view.scale + view.shift)
            made.append(shown * view.scale + view.shift)
        return torch.cat(real, 1), torch.cat(made, 1)

    def shown_of(self, px: Any, view: View) -> Tensor:
        """(K N, C, *space) what is looked at of p(x|z), a ``Distribution``. Of greys the probability; without their levels
        (outside training) 0 and 1 are drawn."""
        shown: Tensor = px.point_estimate() if view.greys and self.stored is not None else px.relaxed()
        return shown

    def dreamt(self, terms: Terms, model: VAE, n: int) -> Tensor:
        """(N, C, *space) pictures of z from the prior, under the conditions of the rows, which Larsen et al. show too: a
        decoder that is only judged where rows are may still fail between them."""
        c = terms.draw.c
        px = model.decode(model.latents(n, None if c is None else c[:n]))
        return torch.cat([self.shown_of(px[k], view) * view.scale + view.shift for k, view in self.views.items()], 1)

    def judged(self, terms: Terms, model: VAE, made: Tensor) -> Tensor:
        """The critic's mean score of these pictures, times the adaptive weight; only pictures take its gradient."""
        assert self.critic is not None
        with _still(self.critic):
            score = self.critic(made).float().mean()
        if torch.is_grad_enabled() and score.requires_grad:
            last = model.decoder.last()
            # The way through the critic is walked once: what follows it is linear in its gradient at the pictures.
            (slope,) = torch.autograd.grad(score, made, retain_graph=True)
            (wanted,) = torch.autograd.grad(terms.log_px.mean(), last, retain_graph=True)
            (given,) = torch.autograd.grad((made * slope).sum(), last, retain_graph=True)
            balance = adaptive(wanted, given)
            self.balance.copy_(torch.where(balance.isfinite(), balance, self.balance))
            surrogate = (made * slope).sum()
            score = score.detach() + surrogate - surrogate.detach()
        return self.balance * score

    def critic_loss(self) -> Tensor | None:
        """The hinge loss of this step's pictures, or None before the critic's time."""
        if self.critic is None or self.shown is None:
            return None
        real, made = self.shown
        return hinge(self.critic(real), self.critic(made))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """To another device the network of features goes too."""
        if isinstance(self.features[0], nn.Module):
            self.features[0]._apply(fn)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def report(self, model: VAE, held: Sequence[Batch]) -> dict[str, float]:
        told = self.bound.report(model, held)
        return told | {"critic_weight": self.balance.item()} if self.critic_at_work else told


def hinge(real: Tensor, made: Tensor) -> Tensor:
    """E[max(0, 1 - score of real)] + E[max(0, 1 + score of made)].

    >>> hinge(torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0]))
    tensor(0.7500)
    """
    return F.relu(1 - real.float()).mean() + F.relu(1 + made.float()).mean()


def adaptive(wanted: Tensor, given: Tensor) -> Tensor:
    """The factor that makes the gradient ``given`` as long as the one ``wanted``.

    >>> adaptive(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 0.5]))
    tensor(9.9998)
    """
    return (wanted.float().norm() / (given.float().norm() + 1e-5)).clamp(0, MOST).detach()


def feature_distance(features: Features, real: Tensor, made: Tensor) -> Tensor:
    """(N,) the squared distance of two pictures' features: of each map the mean over its positions, of vectors of channels
    brought to length 1 (Zhang et al. 2018, eq. 1, with weights of 1), summed over maps."""
    with torch.no_grad():
        targets = list(features(real))
    total = made.new_zeros(len(made), dtype=torch.float32)
    for target, own in zip(targets, features(made), strict=True):
        apart = F.normalize(own.float(), dim=1, eps=1e-6) - F.normalize(target.float(), dim=1, eps=1e-6)
        total = total + apart.square().sum(1).flatten(1).mean(1)
    return total


class _still:
    """The parameters of a module are constants for the moment."""

    def __init__(self, module: nn.Module):
        self.parameters = [p for p in module.parameters() if p.requires_grad]

    def __enter__(self) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(False)

    def __exit__(self, *error: object) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(True)
