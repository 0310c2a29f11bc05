"""Latelier: a workshop for variational autoencoders whose centre is the decoder, p(x | z, c), over any kind of data.

Names are loaded when they are first used, so that the command line starts without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latelier.batch import Batch
    from latelier.detector import Detector
    from latelier.errors import BadInput
    from latelier.model import Model, fit, load
    from latelier.spec import Spec
    from latelier.vae import VAE

_WHERE = {
    "Batch": "latelier.batch",
    "BadInput": "latelier.errors",
    "Detector": "latelier.detector",
    "Model": "latelier.model",
    "Spec": "latelier.spec",
    "VAE": "latelier.vae",
    "fit": "latelier.model",
    "load": "latelier.model",
}

__all__ = ["VAE", "BadInput", "Batch", "Detector", "Model", "Spec", "fit", "load"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'latelier' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
