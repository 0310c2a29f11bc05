"""Verbs that draw from the decoder: ``sample``, and walks in the latent space. What is slow is imported inside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from latelier.cli.places import Data, Folder, Out, Overwrite, Seed, Temperature, opened, write
from latelier.cli.settings import held, pairs, row_numbers
from latelier.errors import BadInput, at_least

if TYPE_CHECKING:
    from latelier.batch import Batch
    from latelier.model import Model

Given = Annotated[list[str] | None, Parameter(help="COLUMN=VALUE, such as label=7; may be repeated")]
Holding = Annotated[
    list[str] | None,
    Parameter(
        "--given", help="COLUMN=VALUE, of tables also age=30..40 or 'hours>=40'; several with commas, or repeated"
    ),
]
Candidates = Annotated[
    int, Parameter(help="candidates of which a row is chosen, where --given names columns that fit was not given")
]


def sample(
    model: Folder,
    /,
    *,
    rows: Annotated[int, Parameter(("--rows", "-n"), help="how many")] = 16,
    out: Out = None,
    given: Holding = None,
    balance: Annotated[str | None, Parameter(help="column whose classes come equally often")] = None,
    draws: Candidates = 64,
    temperature: Temperature = 1.0,
    guidance: Annotated[
        float,
        Parameter(
            help="how much is made of --given: 1 is the model's own, 2 twice as far from rows without a condition"
        ),
    ] = 1.0,
    mean: Annotated[
        bool | None,
        Parameter(negative="--draw", help="the centre of p(x | z), as is usual for pictures, or a draw from it"),
    ] = None,
    level: Annotated[
        int | None,
        Parameter(
            help="of a ladder: only the first so many latent variables are drawn, finer ones stay at their means"
        ),
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Draw new rows, as pictures or a table."""
    at_least(1, **{"--rows": rows, "--draws": draws})
    at_least(0, **{"--temperature": temperature, "--guidance": guidance})
    words = held(given or ())
    from latelier.model.drawing import sampled
    from latelier.noise import seeded

    loaded = opened(model)
    with seeded(seed):
        drawn = sampled(loaded, rows, words, temperature, mean, balance, draws, level, guidance)
        write(loaded, drawn, out or Path(f"samples{loaded.kind.suffix}"), overwrite)


def interpolate(
    model: Folder,
    data: Data,
    /,
    *,
    out: Out = None,
    first: Annotated[int, Parameter("--from", help="the row where the walk begins, counted from 0")] = 0,
    last: Annotated[int, Parameter("--to", help="the row where it ends")] = 1,
    rows: Annotated[str | None, Parameter(help="several rows to walk along instead, such as 0,5,9")] = None,
    steps: Annotated[int, Parameter(help="rows from each to the next, both included")] = 8,
    spherical: Annotated[bool, Parameter(help="along an arc, as far from 0 as draws are")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Walk in the latent space from one row of DATA to another: a strip (.png), an animation (.gif), a folder, a table."""
    ends = row_numbers(rows, "--rows") if rows is not None else [first, last]
    if len(ends) < 2 or steps < 2:
        raise BadInput(f"--rows {rows}, --steps {steps}: a walk needs at least two rows and two steps")
    from latelier.tasks.walk import interpolate as walk

    loaded = opened(model)
    found = pick(loaded.read(data), ends, data)
    along = loaded.stored(walk(loaded.vae, found, steps, spherical))
    write(loaded, [along], out or Path(f"interpolation{loaded.kind.walk_suffix}"), overwrite, steps)


def traverse(
    model: Folder,
    data: Annotated[
        Path | None, Parameter(help="rows of which one is the centre; the prior's centre if not given")
    ] = None,
    /,
    *,
    out: Out = None,
    row: Annotated[int, Parameter(help="the row of DATA, counted from 0")] = 0,
    dims: Annotated[
        str | None, Parameter(help="which latent dimensions, such as 0,3; the most active if not given")
    ] = None,
    given: Given = None,
    most: Annotated[int, Parameter(help="how many dimensions if --dims is not given")] = 8,
    steps: Annotated[int, Parameter(help="values of each dimension")] = 9,
    overwrite: Overwrite = False,
) -> None:
    """Change one latent dimension at a time: a line of pictures (or rows) per dimension."""
    at_least(1, **{"--steps": steps, "--most": most})
    words = pairs(given or (), "--given", "COLUMN=VALUE")
    if words and data is not None:
        raise BadInput("--given: a row of DATA has its own conditions; leave out one of the two")
    from latelier.tasks.walk import traverse as walk

    loaded = opened(model)
    centre = None if data is None else pick(loaded.read(data), [row], data)
    chosen = loaded.liveliest()[:most] if dims is None else row_numbers(dims, "--dims")
    _check_dims(loaded, chosen)
    conditions = None if centre is not None else next(loaded.conditions(1, words))
    along = walk(loaded.vae, centre, len(chosen), steps, dims=[int(d) for d in chosen], conditions=conditions)
    write(loaded, [loaded.stored(along)], out or Path(f"traversal{loaded.kind.walk_suffix}"), overwrite, steps)


def grid(
    model: Folder,
    /,
    *,
    out: Out = None,
    side: Annotated[int, Parameter(help="pictures (or rows) along each edge")] = 12,
    dims: Annotated[
        str | None, Parameter(help="two latent dimensions, such as 0,1; the most active if not given")
    ] = None,
    given: Given = None,
    overwrite: Overwrite = False,
) -> None:
    """Decode a square of the latent space, two dimensions at equal quantiles of the prior."""
    at_least(1, **{"--side": side})
    words = pairs(given or (), "--given", "COLUMN=VALUE")
    from latelier.tasks.walk import grid as square

    loaded = opened(model)
    chosen = loaded.liveliest()[:2] if dims is None else row_numbers(dims, "--dims")
    _check_dims(loaded, chosen)
    if dims is not None and len(chosen) != 2:
        raise BadInput(f"--dims {dims}: a grid has two edges; name two dimensions, such as 0,1")
    pair = (int(chosen[0]), int(chosen[-1]))
    along = square(loaded.vae, side, pair, conditions=next(loaded.conditions(1, words)))
    write(loaded, [loaded.stored(along)], out or Path(f"grid{loaded.kind.walk_suffix}"), overwrite, side)


def pick(batches: Iterable[Batch], rows: Sequence[int], where: Path) -> Batch:
    """These rows of a stream, in this order. BadInput where there are fewer."""
    import torch

    from latelier.data.rows import hold

    found: dict[int, Batch] = {}
    before = 0
    for batch in batches:
        for row in set(rows):
            if before <= row < before + len(batch):
                found[row] = batch.take(torch.tensor([row - before]))
        before += len(batch)
        if len(found) == len(set(rows)):
            return hold(found[row] for row in rows)
    raise BadInput(f"{where}: row {max(rows)} was asked for; there are {before} rows (0 to {before - 1})")


def _check_dims(model: Model, dims: Sequence[int]) -> None:
    width = len(model.liveliest())
    if max(dims) >= width:
        raise BadInput(f"--dims: there is no latent dimension {max(dims)}; this model has {width} (0 to {width - 1})")
