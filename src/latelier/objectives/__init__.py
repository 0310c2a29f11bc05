"""Objectives by name. A new one is one file and one line here."""

from latelier.objectives.base import Objective
from latelier.objectives.elbo import Elbo
from latelier.objectives.importance import Dreg, Iwae

OBJECTIVES: dict[str, type[Objective]] = {
    "elbo": Elbo,
    "iwae": Iwae,
    "dreg": Dreg,
}

__all__ = ["OBJECTIVES", "Dreg", "Elbo", "Iwae", "Objective"]
