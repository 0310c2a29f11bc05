"""A ladder of Gaussians, coarse to fine: each rung's prior is predicted from the rungs above it."""

from __future__ import annotations

from latelier.latents.base import Nets
from latelier.latents.chain import Latents
from latelier.latents.gaussian import Gaussian
from latelier.spec import LatentSpec


def ladder(spec: LatentSpec, features: int, c: int, nets: Nets) -> Latents:
    """z1, z2, ... of ``rungs`` dimensions: p(zi | z<i, c) and q(zi | z<i, x, c), the top-down walk of Sønderby et al. 2016
    with the posterior read from the encoder and all rungs above (Maaløe et al. 2019)."""
    blocks, above = [], 0
    for number, dims in enumerate(spec.rungs, 1):
        if above == 0:
            block = Gaussian("z1", (dims,), nets.head(features + c, 2 * dims))
        else:
            posterior, prior = nets.rung(above + features + c, 2 * dims), nets.rung(above + c, 2 * dims)
            block = Gaussian(f"z{number}", (dims,), posterior, prior)
        blocks.append(block)
        above += dims
    return Latents(blocks)
