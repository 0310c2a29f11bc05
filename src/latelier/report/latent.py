"""What a report shows of the latent: KL of its dimensions, and a map of codes. n = rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from latelier.report.elements import Html, figure, joined, number, percent
from latelier.report.plots import COLOURS, bars, legend, scatter
from latelier.report.study import Colouring, Study
from latelier.tasks.reconstruct import encode

Numbers = npt.NDArray[np.float64]
SHADES = 5  # classes s0 ... s4 of a map coloured by a number


def units(s: Study) -> list[Html]:
    """KL of every latent dimension, the liveliest first, of variables whose KL is known of each."""
    cards = []
    dimensions = {block.name: math.prod(block.shape) for block in s.model.vae.latents.blocks}
    for name, parts in s.figures.get("kl_parts", {}).items():
        label = s.model.vae.label
        if len(parts) != dimensions[name] or (label is not None and name == label.name):
            continue  # the parts of a label are its classes, not dimensions
        values = np.array(parts, float)
        order = np.argsort(-values, kind="stable")
        chart = bars(
            values[order],
            [str(i) for i in order],
            "dimension",
            "nats/row",
            f"KL of {len(values)} dimensions of {name}, from {number(float(values.max()))} nats down",
        )
        cards.append(
            figure(
                chart,
                f"What each dimension of {name} carries",
                "KL to the prior on held-out rows. Dimensions at 0 are not used.",
            )
        )
    return cards


def latent_map(s: Study, colourings: Iterable[Colouring]) -> list[Html]:
    """Codes of training and held-out rows in two dimensions, coloured by what the map explains best."""
    batches = [s.trained, s.held]
    names_of = [block.name for block in s.model.vae.latents.movable]
    codes = (
        torch.cat([torch.cat([part[name].flatten(1) for name in names_of], 1) for part in encode(s.model.vae, batches)])
        .double()
        .cpu()
        .numpy()
    )
    places, names, kept = flat(codes)
    words = f"Centres of q(z | x) of {len(codes):,} rows" + (
        f"; the two main directions, which keep {percent(kept)} of their variance" if kept < 1 else ""
    )
    ranked = sorted(((explained(places, c), c) for c in colourings), key=lambda pair: -pair[0])
    chosen = [next((pair for pair in ranked if bool(pair[1].names) == coded), None) for coded in (True, False)]
    cards = []
    for share, c in (pair for pair in chosen if pair is not None):
        classes, keys = coloured(c)
        chart = scatter(places[:, 0], places[:, 1], classes, f"Map of {len(codes)} codes, coloured by {c.name}", *names)
        cards.append(
            figure(
                joined([chart, legend(keys)]),
                f"Coloured by {c.name}",
                f"{words}. The map explains {percent(share)} of {c.name}.",
            )
        )
    if len(cards) < 2:
        classes = ["c0"] * len(s.trained) + ["c1"] * len(s.held)
        chart = scatter(places[:, 0], places[:, 1], classes, f"Map of {len(codes)} codes", *names)
        cards.append(
            figure(
                joined([chart, legend([("c0", "training"), ("c1", "held out")])]),
                "Training and held-out rows",
                words + ".",
            )
        )
    return cards


def flat(codes: Numbers) -> tuple[Numbers, tuple[str, str], float]:
    """(n, dimensions) -> (n, 2), principal components beyond two dimensions; names of the axes; the share of variance kept."""
    codes = np.nan_to_num(codes)
    if codes.shape[1] == 1:
        return np.concatenate([codes, np.zeros_like(codes)], 1), ("z0", ""), 1.0
    if codes.shape[1] == 2:
        return codes, ("z0", "z1"), 1.0
    centred = codes - codes.mean(0)
    _, strengths, directions = np.linalg.svd(centred, full_matrices=False)
    whole = float(np.square(strengths).sum())
    kept = float(np.square(strengths[:2]).sum()) / whole if whole > 0 else 1.0
    across = centred @ directions[:2].T
    return np.pad(across, ((0, 0), (0, 2 - across.shape[1]))), ("first component", "second component"), kept


def explained(places: Numbers, c: Colouring) -> float:
    """The share of a colouring that its neighbours on the map tell: leave-one-out by the 10 nearest rows.

    Of codes: the share of rows whose neighbours' majority is right, beyond the most frequent code. Of numbers: R².
    """
    known = np.isfinite(c.values)
    places, values = places[known][:1000], c.values[known][:1000]
    if len(values) < 20 or np.ptp(values) == 0:
        return 0.0
    apart = np.square(places[:, None] - places[None]).sum(-1)
    np.fill_diagonal(apart, np.inf)
    near = values[np.argpartition(apart, 10, axis=1)[:, :10]]
    if not c.names:
        return max(0.0, 1 - float(np.square(values - near.mean(1)).sum() / np.square(values - values.mean()).sum()))
    codes = np.unique(values)
    votes = np.stack([(near == code).sum(1) for code in codes], 1)
    right = float((codes[votes.argmax(1)] == values).mean())
    usual = max(float((values == code).mean()) for code in codes)
    return max(0.0, (right - usual) / (1 - usual))


def coloured(c: Colouring) -> tuple[list[str], list[tuple[str, str]]]:
    """A class for every row, and what the classes mean. Numbers fall into fifths; the ten most frequent codes have colours."""
    known = np.isfinite(c.values)
    classes = np.full(len(c.values), "none", dtype=object)
    if c.names:
        counts = np.bincount(c.values[known].astype(int), minlength=len(c.names))
        order = [int(k) for k in np.argsort(-counts, kind="stable")[:COLOURS] if counts[k]]
        # In the names' own order, so that digits stand 0, 1, 2, ...
        keys = [(f"c{i}", c.names[k]) for i, k in enumerate(sorted(order))]
        for i, k in enumerate(sorted(order)):
            classes[c.values == k] = f"c{i}"
        others = known & (classes == "none")
    else:
        edges = np.unique(np.quantile(c.values[known], np.linspace(0, 1, SHADES + 1))) if known.any() else np.zeros(1)
        bins = np.clip(np.searchsorted(edges, c.values, side="right") - 1, 0, max(len(edges) - 2, 0))
        classes[known] = [f"s{b}" for b in bins[known]]
        keys = [(f"s{i}", f"{number(float(a))} to {number(float(b))}") for i, (a, b) in enumerate(pairwise(edges))]
        keys = keys or [("s0", number(float(edges[0])))]
        others = np.zeros(0, dtype=bool)
    if others.any():
        keys.append(("none", "others"))
    elif not known.all():
        keys.append(("none", "missing"))
    return [str(k) for k in classes], keys
