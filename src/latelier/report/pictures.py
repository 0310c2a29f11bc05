"""What a report shows of pictures: as read, decoded, sampled, filled, walked between. N = pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.data.rows import spread
from latelier.report.elements import Html, bullets, figure, joined, number, strip
from latelier.report.plots import histograms, legend
from latelier.report.sheets import Pixels, row_of, sheet, shot, strip_of
from latelier.report.study import Colouring, Study
from latelier.tasks.reconstruct import reconstruct, redraw
from latelier.tasks.sample import sample
from latelier.tasks.walk import grid, interpolate, traverse

STEPS = 9  # along one dimension


def show_rows(s: Study) -> list[Html]:
    """A sheet of training pictures, and what was recognised."""
    across = row_of(s)
    rows = shot(s, s.trained_stored.take(spread(len(s.trained), 5 * across)))
    return [
        figure(sheet(rows, across, f"{len(rows)} training pictures"), "Pictures as they are read"),
        figure(bullets(s.schema.evidence), "What was recognised, and what overrides it"),
    ]


def reconstructions(s: Study) -> list[Html]:
    """Held-out pictures, the decode of their codes' means, and three decodes of drawn codes; the least likely ones."""
    order = np.argsort(s.held_scores)[: strip_of(s)]
    scores = ", ".join(number(float(v)) for v in s.held_scores[order])
    note = f"Scores from the left, in nats: {scores}. Mistakes in the data often end up here."
    usual = spread(len(s.held), strip_of(s))
    words = "First the decode of each picture's mean code, then of three codes drawn from q(z | x)."
    return [
        _pairs(s, usual, "Held-out pictures and what comes back", words),
        _pairs(s, torch.from_numpy(order.copy()), "The least likely held-out pictures", note),
        *_levels(s, usual),
        *_halves(s),
    ]


def samples(s: Study) -> list[Html]:
    """Decodes of the prior: means and draws; by label where the model is conditioned. Brightness against the data's."""
    across = row_of(s)
    wanted = s.held.take(torch.arange(6 * across) % len(s.held))
    means = _drawn(s, wanted, mean=True)
    noisy = _drawn(s, wanted.take(torch.arange(4 * across)), mean=False)
    return [
        *_by_label(s),
        figure(
            sheet(means, across, f"{len(means)} decodes of the prior"),
            "Samples",
            "z from the prior, then the mean of p(x | z).",
        ),
        figure(
            sheet(noisy, across, f"{len(noisy)} draws of the output distribution"),
            "Samples with the output's own noise",
            "z from the prior, then x drawn from p(x | z): what log-probabilities are about. Grain is what z does not explain.",
        ),
        _brightness(s),
    ]


def walks(s: Study) -> list[Html]:
    """The plane of the two liveliest dimensions, one dimension at a time, and the way between held-out pictures."""
    lively, vae, across = s.model.liveliest(), s.model.vae, row_of(s)
    name = vae.latents.first.name  # z[3] is a dimension, as encode has it; of a ladder z3 is a variable
    parts: list[float] = list(s.figures.get("kl_parts", {}).get(name, []))
    parts = parts if len(parts) == len(lively) else []  # one for all dimensions, under a prior that is no Gaussian
    one = s.held.take(torch.tensor([0]))
    first, second = (lively * 2)[:2]
    # With a single dimension every line of the plane is the same.
    lines = across if len(lively) > 1 else 1
    cells = grid(vae, across, (first, second), one if s.schema.conditions else None).take(torch.arange(across * lines))
    plane = sheet(shot(s, s.model.stored(cells)), across, f"Decodes over dimensions {first} and {second}", gap=1)
    dims = lively[:8]
    moved = shot(s, s.model.stored(traverse(vae, one, len(dims), STEPS, dims=dims)))
    strips = [
        strip(
            f"{name}[{d}]" + (f" · {number(parts[d], 2)} nats" if d < len(parts) else ""),
            sheet(row, STEPS, f"Dimension {d} from −2.5 to 2.5"),
        )
        for d, row in zip(dims, np.split(moved, len(dims)), strict=True)
    ]
    coded = s.held_figures.books is not None
    over, moves = (
        (
            "The liveliest positions, each over codes along its book's main direction; the others at their centre.",
            "Codes along the book's main direction at one position, all else as in the codes of one held-out picture; "
            "the liveliest position first.",
        )
        if coded
        else (
            "The liveliest dimensions, each over the prior's quantiles; the others at their centre.",
            "From −2.5 to 2.5, all else as in the code of one held-out picture; the liveliest dimension first.",
        )
    )
    cards = [
        figure(
            plane,
            f"The plane of {name}[{first}] and {name}[{second}]" if lines > 1 else f"Along {name}[{first}]",
            over,
        ),
        figure(joined(strips), "One position at a time" if coded else "One dimension at a time", moves),
    ]
    if len(s.held) > 1:
        ends = s.held.take(spread(len(s.held), 6))
        ways = np.split(shot(s, s.model.stored(interpolate(vae, ends, across))), len(ends) - 1)
        rows = [sheet(way, across, "From one held-out picture to another") for way in ways]
        words = "Left and right are decodes of two held-out codes; between them, the straight line."
        words += " Its points become the nearest codes." if coded else ""
        cards.append(figure(joined(rows), "Between held-out pictures", words))
    return cards


