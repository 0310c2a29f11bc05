"""What is odd in a table: several small VAEs of its normal scores, read at a coarse resolution. N = rows, C = columns.

Every column is brought to its normal scores (``data.margins``), on which being far out means the same in all of them, and
a few VAEs that differ in seed and in the rows they trained on learn how columns hang together. Their decoders' scale is
fixed at ``RESOLUTION``: a density at the precision of the measurements is decided by the last digits of the most precise
columns, while oddness is a matter of standard deviations. The oddness of a row is the
mean over the members of -log p(x) in nats (their importance-weighted bounds; the mean of bounds is a bound on the
members' mixture too), less what is usual.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from latelier.batch import Batch
from latelier.build import fit_to_data
from latelier.data.margins import Margins
from latelier.data.schema import Field
from latelier.data.transforms import Standardise
from latelier.errors import BadInput
from latelier.kinds import KINDS
from latelier.kinds.cells.columns import Column
from latelier.kinds.cells.plain import Plain
from latelier.kinds.cells.schema import TableSchema
from latelier.machine import settled, threads
from latelier.model import Model, Values, as_source, find_kind, named, named_source
from latelier.spec import Spec
from latelier.store import write_atomically
from latelier.tasks.score import score, score_entries
from latelier.train import Data, Watch, train

Floats = npt.NDArray[np.float64]

# Tuned on the first split of eight ADBench tables: see benchmarks/anomaly.py for what was looked at, and docs for more.
RESOLUTION = (
    1.0  # standard deviations of the decoder's noise, in normal scores; 0.3 finds finer breaks of what hangs together
)
MEMBERS = 4
STEPS = 1500  # of training, per member
DRAWS = 8  # of z per row and member
CALIBRATION, LEAST, MOST = 0.1, 200, 5_000  # share of rows that train nothing, so that p-values are right; how many
STOPPING = 0.1  # share of the other rows that a member holds out to choose its best epoch by
FORMAT = 1
PAGE = "detector.json"


class Detector:
    """Says how odd rows of a table are, and why.

    >>> from sklearn.datasets import load_wine
    >>> wine = load_wine(as_frame=True).data
    >>> detector = Detector.fit(wine, members=1, settings={"train.epochs": 2})
    >>> odd = wine.head(2).assign(alcohol=[13.0, 40.0])
    >>> detector.oddness(odd).argmax(), detector.attribution(odd).iloc[1].idxmax()
    (np.int64(1), 'alcohol')
    """

    def __init__(self, plain: Plain, margins: Margins, members: list[Model], calibration: Calibration):
        self.plain, self.margins, self.members, self.calibration = plain, margins, members, calibration

    @classmethod
    def fit(
        cls,
        source: Values,
        *,
        contamination: float = 0.0,
        out: str | Path | None = None,
        seed: int = 0,
        members: int = MEMBERS,
        overwrite: bool = False,
        watch: Watch = lambda event: None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Detector:
        """Of a table of mostly normal rows: a path, an array or a frame.

        ``contamination`` is the share of odd rows expected among them: so many, by a first fit, are left out of a second
        one and of what p-values are measured against. ``settings`` and ``options`` are those of ``latelier.fit``;
        ``data.holdout`` is the share of rows that train nothing. With ``out`` the detector is saved there. Raises BadInput,
        one line, for whatever cannot be used.
        """
        if not 0 <= contamination < 0.5:
            raise BadInput(f"contamination = {contamination}: give a share from 0 to below 0.5")
        if members < 1:
            raise BadInput(f"members = {members}: give 1 or more")
        asked = named(settings, options)
        data = Spec.of(asked).data
        if data.given:
            raise BadInput(f"given {', '.join(data.given)}: a detector takes no conditions; leave it out")
        if out is not None and not overwrite and Path(out).exists() and not _empty(Path(out)):
            raise BadInput(f"{out}: is already there; name another folder, or replace it with --overwrite")
        given = as_source(source)
        kind = find_kind(given, data.kind)
        if kind is not KINDS["tables"]:
            raise BadInput(f"{named_source(given)}: detectors are for tables; for {kind.name} use fit, then score")
        schema = kind.scan(given, data)
        watch({"event": "scanned", "evidence": list(schema.evidence), "schema": schema})
        plain = Plain.of(schema)
        values = np.concatenate(list(plain.read(given)))
        common = plain.with_common_levels(values)
        if common is not plain:
            plain, values = common, np.concatenate(list(common.read(given)))
        holdout = float(asked["data.holdout"]) if "data.holdout" in asked else None
        if contamination:
            first = cls._of(plain, values, 1, seed, holdout, asked, watch)
            odd = first._oddness_of(values)
            values = values[odd <= np.quantile(odd, 1 - contamination)]
        detector = cls._of(plain, values, members, seed, holdout, asked, watch)
        if out is not None:
            detector.save(out)
        return detector

    @classmethod
    def _of(
        cls,
        plain: Plain,
        values: Floats,
        members: int,
        seed: int,
        holdout: float | None,
        asked: Mapping[str, Any],
        watch: Watch,
    ) -> Detector:
        rows = len(values)
        if rows < 10:
            raise BadInput(f"{rows} rows: a detector needs at least 10 normal ones")
        order = np.random.default_rng(seed).permutation(rows)
        kept = max(
            3,
            min(MOST, round(holdout * rows) if holdout else max(round(CALIBRATION * rows), min(LEAST, rows * 3 // 10))),
        )
        calibrating, training = order[:kept], np.sort(order[kept:])
        margins = Margins.of(values[training])
        batch = _batch(margins.scores(values[training]))
        models = [_member(plain, batch, seed * 1000 + number, asked, watch) for number in range(members)]
        return cls(plain, margins, models, Calibration.none(len(plain.columns)))._calibrated(values[calibrating])

    def _calibrated(self, values: Floats) -> Detector:
        """What is usual, and how odd rows are that trained nothing. ``usual`` comes first, as oddness is told from there."""
        costs, latent, seen = self._costs(values)
        usual = np.array([c[s].mean() if s.any() else 0.0 for c, s in zip(costs.T, seen.T, strict=True)])
        odd = (costs - usual * seen).sum(1) + latent - latent.mean()
        self.calibration = Calibration(np.sort(odd), usual, float(latent.mean()))
        return self

    @classmethod
    def load(cls, folder: str | Path) -> Detector:
        """The detector of a folder. Nothing in it is executed. BadInput where it is missing, newer, broken or changed."""
        folder = Path(folder)
        page = read_page(folder)
        path = folder / page["arrays"]["file"]
        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != page["arrays"]["sha256"]:
                raise BadInput(f"{path}: not what was saved (digest differs); copy the detector's folder again")
            arrays = load_arrays(data)
            plain = Plain.model_validate(page["plain"])
            margins = Margins.from_arrays(arrays)
            calibration = Calibration(arrays["calibration"], arrays["usual"], float(arrays["usual_latent"][0]))
        except (OSError, KeyError, SafetensorError, ValidationError) as error:
            raise BadInput(
                f"{folder}: the detector is not whole ({type(error).__name__}: {str(error).splitlines()[0][:100]}); "
                "copy its folder again"
            ) from None
        return cls(plain, margins, [Model.load(folder / name) for name in page["members"]], calibration)

    def save(self, folder: str | Path) -> Path:
        """Writes the folder beside its place and moves it there: JSON and safetensors, the members as model folders. A
        detector that is there already is replaced."""
        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists() and not _empty(folder) and not (folder / PAGE).is_file():
            raise BadInput(f"{folder}: holds something that is not a detector; name another folder")
        place = Path(tempfile.mkdtemp(prefix=f".new-{folder.name}-", dir=folder.parent))
        try:
            names = [f"member-{number}" for number in range(len(self.members))]
            for name, member in zip(names, self.members, strict=True):
                member.save(place / name)
            known = {
                **self.margins.arrays(),
                "calibration": self.calibration.oddness,
                "usual": self.calibration.usual,
                "usual_latent": np.array([self.calibration.usual_latent]),
            }
            data = save_arrays(known)
            write_atomically(place / "arrays.safetensors", data)
            page = {
                "format": FORMAT,
                "latelier": version("latelier"),
                "plain": self.plain.model_dump(mode="json"),
                "members": names,
                "arrays": {"file": "arrays.safetensors", "sha256": hashlib.sha256(data).hexdigest()},
            }
            write_atomically(place / PAGE, json.dumps(page, indent=1, allow_nan=False).encode())
            os.chmod(place, 0o755)
            if folder.exists():
                old = place.with_name(place.name.replace(".new-", ".old-", 1))
                folder.rename(old)
                place.rename(folder)
                shutil.rmtree(old)
            else:
                place.rename(folder)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        return folder

    def __repr__(self) -> str:
        return (
            f"Detector({len(self.plain.columns)} columns, {len(self.members)} members, "
            f"{len(self.calibration.oddness)} rows for calibration)"
        )

    def oddness(self, x: Values) -> Floats:
        """(N,) nats by which a row is less likely than a usual one; larger is odder. Repeatable: a row's own content decides."""
        return np.concatenate(list(self.stream(x)))

    def stream(self, x: Values, rows: int = 4096) -> Iterator[Floats]:
        """The same, at most so many rows at a time and in constant memory."""
        for values in self.plain.read(as_source(x), rows):
            yield self._oddness_of(values)

    def nats(self, x: Values) -> Floats:
        """(N,) the mean over the members of the importance-weighted bound on log p, in nats of the normal scores; larger is
        more usual. Missing cells cost nothing here; in ``oddness`` they count as usual ones."""
        return np.concatenate([self._nats_of(values) for values in self.plain.read(as_source(x))])

    def p_values(self, x: Values) -> Floats:
        """(N,) conformal p-values: the share of normal rows that are at least as odd, by rows that trained nothing. Of fresh
        normal rows a share p has a p-value of p or less."""
        return self.p_values_of(self.oddness(x))

    def p_values_of(self, oddness: Floats) -> Floats:
        """(N,) the same for oddness that is at hand."""
        known = self.calibration.oddness
        return (1 + len(known) - np.searchsorted(known, oddness, "left")) / (1 + len(known))

    def threshold(self, false_alarms: float = 0.01) -> float:
        """The oddness above which at most a share ``false_alarms`` of fresh normal rows lies. BadInput where the rows kept for
        calibration are too few to say."""
        known = self.calibration.oddness
        if not 0 < false_alarms < 1:
            raise BadInput(f"false_alarms = {false_alarms}: give a share between 0 and 1, such as 0.01")
        place = math.ceil((len(known) + 1) * (1 - false_alarms) - 1e-9)
        if place > len(known):
            raise BadInput(
                f"false_alarms = {false_alarms}: {len(known)} rows were kept to calibrate by, not "
                f"{math.ceil(1 / false_alarms - 1)} as are needed; give more rows, a larger holdout, or a rate of at least "
                f"{1 / (len(known) + 1):.3g}"
            )
        return float(known[max(place, 1) - 1])

    def attribution(self, x: Values) -> pd.DataFrame:
        """(N, C + 1) nats: what each column, and ``latent``, the unusual combination, adds to the row's ``oddness``, to
        which they sum; 0 is usual. A column called latent is shown as "latent (column)"."""
        return pd.concat(list(self.attribution_stream(x)), ignore_index=True)

    def attribution_stream(self, x: Values, rows: int = 4096) -> Iterator[pd.DataFrame]:
        """The same, at most so many rows at a time."""
        names = ["latent (column)" if c.name == "latent" else c.name for c in self.plain.columns]
        for values in self.plain.read(as_source(x), rows):
            costs, latent, seen = self._costs(values)
            shares = costs - self.calibration.usual * seen
            yield pd.DataFrame(
                {**dict(zip(names, shares.T, strict=True)), "latent": latent - self.calibration.usual_latent}
            )

    def _oddness_of(self, values: Floats) -> Floats:
        seen = _by_column(~np.isnan(values), self.plain) > 0
        usual = (self.calibration.usual * seen).sum(1) + self.calibration.usual_latent
        return -self._nats_of(values) - usual

    def _nats_of(self, values: Floats) -> Floats:
        batch = _batch(self.margins.scores(values))
        parts = [torch.cat(list(score(m.vae, [_ready(m, batch)], DRAWS))).double().cpu().numpy() for m in self.members]
        return np.asarray(np.mean(parts, 0))

    def _costs(self, values: Floats) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
        """(N, C) nats that each column costs, (N,) that the latents do, (N, C) which columns are seen."""
        batch = _batch(self.margins.scores(values))
        costs, latent = np.zeros((len(values), len(self.plain.columns))), np.zeros(len(values))
        for member in self.members:
            scored = list(score_entries(member.vae, [_ready(member, batch)], DRAWS))
            entries = torch.cat([s.entries["real"] for s in scored]).double().cpu().numpy()
            total = torch.cat([s.total for s in scored]).double().cpu().numpy()
            costs -= _by_column(entries, self.plain) / len(self.members)
            latent -= (total - entries.sum(1)) / len(self.members)
        return costs, latent, _by_column(~np.isnan(values), self.plain) > 0


