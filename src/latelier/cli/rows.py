"""Verbs that take rows and give rows or figures back, streamed: memory does not grow with the file.

What is slow is imported inside; see the package's first lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from latelier.cli.follow import NOT_FOLLOWING, PIPE, Following, score_stream
from latelier.cli.line import NO_LINE, Line
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
    import pandas as pd
    from torch import Tensor

    from latelier.batch import Batch
    from latelier.judges import Judge
    from latelier.kinds.base import Part
    from latelier.model import Model

ODDEST = 5  # rows that the summary of score names


def encode(
    model: Folder,
    data: Data,
    /,
    *,
    out: Out = None,
    codes: Annotated[bool, Parameter(help="whole numbers, of a latent that has codes: z[POSITION,BOOK]")] = False,
    new_categories: NewCategories = None,
    overwrite: Overwrite = False,
) -> None:
    """Write each row's number and its latent code, the mean of q(z | x): .csv, .parquet, or .npy of codes alone."""
    import numpy as np
    import pandas as pd

    from latelier.kinds.cells.frame_files import write_rows
    from latelier.tasks.codebook import codes as whole
    from latelier.tasks.reconstruct import encode as means

    loaded = opened(model, new_categories)

    if codes and not any(block.support == "codes" for block in loaded.vae.latents.blocks):
        raise BadInput(f"--codes: latent {loaded.spec.latent.name} has none; leave it out")

    def frames(part: Part) -> Iterator[pd.DataFrame]:
        for batch in (whole if codes else means)(loaded.vae, loaded.read(part.source)):
            yield pd.DataFrame(
                {
                    f"{name}[{','.join(map(str, place))}]": z[(slice(None), *place)]
                    for name, z in ((name, (z if codes else z.flatten(1)).cpu().numpy()) for name, z in batch.items())
                    for place in np.ndindex(*z.shape[1:])
                }
            )

    for part, place in portions(
        loaded, data, out_for(loaded, out, "z.csv", data), overwrite, {"verb": "encode", "codes": codes}
    ):
        write_rows(frames(part), place, part.start, loaded.kind.files(part.source, loaded.schema))


