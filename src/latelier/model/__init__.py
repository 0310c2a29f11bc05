"""A trained model and its verbs, for arrays, frames and paths alike; ``fit`` makes one."""

from latelier.model.filling import Imputation
from latelier.model.fitting import fit, named, new_folder
from latelier.model.gathering import gather
from latelier.model.passage import coded
from latelier.model.scoring import BESIDE
from latelier.model.source import Values, as_source, find_kind, named_source
from latelier.model.verbs import Model, load

__all__ = [
    "Model",
    "fit",
    "load",
    "Imputation",
    "Values",
    "as_source",
    "find_kind",
    "named_source",
    "gather",
    "named",
    "new_folder",
    "coded",
    "BESIDE",
]
