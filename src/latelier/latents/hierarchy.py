"""A hierarchy of maps for pictures, coarse to fine: first a vector, then maps of every resolution, one residual walk down."""

from __future__ import annotations

from latelier.errors import BadInput
from latelier.latents.base import Nets
from latelier.latents.chain import Latents
from latelier.latents.gaussian import Gaussian
from latelier.spec import LatentSpec


def hierarchy(spec: LatentSpec, features: int, c: int, nets: Nets) -> Latents:
    """z1 is a vector of ``rungs[0]`` dimensions, ``repeat`` rungs of ``rungs[i]`` channels stand at the i-th level.

    Every prior p(zi | z<i, c) is read from the state above, and so is, beside the encoder's map of that resolution, every
    posterior (Sønderby et al. 2016; the residual walk without precision weighting: Child 2021, figure 3). The state is the
    decoder's own map: it is refined by each value and rises to the next level once the rungs of a level are done.
    """
    if not nets.levels:
        raise BadInput("latent hierarchy needs maps: use network.name=conv, or latent.name=ladder for vectors")
    if len(spec.rungs) > len(nets.levels) + 1:
        raise BadInput(
            f"latent.rungs has {len(spec.rungs)} entries: a vector's, and at most one for each of the {len(nets.levels)} of "
            "network.channels; name fewer"
        )
    coarsest, first = nets.levels[0], spec.rungs[0]
    top = Gaussian("z1", (first,), nets.head(features + c, 2 * first), merge=nets.descent(0, (first,), rises=False))
    blocks, number, level = [top], 2, 0
    for level, channels in enumerate(spec.rungs[1:]):
        for turn in range(spec.repeat):
            last = turn == spec.repeat - 1
            shape = (channels, *nets.levels[level].space)
            prior = nets.map_rung(level, 2 * channels, c, reads=False)
            posterior = nets.map_rung(level, 2 * channels, c, reads=True)
            rises = last and level < len(spec.rungs) - 2
            blocks.append(Gaussian(f"z{number}", shape, posterior, prior, nets.descent(level, shape, rises)))
            number += 1
    finest = nets.levels[level]
    return Latents(
        blocks,
        (coarsest.channels, *coarsest.space),
        (finest.channels, *finest.space),
        nets.entry(c) if c else None,
    )
