"""Families of q(z | x) by name: (spec, shape) -> a posterior. A new one is one file and one line here."""

from collections.abc import Callable

from latelier.latents.base import Posterior
from latelier.latents.posteriors.diagonal import diagonal
from latelier.latents.posteriors.flow import flow
from latelier.latents.posteriors.full import full
from latelier.spec import LatentSpec

POSTERIORS: dict[str, Callable[[LatentSpec, tuple[int, ...]], Posterior]] = {
    "diagonal": diagonal,
    "full": full,
    "flow": flow,
}
