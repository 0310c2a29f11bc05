"""A learnt prior of codes: a small causal transformer. N = rows, P = positions, B = books, K = codes, L = P B, W = width."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latelier.errors import BadInput
from latelier.latents.base import Density, Prior
from latelier.latents.codes import CodePrior, Codes
from latelier.latents.priors.place import Place
from latelier.latents.quantise import Quantiser
from latelier.noise import Noise
from latelier.spec import LatentSpec

LOGITS = 1 << 23  # that are held at a time
NUMBERS = 1 << 24  # of keys and values that are kept while codes are drawn: 64 MB
TOKENS = 4096  # codes of a step of training
PASSES = 30  # over the rows, at most
HEADS, DROPOUT = 4, 0.1


class Layer(nn.Module):
    """Attention to what came before and a small network, each added to what it reads (Vaswani et al. 2017; norms first:
    Xiong et al. 2020)."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.read, self.write = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, before: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(N, L, W) after keys and values of what stands ``before`` -> (N, L, W), and all keys and values."""
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.read(self.norms[0](x)).chunk(3, 2)
        )
        if before is not None:  # then x is one place, which sees all
            k, v = torch.cat([before[0], k], 2), torch.cat([before[1], v], 2)
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=before is None)
        x = x + F.dropout(self.write(seen.transpose(1, 2).flatten(2)), self.dropout, self.training)
        h = self.narrow(F.gelu(self.wide(self.norms[1](x))))
        return x + F.dropout(h, self.dropout, self.training), (k, v)


