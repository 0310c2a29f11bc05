"""A second VAE, of z. N = rows, K = draws of u per row, D = dimensions of z and of u, C = width of the condition; nats."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from latelier.latents.base import Density, Prior
from latelier.latents.flows import log_standard
from latelier.latents.normal import DiagonalNormal, normal
from latelier.latents.priors.place import Place
from latelier.noise import FRESH, Noise
from latelier.spec import LatentSpec

DRAWS = 32
START = 0.5  # deviation of z given u, and of u given z, before anything is learned


class SecondStage(Prior):
    """p(z) = integral of p(z | u) N(u; 0, I) du, with q(u | z) beside it (Dai & Wipf 2019, section 4): u has as many dimensions
    as z, whose values fill their space, so that q(u) comes near N(0, I) where q(z) did not.

    Its density is a lower bound, log 1/K sum_k p(z | u_k) p(u_k) / q(u_k | z), so a bound on log p(x) that it is part of still
    is one. Noise is fresh in training; afterwards it is the same for every value, so that scores repeat.
    """

    noise: Tensor
    loc: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, ...], c: int, width: int):
        super().__init__()
        self.shape, dims = shape, math.prod(shape)
        self.encoder, self.decoder = (_net(dims + c, width, 2 * dims) for _ in range(2))
        numbers = torch.Generator().manual_seed(0)
        self.register_buffer("noise", torch.randn(DRAWS, dims, generator=numbers))
        self.register_buffer("loc", torch.zeros(dims))
        self.register_buffer("scale", torch.ones(dims))

    def forward(self, rows: int, c: Tensor | None) -> Density:
        return Integrated(self, rows, c)

    @torch.no_grad()
    def settle(self, values: Tensor, c: Tensor | None) -> None:
        self.loc.copy_(values.flatten(1).mean(0))
        self.scale.copy_(values.flatten(1).std(0).clamp_min(1e-3))

    def fit_nats(self, values: Tensor, c: Tensor | None) -> Tensor:
        """The second stage's own ELBO, of one draw."""
        z, q = self.infer(values, c)
        u = q.rsample(FRESH)
        return self.given(u, c).log_prob(z) + log_standard(u) - q.log_prob(u) - self.scale.log().sum()

    def infer(self, values: Tensor, c: Tensor | None) -> tuple[Tensor, DiagonalNormal]:
        """z in units of its spread (N, D), and q(u | z, c)."""
        z = (values.flatten(1).to(self.loc.dtype) - self.loc) / self.scale
        with torch.autocast(z.device.type, enabled=False):
            return z, _near(z, self.encoder(_beside(z, c)))

    def given(self, u: Tensor, c: Tensor | None) -> DiagonalNormal:
        """p(z | u, c), of z in units of its spread."""
        with torch.autocast(u.device.type, enabled=False):
            return _near(u, self.decoder(_beside(u, c)))


class Integrated(Density):
    """What a second stage draws, and its bound on the density of a value."""

    def __init__(self, stage: SecondStage, rows: int, c: Tensor | None, temperature: float = 1.0):
        self.stage, self.rows, self.c, self.temperature = stage, rows, c, temperature

    def rsample(self, noise: Noise) -> Tensor:
        like = self.stage.loc.expand(self.rows, -1)
        z = self.stage.given(self.temperature * noise.normal(like).to(like.dtype), self.c)
        return self._placed(z.temper(self.temperature).rsample(noise).to(like.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        z, q = self.stage.infer(value, self.c)
        total = []
        for fixed in self.stage.noise:
            noise = torch.randn_like(z) if self.stage.training else fixed
            u = q.mean() + q.log_scale.exp() * noise
            total.append(self.stage.given(u, self.c).log_prob(z) + log_standard(u) - q.log_prob(u))
        return torch.stack(total).logsumexp(0) - math.log(len(total)) - self.stage.scale.log().sum()

    def mean(self) -> Tensor:
        """What the centre of the Gaussian becomes."""
        return self._placed(self.stage.given(torch.zeros_like(self.stage.loc).expand(self.rows, -1), self.c).mean())

    def temper(self, temperature: float) -> Integrated:
        return Integrated(self.stage, self.rows, self.c, self.temperature * temperature)

    def _placed(self, z: Tensor) -> Tensor:
        return (self.stage.loc + self.stage.scale * z).view(self.rows, *self.stage.shape)


def second_stage(spec: LatentSpec, place: Place) -> Prior:
    """Two layers of ``width`` each way."""
    return SecondStage(place.block.shape, place.width, spec.width)


def _net(inputs: int, width: int, outputs: int) -> nn.Module:
    last = nn.Linear(width, outputs)
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.zero_()
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), last)


def _near(x: Tensor, h: Tensor) -> DiagonalNormal:
    """(N, D), (N, 2 D) -> a Gaussian about x. Where h is 0, both stages together are exactly N(0, I), u much like z: from there u
    does not fall idle, as it does where it knows nothing of z at first."""
    q = normal(h)
    return DiagonalNormal(math.sqrt(1 - START**2) * x + q.centre, q.log_scale + math.log(START))


def _beside(z: Tensor, c: Tensor | None) -> Tensor:
    return z if c is None else torch.cat([z, c.to(z.dtype)], 1)
