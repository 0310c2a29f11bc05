"""Probabilistic PCA (Tipping & Bishop 1999) as a VAE whose every quantity is known. N = rows, D = 6 columns, K = 2 factors."""

import math

import torch
from torch import Tensor, nn

from latelier.batch import Batch
from latelier.decoders import Decoder
from latelier.latents.base import Block, Density
from latelier.latents.chain import Latents
from latelier.latents.gaussian import StandardNormal, normal
from latelier.likelihoods.base import Distribution, Joint
from latelier.vae import VAE

D, K, NOISE = 6, 2, 0.3


class Normal(Distribution):
    def __init__(self, mean: Tensor, scale: float):
        self.mean, self.scale = mean, scale

    def entry_log_prob(self, x):
        return torch.distributions.Normal(self.mean, self.scale).log_prob(x)

    def sample(self):
        return self.mean + self.scale * torch.randn_like(self.mean)

    def point_estimate(self):
        return self.mean


class Linear(Decoder):
    def __init__(self, loadings, mean):
        super().__init__()
        self.loadings, self.mean = loadings, mean

    def forward(self, z, c):
        return Joint({"x": Normal(z @ self.loadings.T + self.mean, math.sqrt(NOISE))})


class FullNormal(Density):
    """The exact posterior has correlated factors."""

    def __init__(self, centre, root):
        self.centre, self.root = centre, root

    def rsample(self, noise):
        return self.centre + (self.root @ noise.normal(self.centre)[..., None])[..., 0]

    def log_prob(self, value):
        return torch.distributions.MultivariateNormal(self.centre, scale_tril=self.root).log_prob(value)

    def mean(self):
        return self.centre


class Exact(Block):
    """q(z | x) = N(M^-1 W' (x - mean), noise M^-1), of the seen columns of each row."""

    def __init__(self, loadings, mean):
        super().__init__()
        self.name, self.shape, self.loadings, self.centre = "z", (K,), loadings, mean

    def prior(self, state, c):
        return StandardNormal(state, len(state), (K,))

    def posterior(self, state, features, c):
        x, seen = features[0][:, :D], features[0][:, D:]
        loadings = self.loadings * seen[..., None]  # (N, D, K)
        inner = loadings.transpose(1, 2) @ loadings + NOISE * torch.eye(K)
        inverse = torch.linalg.inv(inner)
        centre = (inverse @ (loadings.transpose(1, 2) @ ((x - self.centre) * seen)[..., None]))[..., 0]
        return FullNormal(centre, torch.linalg.cholesky(NOISE * inverse))


class See(nn.Module):
    """Batch -> ((N, 2 D),): values, then the mask."""

    def forward(self, batch: Batch, c=None):
        x = batch.fields["x"]
        seen = batch.seen.get("x", torch.ones_like(x, dtype=torch.bool))
        return (torch.cat([torch.where(seen, x, 0.0), seen.float()], 1),)


class Ppca(VAE):
    loadings: Tensor
    mean: Tensor

    def log_likelihood(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """(N,) exact nats of the seen columns."""
        covariance = self.loadings @ self.loadings.T + NOISE * torch.eye(D)
        if seen is None:
            return torch.distributions.MultivariateNormal(self.mean, covariance).log_prob(x)
        out = []
        for row, here in zip(x, seen, strict=True):
            part = torch.distributions.MultivariateNormal(self.mean[here], covariance[here][:, here])
            out.append(part.log_prob(row[here]) if here.any() else torch.zeros(()))
        return torch.stack(out)

    def conditional_mean(self, x: Tensor, seen: Tensor) -> Tensor:
        """(N, D): seen columns as they are, the others at their exact conditional mean."""
        covariance, out = self.loadings @ self.loadings.T + NOISE * torch.eye(D), x.clone()
        for row, here in zip(out, seen, strict=True):
            gain = covariance[~here][:, here] @ torch.linalg.inv(covariance[here][:, here])
            row[~here] = self.mean[~here] + gain @ (row[here] - self.mean[here])
        return out

    def conditional_deviation(self, seen: Tensor) -> Tensor:
        """(N, D): the exact conditional standard deviation of what is not seen, 0 elsewhere."""
        covariance, out = self.loadings @ self.loadings.T + NOISE * torch.eye(D), torch.zeros(seen.shape)
        for row, here in zip(out, seen, strict=True):
            gain = covariance[~here][:, here] @ torch.linalg.inv(covariance[here][:, here])
            row[~here] = (covariance[~here][:, ~here] - gain @ covariance[here][:, ~here]).diagonal().sqrt()
        return out


def exact_model() -> Ppca:
    generator = torch.Generator().manual_seed(0)
    loadings, mean = torch.randn(D, K, generator=generator), torch.randn(D, generator=generator)
    model = Ppca(See(), Latents([Exact(loadings, mean)]), Linear(loadings, mean))  # type: ignore[arg-type]
    model.loadings, model.mean = loadings, mean
    return model


def rows(n: int, seed: int = 1) -> Batch:
    model = exact_model()
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, K, generator=generator)
    return Batch({"x": z @ model.loadings.T + model.mean + math.sqrt(NOISE) * torch.randn(n, D, generator=generator)})


class Learned(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2 * D, 2 * K)

    def forward(self, batch, c=None):
        return (self.linear(See()(batch)[0]),)


class Diagonal(Exact):
    def posterior(self, state, features, c):
        return normal(features[0])


def with_broken_posterior() -> Ppca:
    """The same model with an untrained, learnable posterior, so that bounds are loose."""
    model = exact_model()
    torch.manual_seed(0)
    model.encoder = Learned()
    model.latents = Latents([Diagonal(model.loadings, model.mean)])
    return model
