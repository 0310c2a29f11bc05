"""Priors by name: (spec, place) -> the first variable's own p(z | c). A new one is one file and one line here."""

from collections.abc import Callable

from latelier.latents.base import Prior
from latelier.latents.priors.flow import flow
from latelier.latents.priors.mixture import mixture
from latelier.latents.priors.place import Place
from latelier.latents.priors.second_stage import second_stage
from latelier.latents.priors.standard import standard
from latelier.latents.priors.transformer import transformer
from latelier.latents.priors.vamp import vamp
from latelier.spec import LatentSpec

PRIORS: dict[str, Callable[[LatentSpec, Place], Prior | None]] = {
    "standard": standard,
    "mixture": mixture,
    "vamp": vamp,
    "flow": flow,
    "second-stage": second_stage,
    "transformer": transformer,
}

REFITTED: dict[str, tuple[str, ...]] = {  # support of a variable -> what ``latent.refit=auto`` chooses from
    "real": ("mixture", "flow", "second-stage"),
    "codes": ("transformer",),
}
