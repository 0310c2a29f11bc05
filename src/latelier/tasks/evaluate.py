"""How good the model is on rows it has not seen: bounds in nats per row with standard errors, active units. N = rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.disentanglement import Disentanglement
from latelier.fidelity.likeness import Likeness
from latelier.latents.base import Density
from latelier.means import standard_error
from latelier.noise import Keyed
from latelier.tasks.aggregate import Aggregate
from latelier.tasks.annealed import Ais
from latelier.tasks.codebook import Uses
from latelier.tasks.obeyed import Obeyed
from latelier.tasks.predict import Classified
from latelier.tasks.score import importance_bound
from latelier.vae import VAE

ACTIVE = 0.01  # variance over rows of the posterior mean beyond which a unit is active (Burda et al. 2016, section 5.2)


@dataclass(frozen=True)
class Figures:
    """Means over rows, sums over dimensions, nats of the data's own units. ``*_error``: standard error of the mean over rows."""

    rows: int
    elbo: float  # one draw of z per row
    elbo_error: float
    log_px: float  # E_q log p(x | z), the reconstruction term
    kl: float
    kl_parts: dict[str, list[float]]  # per latent variable and dimension
    active: int  # of the units, which a label has none of: the numbers (or codes) that one can move along
    units: int
    iw: float | None = None  # importance-weighted bound
    iw_error: float | None = None
    draws: int = 1
    bits_per_dim: float | None = None
    books: dict[str, list[dict[str, float]]] | None = None  # per discrete variable and book, how much of it is used
    reconstruction: dict[str, float] | None = (
        None  # root mean squared error of numbers (data's own units), share of wrong codes
    )
    latent: Aggregate | None = None  # what z tells of the rows, and the prior's holes
    ais: Ais | None = None
    samples: Likeness | None = None  # how like real rows made ones are, by features
    factors: Disentanglement | None = None
    obeyed: dict[str, Obeyed] | None = None  # by condition: of draws under it, how many show it
    classes: Classified | None = None  # how well rows with a label are told

    def plain(self) -> dict[str, object]:
        """For JSON: what was not measured is left out."""
        return _measured(asdict(self))


class _Sums:
    """Running sums in float64, so that a mean over rows is not a mean of batch means."""

    def __init__(self) -> None:
        self.rows = 0
        self.sums: dict[str, Tensor] = {}

    def add(self, **terms: Tensor) -> None:
        for name, values in terms.items():
            values = values.double().cpu()
            for key, part in ((name, values.sum(0)), (name + "²", values.square().sum(0))):
                self.sums[key] = self.sums.get(key, torch.zeros_like(part)) + part

    def mean(self, name: str) -> Tensor:
        return self.sums[name] / self.rows

    def variance(self, name: str) -> Tensor:
        return (self.sums[name + "²"] / self.rows - self.mean(name).square()).clamp_min(0)

    def error(self, name: str) -> float:
        return standard_error(self.variance(name).item(), self.rows)


@torch.no_grad()
def held_out(
    vae: VAE,
    batches: Iterable[Batch],
    draws: int = 1,
    rows: int | None = None,
    seed: int = 0,
    dimensions: int | None = None,
) -> Figures:
    """The bound on these rows, repeatable (noise keyed by row): the ELBO, and with ``draws`` > 1 the IW bound.

    ``dimensions`` of a row (pixels x channels) turn nats into bits per dimension.
    """
    rows = rows or vae.rows
    sums, uses = _Sums(), Uses()
    for batch in batches:
        for part in batch.slices(rows):
            sums.rows += len(part)
            terms = vae(part, noise=Keyed.of(part, seed))
            stretch = part.stretch().to(terms.log_px.device)
            log_px = terms.log_px + stretch
            steps = terms.draw.steps
            parts = {f"kl:{name}": step.kl() for name, step in steps.items()}
            kl = torch.stack([p.sum(1) for p in parts.values()]).sum(0)
            means = {f"mean:{name}": units(step.q) for name, step in steps.items() if step.q is not None}
            sums.add(elbo=log_px - kl, log_px=log_px, kl=kl, **parts, **means)
            uses.add(steps)
            if draws > 1:
                sums.add(iw=importance_bound(vae, part, draws, rows, seed) + stretch)
    variances = [sums.variance(f"mean:{block.name}") for block in vae.latents.movable]
    elbo, iw = sums.mean("elbo").item(), sums.mean("iw").item() if draws > 1 else None
    best = elbo if iw is None else iw
    return Figures(
        rows=sums.rows,
        elbo=elbo,
        elbo_error=sums.error("elbo"),
        log_px=sums.mean("log_px").item(),
        kl=sums.mean("kl").item(),
        kl_parts={name: sums.mean(f"kl:{name}").tolist() for name in vae.latents.names},
        active=sum(int((v > ACTIVE).sum()) for v in variances),
        units=sum(v.numel() for v in variances),
        iw=iw,
        iw_error=sums.error("iw") if draws > 1 else None,
        draws=draws,
        bits_per_dim=-best / (dimensions * math.log(2)) if dimensions else None,
        books=uses.told() or None,
    )


def _measured(page: dict[str, object]) -> dict[str, object]:
    return {k: _measured(v) if isinstance(v, dict) else v for k, v in page.items() if v is not None}


def units(q: Density) -> Tensor:
    """(N, units): the numbers of a variable that can be active. Of a discrete one they are its codes."""
    coded = q.coded()
    return q.mean().flatten(1) if coded is None else coded.codes.flatten(1)
