"""Verbs that give rows back as others: whole, without noise, near them. Streamed: memory does not grow with the file.

What is slow is imported inside; see the package's first lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from latelier.cli.places import (
    Data,
    Folder,
    NewCategories,
    Out,
    Overwrite,
    Seed,
    Temperature,
    fresh,
    numbered,
    opened,
    out_for,
    portions,
    put,
    write,
)
from latelier.errors import BadInput, at_least

if TYPE_CHECKING:
    from torch import Tensor

    from latelier.batch import Batch
    from latelier.model import Model


def reconstruct(
    model: Folder,
    data: Data,
    /,
    *,
    out: Out = None,
    draws: Annotated[
        int, Parameter(help="so many decodes of each row, in numbered outputs; 0 decodes the centre of its code")
    ] = 0,
    draw: Annotated[bool, Parameter(help="draw from p(x | z), in place of its centre")] = False,
    level: Annotated[
        int | None,
        Parameter(help="of a ladder: only the first so many latent variables are read from the row, see --draws"),
    ] = None,
    redraw: Annotated[
        str | None,
        Parameter(
            help="latent variables made anew from their priors, such as z3,z4: at their means, or with --draws drawn"
        ),
    ] = None,
    temperature: Temperature = 1.0,
    seed: Seed = 0,
    new_categories: NewCategories = None,
    overwrite: Overwrite = False,
) -> None:
    """Send each row through the code and back."""
    if level is not None and redraw is not None:
        raise BadInput("--level and --redraw both say what is made anew; leave out one of the two")
    at_least(0, **{"--draws": draws, "--temperature": temperature})
    from latelier.noise import seeded

    loaded = opened(model, new_categories)
    redrawn = loaded.finer(level) if level is not None else [name.strip() for name in (redraw or "").split(",") if name]
    path = out or Path(f"reconstructions{loaded.kind.suffix}")
    back = loaded.way_back(min(draws, 1), not draw, temperature, redrawn)
    for i, place in enumerate(numbered(path, draws)):
        with seeded(seed + i):
            write(loaded, loaded.along(loaded.read(data), back), place, overwrite)


def impute(
    model: Folder,
    data: Data,
    /,
    *,
    out: Out = None,
    mask: Annotated[
        str | None,
        Parameter(help="missing pixels: left, right, top, bottom, centre, random:0.5, or a picture (white is missing)"),
    ] = None,
    draws: Annotated[
        int | None,
        Parameter(help="values of z that are weighed per row; 256 for tables and 64 for pictures if not given"),
    ] = None,
    uncertainty: Annotated[
        Path | None,
        Parameter(
            help="also write how sure each filled cell is: the standard deviation of numbers, the probability of the chosen "
            "value elsewhere; empty where a cell was there: .csv, .parquet"
        ),
    ] = None,
    copies: Annotated[
        int, Parameter(help="so many completions drawn at random, in numbered outputs; 0 fills with the mean")
    ] = 0,
    seed: Seed = 0,
    new_categories: NewCategories = None,
    overwrite: Overwrite = False,
) -> None:
    """Fill in missing cells, or the pixels under a mask. What was there stays as it was."""
    at_least(1, **{"--draws": 1 if draws is None else draws})
    at_least(0, **{"--copies": copies})
    if uncertainty is not None and copies:
        raise BadInput("--uncertainty is of means, and --copies draws; leave out one of the two")
    from latelier.noise import seeded

    loaded = opened(model, new_categories)
    if uncertainty is not None:
        path = out or Path(f"imputed{loaded.kind.suffix}")
        with seeded(seed):
            filled = loaded.completed_with_spread(data, mask, draws, seed)
            _write_with_spread(loaded, filled, path, uncertainty, overwrite)
        return
    from latelier.share import seed_of

    path, folders = out_for(loaded, out, f"imputed{loaded.kind.suffix}", data), bool(loaded.kind.suffix)
    for i, one in enumerate(numbered(path, copies)):
        run = {"verb": "impute", "mask": mask, "draws": draws, "copies": min(copies, 1), "seed": seed + i}
        for part, place in portions(loaded, data, one, overwrite, run, folders):
            with seeded(seed_of(part, seed + i)):
                put(loaded, loaded.completed(part.source, mask, draws, min(copies, 1), seed + i), place)


def _write_with_spread(
    model: Model, parts: Iterator[tuple[Batch, dict[str, Tensor]]], path: Path, beside: Path, overwrite: bool
) -> None:
    """Both files from one stream: the spread waits in a nameless file until the rows are written."""
    import tempfile

    import pyarrow as pa

    from latelier.kinds.cells.frame_files import write_frames

    if not model.schema.modelled[0].columns:
        raise BadInput("--uncertainty writes a table; for pictures use model.impute_with_spread in Python")
    with fresh(beside, overwrite) as place, tempfile.TemporaryFile() as waiting:
        writer: pa.RecordBatchStreamWriter | None = None

        def rows() -> Iterator[Batch]:
            nonlocal writer
            for part, spread in parts:
                table = pa.Table.from_pandas(model.spread_frame(spread), preserve_index=False)
                writer = writer or pa.ipc.new_stream(waiting, table.schema)
                writer.write_table(table)
                yield part

        write(model, rows(), path, overwrite)
        assert writer is not None
        writer.close()
        waiting.seek(0)
        write_frames((part.to_pandas() for part in pa.ipc.open_stream(waiting)), place)
    print(f"wrote {beside}")


def denoise(
    model: Folder,
    data: Data,
    /,
    *,
    out: Out = None,
    draws: Annotated[int, Parameter(help="values of z that are averaged over")] = 16,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Replace each row by what the model takes it to be without noise."""
    at_least(1, **{"--draws": draws})
    from latelier.noise import seeded
    from latelier.tasks.reconstruct import denoise as clean

    loaded = opened(model)
    with seeded(seed):
        rows = loaded.along(loaded.read(data), lambda batch: clean(loaded.vae, [batch], draws), draws)
        write(loaded, rows, out or Path(f"denoised{loaded.kind.suffix}"), overwrite)


def augment(
    model: Folder,
    data: Data,
    /,
    *,
    out: Out = None,
    copies: Annotated[int, Parameter(help="new rows per row")] = 1,
    balance: Annotated[
        str | None,
        Parameter(help="draw instead the rows of rare classes of this column that make all equally frequent"),
    ] = None,
    temperature: Temperature = 1.0,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Draw new rows near each given one; conditions such as labels are kept."""
    at_least(1, **{"--copies": copies})
    at_least(0, **{"--temperature": temperature})
    if balance is not None and (copies != 1 or temperature != 1.0):
        raise BadInput(
            "--balance: decides itself how many rows are drawn, and from where; leave out --copies and --temperature"
        )
    from latelier.noise import seeded
    from latelier.tasks.reconstruct import augment as near

    loaded = opened(model)
    with seeded(seed):
        if balance is not None:
            rows = loaded.balanced(data, balance)
        else:
            rows = loaded.along(loaded.read(data), lambda batch: near(loaded.vae, [batch], copies, temperature), copies)
        write(loaded, rows, out or Path(f"augmented{loaded.kind.suffix}"), overwrite)
