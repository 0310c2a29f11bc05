"""The decoder taken apart: what each row loses when z, c or a part of the network is spoilt. n = rows of a part; nats.

The loss of a row is log p(x | z, c) with everything whole less the same with one thing spoilt, z having been drawn from
q(z | x, c) once for both. The KL is that of the row's own code and the same on both sides, so it is also what the bound of
the row loses; and as both are of the same row and the same draw, the standard error is of paired differences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from latelier.batch import Batch
from latelier.errors import BadInput
from latelier.likelihoods.base import Joint
from latelier.means import standard_error
from latelier.noise import Keyed
from latelier.vae import VAE

TEMPERATURES = (0.0, 0.5, 1.5, 2.0)  # of q(z | x, c): the spread of its draws, 1 being its own
NOISES = (0.1, 0.3, 1.0)  # standard deviations added to z
DIMENSIONS = 16  # of a variable that are drawn anew one at a time, the first ones; the others in groups as large
SHOWN = 8  # rows whose decodes are kept

Values = Mapping[str, Tensor]


@dataclass(frozen=True)
class Damage:
    """One thing spoilt: ``group`` is what (z, c, network), ``name`` how, ``loss`` nats a row with its standard error.

    ``entries``: what each entry of a field loses, (*entries) nats a row. ``shown``: the first rows decoded with the damage.
    """

    group: str
    name: str
    loss: float
    error: float
    entries: Mapping[str, Tensor]
    shown: Batch

    @property
    def felt(self) -> bool:
        """Is the loss beyond chance?"""
        return self.loss > 2 * self.error


@dataclass(frozen=True)
class Dissection:
    """``log_px`` and ``kl`` of the whole model, nats a row, and every damage in the order in which it was done."""

    rows: int
    log_px: float
    kl: float
    damages: Sequence[Damage]
    shown: Batch  # the first rows decoded with everything whole
    originals: Batch  # those rows, the model's values

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        damages = [{"group": d.group, "name": d.name, "loss": d.loss, "error": d.error} for d in self.damages]
        return {"rows": self.rows, "log_px": self.log_px, "kl": self.kl, "unit": "nats/row", "damages": damages}

    def of(self, group: str) -> list[Damage]:
        return [d for d in self.damages if d.group == group]


@dataclass
class _Sums:
    """Of one damage over batches, in float64."""

    loss: float = 0.0
    square: float = 0.0
    entries: dict[str, Tensor] = field(default_factory=dict)
    shown: Batch | None = None

    def add(self, loss: Tensor, entries: Mapping[str, Tensor]) -> None:
        self.loss += float(loss.double().sum())
        self.square += float(loss.double().square().sum())
        for name, value in entries.items():
            part = value.double().sum(0).cpu()
            self.entries[name] = self.entries.get(name, torch.zeros_like(part)) + part


@dataclass(frozen=True)
class Whole:
    """A part of the rows with its own codes: what a damage starts from."""

    vae: VAE
    batch: Batch
    values: Values  # of each variable, drawn from q(z | x, c)
    means: Values
    c: Tensor | None
    partner: Tensor  # (n,) another row for each

    @property
    def z(self) -> Values:
        """Those of the variables that one can move along: no label's."""
        return {block.name: self.values[block.name] for block in self.vae.latents.movable}

    def decode(self, values: Values | None = None, c: Tensor | None = None) -> Joint:
        """p(x | z, c) for these values in place of the row's own."""
        c = self.c if c is None else c
        held = torch.ones(len(self.batch), dtype=torch.bool, device=self.vae.device)
        given = {name: (value, held) for name, value in {**self.values, **(values or {})}.items()}
        return self.vae.decode(self.vae.latents(len(self.batch), c, None, given))

    def redrawn(self, names: Sequence[str]) -> Values:
        """Draws from the prior for these variables, given the row's own values of those above."""
        held = torch.ones(len(self.batch), dtype=torch.bool, device=self.vae.device)
        given = {name: (value, held) for name, value in self.values.items() if name not in names}
        steps = self.vae.latents(len(self.batch), self.c, None, given).steps
        return {name: steps[name].value for name in names}


@dataclass(frozen=True)
class Spoil:
    """``decode`` gives p(x | z, c) with the damage done, as long as ``around`` is entered."""

    decode: Callable[[Whole], Joint]
    around: Callable[[], AbstractContextManager[object]] = nullcontext


