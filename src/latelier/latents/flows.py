"""Invertible maps of vectors, learned: what flow priors and posteriors are made of. N = rows, D = dimensions, C = context."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from latelier.latents.base import Density
from latelier.latents.normal import HALF_LOG_2PI
from latelier.noise import Noise

BINS = 8  # of every spline, on [-5, 5]; beyond, the map is the identity


class Map(nn.Module):
    """Neural spline flow (Durkan et al. 2019) by zuko: x (N, D) <-> y (N, D), given context (N, C). At first nearly the identity.

    ``passes`` of its networks turn y into x: D of them where each dimension is mapped given all before it, 2 where half of them
    is mapped given the other half; x into y takes one.
    """

    def __init__(self, dims: int, context: int, transforms: int, width: int, passes: int | None):
        super().__init__()
        from zuko.flows import NSF  # here: a model without flows need not load it

        flow = NSF(
            dims,
            context,
            bins=BINS,
            transforms=transforms,
            hidden_features=(width, width),
            activation=nn.SiLU,
            passes=passes,
        )
        self.net: nn.Module = flow.transform
        with torch.no_grad():
            for one in self.net.children():  # the last weights of each make the splines
                for weights in list(one.parameters())[-2:] if context or dims > 1 else one.parameters():
                    weights.mul_(0.1)

    def forward(self, x: Tensor, context: Tensor | None, back: bool = False) -> tuple[Tensor, Tensor]:
        """(N, D) -> y (N, D) and log |dy / dx| (N,); ``back``: y -> x and log |dx / dy|."""
        # Splines compare numbers with one another, and sums of nats need more digits than bfloat16 has.
        with torch.autocast(x.device.type, enabled=False):
            way = self.net(context)
            y, log_det = (way.inv if back else way).call_and_ladj(x)
        return y, log_det


def log_standard(x: Tensor) -> Tensor:
    """(N, D) -> (N,) nats under N(0, I)."""
    return (-0.5 * x.square() - HALF_LOG_2PI).sum(1)


class Flowing(Density):
    """What is N(0, I) after z -> map((z - loc) / scale): exact to draw from and to measure. Values are (N, *shape); loc and
    log_scale are (D,)."""

    def __init__(
        self,
        map: Map,
        loc: Tensor,
        log_scale: Tensor,
        context: Tensor | None,
        rows: int,
        shape: tuple[int, ...],
        temperature: float = 1.0,
    ):
        self.map, self.loc, self.log_scale, self.context = map, loc, log_scale, context
        self.rows, self.shape, self.temperature = rows, shape, temperature

    def rsample(self, noise: Noise) -> Tensor:
        like = self.loc.expand(self.rows, -1)
        return self._from(self.temperature * noise.normal(like).to(like.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        z = (value.flatten(1).to(self.loc.dtype) - self.loc) * torch.exp(-self.log_scale)
        base, log_det = self.map(z, self.context)
        narrower = math.log(self.temperature)
        standard = log_standard(base / self.temperature) - narrower * z.shape[1]
        return standard + log_det - self.log_scale.sum()

    def mean(self) -> Tensor:
        """What the centre of the Gaussian becomes."""
        return self._from(torch.zeros_like(self.loc).expand(self.rows, -1))

    def temper(self, temperature: float) -> Flowing:
        temperature = self.temperature * max(temperature, 1e-9)
        return Flowing(self.map, self.loc, self.log_scale, self.context, self.rows, self.shape, temperature)

    def _from(self, base: Tensor) -> Tensor:
        return (self.loc + self.log_scale.exp() * self.map(base, self.context, back=True)[0]).view(
            self.rows, *self.shape
        )
