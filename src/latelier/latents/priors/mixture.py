"""A mixture of Gaussians. N = rows, K = components, D = dimensions of z, C = width of the condition."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from latelier.latents.base import Density, Prior
from latelier.latents.normal import HALF_LOG_2PI, LOG_SCALE_LIMIT
from latelier.latents.priors.place import Place
from latelier.noise import Noise
from latelier.spec import LatentSpec


class MixtureOfNormals(Density):
    """sum_k weight_k N(mean_k + shift, diag(scale_k^2)): mean, log_scale (K, D); log_weight (N, K) or (1, K); shift (N, D) or
    None. Values are (N, *shape) of D numbers."""

    def __init__(
        self,
        mean: Tensor,
        log_scale: Tensor,
        log_weight: Tensor,
        rows: int,
        shape: tuple[int, ...],
        shift: Tensor | None = None,
    ):
        self.centres, self.log_scale, self.log_weight, self.shift = mean, log_scale, log_weight, shift
        self.rows, self.shape = rows, shape

    def rsample(self, noise: Noise) -> Tensor:
        like = self.centres.new_zeros(()).expand(self.rows, self.centres.shape[1])
        below = self.log_weight.exp().cumsum(1) < noise.uniform(like[:, :1]).to(like.dtype)
        chosen = below[:, :-1].sum(1)  # the last is all that is left, whatever the sum of weights is rounded to
        return self._placed(self.centres[chosen] + self.log_scale[chosen].exp() * noise.normal(like).to(like.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        z = value.flatten(1) if self.shift is None else value.flatten(1) - self.shift
        # Matrix products, as (N, K, D) numbers would be too many; with twice the digits, as large numbers cancel in them.
        with torch.autocast(z.device.type, enabled=False):
            z, centres, log_scale = z.double(), self.centres.double(), self.log_scale.double()
            precise = torch.exp(-2 * log_scale)
            square = z.square() @ precise.T - 2 * z @ (centres * precise).T + (centres.square() * precise).sum(1)
            constant = log_scale.sum(1) + HALF_LOG_2PI * z.shape[1]
            return (self.log_weight - 0.5 * square - constant).logsumexp(1).to(self.centres.dtype)

    def mean(self) -> Tensor:
        """The centre of the heaviest component: between components nothing is likely."""
        return self._placed(self.centres[self.log_weight.argmax(1)].expand(self.rows, -1))

    def temper(self, temperature: float) -> MixtureOfNormals:
        """Every component is narrower, or wider; none becomes more frequent."""
        log_scale = self.log_scale + math.log(max(temperature, 1e-9))
        return MixtureOfNormals(self.centres, log_scale, self.log_weight, self.rows, self.shape, self.shift)

    def _placed(self, z: Tensor) -> Tensor:
        return (z if self.shift is None else z + self.shift).view(self.rows, *self.shape)


class Mixture(Prior):
    """K Gaussians with centres, scales and weights that are learned; a condition moves them all and weighs them anew."""

    def __init__(self, components: int, shape: tuple[int, ...], c: int = 0):
        super().__init__()
        self.shape, dims = shape, math.prod(shape)
        # Together about as wide as N(0, I).
        self.centres = nn.Parameter(0.8 * torch.randn(components, dims))
        self.log_scale = nn.Parameter(torch.full((components, dims), math.log(0.6)))
        self.logits = nn.Parameter(torch.zeros(components))
        self.of_c = nn.Linear(c, components + dims) if c else None
        if self.of_c is not None:
            nn.init.zeros_(self.of_c.weight)
            nn.init.zeros_(self.of_c.bias)

    def forward(self, rows: int, c: Tensor | None) -> Density:
        log_scale = self.log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)
        logits, shift = self.logits[None], None
        if self.of_c is not None:
            assert c is not None
            with torch.autocast(c.device.type, enabled=False):
                more, shift = self.of_c(c.to(logits.dtype)).split([len(self.logits), self.centres.shape[1]], 1)
            logits = logits + more
        return MixtureOfNormals(self.centres, log_scale, logits.log_softmax(1), rows, self.shape, shift)

    @torch.no_grad()
    def settle(self, values: Tensor, c: Tensor | None) -> None:
        """Centres at values far from one another (Arthur & Vassilvitskii 2007), as wide as values are apart from the nearest."""
        z = values.flatten(1)
        spread = z.std(0).clamp_min(1e-3)
        chosen = torch.randint(len(z), (1,), device=z.device)
        apart = ((z - z[chosen]) / spread).square().sum(1)
        for _ in range(min(len(self.centres), len(z)) - 1):
            new = torch.multinomial(apart.clamp_min(1e-9), 1)
            chosen = torch.cat([chosen, new])
            apart = torch.minimum(apart, ((z - z[new]) / spread).square().sum(1))
        places = chosen[torch.arange(len(self.centres), device=z.device) % len(chosen)]
        self.centres.copy_(z[places])
        width = (apart.mean() / z.shape[1]).sqrt().clamp(1e-2, 1.0)
        self.log_scale.copy_((width * spread).log().expand_as(self.log_scale))


def mixture(spec: LatentSpec, place: Place) -> Prior:
    """``components`` Gaussians."""
    return Mixture(spec.components, place.block.shape, place.width)
