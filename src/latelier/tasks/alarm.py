"""When a score is low enough to raise an alarm: measured on normal rows that were not trained on. n = such rows; nats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from latelier.batch import Batch
from latelier.errors import BadInput
from latelier.tasks.score import score_entries
from latelier.vae import VAE

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Usual:
    """Normal rows: their ``scores`` (n,) in ascending order, and the mean share of every entry of a field, (*entries,), and of
    the ``latent``."""

    scores: Floats
    entries: dict[str, Floats]
    latent: float

    def p_values(self, scores: Floats) -> Floats:
        """(m,) the share of normal rows, this one among them, that are as odd: uniform where rows are normal (conformal; Vovk
        et al. 2005)."""
        below = np.searchsorted(self.scores, scores, side="right")
        return np.asarray((below + 1) / (len(self.scores) + 1))

    def threshold(self, false_alarms: float) -> float:
        """The score below which a normal row lies with at most this probability: p is then at most ``false_alarms``.

        >>> usual = Usual(np.arange(99.0), {}, 0.0)
        >>> usual.threshold(0.05), usual.p_values(np.array([3.9, 4.1]))
        (4.0, array([0.05, 0.06]))
        """
        rank = int(np.floor(false_alarms * (len(self.scores) + 1) + 1e-9))
        if rank < 1:
            raise BadInput(
                f"--false-alarms {false_alarms:g}: {len(self.scores):,} normal rows cannot tell so rare an event; give at least "
                f"{round(1 / len(self.scores), 6):g}, or {int(np.ceil(1 / false_alarms)):,} rows with --normal FILE"
            )
        return float(self.scores[rank - 1]) if rank <= len(self.scores) else float("inf")

    def plain(self) -> dict[str, Any]:
        """As values that JSON has."""
        return {
            "scores": self.scores.tolist(),
            "entries": {name: part.tolist() for name, part in self.entries.items()},
            "latent": self.latent,
        }

    @classmethod
    def of(cls, page: dict[str, Any]) -> Usual:
        entries = {name: np.asarray(part, np.float64) for name, part in page["entries"].items()}
        return cls(np.asarray(page["scores"], np.float64), entries, float(page["latent"]))


def usual(vae: VAE, batches: Iterable[Batch], draws: int = 16) -> Usual:
    """Scores these rows, which the model must not have been trained on. Of them only the scores are kept."""
    scores: list[Floats] = []
    sums: dict[str, Floats] = {}
    latent = 0.0
    for scored in score_entries(vae, batches, draws):
        scores.append(scored.total.double().cpu().numpy())
        latent += float(scored.latent.double().sum())
        for name, part in scored.entries.items():
            sums[name] = sums.get(name, 0.0) + part.double().sum(0).cpu().numpy()
    together = np.sort(np.concatenate(scores)) if scores else np.empty(0)
    if not len(together):
        raise BadInput("there are no normal rows to measure the threshold on")
    return Usual(together, {name: part / len(together) for name, part in sums.items()}, latent / len(together))