class Transformer(Prior):
    """p(codes | c) = prod_l p(code l | codes before it, c): book after book at a position, position after position.

    What stands before place l is read as the embedding of code l - 1; before the first, as a vector made from c.
    """

    support = "codes"

    def __init__(
        self,
        quantiser: Quantiser,
        c: int = 0,
        width: int = 64,
        layers: int = 2,
        heads: int = HEADS,
        dropout: float = DROPOUT,
    ):
        super().__init__()
        # In a list, as the codes are the variable's own: they are not saved twice, and no refit moves them.
        self.of = [quantiser]
        books, size, places = quantiser.books, quantiser.size, quantiser.positions * quantiser.books
        self.books, self.size, self.batch = books, size, min(128, max(16, TOKENS // places))
        self.code = nn.Parameter(0.02 * torch.randn(books, size, width))
        self.place = nn.Parameter(0.02 * torch.randn(places, width))
        self.of_c = nn.Linear(c, width) if c else None
        self.layers = nn.ModuleList(Layer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Parameter(torch.zeros(books, width, size))  # all codes are equally likely at first
        self.bias = nn.Parameter(torch.zeros(books, size))

    def forward(self, rows: int, c: Tensor | None) -> Density:
        return Learnt(self, rows, c)

    def steps(self, rows: int) -> int:
        return min(4000, max(201, PASSES * rows // self.batch))

    @property
    def quantiser(self) -> Quantiser:
        return self.of[0]

    @torch.no_grad()
    def settle(self, values: Tensor, c: Tensor | None) -> None:
        """Begins with how often each code is used."""
        codes = self.quantiser.codes(values).flatten(0, 1)
        for b in range(self.books):
            count = torch.bincount(codes[:, b], minlength=self.size) + 1.0
            self.bias[b] = (count / count.sum()).log()

    def logits(self, codes: Tensor, c: Tensor | None) -> Tensor:
        """(N, L) -> (N, L, K), of each place given the codes before it."""
        x = torch.cat([self._start(len(codes), c), self._embedded(codes[:, :-1], 0)], 1) + self.place
        for layer in self.layers:
            x, _ = layer(x)
        h = self.norm(x).unflatten(1, (-1, self.books))
        return (torch.einsum("npbw,bwk->npbk", h, self.out) + self.bias).flatten(1, 2).float()

    def walk(self, rows: int, c: Tensor | None, choose: Callable[[int, Tensor], Tensor]) -> Tensor:
        """(N, L): place after place, what is chosen from the place and its logits (N, K). Keys and values of what stands before
        are kept."""
        x, found = self._start(rows, c), []
        cache: list[tuple[Tensor, Tensor] | None] = [None] * len(self.layers)
        for place in range(len(self.place)):
            x = x + self.place[place]
            for i, layer in enumerate(self.layers):
                x, cache[i] = layer(x, cache[i])
            book = place % self.books
            logits = self.norm(x[:, 0]) @ self.out[book] + self.bias[book]
            found.append(choose(place, logits.float()))
            x = self._embedded(found[-1][:, None], place)
        return torch.stack(found, 1)

    def _start(self, rows: int, c: Tensor | None) -> Tensor:
        """(N, 1, W)"""
        if self.of_c is None or c is None:
            return self.place.new_zeros(rows, 1, self.place.shape[1])
        return self.of_c(c.to(self.place.dtype))[:, None]

    def _embedded(self, codes: Tensor, first: int) -> Tensor:
        """(N, M) codes of the places from ``first`` on -> (N, M, W)"""
        book = (torch.arange(codes.shape[1], device=codes.device) + first) % self.books
        return self.code[book, codes]


class Learnt(CodePrior):
    """What a transformer says of N rows; ``temperature`` divides its logits, code by code."""

    def __init__(self, net: Transformer, rows: int, c: Tensor | None, temperature: float = 1.0):
        super().__init__(net.quantiser, rows)
        self.net, self.c, self.temperature = net, c, temperature

    def log_prob_of(self, codes: Tensor) -> Tensor:
        flat = codes.flatten(1)
        at_once = max(1, LOGITS // (flat.shape[1] * self.net.size))
        parts = []
        for first in range(0, len(flat), at_once):
            some, c = flat[first : first + at_once], None if self.c is None else self.c[first : first + at_once]
            log_p = (self.net.logits(some, c) / self.temperature).log_softmax(2)
            parts.append(log_p.gather(2, some[:, :, None])[:, :, 0])
        return torch.cat(parts).view(codes.shape).sum(2)

    def draw(self, noise: Noise) -> Tensor:
        u = noise.uniform(self.net.place.new_zeros(()).expand(self.rows, len(self.net.place)))

        def choose(rows: slice, place: int, logits: Tensor) -> Tensor:
            p = (logits / self.temperature).softmax(1).cumsum(1)
            below = u[rows, place, None].to(p.dtype) * p[:, -1:]
            return torch.searchsorted(p, below)[:, 0].clamp_max(self.net.size - 1)

        return self._walked(choose)

    def likely(self) -> Tensor:
        """Each code the most likely one after those before it."""
        return self._walked(lambda rows, place, logits: logits.argmax(1))

    def temper(self, temperature: float) -> Learnt:
        return Learnt(self.net, self.rows, self.c, self.temperature * max(temperature, 1e-6))

    def detach(self) -> Learnt:
        return self

    def _walked(self, choose: Callable[[slice, int, Tensor], Tensor]) -> Tensor:
        """Some rows at a time, as keys and values of all that was chosen are at hand."""
        kept = 2 * len(self.net.layers) * self.net.place.numel()
        at_once, found = max(1, NUMBERS // kept), []
        for first in range(0, self.rows, at_once):
            rows = slice(first, min(first + at_once, self.rows))
            c = None if self.c is None else self.c[rows]
            found.append(self.net.walk(rows.stop - rows.start, c, partial(choose, rows)))
        return torch.cat(found).view(self.rows, -1, self.net.books)


def transformer(spec: LatentSpec, place: Place) -> Prior:
    """Of codes alone."""
    block = place.block
    if not isinstance(block, Codes):
        raise BadInput(
            f"latent.prior=transformer: is a prior of codes, and latent {spec.name} has numbers; use latent.name=codes"
        )
    return Transformer(block.quantiser, place.width, spec.attention, spec.layers)
