"""VampPrior: the posteriors of inputs that are learned, mixed. N = rows, K = pseudo-inputs, C = width of the condition."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latelier.errors import BadInput
from latelier.latents.base import Density, Prior
from latelier.latents.chain import Latents
from latelier.latents.normal import DiagonalNormal
from latelier.latents.posteriors.diagonal import Diagonal
from latelier.latents.priors.mixture import MixtureOfNormals
from latelier.latents.priors.place import Place
from latelier.spec import LatentSpec


class Vamp(Prior):
    """p(z) = 1 / K sum_k q(z | u_k) with pseudo-inputs u_k (Tomczak & Welling 2018, eq. 9), which start from training rows.

    Under a condition (or a label) each pseudo-input has one of its own, and c weighs them: sum_k weight_k(c) q(z | u_k, c_k).
    The encoder reads them once in a walk, however many rows and draws it has.
    """

    def __init__(self, components: int, place: Place):
        super().__init__()
        self.inputs = nn.Parameter(torch.randn(components, *place.inputs))
        self.conditions = nn.Parameter(torch.zeros(components, place.width)) if place.width else None
        self.encoded = place.width - place.classes  # numbers of a condition that the encoder reads
        self.weigh = nn.Linear(place.width, components) if place.width else None
        if self.weigh is not None:
            nn.init.zeros_(self.weigh.weight)
            nn.init.zeros_(self.weigh.bias)
        # Not submodules of this one: they have their place in the model. In a tuple, a copy of the model still finds its own.
        self.reads = (place.latents, place.encoder)

    def forward(self, rows: int, c: Tensor | None) -> Density:
        latents, encoder = self.reads
        assert isinstance(latents, Latents)
        read = self.conditions
        features = encoder(self.inputs, None if read is None or not self.encoded else read[:, : self.encoded])
        q = latents.first.posterior(latents.begun(len(self.inputs), read), features, read)
        assert isinstance(q, DiagonalNormal), "checked when it was built"
        logits = self.inputs.new_zeros(1, len(self.inputs))
        if self.weigh is not None:
            assert c is not None
            with torch.autocast(c.device.type, enabled=False):
                logits = self.weigh(c.to(logits.dtype))
        centres, log_scale = q.mean().flatten(1), q.log_scale.flatten(1)
        return MixtureOfNormals(centres, log_scale, logits.log_softmax(1), rows, latents.first.shape)

    def begin(self, inputs: Tensor, c: Tensor | None) -> None:
        """Rows spread over those given; where there are too few they come again, a little moved."""
        places = torch.arange(len(self.inputs)) * len(inputs) // len(self.inputs)
        again = torch.cat([torch.zeros(1, dtype=torch.bool), places[1:] == places[:-1]])
        moved = 0.1 * torch.randn(self.inputs.shape) * again.view(-1, *[1] * (inputs.ndim - 1))
        self.inputs.copy_(inputs[places.to(inputs.device)] + moved.to(inputs.device))
        if self.conditions is not None and c is not None:
            self.conditions.copy_(c[places.to(c.device)])


def vamp(spec: LatentSpec, place: Place) -> Prior:
    """``components`` pseudo-inputs."""
    if not isinstance(place.block.family, Diagonal):
        raise BadInput(
            "latent.prior=vamp: mixes diagonal Gaussians, which q(z | x) of this latent is not; leave latent.posterior "
            "out and use latent.name=gaussian, or take another latent.prior"
        )
    if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in place.encoder.modules()):
        raise BadInput(
            "latent.prior=vamp: network.norm=batch would mix rows with pseudo-inputs; use network.norm=layer"
        )
    return Vamp(spec.components, place)
