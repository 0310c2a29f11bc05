"""Verbs that say something of rows: codes, scores, classes. Streamed: memory does not grow with the file.

What is slow is imported inside; see the package's first lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from latelier.cli.follow import NOT_FOLLOWING, PIPE, Following, score_stream
from latelier.cli.line import NO_LINE, Line
from latelier.cli.places import Data, Folder, NewCategories, Out, Overwrite, opened, out_for, portions
from latelier.errors import BadInput, at_least

if TYPE_CHECKING:
    import pandas as pd

    from latelier.judges import Judge
    from latelier.kinds.base import Part

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
