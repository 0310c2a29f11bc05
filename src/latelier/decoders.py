"""p(x | z, c): a decoder returns a distribution, never a tensor. N = rows, Z = width of the state, C = of the condition."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from latelier.batch import Batch
from latelier.likelihoods.base import Joint, Likelihood, full
from latelier.nets.factors import Factors, StraightMlpDecoder


class Decoder(nn.Module, ABC):
    """p(x | z, c). Its network may run lazily, inside ``log_prob`` or ``sample`` of what it returns."""

    @abstractmethod
    def forward(self, z: Tensor, c: Tensor | None) -> Joint:
        """(N, *state), (N, C) -> a distribution of every modelled field."""

    def begin(self, batch: Batch, linear: Mapping[str, Factors]) -> None:
        """Told once, before training, of some rows, and of fields for which a linear model is known."""


class Factorised(Decoder):
    """One network feeds every field's likelihood; its channels are split by width. Entries are independent given z and c.

    >>> from latelier.likelihoods.binary import Bernoulli
    >>> from latelier.nets.mlp import MlpDecoder
    >>> decoder = Factorised(MlpDecoder(2, [16], (64,)), {"pixels": Bernoulli((64,))})
    >>> decoder(torch.zeros(3, 2), None)["pixels"].sample().shape
    torch.Size([3, 64])
    """

    def __init__(self, net: nn.Module, likelihoods: Mapping[str, Likelihood]):
        super().__init__()
        self.net = net
        self.likelihoods = nn.ModuleDict(likelihoods)
        self.widths = [head.width for head in likelihoods.values()]

    def forward(self, z: Tensor, c: Tensor | None) -> Joint:
        # Networks may run in bfloat16; probabilities never do.
        h = full(self.net(z, c))
        parts = torch.split(h, self.widths, 1) if len(self.widths) > 1 else (h,)
        return Joint({name: head(part) for (name, head), part in zip(self.likelihoods.items(), parts, strict=True)})

    def begin(self, batch: Batch, linear: Mapping[str, Factors]) -> None:
        first = 0
        for name, head in self.likelihoods.items():
            assert isinstance(head, Likelihood)
            head.begin(batch.fields[name], batch.seen.get(name))
            if name in linear and isinstance(self.net, StraightMlpDecoder):
                model = linear[name]
                placed = head.linear(model.mean, model.loadings, model.noise)
                if placed is not None:
                    self.net.place(first, *placed)
            first += head.width
