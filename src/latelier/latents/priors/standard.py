"""The prior that a latent has by itself: N(0, I) of vectors, uniform over codes."""

from __future__ import annotations

from latelier.latents.priors.place import Place
from latelier.spec import LatentSpec


def standard(spec: LatentSpec, place: Place) -> None:
    """No prior from the table."""
    return None
