"""What a model says of z: codes, values of z as rows, and walks among them. N = rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from latelier.batch import Batch
from latelier.data.rows import hold
from latelier.errors import BadInput, at_least, unknown
from latelier.latents.codes import Codes
from latelier.model.passage import Fitted, conditions_for, present, read, spelled, stored
from latelier.model.source import Values, as_source, named_source
from latelier.tasks.decode import decode, decode_under
from latelier.tasks.reconstruct import encode, reconstruct, redraw
from latelier.tasks.walk import grid, interpolate, traverse


def encoded(model: Fitted, x: Values) -> np.ndarray[Any, Any]:
    """(N, dimensions) posterior means of all latent variables, side by side."""
    parts = encode(model.vae, read(model, x))
    return np.concatenate([torch.cat([v.flatten(1) for v in p.values()], 1).cpu().numpy() for p in parts])


def moved_along(model: Fitted, x: Values) -> np.ndarray[Any, Any]:
    """The same without a label, whose classes are no dimensions."""
    names = [block.name for block in model.vae.latents.movable]
    parts = encode(model.vae, read(model, x))
    return np.concatenate([torch.cat([p[name].flatten(1) for name in names], 1).cpu().numpy() for p in parts])


def decoded(model: Fitted, z: np.ndarray[Any, Any]) -> Any:
    """(N, dimensions) values of z, side by side as ``encode`` gives them -> the centre of p(x | z) of each, as rows."""
    values = torch.from_numpy(np.array(z, np.float64)).to(model.vae.device, model.vae.dtype)
    dimensions = sum(math.prod(block.shape) for block in model.vae.latents.blocks)
    if values.ndim != 2 or values.shape[1] != dimensions:
        raise BadInput(f"z has shape {tuple(values.shape)}; this model decodes (rows, {dimensions})")
    return present(model, (stored(model, part) for part in decode(model.vae, [values])))


def decoded_codes(model: Fitted, codes: np.ndarray[Any, Any], given: Mapping[str, object] | None = None) -> Any:
    """What ``Model.decode_codes`` promises."""
    block, found = quantiser_block(model), np.asarray(codes)
    q = block.quantiser
    if not len(found):
        raise BadInput("there are no codes to decode; give one row or more")
    if found.shape[1:] != (q.positions, q.books) or found.dtype.kind not in "iu":
        raise BadInput(
            f"codes are {found.dtype} of shape {found.shape}; this model decodes whole numbers, "
            f"(rows, {q.positions}, {q.books})"
        )
    if found.size and not 0 <= found.min() <= found.max() < q.size:
        raise BadInput(f"codes from {found.min()} to {found.max()}; this model has 0 to {q.size - 1}")
    value = q.value(torch.from_numpy(found.astype(np.int64)).to(model.vae.device))
    label = model.schema.label
    if label is not None and not any(name in (given or {}) for name in (label.name, *label.columns)):
        column = (*label.columns, label.name)[0]
        raise BadInput(f"codes are read beside a label here; name its class, given={{{column!r}: CLASS}}")
    if not given:
        return decoded(model, value.flatten(1).cpu().numpy())
    words = spelled(given)
    for name, several in words.items():
        if not isinstance(several, str) and len(several) != len(value):
            raise BadInput(
                f"given {name}: {len(several):,} values for {len(value):,} rows of codes; give one a row, or one"
            )
    rows = model.vae.rows
    parts = zip(torch.split(value, rows), conditions_for(model, len(value), words, rows), strict=True)
    return present(
        model, (stored(model, decode_under(model.vae, block.name, v, beside), beside) for v, beside in parts)
    )


def quantiser_block(model: Fitted) -> Codes:
    """The latent variable that has codes. BadInput where there is none."""
    block = model.vae.latents.first
    if not isinstance(block, Codes):
        raise BadInput(f"latent {model.spec.latent.name} has no codes; fit with latent.name=codes or fsq")
    return block


def interpolated(model: Fitted, x: Values, steps: int = 8, spherical: bool = False) -> Any:
    """((N - 1) * steps) rows on the way from each row to the next."""
    at_least(2, steps=steps)
    ends = hold(read(model, x))
    if len(ends) < 2:
        raise BadInput(f"{named_source(as_source(x))}: a walk needs at least two rows, and there is one")
    return present(model, [stored(model, interpolate(model.vae, ends, steps, spherical))])


def traversed(
    model: Fitted,
    x: Values | None = None,
    rows: int = 8,
    steps: int = 9,
    dims: Sequence[int] | None = None,
    given: Mapping[str, object] | None = None,
) -> Any:
    """What ``Model.traverse`` promises."""
    if x is not None and given:
        raise BadInput("given: rows have their own conditions; leave out one of the two")
    centre = None if x is None else next(read(model, x)).take(torch.tensor([0]))
    at_least(1, rows=rows, steps=steps)
    chosen = known(model, dims) if dims else liveliest(model)
    walk = traverse(model.vae, centre, rows, steps, dims=chosen, conditions=next(conditions_for(model, 1, given)))
    return present(model, [stored(model, walk)])


def gridded(
    model: Fitted, side: int = 12, dims: tuple[int, int] | None = None, given: Mapping[str, object] | None = None
) -> Any:
    """(side * side) rows: two latent dimensions at equal quantiles of the prior, row-major from the top left."""
    at_least(1, side=side)
    if dims is not None and len(dims) != 2:
        raise BadInput(f"dims {tuple(dims)}: a grid has two edges; name two dimensions, such as (0, 1)")
    pair = known(model, dims) if dims else [*liveliest(model), 0, 0][:2]
    square = grid(model.vae, side, (int(pair[0]), int(pair[1])), conditions=next(conditions_for(model, 1, given)))
    return present(model, [stored(model, square)])


def way_back(
    model: Fitted, draws: int, mean: bool, temperature: float = 1.0, redrawn: Sequence[str] = ()
) -> Callable[[Batch], Iterator[Batch]]:
    """What ``reconstruct`` does to a batch. BadInput where there is no such variable."""
    at_least(0, draws=draws, temperature=temperature)
    for name in redrawn:
        if name not in model.vae.latents.names:
            raise unknown("latent variable", name, model.vae.latents.names)
    if redrawn:
        return lambda b: redraw(model.vae, [b], redrawn, draws, mean, temperature)
    return lambda b: reconstruct(model.vae, [b], draws, mean, temperature)


def finer(model: Fitted, level: int) -> list[str]:
    """The names of the latent variables after the first ``level``. BadInput where there are not so many."""
    names = model.vae.latents.names
    if not 1 <= level <= len(names):
        raise BadInput(
            f"level {level}: this model has {len(names)} latent variable(s), {', '.join(names)}; give 1 to {len(names)}"
        )
    return names[level:]


def rungs_below(model: Fitted, level: int, temperature: float) -> dict[str, float]:
    """The temperature of every variable where those after the first ``level`` stay at their priors' means."""
    return dict.fromkeys(model.vae.latents.names, temperature) | dict.fromkeys(finer(model, level), 0.0)


def liveliest(model: Fitted) -> list[int]:
    """Dimensions of the first latent variable that is no label, those of the largest held-out KL first where it is known."""
    first = model.vae.latents.first
    parts: list[float] = model.figures.get("kl_parts", {}).get(first.name, [])
    width = first.parts
    return list(np.argsort(parts)[::-1]) if len(parts) == width else list(range(width))


def known(model: Fitted, dims: Sequence[int]) -> list[int]:
    """``dims`` as they are: dimensions of the first latent variable. BadInput where it has no such one."""
    width = len(liveliest(model))
    for dim in dims:
        if not 0 <= dim < width:
            raise BadInput(f"dims: there is no latent dimension {dim}; this model has {width} (0 to {width - 1})")
    return list(dims)
