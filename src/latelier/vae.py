"""The one model class: encoder, latents and decoder, walked forwards. N = rows, C = width of the condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latelier.batch import Batch, repeat
from latelier.decoders import Decoder
from latelier.encoders import Condition, Encoder
from latelier.latents.chain import Draw, Given, Guide, Latents
from latelier.latents.label import Label
from latelier.likelihoods.base import Joint
from latelier.missing import Missingness
from latelier.noise import FRESH, Noise

BEGIN_ROWS = 512  # through the encoder before training, for a latent that starts from what it makes of them


@dataclass(frozen=True)
class Terms:
    """What an objective reads. Draw-major: row i of draw k is row k * N + i."""

    log_px: Tensor  # (draws * N,) nats
    draw: Draw
    px: Joint

    def log_weights(self, detached: bool = False) -> Tensor:
        """(draws * N,) log p(x, z) - log q(z | x), nats."""
        return self.log_px - self.draw.log_ratio(detached)


class VAE(nn.Module):
    """p(x, z | c) = p(x | z, c) p(z | c) with q(z | x, c): CVAE, ladders, plain autoencoders are choices of parts."""

    def __init__(
        self,
        encoder: Encoder,
        latents: Latents,
        decoder: Decoder,
        condition: Condition | None = None,
        rows: int = 4096,
        missing: Missingness | None = None,
    ):
        """``rows``: draws of rows that tasks hold in flight unless told otherwise; it bounds their memory. ``missing`` says why
        entries are missing, where that is not at random."""
        super().__init__()
        self.rows = rows
        self.encoder, self.latents, self.decoder, self.condition = encoder, latents, decoder, condition
        self.missing = missing

    def forward(
        self,
        batch: Batch,
        draws: int = 1,
        given: Given | None = None,
        noise: Noise = FRESH,
        features: Sequence[Tensor] | None = None,
    ) -> Terms:
        """``draws`` of z per row, and how likely each makes its row."""
        draw = self.infer(batch, draws, given, noise, features=features)
        px = self.decode(draw)
        return Terms(self.log_px(px, batch.repeat(draws)), draw, px)

    def infer(
        self,
        batch: Batch,
        draws: int = 1,
        given: Given | None = None,
        noise: Noise = FRESH,
        centre: bool = False,
        features: Sequence[Tensor] | None = None,
    ) -> Draw:
        """z ~ q(z | x, c). The encoder runs once per row, and not at all if its ``features`` are at hand."""
        c = self.embed(batch)
        once = self.encoder(batch, c) if features is None else features
        given = {k: (repeat(v, draws), repeat(h, draws)) for k, (v, h) in (given or self.given(batch)).items()}
        return self.latents(
            len(batch) * draws,
            None if c is None else repeat(c, draws),
            tuple(repeat(h, draws) for h in once),
            given,
            noise,
            centre=centre,
        )

    def generate(
        self,
        batch: Batch,
        given: Given | None = None,
        noise: Noise = FRESH,
        temperature: float | Mapping[str, float] = 1.0,
        centre: bool = False,
        guidance: float = 1.0,
    ) -> Draw:
        """z ~ p(z | c). The batch supplies the rows, their conditions and the labels that are seen.

        ``guidance`` other than 1 moves priors, and what is decoded, so many times as far as the condition does.
        """
        given, c = self.given(batch) if given is None else given, self.embed(batch)
        guide = None if guidance == 1.0 or c is None else Guide(torch.zeros_like(c), guidance)
        return self.latents(len(batch), c, None, given, noise, temperature, centre, guide)

    def enumerate(
        self, batch: Batch, draws: int = 1, noise: Noise = FRESH, features: Sequence[Tensor] | None = None
    ) -> Terms:
        """The terms of every class of the label, whatever the batch says of it: K classes of N rows, ``draws`` of z for each.

        Class-major: row i of draw d of class k is row (k * draws + d) * N + i.
        """
        label = self.label
        assert label is not None
        c, times = self.embed(batch), len(label.choices) * draws
        once = self.encoder(batch, c) if features is None else features
        value = label.choices.repeat_interleave(draws * len(batch), 0)
        given = {label.name: (value, value.new_ones(len(value), dtype=torch.bool))}
        draw = self.latents(
            len(value), None if c is None else repeat(c, times), tuple(repeat(h, times) for h in once), given, noise
        )
        px = self.decode(draw)
        return Terms(self.log_px(px, batch.repeat(times)), draw, px)

    @property
    def label(self) -> Label | None:
        """The variable that some rows observe and that can be summed over, where there is one."""
        return next((block for block in self.latents.blocks if isinstance(block, Label)), None)

    @property
    def read(self) -> int:
        """How many numbers of the condition and the label the decoder reads beside the state."""
        return (0 if self.condition is None else self.condition.width) + (
            0 if self.label is None else self.label.shape[0]
        )

    def classify(self, features: Sequence[Tensor], c: Tensor | None) -> Tensor:
        """(N, K) log q(y | x, c), nats."""
        assert self.label is not None
        nothing = features[-1].new_zeros(len(features[-1]), 0)  # stands above a label
        return self.label.posterior(nothing, features, c).log_p

    def decode(self, draw: Draw) -> Joint:
        """p(x | z, c); of a guided walk what is guided, which is for drawing alone: it has no nats."""
        read = draw.c if draw.read is None else draw.read
        if draw.guide is not None:
            assert read is not None
            assert draw.guide.state is not None
            return self.decoder.guided(draw.state, read, draw.guide.state, draw.guide.c, draw.guide.strength)
        return self.decoder(draw.state, read)

    def found(self, draw: Draw) -> dict[str, Tensor]:
        """Fields of the data that the latent variables of a draw stand for: its labels, (rows, 1) codes."""
        pairs = [block.fields(draw.steps[block.name].value) for block in self.latents.blocks]
        return {name: codes for fields in pairs for name, codes in fields.items()}

    def log_px(self, px: Joint, batch: Batch) -> Tensor:
        """(N,) log p(what is seen | z, c), nats; and of which entries are seen, where that is modelled."""
        seen = px.log_prob(batch)
        return seen if self.missing is None else seen + self.missing.log_prob(px, batch)

    def of_the_missing(self, px: Joint) -> Joint:
        """p(x | z, c) of entries that are missing, which is another where they are not missing at random."""
        return px if self.missing is None else self.missing.of_the_missing(px)

    def given(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Latent variables that the batch itself observes."""
        pairs = {block.name: block.given(batch) for block in self.latents.blocks}
        return {name: pair for name, pair in pairs.items() if pair is not None}

    def embed(self, batch: Batch) -> Tensor | None:
        """(N, C), or None where there is no condition."""
        return None if self.condition is None else self.condition(batch)

    @torch.no_grad()
    def begin(self, batch: Batch) -> None:
        """Tells the parts once, before training, what rows look like: how large counts are."""
        for part in (self.encoder, self.condition, self.missing):
            if part is not None:
                part.begin(batch)
        self.decoder.begin(batch, self.encoder.linear(batch))
        some, training = batch.take(torch.arange(min(len(batch), BEGIN_ROWS))), self.training
        self.eval()  # nothing is dropped or hidden, and no statistics of a normalisation are kept
        c = self.embed(some)
        self.latents.begin(len(some), c, self.encoder(some, c))
        self.train(training)
        self.begin_priors(batch)

    @torch.no_grad()
    def begin_priors(self, batch: Batch) -> None:
        """The same, of priors that start from rows, and read a label that a row lacks as it is drawn."""
        training = self.training
        self.eval()  # nothing is hidden in what is read here
        for block in self.latents.blocks:
            if block.own is not None:
                read = self.embed(batch) if self.label is None else self.infer(batch).read
                block.own.begin(self.encoder.read(batch), read)
        self.train(training)

    def own(self, batch: Batch) -> Batch:
        """The batch on the model's device and in its precision."""
        return batch.to(self.device).each(lambda t: t.to(self.dtype) if t.is_floating_point() else t)

    @property
    def device(self) -> torch.device:
        return self.latents.start.device

    @property
    def dtype(self) -> torch.dtype:
        """Of weights, and so of everything that is computed: float32, or float64 after ``.double()``."""
        return self.latents.start.dtype
