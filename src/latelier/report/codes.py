"""What a report shows of a latent that has codes: which code stands where, and how often each is used. n = rows."""

from __future__ import annotations

import numpy as np
import torch

from latelier.data.rows import spread
from latelier.latents.codes import Codes
from latelier.latents.quantise import Quantiser
from latelier.report.elements import Html, figure, joined, number, percent, strip
from latelier.report.plots import bars
from latelier.report.sheets import Pixels, sheet, shot, strip_of
from latelier.report.study import Study
from latelier.tasks.codebook import codes

TILE = 8  # pixels of a code, where its place is no place in a picture
BARS = 64  # codes whose use is drawn


def code_maps(s: Study) -> list[Html]:
    """Nothing for other latents."""
    block = s.model.vae.latents.first
    if not isinstance(block, Codes):
        return []
    found = torch.cat([part[block.name] for part in codes(s.model.vae, [s.held])]).cpu()  # (n, P, B)
    uses = s.held_figures.books or {}
    return [
        _tiles(s, block.quantiser, found),
        *(_use(found[:, :, b], b, uses[block.name][b]) for b in range(found.shape[2])),
    ]


def _tiles(s: Study, q: Quantiser, found: torch.Tensor) -> Html:
    pictured = len(s.schema.modelled[0].shape) > 1
    n = strip_of(s) if pictured else 12
    ids = spread(len(found), n)
    shape = q.space if len(q.space) == 2 else (1, q.positions)
    strips = []
    if pictured:
        strips.append(
            strip("held out", sheet(shot(s, s.held_stored.take(ids)), len(ids), f"{len(ids)} held-out pictures"))
        )
    for b in range(q.books):
        tiles = colours(q, b)[found[ids][:, :, b].numpy()].reshape(len(ids), *shape, 3)
        tiles = tiles.repeat(TILE, 1).repeat(TILE, 2)
        name = "codes" if q.books == 1 else f"book {b + 1}"
        strips.append(
            strip(name, sheet(tiles, len(ids) if pictured else 1, f"Codes of {len(ids)} rows as tiles", gap=3))
        )
    words = "A tile is a code; codes whose vectors are alike have like colours."
    if not pictured:
        words = f"A line is a held-out row, a tile one of its {q.positions} codes; like codes have like colours."
    return figure(joined(strips), "Codes of held-out rows", words)


def colours(q: Quantiser, b: int) -> Pixels:
    """(K, 3): the three main directions of a book's vectors as red, green and blue."""
    every = torch.arange(q.size, device=next(q.buffers()).device)[:, None, None].expand(-1, 1, q.books)
    vectors = q.vectors(every)[:, 0, b].double().cpu()
    centred = vectors - vectors.mean(0)
    along = centred @ torch.linalg.svd(centred, full_matrices=False)[2][:3].T
    ranks = along.argsort(0).argsort(0).double() / max(q.size - 1, 1)  # so that colours are spread evenly
    ranks = torch.nn.functional.pad(ranks, (0, 3 - ranks.shape[1]), value=0.5)
    return (40 + 205 * ranks).round().numpy().astype(np.uint8)


def _use(found: torch.Tensor, b: int, use: dict[str, float]) -> Html:
    size = int(use["codes"])
    share = torch.bincount(found.flatten(), minlength=size).double() / found.numel()
    order = share.argsort(descending=True, stable=True)[:BARS]
    told = f"{percent(use['used'])} of {size} codes are used, as much as {number(use['perplexity'])} even ones (perplexity)"
    chart = bars(
        100 * share[order].numpy(), [str(int(k)) for k in order], "code", "% of positions", f"Use of codes: {told}"
    )
    title = "How often codes are used" if b == 0 else f"How often codes of book {b + 1} are used"
    words = f"On held-out rows {told}."
    return figure(chart, title, words + (f" The {BARS} most frequent are shown." if size > BARS else ""))
