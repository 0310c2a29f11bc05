"""How much rows that were made are like rows that are real. It knows no model: two or three frames in, figures out."""

from latelier.fidelity.compare import Fidelity, compare

__all__ = ["Fidelity", "compare"]
