"""How much rows that were made are like rows that are real. It knows no model: frames or features in, figures out."""

from latelier.fidelity.clouds import Kid, Prdc, fid, kid, prdc
from latelier.fidelity.compare import Fidelity, compare

__all__ = ["Fidelity", "compare", "fid", "kid", "prdc", "Kid", "Prdc"]
