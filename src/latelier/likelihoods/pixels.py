"""8-bit pixels: levels v = 0..255 held as x = v / 127.5 - 1. N = rows, K = components, C = channels."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latelier.errors import BadInput, unknown
from latelier.likelihoods.base import Distribution, Likelihood, Ordered, full
from latelier.likelihoods.logistic import log_mass, standard_gumbel, standard_logistic

HALF_BIN = 1 / 255
START = -2.0  # log scale for a raw 0: a few dozen levels, about what pixels vary by
LIMIT = 7.0  # scales from 0.001 to 1097, as in PixelCNN++ at the lower end: an eighth of a level is certain enough


def log_scale(raw: Tensor) -> Tensor:
    return (raw + START).clamp(-LIMIT, LIMIT)


def level_log_prob(x: Tensor, location: Tensor, log_scale: Tensor) -> Tensor:
    """Exact log-probability of each level under a logistic; the end levels take the tails, so all 256 sum to 1."""
    inverse = torch.exp(-log_scale)
    low = (x - location - HALF_BIN) * inverse
    return log_mass(low, 2 * HALF_BIN * inverse, x < -0.999, x > 0.999)


def level_mean(location: Tensor, log_scale: Tensor) -> Tensor:
    """E[x] of the logistic kept within [-1, 1]: the integral over that range of P(X > t), less 1."""
    scale = log_scale.exp()
    return scale * (F.softplus((location + 1) / scale) - F.softplus((location - 1) / scale)) - 1


def snap(x: Tensor) -> Tensor:
    """The nearest of the 256 levels."""
    return x.clamp(-1, 1).add(1).mul(127.5).round().div(127.5).sub(1)


class Levels(Distribution):
    """Of the 256 levels: their centre is the mean, to the nearest one."""

    @abstractmethod
    def relaxed(self) -> Tensor:
        """The mean."""

    def point_estimate(self) -> Tensor:
        return snap(self.relaxed())


class DiscretisedLogisticDistribution(Levels, Ordered):
    """P(level) = the mass of its bin under a logistic (Kingma et al. 2016, appendix); parameters are (N, *shape)."""

    def __init__(self, location: Tensor, log_scale: Tensor):
        self.location, self.log_scale = location, log_scale

    def entry_log_prob(self, x: Tensor) -> Tensor:
        return level_log_prob(x, self.location, self.log_scale)

    @torch.no_grad()
    def sample(self) -> Tensor:
        return snap(self.location + self.log_scale.exp() * standard_logistic(self.location))

    def relaxed(self) -> Tensor:
        return level_mean(self.location, self.log_scale)

    def quantile(self, level: float) -> Tensor:
        return snap(self.location + self.log_scale.exp() * torch.logit(self.location.new_tensor(level)))


class DiscretisedLogistic(Likelihood):
    """One logistic per value, with exact probabilities of the 256 levels.

    ``scale``: ``predicted`` by the network per value, or ``shared``: learned, one per column or channel.

    >>> px = DiscretisedLogistic((1,))(torch.zeros(256, 2))
    >>> px.log_prob(torch.linspace(-1, 1, 256)[:, None]).exp().sum()
    tensor(1.0000)
    """

    support = "levels"

    def __init__(self, shape: tuple[int, ...], scale: str = "predicted"):
        super().__init__(shape)
        if scale not in ("predicted", "shared"):
            raise unknown("scale of DiscretisedLogistic", str(scale), ("predicted", "shared"))
        self.per_value = 2 if scale == "predicted" else 1
        if scale == "shared":
            self.raw_scale = nn.Parameter(torch.zeros((shape[0],) + (1,) * (len(shape) - 1)))

    def forward(self, h: Tensor) -> Distribution:
        location, *raw = self.unpack(h)
        return DiscretisedLogisticDistribution(location, log_scale(raw[0] if raw else self.raw_scale))


class LogisticMixtureDistribution(Levels):
    """K logistics per pixel; a channel's location leans on the channels before it.

    PixelCNN++ (Salimans et al. 2017, equations 2 and 3): one component for all channels of a pixel, and
    location of channel c = own location + sum over j < c of weight(c, j) * x(j). Shapes: logits (N, K, *space);
    location, log_scale (N, K, C, *space); weights (N, K, C (C - 1) / 2, *space), rows of the lower triangle in order.
    The entries are pixels: (N, 1, H, W) of an image (N, C, H, W), and (N, D) of a vector, whose C is 1.
    """

    def __init__(self, shape: tuple[int, ...], logits: Tensor, location: Tensor, log_scale: Tensor, weights: Tensor):
        self.shape = shape
        self.logits, self.location, self.log_scale, self.weights = logits, location, log_scale, weights

    def entry_log_prob(self, x: Tensor) -> Tensor:
        x = x.reshape(len(x), 1, -1, *self.logits.shape[2:])
        location = torch.stack([self.leaning(c, list(x.unbind(2))) for c in range(x.shape[2])], 2)
        per_component = level_log_prob(x, location, self.log_scale).sum(2)
        pixels = torch.logsumexp(self.logits.log_softmax(1) + per_component, 1)
        return pixels if len(self.shape) == 1 else pixels[:, None]

    def leaning(self, channel: int, before: list[Tensor]) -> Tensor:
        """(N, K, *space): the location of a channel, given those before it, each (N, 1 or K, *space)."""
        location, start = self.location[:, :, channel], channel * (channel - 1) // 2
        for j in range(channel):
            location = location + self.weights[:, :, start + j] * before[j]
        return location

    @torch.no_grad()
    def sample(self) -> Tensor:
        chosen = (self.logits + standard_gumbel(self.logits)).argmax(1, keepdim=True)
        channels: list[Tensor] = []
        for c in range(self.location.shape[2]):
            location = self.leaning(c, channels).gather(1, chosen)
            scale = self.log_scale[:, :, c].gather(1, chosen).exp()
            channels.append(snap(location + scale * standard_logistic(scale)))
        return torch.cat(channels, 1).view(-1, *self.shape)

    def relaxed(self) -> Tensor:
        """The mean; later channels lean on the means, not the draws, of the earlier ones."""
        means: list[Tensor] = []
        for c in range(self.location.shape[2]):
            means.append(level_mean(self.leaning(c, means), self.log_scale[:, :, c]))
        share = self.logits.softmax(1)
        return torch.stack([(share * mean).sum(1) for mean in means], 1).view(-1, *self.shape)


class LogisticMixture(Likelihood):
    """A mixture of ``components`` logistics per pixel with channel coupling; see LogisticMixtureDistribution.

    >>> head = LogisticMixture((3, 8, 8), components=5)
    >>> head.width, head(torch.zeros(2, 50, 8, 8)).entry_log_prob(torch.zeros(2, 3, 8, 8)).shape
    (50, torch.Size([2, 1, 8, 8]))
    """

    support = "levels"
    centres: Tensor

    def __init__(self, shape: tuple[int, ...], components: int = 5):
        super().__init__(shape)
        if components < 1:
            raise BadInput(f"components of LogisticMixture is {components}; give at least 1")
        self.components = components
        self.channels, self.space = (1, self.shape) if len(shape) == 1 else (shape[0], self.shape[1:])
        self.pairs = self.channels * (self.channels - 1) // 2
        # Components that start alike would stay alike under a network whose last layer starts at zero.
        centres = torch.linspace(-1, 1, components + 2)[1:-1].view(-1, 1, *[1] * len(self.space))
        self.register_buffer("centres", centres, persistent=False)

    @property
    def width(self) -> int:
        per_pixel = self.components * (1 + 2 * self.channels + self.pairs)
        return per_pixel * self.shape[0] if len(self.shape) == 1 else per_pixel

    def unpack(self, h: Tensor) -> Tensor:
        """(N, width, *space) -> (N, K, 1 + 2 C + C (C - 1) / 2, *space)"""
        return full(h).reshape(len(h), self.components, 1 + 2 * self.channels + self.pairs, *self.space)

    def forward(self, h: Tensor) -> Distribution:
        numbers, channels = self.unpack(h), self.channels
        logits, location = numbers[:, :, 0], numbers[:, :, 1 : 1 + channels] + self.centres
        raw, weights = numbers[:, :, 1 + channels : 1 + 2 * channels], numbers[:, :, 1 + 2 * channels :]
        return LogisticMixtureDistribution(self.shape, logits, location, log_scale(raw), torch.tanh(weights))