def colourings(s: Study) -> list[Colouring]:
    """Labels of the training rows, then of the held-out rows, where the pictures have any."""
    names: tuple[str, ...] = getattr(s.schema, "labels", ())
    if not names:
        return []
    given = [b.fields.get("label") for b in (s.trained, s.held)]
    if given[0] is not None and given[1] is not None:
        codes: Any = torch.cat([given[0], given[1]])[:, 0].cpu().numpy()
    else:
        every = _labels(s, s.data.source.get("path"))
        apart = every if s.held_ids is not None else _labels(s, s.data.source.get("test"))
        if every is None or apart is None or len(every) != len(s.data.rows):
            return []
        held = s.held_ids.numpy() if s.held_ids is not None else np.arange(len(s.held))
        codes = np.concatenate([every[s.trained_ids.numpy()], apart[held]])
    return [Colouring("label", np.where(codes < 0, np.nan, codes), names)]


def _pairs(s: Study, ids: Tensor, title: str, words: str) -> Html:
    rows, vae, n = s.held.take(ids.to(s.model.vae.device)), s.model.vae, len(ids)
    back = shot(s, s.model.stored(next(reconstruct(vae, [rows]))))
    drawn = shot(s, s.model.stored(next(reconstruct(vae, [rows], 3))))
    strips = [
        strip("held out", sheet(shot(s, s.held_stored.take(ids)), n, f"{n} held-out pictures")),
        strip("mean code", sheet(back, n, "Their reconstructions from the mean code")),
        *(
            strip(f"draw {k + 1}", sheet(part, n, f"Decodes of draw {k + 1} of z"))
            for k, part in enumerate(np.split(drawn, 3))
        ),
    ]
    return figure(joined(strips), title, words)


def _levels(s: Study, ids: Tensor) -> list[Html]:
    """Held-out pictures, of which ever more of the latent variables are read; and samples in which the finest are drawn anew."""
    vae, n = s.model.vae, len(ids)
    names = vae.latents.names
    if len(vae.latents.movable) < 2:  # samples of each class of a label are shown by themselves
        return []
    rows = s.held.take(ids.to(vae.device))
    shown = [int(k) for k in spread(len(names), 6)]
    strips = [
        strip(
            f"to {names[k]}",
            sheet(
                shot(s, s.model.stored(next(redraw(vae, [rows], names[k + 1 :])))), n, f"Decodes of z1 to {names[k]}"
            ),
        )
        for k in shown
    ]
    one = rows.take(torch.zeros(n, dtype=torch.int64))
    anew = [
        strip(
            f"after {names[k]}",
            sheet(
                shot(s, s.model.stored(next(redraw(vae, [one], names[k + 1 :], 1)))),
                n,
                f"Variables after {names[k]} anew",
            ),
        )
        for k in shown[:-1]
    ]
    return [
        figure(
            joined(strips),
            "Level by level",
            "The first latent variables are those of held-out pictures, the finer ones are at their priors' means: coarse "
            "structure first, then what each level adds.",
        ),
        figure(
            joined(anew),
            "The finer levels drawn anew",
            "One held-out picture again and again: the first latent variables are its own, those after them are drawn from "
            "their priors. What still varies is what a level decides.",
        ),
    ]


def _halves(s: Study) -> list[Html]:
    """Held-out pictures with their lower half hidden, filled by the model."""
    field, n = s.schema.modelled[0], strip_of(s)
    half = field.shape[1] // 2
    if not half:
        return []
    ids = spread(len(s.held), n)
    rows = s.held.take(ids.to(s.model.vae.device))
    seen = torch.ones(len(rows), 1, *field.shape[1:], dtype=torch.bool, device=s.model.vae.device)
    seen[:, :, half:] = False
    hidden = Batch(rows.fields, {**rows.seen, field.name: seen}, rows.log_det)
    filled = [shot(s, next(s.model.imputed([hidden], 16, copies=1, seed=seed))) for seed in range(3)]
    whole = shot(s, s.held_stored.take(ids))
    upper = whole.copy()
    upper[:, half:] = 128
    strips = [
        strip("seen", sheet(upper, n, "Upper halves of held-out pictures")),
        *(strip(f"draw {k + 1}", sheet(f, n, f"Filled pictures, draw {k + 1}")) for k, f in enumerate(filled)),
        strip("truth", sheet(whole, n, "The whole pictures")),
    ]
    words = "Held-out pictures with the lower half hidden, filled by draws that fit what is seen."
    return [figure(joined(strips), "The lower half, imagined", words)]


def _by_label(s: Study) -> list[Html]:
    if not s.schema.told:
        return []
    labels: Sequence[str] = getattr(s.schema, "labels", ())
    strips = []
    for code, label in enumerate(labels[:10]):
        given = torch.full((strip_of(s), 1), code, device=s.model.vae.device)
        drawn = _drawn(s, Batch({s.schema.told[0].name: given}), mean=True)
        strips.append(strip(label, sheet(drawn, len(drawn), f"{len(drawn)} samples given label {label}")))
    return [figure(joined(strips), "Samples, label by label", "Means of p(x | z, c) with z from the prior.")]


def _brightness(s: Study) -> Html:
    conditions = s.held.take(torch.arange(max(len(s.held), 200)) % len(s.held))
    means = [
        p.reshape(len(p), -1).mean(1) / 255 for p in (shot(s, s.trained_stored), _drawn(s, conditions, mean=False))
    ]
    chart = histograms(
        means[0], means[1], "Histogram of the mean brightness of pictures, data and samples", "mean brightness"
    )
    return figure(joined([chart, legend([("one", "data"), ("two", "samples")])]), "Brightness of data and samples")


def _drawn(s: Study, conditions: Batch, mean: bool) -> Pixels:
    return shot(s, s.model.stored(next(sample(s.model.vae, [conditions], mean=mean))))


def _labels(s: Study, path: str | None) -> npt.NDArray[np.int64] | None:
    """Every row's label, in the order of reading; None where there are none or the files have gone."""
    reader = getattr(s.model.kind, "labels", None)
    if path is None or reader is None or not Path(path).exists():
        return None
    parts = reader(Path(path), s.schema)
    return None if parts is None else np.concatenate(list(parts))
