"""Networks around a linear-Gaussian model of the rows. N = rows, V = numbers per row that a network reads, Z = factors.

Factor analysis of rows with holes has a posterior in closed form for every pattern of holes, which no small network learns from
few rows. So it is where these networks start, and what they add is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latelier.nets.mlp import MlpDecoder, MlpEncoder

ROUNDS = 60  # of expectation and maximisation; not tuned
LEAST_NOISE = 1e-3  # variance of a column of unit variance: what is exactly collinear stays finite


@dataclass(frozen=True)
class Factors:
    """x = mean + loadings z + noise with z ~ N(0, I): mean (V,), loadings (V, Z), noise (V,) variances."""

    mean: Tensor
    loadings: Tensor
    noise: Tensor

    def of(self, places: slice) -> Factors:
        return Factors(self.mean[places], self.loadings[places], self.noise[places])


def factor_analysis(x: Tensor, seen: Tensor, dims: int, rounds: int = ROUNDS) -> Factors:
    """Maximum a posteriori by EM (Rubin & Thayer 1982) from what is seen of rows (N, V), with seen (N, V) bool.

    Columns are standardised first. The prior of a loading is N(0, noise / 1), so that factors which explain nothing fade,
    and ``dims`` may be generous. Factors come in the order of what they explain, largest first, at right angles.
    """
    weight = seen.double()
    rows = weight.sum(0).clamp_min(1)
    x = torch.where(seen, x.double(), 0.0)
    centre = x.sum(0) / rows
    scale = (((x - centre) * weight).square().sum(0) / rows).sqrt()
    scale = torch.where(scale > 1e-6, scale, 1.0)
    x = (x - centre) / scale * weight
    pairs = weight.T @ weight
    values, vectors = torch.linalg.eigh((x.T @ x) / pairs.clamp_min(1) * (pairs / (pairs + 10)))
    loadings = x.new_zeros(x.shape[1], dims)
    used = min(dims, x.shape[1])
    loadings[:, :used] = vectors[:, -used:].flip(1) * values[-used:].flip(0).clamp_min(1e-2).sqrt() * 0.8
    noise, mean = (1 - loadings.square().sum(1)).clamp(0.1, 1.0), torch.zeros_like(centre)
    one = torch.eye(dims, dtype=x.dtype, device=x.device)
    for _ in range(rounds):
        scaled = loadings / noise[:, None]
        outer = (scaled[:, :, None] * loadings[:, None, :]).flatten(1)  # (V, Z * Z)
        covariance = torch.linalg.inv((weight @ outer).view(-1, dims, dims) + one)
        z = torch.einsum("nij,nj->ni", covariance, ((x - mean) * weight) @ scaled)
        extended = torch.cat([z, torch.ones_like(z[:, :1])], 1)  # the mean is the loading of a factor that is 1
        moment = extended[:, :, None] * extended[:, None, :]
        moment[:, :dims, :dims] += covariance
        square = (weight.T @ moment.flatten(1)).view(-1, dims + 1, dims + 1)
        cross = (x * weight).T @ extended
        ridge = torch.diag(torch.cat([one.new_ones(dims), one.new_zeros(1)]))
        solved = torch.linalg.solve(square + noise[:, None, None] * ridge + 1e-9 * rows[:, None, None], cross)
        loadings, mean = solved[:, :dims], solved[:, dims]
        left = x.square().sum(0) - 2 * (solved * cross).sum(1) + torch.einsum("vi,vij,vj->v", solved, square, solved)
        noise = ((left + 0.02) / (rows + 2)).clamp(LEAST_NOISE, 1.5)
    # At right angles: then the posterior of a full row has independent factors.
    _, turn = torch.linalg.eigh(loadings.T @ (loadings / noise[:, None]))
    loadings = loadings @ turn.flip(1)
    return Factors(
        (centre + scale * mean).float(), (scale[:, None] * loadings).float(), (scale.square() * noise).float()
    )


class FactorEncoder(nn.Module):
    """(N, inputs), c -> features: mean (N, Z), root (N, Z, Z) and its inverse, of the linear posterior N(mean, root root') given
    what is seen, and last the vector (N, hidden) of an MLP.

    ``values`` are the places of the V numbers among the inputs, ``masks`` those of the masks that say whether they are seen
    (-1: always).
    """

    mean: Tensor
    loadings: Tensor
    noise: Tensor
    values: Tensor
    masks: Tensor

    def __init__(self, values: Sequence[int], masks: Sequence[int], dims: int, net: MlpEncoder):
        super().__init__()
        self.dims, self.net, self.features = dims, net, net.features
        self.register_buffer("values", torch.tensor(values), persistent=False)
        self.register_buffer("masks", torch.tensor(masks), persistent=False)
        self.register_buffer("mean", torch.zeros(len(values)))
        self.register_buffer("loadings", torch.zeros(len(values), dims))
        self.register_buffer("noise", torch.ones(len(values)))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, V) numbers and which of them are seen."""
        seen = torch.where(self.masks >= 0, x[:, self.masks.clamp_min(0)], 1.0)
        return x[:, self.values], seen > 0.5

    def begin(self, x: Tensor) -> Factors:
        """Told once of some rows (N, inputs): the linear model is fitted to them."""
        found = factor_analysis(*self.split(x), self.dims)
        for name in ("mean", "loadings", "noise"):
            getattr(self, name).copy_(getattr(found, name))
        return found

    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, ...]:
        with torch.autocast(x.device.type, enabled=False):  # in bfloat16 a precision is not positive
            values, seen = self.split(x.to(self.loadings.dtype))
            scaled = self.loadings / self.noise[:, None]
            outer = (scaled[:, :, None] * self.loadings[:, None, :]).flatten(1)
            weight = seen.to(values.dtype)
            precision = (weight @ outer).view(-1, self.dims, self.dims) + torch.eye(self.dims, device=x.device)
            inverse = torch.linalg.cholesky(precision).transpose(1, 2)  # precision = inverse' inverse
            one = torch.eye(self.dims, device=x.device, dtype=inverse.dtype).expand_as(inverse)
            root = torch.linalg.solve_triangular(inverse, one, upper=True)
            pull = ((values - self.mean) * weight) @ scaled
            mean = (root @ (root.transpose(1, 2) @ pull[..., None]))[..., 0]
        return mean, root, inverse, *self.net(x, c)


class StraightMlpDecoder(MlpDecoder):
    """An MLP whose output is added to a linear map of its input; the MLP's part is 0 at first."""

    def __init__(self, inputs: int, hidden: Sequence[int], shape: tuple[int, ...], **shared: object):
        super().__init__(inputs, hidden, shape, **shared)  # type: ignore[arg-type]
        self.straight = nn.Linear(inputs, self.last.out_features)
        for part in (self.last, self.straight):
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)

    def place(self, first: int, bias: Tensor, weights: Tensor) -> None:
        """Outputs ``first``, first + 1, ... become bias (W,) + weights (W, Z) z; further inputs (a condition) count nothing."""
        here = slice(first, first + len(bias))
        self.straight.bias[here] = bias
        self.straight.weight[here, : weights.shape[1]] = weights

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        start = z.flatten(1) if c is None else torch.cat([z.flatten(1), c], 1)
        h = super().forward(z, c)
        return h + self.straight(start).view_as(h)
