"""Objectives by name. A new one is one file and one line here."""

from latelier.objectives.base import Bound, Objective
from latelier.objectives.correlation import BetaTc
from latelier.objectives.discrepancy import Mmd
from latelier.objectives.elbo import Elbo
from latelier.objectives.enumerated import Enumerated
from latelier.objectives.importance import Dreg, Iwae
from latelier.objectives.sharpened import Sharpened

OBJECTIVES: dict[str, type[Objective]] = {
    "elbo": Elbo,
    "iwae": Iwae,
    "dreg": Dreg,
    "beta_tc": BetaTc,
    "mmd": Mmd,
    "enumerated": Enumerated,
}

__all__ = ["OBJECTIVES", "BetaTc", "Bound", "Dreg", "Elbo", "Enumerated", "Iwae", "Mmd", "Objective", "Sharpened"]