@torch.no_grad()
def dissect(
    vae: VAE, batches: Iterable[Batch], fresh: VAE | None = None, rows: int | None = None, seed: int = 0
) -> Dissection:
    """Every damage on these rows, in constant memory. ``fresh`` is the model as it was before training, to whose weights the
    parts of the network are set back in turn; without it that is left out. BadInput where there is one row alone."""
    sums: dict[tuple[str, str], _Sums] = {}
    spoils: dict[tuple[str, str], Spoil] = {}
    counted, log_px, kl = 0, 0.0, 0.0
    shown = originals = None
    for part in _parts(batches, rows or vae.rows):
        whole, own_kl = _whole(vae, part, seed)
        px = whole.decode()
        own, own_entries = vae.log_px(px, part), px.entry_log_prob(part)
        counted, kl = counted + len(part), kl + own_kl
        log_px += float((own + part.stretch().to(own.device)).double().sum())
        if shown is None:
            spoils = damages(whole, fresh)
            originals = part.take(torch.arange(min(SHOWN, len(part))))
            few, _ = _whole(vae, originals, seed)
            shown = few.decode().point_estimate()
        for key, spoil in spoils.items():
            total = sums.setdefault(key, _Sums())
            with spoil.around():
                spoilt = spoil.decode(whole)
                loss, entries = own - vae.log_px(spoilt, part), spoilt.entry_log_prob(part)
                total.add(loss, {name: own_entries[name] - value for name, value in entries.items()})
                if total.shown is None:
                    total.shown = spoil.decode(few).point_estimate()
    if shown is None or originals is None:
        raise BadInput("dissect exchanges codes between rows; give at least two rows")
    found = [_damage(key, total, counted) for key, total in sums.items()]
    return Dissection(counted, log_px / counted, kl / counted, found, shown, originals)


def _damage(key: tuple[str, str], total: _Sums, rows: int) -> Damage:
    assert total.shown is not None
    mean = total.loss / rows
    error = standard_error(total.square / rows - mean**2, rows)
    entries = {name: value / rows for name, value in total.entries.items()}
    return Damage(*key, mean, error, entries, total.shown)


def _parts(batches: Iterable[Batch], rows: int) -> Iterator[Batch]:
    """Parts of about equal size; one row alone, which has no other to exchange with, is passed over."""
    for batch in batches:
        if len(batch) < 2:
            continue
        pieces = math.ceil(len(batch) / max(rows, 2))
        yield from batch.slices(math.ceil(len(batch) / pieces))


def _whole(vae: VAE, part: Batch, seed: int) -> tuple[Whole, float]:
    draw = vae.infer(part, noise=Keyed.of(part, seed))
    values = {name: step.value for name, step in draw.steps.items()}
    means = {name: step.q.mean() if step.q is not None else step.value for name, step in draw.steps.items()}
    circle = torch.randperm(len(part))
    partner = torch.empty_like(circle)
    partner[circle] = circle.roll(1)  # along one circle through all rows: nobody is its own partner
    return Whole(vae, part, values, means, draw.c, partner.to(vae.device)), float(draw.kl().double().sum())


def damages(whole: Whole, fresh: VAE | None) -> dict[tuple[str, str], Spoil]:
    """What can be spoilt of this model, by (group, name)."""
    vae = whole.vae
    found: dict[tuple[str, str], Spoil] = {
        ("z", "exchanged among rows"): Spoil(lambda w: w.decode({k: v[w.partner] for k, v in w.z.items()})),
        ("z", "drawn from the prior"): Spoil(lambda w: w.decode(w.redrawn(list(w.z)))),
        ("z", "the prior's centre"): Spoil(_at_the_centre),
    }
    if whole.c is not None:
        found["c", "exchanged among rows"] = Spoil(lambda w: w.decode(c=None if w.c is None else w.c[w.partner]))
        found["c", "not given"] = Spoil(lambda w: w.decode(c=_without_conditions(w)))
    if len(whole.values) > 1:
        for name in whole.values:
            found["variables", name] = Spoil(partial(_redrawn, name=name))
    smooth = {name: value for name, value in whole.z.items() if value.is_floating_point()}
    for name, value in smooth.items():
        for places in _groups(math.prod(value.shape[1:])):
            title = f"{name}[{places[0]}]" if len(places) == 1 else f"{name}[{places[0]} to {places[-1]}]"
            found["dimensions", title] = Spoil(partial(_one, name=name, places=places))
    spread = any(not block.certain for block in vae.latents.movable)  # else q(z | x) has none
    for heat in TEMPERATURES if smooth and spread else ():
        found["temperature", f"spread × {heat:g}"] = Spoil(partial(_heated, heat=heat))
    for size in NOISES if smooth else ():
        found["noise", f"noise of {size:g}"] = Spoil(partial(_noisy, size=size))
    modules = dict(_generative(vae))
    for name, ways in _skips(whole).items():
        cut = partial(_silenced, [modules[way] for way in ways])
        found["network", f"{name} cut"] = Spoil(Whole.decode, cut)
    before = {} if fresh is None else dict(_generative(fresh))
    for name in _trained_parts(vae) if fresh is not None else ():
        set_back = partial(_weights, modules[name], dict(before[name].named_parameters()))
        found["network", f"{name} reset"] = Spoil(Whole.decode, set_back)
    return found


def _groups(dimensions: int) -> list[list[int]]:
    """Dimensions one by one as far as there are few, else in as many groups.

    >>> _groups(2), len(_groups(100)), _groups(100)[0]
    ([[0], [1]], 15, [0, 1, 2, 3, 4, 5, 6])
    """
    size = math.ceil(dimensions / DIMENSIONS)
    return [list(range(first, min(first + size, dimensions))) for first in range(0, dimensions, size)]


