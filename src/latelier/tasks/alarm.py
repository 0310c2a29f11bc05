"""When a score is low enough to raise an alarm: measured on normal rows that were not trained on. n = such rows; nats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latelier.batch import Batch
from latelier.errors import BadInput
from latelier.tasks.score import score, score_entries
from latelier.vae import VAE

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Usual:
    """Normal rows: their ``scores`` (n,) in ascending order, and the mean share of every entry of a field, (*entries,), and of
    the ``latent``."""

    scores: Floats
    entries: dict[str, Floats]
    latent: float

    def p_values(self, scores: npt.NDArray[np.floating]) -> Floats:
        """(m,) the share of normal rows, this one among them, that are as odd: uniform where rows are normal (conformal; Vovk
        et al. 2005)."""
        below = np.searchsorted(self.scores, scores.astype(np.float64), side="right")
        return np.asarray((below + 1) / (len(self.scores) + 1))

    def threshold(self, false_alarms: float) -> float:
        """The score below which a normal row lies with at most this probability: p is then at most ``false_alarms``. BadInput
        where the rows are too few to say.

        >>> usual = Usual(np.arange(99.0), {}, 0.0)
        >>> usual.threshold(0.05), usual.p_values(np.array([3.9, 4.1]))
        (4.0, array([0.05, 0.06]))
        """
        if not 0 < false_alarms <= 1:
            raise BadInput(f"false alarms {false_alarms:g}: give a share above 0 and at most 1, such as 0.01")
        rank = int(np.floor(false_alarms * (len(self.scores) + 1) + 1e-9))
        if rank < 1:
            raise BadInput(
                f"false alarms {false_alarms:g}: {len(self.scores):,} normal rows cannot tell so rare an event, for which "
                f"{int(np.ceil(1 / false_alarms - 1)):,} are needed; give at least {1 / (len(self.scores) + 1):.3g}, "
                "or more rows with --normal FILE"
            )
        return float(self.scores[rank - 1]) if rank <= len(self.scores) else float("inf")


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
        raise BadInput("there are no normal rows to measure by")
    return Usual(together, {name: part / len(together) for name, part in sums.items()}, latent / len(together))


def usual_scores(vae: VAE, batches: Iterable[Batch], draws: int = 16) -> Usual:
    """The same without shares, for rows of very many entries such as pictures."""
    scores = [part.double().cpu().numpy() for part in score(vae, batches, draws)]
    if not scores:
        raise BadInput("there are no normal rows to measure by")
    return Usual(np.sort(np.concatenate(scores)), {}, 0.0)
