"""Latents by name: (spec, width of features, width of c, networks) -> a chain. A new one is one file and one line here."""

from collections.abc import Callable

from latelier.latents.base import Nets
from latelier.latents.chain import Latents
from latelier.latents.codes import codes, fsq
from latelier.latents.factors import factors
from latelier.latents.gaussian import gaussian
from latelier.latents.hierarchy import hierarchy
from latelier.latents.ladder import ladder
from latelier.latents.point import point
from latelier.spec import LatentSpec

LATENTS: dict[str, Callable[[LatentSpec, int, int, Nets], Latents]] = {
    "gaussian": gaussian,
    "factors": factors,
    "ladder": ladder,
    "hierarchy": hierarchy,
    "point": point,
    "codes": codes,
    "fsq": fsq,
}