@dataclass(frozen=True)
class Calibration:
    """What rows that trained nothing are like: their ``oddness``, rising, and what columns (C,) and latents cost on average."""

    oddness: Floats
    usual: Floats
    usual_latent: float

    @classmethod
    def none(cls, columns: int) -> Calibration:
        return cls(np.empty(0), np.zeros(columns), 0.0)


def read_page(folder: Path) -> dict[str, Any]:
    """``detector.json``. BadInput where it is not there, or of a newer latelier."""
    path = folder / PAGE
    if not path.is_file():
        raise BadInput(f"{folder}: not a detector ({PAGE} is not there); name the folder that detect wrote")
    try:
        page = dict(json.loads(path.read_text("utf-8")))
        number, _ = int(page["format"]), [page[key] for key in ("plain", "members", "arrays")]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{path}: not a readable page ({type(error).__name__}: {error}); copy the folder again"
        ) from None
    if number > FORMAT:
        raise BadInput(
            f"{path}: written by a newer latelier ({page.get('latelier')}); upgrade with pip install -U latelier"
        )
    return page


def _empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _member(plain: Plain, rows: Batch, seed: int, asked: Mapping[str, Any], watch: Watch) -> Model:
    """One VAE of normal scores. It holds out rows of its own, to choose its best epoch by."""
    schema = _member_schema(plain.names, "real" in rows.seen, len(rows))
    most = max(1, round(len(rows) * (1 - STOPPING)))
    defaults = {
        "network.hidden": (128, 128),
        "latent.dims": max(2, min(16, len(plain.names) // 2)),
        "train.batch": 128,
        "train.rate": 2e-3,
        "train.ema": 0.995,
        "train.epochs": max(1, math.ceil(STEPS * 128 / most)),
        "train.checkpoint": 0.0,
        "train.precision": "float32",  # so small a network is not faster otherwise, and rows score the same anywhere
        "train.threads": 1,
    }
    settings = {k: v for k, v in asked.items() if not k.startswith("data")}
    spec, schema = fit_to_data(
        {**defaults, **settings, "train.seed": seed, "data.kind": "tables"}, KINDS["tables"], schema, len(rows)
    )
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    held = rows.take(order[most:][:2000]) if most < len(rows) else rows
    with tempfile.TemporaryDirectory() as folder, threads(1):
        train(settled(spec), schema, Data(rows, order[:most].sort().values, held), Path(folder), watch)
        model = Model.load(folder)
    model.folder = None
    return model


def _member_schema(names: tuple[str, ...], holes: bool, rows: int) -> TableSchema:
    one = (1.0,) * len(names)
    none = (0.0,) * len(names)
    field = Field(
        name="real",
        shape=(len(names),),
        support="real",
        likelihood="gaussian",
        options={"scale": RESOLUTION},
        columns=names,
        transform=Standardise(loc=none, scale=one, bend=none),
        holes=holes,
    )
    columns = tuple(Column(name=name, family="real", dtype="double") for name in names)
    return TableSchema(fields=(field,), rows=rows, columns=columns, evidence=("normal scores of a table",))


def _batch(scores: npt.NDArray[np.float32]) -> Batch:
    seen = ~np.isnan(scores)
    field = {"real": torch.from_numpy(np.where(seen, scores, np.float32(0)))}
    return Batch(field, {} if seen.all() else {"real": torch.from_numpy(seen)})


def _ready(member: Model, batch: Batch) -> Batch:
    return member.vae.own(batch)


def _by_column(values: npt.NDArray[Any], plain: Plain) -> Floats:
    """(N, D) -> (N, C): summed over the numbers of a column."""
    owners = plain.owners
    summed = np.add.reduceat(values.astype(np.float64), np.flatnonzero(np.diff(owners, prepend=-1)), axis=1)
    return np.asarray(summed)