def score(
    model: Annotated[Path, Parameter(help="the folder that fit, or detect --save, wrote")],
    data: Annotated[
        Path,
        Parameter(help="rows of the form that the model was fitted to; - is standard input", allow_leading_hyphen=True),
    ],
    /,
    *,
    out: Out = None,
    draws: Annotated[
        int | None,
        Parameter(help="draws of z per row: more bring the score nearer to log p(x); 16 if not given"),
    ] = None,
    entries: Annotated[bool, Parameter(help="also the share of every column or pixel")] = False,
    new_categories: NewCategories = None,
    overwrite: Overwrite = False,
    line: Line = NO_LINE,
    following: Following = NOT_FOLLOWING,
) -> None:
    """Score each row: a bound on log p(x) in nats, the lower the odder. Repeatable; the same row has the same score.

    Of a detector, the nats above a usual row. With an option of a stream, or DATA - for standard input, odd rows are written
    as lines of JSON as they come.
    """
    at_least(1, **{"--draws": 1 if draws is None else draws})
    if str(data).startswith("-") and data != PIPE:
        raise BadInput(f"{data}: not an option of score, and no DATA before it (see latelier score --help)")
    stream = following.asked or data == PIPE
    line.check(stream)
    if stream:
        if out is not None or entries or overwrite:
            raise BadInput("--out, --entries and --overwrite: a stream writes alerts, to --alerts FILE; leave them out")
        score_stream(_judge(model, draws, new_categories), data, following, line)
        return
    import numpy as np
    import pandas as pd

    from latelier.kinds.cells.frame_files import write_rows

    judge = _judge(model, draws, new_categories)
    limit = line.drawn(judge)
    usual = line.measured(judge) if limit is None else limit.usual
    oddest: list[tuple[float, str]] = []  # (score, row or file), the lowest scores
    total, rows, odd = 0.0, 0, 0

    def totals(part: Part) -> Iterator[pd.DataFrame]:
        for values in judge.totals(part.source):
            yield pd.DataFrame({"score": values})

    def frames(part: Part, files: Sequence[str] | None) -> Iterator[pd.DataFrame]:
        nonlocal total, rows, odd, oddest
        done = 0
        for frame in judge.frames(part.source) if entries else totals(part):
            values = frame["score"].to_numpy(np.float64)
            total += float(values.sum())
            beside: dict[str, Any] = {"score": frame.pop("score").to_numpy()}
            if line.p_values and usual is not None:
                beside["p"] = usual.p_values(values)
            if limit is not None:
                beside["odd"] = values < limit.threshold
                odd += int(beside["odd"].sum())
            for i in np.argsort(values)[:ODDEST]:
                where = str(part.start + done + i) + (f" of {part.name}" if part.name else "")
                oddest.append((float(values[i]), where if files is None else files[done + i]))
            oddest = sorted(oddest)[:ODDEST]
            done, rows = done + len(frame), rows + len(frame)
            yield pd.concat([pd.DataFrame(beside), frame], axis=1)

    run = {"verb": "score", "draws": draws or 16, "entries": entries, **line.plain()}
    for part, place in portions(judge, data, out_for(judge, out, "scores.csv", data), overwrite, run):
        files = judge.kind.files(part.source, judge.schema)
        write_rows(frames(part, files), place, part.start, files)
    if rows:
        print(f"{rows:,} rows, mean {total / rows:.2f} nats")
        if limit is not None:
            print(f"odd: {odd:,}, below {limit.threshold:.2f} nats")
        told = ", ".join(f"{where} ({value:.2f})" for value, where in oddest)
        print(f"the oddest {'rows, counted from 0' if judge.kind.suffix else 'pictures'}: {told}")


def _judge(folder: Path, draws: int | None, new_categories: NewCategories) -> Judge:
    """The model or the detector of a folder."""
    from latelier.detector import PAGE, Detector
    from latelier.judges import OfDetector, OfModel

    if not (folder / PAGE).is_file():
        return OfModel(opened(folder, new_categories), 16 if draws is None else draws)
    if draws is not None or new_categories is not None:
        raise BadInput(f"{folder}: is a detector, which needs no --draws or --new-categories; leave them out")
    import torch

    torch.set_num_threads(1)  # as its members are small
    return OfDetector(Detector.load(folder))


def predict(
    model: Folder,
    data: Data,
    /,
    *,
    out: Out = None,
    by: Annotated[
        Literal["classifier", "bound"],
        Parameter(help="q(y | x), or Bayes' rule with the bound of every class, which costs a pass a class and draw"),
    ] = "classifier",
    draws: Annotated[int, Parameter(help="with --by bound: draws of z per row and class")] = 16,
    new_categories: NewCategories = None,
    overwrite: Overwrite = False,
) -> None:
    """Write each row's class and the probability of every class, for a model fitted with --label: .csv, .parquet.

    What DATA say of a row's own label is not looked at; evaluate measures how often the two agree.
    """
    at_least(1, **{"--draws": draws})
    from collections import Counter

    from latelier.kinds.cells.frame_files import write_rows

    loaded = opened(model, new_categories)
    counts: Counter[str] = Counter()

    def frames(part: Part) -> Iterator[pd.DataFrame]:
        for frame in loaded.predicted(part.source, by, draws):
            counts.update(frame.iloc[:, 0])
            yield frame

    run = {"verb": "predict", "by": by, "draws": draws}
    for part, place in portions(loaded, data, out_for(loaded, out, "classes.csv", data), overwrite, run):
        write_rows(frames(part), place, part.start, loaded.kind.files(part.source, loaded.schema))
    if counts:
        print(", ".join(f"{name}: {count:,}" for name, count in counts.most_common()))


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
