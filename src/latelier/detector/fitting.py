"""From a table of mostly normal rows to what is usual in it. N = rows, D = numbers of a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from latelier.detector.density import Density, Floats, learned, odder_than, usual_in
from latelier.detector.reading import Reading
from latelier.errors import BadInput
from latelier.kinds.tables import Tables
from latelier.model import Values, as_source, find_kind, named_source
from latelier.spec import Spec
from latelier.step import Watch

CALIBRATION, LEAST, MOST = 0.1, 200, 5_000  # share of rows that train nothing, so that p-values are right; how many
ROWS, CELLS = 200_000, 20_000_000  # most rows that are learned from, and numbers in them: 160 MB
# Where odd rows are among those that are learned from, most of the say goes to each column by itself: rows that are odd alike
# teach a network what they have in common, and stay in the tail of a column. Chosen on fourteen tables: four of those of
# benchmarks/anomaly.py, and those of benchmarks/odd_sets.py.
APART = 0.7


def read(source: Values, asked: Mapping[str, Any], seed: int, watch: Watch) -> tuple[Reading, Floats]:
    """How rows are read, and (N, D) of them: all, or a random sample where there are very many."""
    spec = Spec.of(asked).data
    if spec.given:
        raise BadInput(f"given {', '.join(spec.given)}: a detector takes no conditions; leave it out")
    given = as_source(source)
    kind = find_kind(given, spec.kind)
    if not isinstance(kind, Tables):
        raise BadInput(f"{named_source(given)}: detectors are for tables; for {kind.name} use fit, then score")
    schema = kind.scan(given, spec)
    reading = Reading.of(kind, schema, given)
    chosen = some_of(schema.rows, max(1000, min(ROWS, CELLS // len(reading.plain.names))), seed)
    # Likelihoods and scales are a model's: here every number is brought to its normal scores.
    told = [line for line in schema.evidence if ": likelihood " not in line and not line.startswith("on a log scale")]
    told.append(
        f"{len(reading.plain.columns)} columns as {len(reading.plain.names)} numbers, each by its normal scores"
    )
    if len(chosen) < schema.rows:
        told.append(f"{len(chosen):,} of {schema.rows:,} rows are learned from, chosen at random")
    watch({"event": "scanned", "evidence": told, "schema": schema})
    return reading, reading.some(given, chosen)


def fitted(
    reading: Reading,
    values: Floats,
    contamination: float,
    members: int,
    holdout: float | None,
    seed: int,
    asked: Mapping[str, Any],
    watch: Watch,
) -> tuple[Density, Floats]:
    """What the rows have in common, and those of them (n, D) that trained nothing.

    A share ``contamination`` of the rows, the oddest by a first fit, are taken to be odd and left out of both.
    """
    plain, apart = reading.plain, APART if contamination else 0.0
    every = values
    _enough(values)
    if contamination:
        first = learned(values, plain.names, plain.owners, 1, apart, seed, asked, watch)
        odd = odder_than(usual_in(first, values), first, values)
        values = values[odd <= np.quantile(odd, 1 - contamination)]
        _enough(values)
    rows = len(values)
    order = np.random.default_rng(seed).permutation(rows)
    share = round(holdout * rows) if holdout else max(round(CALIBRATION * rows), min(LEAST, rows * 3 // 10))
    kept = max(3, min(MOST, share))
    calibrating, training = order[:kept], np.sort(order[kept:])
    density = learned(values[training], plain.names, plain.owners, members, apart, seed, asked, watch, every)
    return density, values[calibrating]


def some_of(rows: int, most: int, seed: int) -> npt.NDArray[np.int64]:
    """At most so many of the places 0 to ``rows`` - 1, at random, rising."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False, shuffle=False))


def _enough(values: Floats) -> None:
    if len(values) < 10:
        raise BadInput(f"{len(values)} rows: a detector needs at least 10 normal ones")
