"""How much of the codebooks is used. N = rows, P = positions, B = books, K = codes of a book."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.latents.chain import Step
from latelier.vae import VAE


class Uses:
    """Counts of every code of every book of every discrete variable, as batches come."""

    def __init__(self) -> None:
        self.counts: dict[str, Tensor] = {}  # (B, K)

    def add(self, steps: Mapping[str, Step]) -> None:
        """Counts the codes of rows that were inferred."""
        for name, step in steps.items():
            coded = None if step.q is None else step.q.coded()
            if coded is None:
                continue
            books = coded.codes.flatten(0, 1).T.cpu()
            counts = torch.stack([torch.bincount(book, minlength=coded.size) for book in books])
            self.counts[name] = self.counts.get(name, torch.zeros_like(counts)) + counts

    def told(self) -> dict[str, list[dict[str, float]]]:
        """Per variable and book: how many ``codes`` it has, the share ``used`` at all, and the ``perplexity`` exp(entropy), the
        number of equally frequent codes that would be as many."""
        return {name: [_of(book) for book in counts] for name, counts in self.counts.items()}


def _of(counts: Tensor) -> dict[str, float]:
    share = counts.double() / counts.sum()
    entropy = -torch.special.xlogy(share, share).sum()
    return {
        "codes": len(counts),
        "used": (counts > 0).double().mean().item(),
        "perplexity": entropy.exp().item(),
    }


@torch.no_grad()
def codes(vae: VAE, batches: Iterable[Batch], rows: int | None = None) -> Iterator[dict[str, Tensor]]:
    """The whole numbers (n, P, B) of every discrete variable."""
    rows = rows or vae.rows
    for batch in batches:
        for part in batch.slices(rows):
            steps = vae.infer(part, centre=True).steps
            found = {name: step.q.coded() for name, step in steps.items() if step.q is not None}
            yield {name: coded.codes for name, coded in found.items() if coded is not None}