def _at_the_centre(w: Whole) -> Joint:
    held = torch.ones(len(w.batch), dtype=torch.bool, device=w.vae.device)
    label = {name: (value, held) for name, value in w.values.items() if name not in w.z}
    draw = w.vae.latents(len(w.batch), w.c, None, label, centre=True)
    return w.decode({name: draw.steps[name].value for name in w.z})


def _redrawn(w: Whole, name: str) -> Joint:
    return w.decode(w.redrawn([name]))


def _one(w: Whole, name: str, places: Sequence[int]) -> Joint:
    """Some dimensions of a variable from its prior, the others the row's own."""
    value = w.values[name].flatten(1).clone()
    at = torch.tensor(places, device=value.device)
    value[:, at] = w.redrawn([name])[name].flatten(1)[:, at].to(value.dtype)
    return w.decode({name: value.view_as(w.values[name])})


def _heated(w: Whole, heat: float) -> Joint:
    moved = {k: w.means[k] + heat * (v - w.means[k]) for k, v in w.z.items() if v.is_floating_point()}
    return w.decode(moved)


def _noisy(w: Whole, size: float) -> Joint:
    return w.decode({k: v + size * torch.randn_like(v) for k, v in w.z.items() if v.is_floating_point()})


def _without_conditions(w: Whole) -> Tensor | None:
    """c of the same rows, none of whose conditions is known."""
    assert w.vae.condition is not None
    seen = dict(w.batch.seen)
    for one in w.vae.condition.inputs:
        seen[one.name] = torch.zeros_like(w.batch.fields[one.name], dtype=torch.bool)
    return w.vae.embed(Batch(w.batch.fields, seen))


def _generative(vae: VAE) -> list[tuple[str, nn.Module]]:
    """Named modules that lie on the way from z to x: the decoder's, and how a state takes up values."""
    parts = [(f"decoder.{name}", module) for name, module in vae.decoder.named_modules() if name]
    off = ("prior", "posterior", "classifier")
    return parts + [
        (f"latents.{name}", module)
        for name, module in vae.latents.named_modules()
        if name and not any(word in name for word in off) and "own" not in name.split(".")  # a block's own prior
    ]


def _trained_parts(vae: VAE) -> list[str]:
    """The parts whose weights are set back in turn: members of lists of modules, and what holds weights beside such lists."""
    found: list[str] = []
    for name, module in _generative(vae):
        own = any(True for _ in module.parameters(recurse=False))
        member = name.rsplit(".", 1)[-1].isdigit() and any(True for _ in module.parameters())
        inside = any(name.startswith(f"{other}.") for other in found)
        if (own or member) and not inside and not _is_variable(name):
            found.append(name)
    return found


def _is_variable(name: str) -> bool:
    """Is it a latent variable as a whole, such as latents.blocks.0?"""
    words = name.split(".")
    return words[:2] == ["latents", "blocks"] and len(words) == 3


@contextmanager
def _silenced(parts: Sequence[nn.Module]) -> Iterator[None]:
    """Nothing comes out of these parts for the moment."""
    with ExitStack() as stack:
        for part in parts:
            hook = part.register_forward_hook(lambda module, inputs, out: torch.zeros_like(out))
            stack.callback(hook.remove)
        yield


@contextmanager
def _weights(part: nn.Module, others: Mapping[str, Tensor]) -> Iterator[None]:
    """The part has other weights for the moment."""
    own = dict(part.named_parameters())
    kept = {name: weight.clone() for name, weight in own.items()}
    try:
        for name, weight in own.items():
            weight.copy_(others[name])
        yield
    finally:
        for name, weight in own.items():
            weight.copy_(kept[name])


def _skips(whole: Whole) -> dict[str, list[str]]:
    """Ways by which z enters the decoder's network beside the first: those of its modules, found by running it, that read
    the very numbers that the decoder is given. One by one, and all together where there are several."""
    vae = whole.vae
    held = torch.ones(len(whole.batch), dtype=torch.bool, device=vae.device)
    draw = vae.latents(len(whole.batch), whole.c, None, {k: (v, held) for k, v in whole.values.items()})
    state = draw.state.flatten(1)
    start = state if draw.read is None else torch.cat([state, draw.read.to(state.dtype)], 1)
    readers: list[str] = []
    with ExitStack() as stack:
        for name, module in vae.decoder.named_modules():
            if name and not any(True for _ in module.children()):
                hook = module.register_forward_pre_hook(partial(_note, readers, name, start))
                stack.callback(hook.remove)
        vae.decode(draw).log_prob(whole.batch)
    ways = [f"decoder.{name}" for name in dict.fromkeys(readers)][1:]
    found = {f"skip {name.removeprefix('decoder.')}": [name] for name in ways}
    return found | ({"all skips": ways} if len(ways) > 1 else {})


def _note(readers: list[str], name: str, start: Tensor, module: nn.Module, inputs: tuple[Any, ...]) -> None:
    first = inputs[0] if inputs else None
    if isinstance(first, Tensor) and first.shape == start.shape and bool((first == start).all()):
        readers.append(name)
