"""One trained model and its verbs, for arrays, frames and paths alike. N = rows of what is given.

The verbs read with the model's kind, call a task on batches, and give back the data's own form.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from glob import iglob
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from latelier.batch import Batch, join
from latelier.build import build, choose, fit_to_data
from latelier.calibration import keep_scores, kept_scores, measured
from latelier.data.rows import evenly, hold, split
from latelier.data.schema import Field, Schema
from latelier.data.transforms import Transform
from latelier.disentanglement import Disentanglement, disentangled
from latelier.doctor import Diagnosis, Evidence
from latelier.doctor.examine import examine
from latelier.errors import BadInput, unknown
from latelier.fidelity import Fidelity, compare
from latelier.fidelity.extractor import Extractor, read_extractor, trained
from latelier.fidelity.likeness import Likeness, like_frames, like_pictures
from latelier.kinds import KINDS
from latelier.kinds.base import Kind, Opened, Source, Words, is_pattern
from latelier.kinds.factors import factors_of
from latelier.latents.codes import Codes
from latelier.machine import choose_device, settled, threads
from latelier.noise import Keyed
from latelier.objectives.sharpened import Features
from latelier.refit import Refit, refit
from latelier.spec import SHORT, DataSpec, Spec
from latelier.store import (
    CHECKPOINT,
    MODEL,
    Stored,
    described,
    load_checkpoint,
    load_model,
    load_unfinished,
    read_page,
    save_model,
    write_atomically,
)
from latelier.tasks.aggregate import FITTED, aggregate
from latelier.tasks.alarm import Usual
from latelier.tasks.annealed import Ais, Start, beside_the_bound
from latelier.tasks.codebook import codes
from latelier.tasks.decode import decode
from latelier.tasks.dissect import Dissection, dissect
from latelier.tasks.evaluate import Figures, held_out
from latelier.tasks.impute import impute, impute_with_spread
from latelier.tasks.obeyed import Obeyed, Recognised, obeyed, recognised
from latelier.tasks.predict import Classified, classified, predict, predict_by_bound
from latelier.tasks.reconstruct import augment, denoise, encode, reconstruct, redraw
from latelier.tasks.sample import sample, sample_given
from latelier.tasks.score import score, score_entries
from latelier.tasks.walk import grid, interpolate, traverse
from latelier.train import HELD_OUT_ROWS, Data, Watch, train
from latelier.trial import suited
from latelier.vae import VAE

FROZEN = (
    "size",
    "purpose",
    "cure",
    "network",
    "latent",
    "likelihood",
    "head",
    "data",
    "objective",
)  # what a resumed run may not change,
FROZEN_IN_TRAINING = ("seed", "holes")  # as the seed decides which rows are held out, and holes what the encoder reads
FEATURES_FILE = "features.safetensors"  # in a model's folder: the network by whose features its pictures are compared
BESIDE = ("score", "latent", "row", "file", "p", "odd")  # what stands beside the entries of scored rows

Values = str | Path | np.ndarray[Any, Any] | pd.DataFrame | Opened


@dataclass(frozen=True)
class Imputation:
    """``rows`` as they are with every hole filled, and the ``spread`` of what was filled in, NaN where a cell was seen: the
    standard deviation of numbers in their own units, the probability of the value that was chosen among names."""

    rows: Any
    spread: Any


class Model:
    """A decoder with its encoder and latents, trained on one kind of data.

    >>> from sklearn.datasets import load_wine
    >>> wine = load_wine(as_frame=True).data
    >>> model = fit(wine, out=folder / "wine", epochs=2)
    >>> model.sample(3).shape, model.score(wine).shape, model.encode(wine).shape[0]
    ((3, 13), (178,), 178)
    """

    def __init__(self, vae: VAE, stored: Stored, folder: Path | None = None):
        self.vae, self.spec, self.schema, self.figures = vae, stored.spec, stored.schema, dict(stored.figures)
        self.folder = folder
        self.kind: Kind[Any] = KINDS[stored.schema.kind]

    @classmethod
    def load(cls, folder: str | Path, device: str | None = None) -> Model:
        """The model of a folder, on ``device`` (that of its training where none is named; ``auto`` is the GPU if there is one).

        Nothing in the folder is executed. BadInput where it is missing, newer, broken or changed.
        """
        vae, stored = load_model(Path(folder))
        return cls(vae.to(choose_device(device or stored.spec.train.device)), stored, Path(folder))

    @classmethod
    def of_run(cls, folder: str | Path, device: str | None = None) -> Model:
        """The same, or where the run has left no model the weights of its last checkpoint: for looking at what went wrong."""
        folder = Path(folder)
        if (folder / MODEL).is_file() or not (folder / CHECKPOINT).is_file():
            return cls.load(folder, device)
        vae, stored = load_unfinished(folder)
        return cls(vae.to(choose_device(device or stored.spec.train.device)), stored, folder)

    def save(self, folder: str | Path) -> Path:
        """Writes ``model.json`` and the weights, atomically."""
        save_model(Path(folder), self.vae, Stored(self.spec, self.schema, self.figures))
        return Path(folder)

    @property
    def digest(self) -> str:
        """By which its weights are known."""
        assert self.folder is not None
        return str(read_page(self.folder)["weights"]["sha256"])

    def __repr__(self) -> str:
        fields = ", ".join(f"{f.name} {'x'.join(map(str, f.shape))}: {f.likelihood}" for f in self.schema.modelled)
        bound = f", held-out ELBO {self.figures['elbo']:.2f} nats/row" if "elbo" in self.figures else ""
        return f"Model({self.schema.kind}: {fields}; latent {self.spec.latent.name}{bound})"

    def sample(
        self,
        rows: int = 16,
        given: Mapping[str, object] | None = None,
        temperature: float = 1.0,
        mean: bool | None = None,
        seed: int = 0,
        balance: str | None = None,
        draws: int = 64,
        level: int | None = None,
        guidance: float = 1.0,
    ) -> Any:
        """``rows`` new rows. ``given`` names what they hold, such as {"label": 7}, {"sex": ["F", "M"]} in turn, or, of tables
        only, {"age": "30..40", "hours": ">=40"}; ``balance`` a column whose classes come equally often.

        ``mean`` takes p(x | z)'s centre, not a draw. Columns that the model was not fitted to be given are held by drawing
        ``draws`` candidates for a row, of which one is taken by its weight. Of a ladder or hierarchy the first ``level``
        variables are drawn and the finer ones stay at their priors' means: coarse structure without its textures.
        ``guidance`` above 1 makes more of the conditions than the model says (and less of everything else): rows that obey them
        more and vary less.
        """
        with seeded(seed):
            return self.present(self.sampled(rows, given, temperature, mean, balance, draws, level, guidance))

    def sampled(
        self,
        rows: int,
        given: Mapping[str, object] | None = None,
        temperature: float = 1.0,
        mean: bool | None = None,
        balance: str | None = None,
        draws: int = 64,
        level: int | None = None,
        guidance: float = 1.0,
    ) -> Iterator[Batch]:
        """The same as a stream of stored batches."""
        _check(1, rows=rows, draws=draws)
        heat = temperature if level is None else self.rungs_below(level, temperature)
        self._check_guidance(guidance)
        words = spelled(given)
        if balance is not None:
            if balance in words:
                raise BadInput(f"--balance {balance}: is given too; leave out one of the two")
            words[balance] = self.kind.classes(balance, self.schema)
        known = {name for f in self.schema.told for name in f.columns or (f.name,)}
        held = {name: value for name, value in words.items() if name not in known}
        if held:
            if temperature != 1.0 or mean or level is not None or guidance != 1.0:
                raise BadInput(
                    f"given {next(iter(held))}: the rest is drawn as it is likely; leave out temperature, mean, level, guidance"
                )
            self._check_columns(held)
            yield from self._holding(rows, held, {k: v for k, v in words.items() if k in known}, draws)
            return
        mean = self.kind.centre if mean is None else mean
        for conditions in self.conditions(rows, words):
            for drawn in sample(self.vae, [conditions], heat, mean, guidance=guidance):
                yield self.stored(drawn, conditions)

    def _holding(self, rows: int, held: Mapping[str, Words], given: Mapping[str, Words], draws: int) -> Iterator[Batch]:
        """Rows that hold modelled columns, at the values or in the ranges asked for."""
        start = 0
        for conditions in self.conditions(rows, given):
            wanted = self.kind.held(held, self.schema, len(conditions), start)
            start += len(conditions)
            read = self.schema.to_model(wanted.batch).to(self.vae.device)
            both = Batch({**conditions.only(self._given).fields, **read.fields}, {**conditions.seen, **read.seen})
            drawn = join(list(sample_given(self.vae, [both], self.stored, wanted.accept, draws)))
            beside = self.schema.to_data(conditions.only(self._given).to("cpu"))
            whole = kept(wanted.batch, drawn)  # to the last bit, as what is held need not pass the model
            yield Batch(
                {**beside.fields, **whole.fields}, {k: v for k, v in beside.seen.items() if k not in whole.fields}
            )

    @property
    def _given(self) -> list[str]:
        return [field.name for field in self.schema.told]

    def _check_guidance(self, guidance: float) -> None:
        if guidance < 0:
            raise BadInput(
                f"guidance {guidance:g}: 0 is no condition, 1 the model's own, 2 twice as far; give 0 or more"
            )
        if guidance != 1.0 and not self.schema.conditions:
            raise BadInput(f"guidance {guidance:g}: this model has no condition to make more of; fit it with --given")
        if guidance != 1.0 and not self.spec.network.drop_condition:
            raise BadInput(
                f"guidance {guidance:g}: starts from rows without any condition, which this model never saw; fit it with "
                "network.drop_condition above 0"
            )

    def _check_columns(self, names: Iterable[str]) -> None:
        """BadInput where the kind has columns and one of these is none of them."""
        columns = getattr(self.schema, "by_name", None)
        for name in names:
            if columns is not None and name not in columns:
                raise unknown("column", name, columns)

    def reconstruct(
        self,
        x: Values,
        draws: int = 0,
        mean: bool | None = None,
        temperature: float = 1.0,
        seed: int = 0,
        redrawn: Sequence[str] = (),
    ) -> Any:
        """Each row through z and back; with ``draws``, (draws * N) rows, draw-major, from as many values of z.

        Latent variables named in ``redrawn`` are not read from the row but made anew from their priors given the others:
        ``model.finer(2)`` names those below the second rung, for coarse structure alone, and with ``draws`` other textures.
        """
        mean = True if mean is None else mean
        with seeded(seed):
            back = self.way_back(draws, mean, temperature, redrawn)
            return self.present(self.along(self.read(x), back, draws), draws)

    def way_back(
        self, draws: int, mean: bool, temperature: float = 1.0, redrawn: Sequence[str] = ()
    ) -> Callable[[Batch], Iterator[Batch]]:
        """What ``reconstruct`` does to a batch. BadInput where there is no such variable."""
        for name in redrawn:
            if name not in self.vae.latents.names:
                raise unknown("latent variable", name, self.vae.latents.names)
        if redrawn:
            return lambda b: redraw(self.vae, [b], redrawn, draws, mean, temperature)
        return lambda b: reconstruct(self.vae, [b], draws, mean, temperature)

    def finer(self, level: int) -> list[str]:
        """The names of the latent variables after the first ``level``. BadInput where there are not so many."""
        names = self.vae.latents.names
        if not 1 <= level <= len(names):
            raise BadInput(
                f"level {level}: this model has {len(names)} latent variables, {', '.join(names)}; give 1 or more"
            )
        return names[level:]

    def rungs_below(self, level: int, temperature: float) -> dict[str, float]:
        """The temperature of every variable where those after the first ``level`` stay at their priors' means."""
        return dict.fromkeys(self.vae.latents.names, temperature) | dict.fromkeys(self.finer(level), 0.0)

    def encode(self, x: Values) -> np.ndarray[Any, Any]:
        """(N, dimensions) posterior means of all latent variables, side by side."""
        parts = encode(self.vae, self.read(x))
        return np.concatenate([torch.cat([v.flatten(1) for v in p.values()], 1).cpu().numpy() for p in parts])

    def codes(self, x: Values) -> np.ndarray[Any, Any]:
        """(N, positions, books) whole numbers: the codes of each row, where the latent has codes."""
        self._coded()
        return np.concatenate([next(iter(p.values())).cpu().numpy() for p in codes(self.vae, self.read(x))])

    def decode_codes(self, codes: np.ndarray[Any, Any]) -> Any:
        """(N, positions, books) codes, as ``codes`` gives them -> the centre of p(x | z) of each, as rows."""
        q = self._coded().quantiser
        given = np.asarray(codes)
        if given.shape[1:] != (q.positions, q.books) or given.dtype.kind not in "iu":
            raise BadInput(
                f"codes are {given.dtype} of shape {given.shape}; this model decodes whole numbers, "
                f"(rows, {q.positions}, {q.books})"
            )
        if given.size and not 0 <= given.min() <= given.max() < q.size:
            raise BadInput(f"codes from {given.min()} to {given.max()}; this model has 0 to {q.size - 1}")
        whole = torch.from_numpy(given.astype(np.int64)).to(self.vae.device)
        return self.decode(q.value(whole).flatten(1).cpu().numpy())

    def _coded(self) -> Codes:
        block = self.vae.latents.blocks[0]
        if not isinstance(block, Codes):
            raise BadInput(f"latent {self.spec.latent.name} has no codes; fit with latent.name=codes or fsq")
        return block

    def decode(self, z: np.ndarray[Any, Any]) -> Any:
        """(N, dimensions) values of z, side by side as ``encode`` gives them -> the centre of p(x | z) of each, as rows."""
        values = torch.from_numpy(np.array(z, np.float64)).to(self.vae.device, self.vae.dtype)
        dimensions = sum(math.prod(block.shape) for block in self.vae.latents.blocks)
        if values.ndim != 2 or values.shape[1] != dimensions:
            raise BadInput(f"z has shape {tuple(values.shape)}; this model decodes (rows, {dimensions})")
        return self.present(self.stored(part) for part in decode(self.vae, [values]))

    def interpolate(self, x: Values, steps: int = 8, spherical: bool = False) -> Any:
        """((N - 1) * steps) rows on the way from each row to the next."""
        _check(2, steps=steps)
        ends = hold(self.read(x))
        if len(ends) < 2:
            raise BadInput(f"{named_source(as_source(x))}: a walk needs at least two rows, and there is one")
        return self.present([self.stored(interpolate(self.vae, ends, steps, spherical))])

    def traverse(
        self,
        x: Values | None = None,
        rows: int = 8,
        steps: int = 9,
        dims: Sequence[int] | None = None,
        given: Mapping[str, object] | None = None,
    ) -> Any:
        """(dimensions * steps) rows: one latent dimension after the other, the rest as in the first row of ``x``, or as in
        the prior's centre under the condition ``given``."""
        if x is not None and given:
            raise BadInput("given: rows have their own conditions; leave out one of the two")
        centre = None if x is None else next(self.read(x)).take(torch.tensor([0]))
        _check(1, rows=rows, steps=steps)
        chosen = self.known(dims) if dims else self.liveliest()
        walk = traverse(self.vae, centre, rows, steps, dims=chosen, conditions=next(self.conditions(1, given)))
        return self.present([self.stored(walk)])

    def grid(
        self, side: int = 12, dims: tuple[int, int] | None = None, given: Mapping[str, object] | None = None
    ) -> Any:
        """(side * side) rows: two latent dimensions at equal quantiles of the prior, row-major from the top left."""
        _check(1, side=side)
        pair = self.known(dims) if dims else [*self.liveliest(), 0, 0][:2]
        square = grid(self.vae, side, (int(pair[0]), int(pair[1])), conditions=next(self.conditions(1, given)))
        return self.present([self.stored(square)])

    def score(self, x: Values, draws: int = 16, entries: bool = False) -> Any:
        """(N,) importance-weighted bound on log p(x | c), nats of the data's own units; larger is more usual. Repeatable.

        With ``entries``: a frame with ``score``, the ``latent`` share and one column per entry, which sum to the score.
        """
        _check(1, draws=draws)
        if entries:
            return pd.concat(list(self.entry_scores(x, draws)), ignore_index=True)
        return np.concatenate([s.cpu().numpy() for s in score(self.vae, self.read(x), draws)])

    def entry_scores(self, x: Values, draws: int = 16) -> Iterator[pd.DataFrame]:
        """A stream of frames: score, latent, then every column (or pixel) by name; a column of a name that is taken is
        called "NAME (column)"."""
        for scored in score_entries(self.vae, self.read(x), draws):
            columns = {"score": scored.total.cpu().numpy(), "latent": scored.latent.cpu().numpy()}
            for field in self.schema.modelled:
                values = scored.entries[field.name]
                flat = values.flatten(1).cpu().numpy()
                names = field.columns or [
                    f"{field.name}[{','.join(map(str, place))}]" for place in np.ndindex(*values.shape[1:])
                ]
                columns |= {f"{n} (column)" if n in BESIDE else n: v for n, v in zip(names, flat.T, strict=True)}
            yield pd.DataFrame(columns)

    def p_values(self, x: Values, normal: Values | None = None, draws: int = 16) -> np.ndarray[Any, Any]:
        """(N,) conformal p-values: the share of normal rows that are at least as odd, measured as ``usual`` says. Of fresh normal
        rows a share p has a p-value of p or less."""
        found = self.usual(normal, draws)
        return found.p_values(self.score(x, draws))

    def usual(self, normal: Values | None = None, draws: int = 16) -> Usual:
        """Scores of normal rows: those that training held out, kept in the model's folder, or other ones. Its ``threshold(rate)``
        is the score below which at most so large a share of normal rows lies."""
        _check(1, draws=draws)
        if normal is not None:
            return measured(self.vae, self.schema, self.read(normal), draws)
        found = None if self.folder is None else kept_scores(self.folder, draws)
        return found or keep_scores(self, self._held_out(), draws)

    def _held_out(self) -> Batch:
        """The rows that training held out, read again, settled. BadInput where they are not there any more."""
        remedy = "name normal rows with --normal FILE (normal=), or a limit with --threshold NATS"
        if self.folder is None or not (self.folder / CHECKPOINT).is_file():
            raise BadInput(f"{self.folder or 'this model'}: keeps no scores of normal rows; {remedy}")
        where = load_checkpoint(self.folder)[1]["source"]
        if where.get("path") is None or not Path(where.get("test") or where["path"]).exists():
            raise BadInput(
                f"{where.get('path') or self.folder}: the rows of its training are not there any more; {remedy}"
            )
        data = gather(self.spec, self.schema, where["path"], where.get("test"))
        if data.source["held"] != where["held"]:
            raise BadInput(f"{where['path']}: these are not the rows of its training any more; {remedy}")
        return data.held

    def impute(
        self, x: Values, mask: Values | None = None, draws: int | None = None, copies: int = 0, seed: int = 0
    ) -> Any:
        """The rows with missing entries filled: by the weighted mean or mode, or ``copies`` draws per row (draw-major).

        Tables have their holes in them; for pictures ``mask`` says which pixels are missing. ``draws`` of z are weighed per
        row, 256 for tables and 64 for pictures if not given.
        """
        with seeded(seed):
            return self.present(self.completed(x, mask, draws, copies, seed), copies)

    def impute_with_spread(
        self, x: Values, mask: Values | None = None, draws: int | None = None, seed: int = 0
    ) -> Imputation:
        """The same, and how sure each filled entry is."""
        with seeded(seed):
            parts = list(self.completed_with_spread(x, mask, draws, seed))
        rows = self.present([rows for rows, _ in parts])
        if self.schema.modelled[0].columns:
            return Imputation(rows, pd.concat([self.spread_frame(spread) for _, spread in parts], ignore_index=True))
        name = self.schema.modelled[0].name
        return Imputation(rows, torch.cat([spread[name] for _, spread in parts]).movedim(1, -1).squeeze(-1).numpy())

    def completed(
        self, x: Values, mask: Values | None = None, draws: int | None = None, copies: int = 0, seed: int = 0
    ) -> Iterator[Batch]:
        """The same as a stream of stored batches. What was seen comes back to the last bit, as it never passes the model."""
        draws = self.kind.filling_draws if draws is None else draws
        _check(1, draws=draws)
        for holed in self.with_holes(x, mask, max(copies, 1)):
            filled = join(list(self.imputed([self.ready(holed)], draws, copies, seed)))
            yield kept(holed.repeat(max(copies, 1)), filled)

    def completed_with_spread(
        self, x: Values, mask: Values | None = None, draws: int | None = None, seed: int = 0
    ) -> Iterator[tuple[Batch, dict[str, Tensor]]]:
        """Stored batches without holes, and of every field the spread (n, *entries) of what was filled in, NaN elsewhere."""
        draws = self.kind.filling_draws if draws is None else draws
        _check(1, draws=draws)
        for holed in self.with_holes(x, mask):
            for found in impute_with_spread(
                self.vae, [self.ready(holed)], draws, self.rounds, seed=seed, units=self.units
            ):
                filled = self.stored(found.rows)
                spread = {k: v.cpu() for k, v in {**found.deviation, **found.probability}.items()}
                for field in self.schema.modelled:
                    values = spread.setdefault(
                        field.name, torch.full_like(filled.fields[field.name], torch.nan, dtype=torch.float64)
                    )
                    if coded(field) and field.support == "binary":  # what is filled in is the nearer of the two values
                        likely = filled.fields[field.name].double()
                        spread[field.name] = torch.where(values.isnan(), values, torch.maximum(likely, 1 - likely))
                yield kept(holed, filled), spread

    def with_holes(self, x: Values, mask: Values | None, copies: int = 1) -> Iterator[Batch]:
        """Stored rows as they are, with the pixels under the ``mask`` unseen."""
        missing = None if mask is None else self.kind.read_mask(mask, self.schema)
        for batch in self.kind.read(as_source(x), self.schema):
            for part in batch.slices(max(1, self.vae.rows // copies)):
                yield part if missing is None else hidden(part, self.schema.modelled[0].name, missing)

    def spread_frame(self, spread: Mapping[str, Tensor]) -> pd.DataFrame:
        """A column for every one that is modelled, in the data's order."""
        columns = {n: spread[f.name][:, i].numpy() for f in self.schema.modelled for i, n in enumerate(f.columns)}
        return pd.DataFrame({name: columns[name] for name in self.kind.ordered(columns, self.schema)})

    def imputed(self, batches: Iterable[Batch], draws: int = 64, copies: int = 0, seed: int = 0) -> Iterator[Batch]:
        """Batches of the model's values -> stored ones without holes."""
        for filled in impute(self.vae, batches, draws, copies, self.rounds, seed=seed, units=self.units):
            yield self.stored(filled)

    @property
    def rounds(self) -> int:
        """Of pseudo-Gibbs in imputation: none for a model whose encoder knows holes."""
        return 0 if self.spec.train.holes or all(f.holes for f in self.schema.modelled) else 4

    @property
    def units(self) -> dict[str, Transform]:
        """How each field goes to the data's own units."""
        return {f.name: f.transform for f in self.schema.modelled}

    def denoise(self, x: Values, draws: int = 16, seed: int = 0) -> Any:
        """What the model makes of noisy rows: E[x | z] averaged over z ~ q(z | x)."""
        _check(1, draws=draws)
        with seeded(seed):
            return self.present(self.along(self.read(x), lambda b: denoise(self.vae, [b], draws), draws))

    def augment(self, x: Values, copies: int = 1, temperature: float = 1.0, seed: int = 0) -> Any:
        """(copies * N) new rows beside the given ones, draw-major."""
        _check(1, copies=copies)
        with seeded(seed):
            near = self.along(self.read(x), lambda b: augment(self.vae, [b], copies, temperature), copies)
            return self.present(near, copies)

    def balance(self, x: Values, column: str, seed: int = 0, draws: int = 64) -> Any:
        """The new rows that are wanting beside ``x`` for every class of ``column`` to be as frequent as the most frequent one:
        none of that class, and as many of each other as it lacks."""
        with seeded(seed):
            return self.present(self.balanced(x, column, draws))

    def balanced(self, x: Values, column: str, draws: int = 64) -> Iterator[Batch]:
        """The same as a stream of stored batches. BadInput where nothing is wanting."""
        counts = self.counted(x, column)
        lacking = {word: max(counts.values()) - count for word, count in counts.items() if count}
        words = [word for word, missing in lacking.items() for _ in range(missing)]
        if not words:
            raise BadInput(
                f"--balance {column}: its classes are equally frequent in {named_source(as_source(x))} already"
            )
        yield from self.sampled(len(words), {column: words}, draws=draws)

    def counted(self, x: Values, column: str) -> dict[str, int]:
        """How often each class of a column of classes occurs."""
        words = self.kind.classes(column, self.schema)
        field = next(f for f in self.schema.fields if column in (*f.columns, f.name))
        place = field.columns.index(column) if column in field.columns else 0
        total = torch.zeros(len(words), dtype=torch.int64)
        for batch in self.kind.read(as_source(x), self.schema):
            codes, seen = batch.fields[field.name][:, place].long(), batch.seen.get(field.name)
            total += torch.bincount(codes if seen is None else codes[seen[:, place]], minlength=len(words))
        return dict(zip(words, total.tolist(), strict=True))

    def evaluate(self, x: Values, draws: int = 64) -> Figures:
        """ELBO and IW-``draws`` bound in nats per row with standard errors, KL per dimension, active units, what z tells of the
        rows and how far they are from the prior, bits/dim of pictures, and the reconstruction error of pictures or of every
        column: root mean squared in its units, or the share of wrong codes."""
        _check(1, draws=draws)
        shape = self.schema.modelled[0].shape
        dimensions = int(np.prod(shape)) if len(shape) > 1 else None
        kept: list[Batch] = []

        def seen(batches: Iterator[Batch]) -> Iterator[Batch]:
            for batch in batches:
                if sum(map(len, kept)) < HELD_OUT_ROWS:
                    kept.append(batch)
                yield batch

        figures = held_out(self.vae, seen(self.read(x)), draws, dimensions=dimensions)
        latent = aggregate(self.vae, [some(kept, FITTED)])
        return replace(
            figures,
            reconstruction=self.reconstruction_error(kept),
            latent=latent,
            classes=None if self.schema.label is None else self.classified(kept),
            obeyed=self.obeyed_under(hold(kept)) if self.schema.told else None,
        )

    def annealed(
        self,
        x: Values,
        chains: int = 16,
        steps: int = 500,
        start: Start = "posterior",
        rows: int = 128,
        draws: int = 64,
    ) -> Ais:
        """log p(x) by annealed importance sampling of ``rows`` rows, evenly from the first 10,000, beside the IW-``draws`` bound
        of the same ones. See ``tasks.annealed``."""
        _check(1, chains=chains, steps=steps, rows=rows, draws=draws)
        kept: list[Batch] = []
        for batch in self.read(x):
            kept.append(batch)
            if sum(map(len, kept)) >= HELD_OUT_ROWS:
                break
        return beside_the_bound(self.vae, [some(kept, rows)], chains, steps, start, draws)

    def likeness(
        self,
        real: Values,
        rows: int = 10_000,
        train: Values | None = None,
        features: str | Path | nn.Module | None = None,
        seed: int = 0,
    ) -> Likeness:
        """FID, KID, precision, recall, density and coverage of ``rows`` made rows beside ``real`` ones, and the floor: rows of
        ``train`` in their place, or one half of the real ones beside the other.

        Tables are compared by their standardised columns; pictures by ``features``: a network of ours in that file, trained
        first where there is none (on ``train`` if given), or any torch module that takes (n, C, H, W) of levels 0 to 255.
        Without a name the file is ``features.safetensors`` in the model's folder.
        """
        _check(2, rows=rows)
        if hasattr(self.schema, "columns"):
            if features is not None:
                raise BadInput(
                    f"--features {features}: is for pictures; tables are compared by their columns; leave it out"
                )
            learnt = None if train is None else self.rows_of(train)
            with seeded(seed):
                return like_frames(self.rows_of(real), self.present(self.made_like(real, rows)), learnt, seed)
        name = self.schema.modelled[0].name
        network = (
            features if isinstance(features, nn.Module) else self.extractor(real if train is None else train, features)
        )

        def pictures(x: Values) -> Iterator[Tensor]:
            return (batch.fields[name] for batch in self.kind.read(as_source(x), self.schema))

        with seeded(seed):
            made = (batch.fields[name] for batch in self.made_like(real, rows))
            return like_pictures(network, pictures(real), made, None if train is None else pictures(train), seed)

    def extractor(self, x: Values, file: str | Path | None = None) -> Extractor:
        """The feature network of a file, trained on the pictures ``x`` and their labels and written there if it is not yet."""
        shape = self.schema.modelled[0].shape
        if len(shape) != 3:
            raise BadInput(
                f"there are no features for {self.schema.kind}; only pictures and tables can be compared by them"
            )
        path = Path(file).expanduser() if file is not None else self.folder and self.folder / FEATURES_FILE
        if path and path.exists():
            return read_extractor(path, shape)
        if path and path.suffix != ".safetensors":
            raise BadInput(
                f"--features {path}: no such file; to have a network trained, name one that ends in .safetensors"
            )
        reader = getattr(self.kind, "labels", None)
        labels = reader(as_source(x), self.schema) if reader else None
        rows = hold(self.kind.read(as_source(x), self.schema))
        network = trained(rows.fields[self.schema.modelled[0].name], labels and np.concatenate(list(labels)))
        if path:
            write_atomically(path, network.packed())
        return network

    def disentangled(self, x: Values, factors: Sequence[str] | pd.DataFrame, seed: int = 0) -> Disentanglement:
        """MIG, DCI and SAP of the posterior means of ``x`` and known ``factors``: names of columns of its table (also of ones
        that the model does not know), ``["label"]`` of pictures, the path of a table with a line for each row, or a frame."""
        known = factors_of(as_source(x), self.kind, self.schema, factors)
        codes = self.encode(x)
        if len(known) != len(codes):
            raise BadInput(
                f"--factors: {len(known):,} lines for {len(codes):,} rows; give one line a row, in their order"
            )
        return disentangled(codes, known, seed)

    def obeyed(
        self, x: Values, draws: int = 8, guidance: float = 1.0, rows: int = 128, seed: int = 0
    ) -> dict[str, Obeyed]:
        """By column that rows can be given: of draws under the conditions of ``rows`` rows of ``x``, how many are most likely
        under the value that they were given, of all its alternatives. Columns that ``x`` does not have are left out."""
        self._check_guidance(guidance)
        found = self.obeyed_under(hold(self.read(x)), draws, guidance, rows, seed)
        return {name: found[name] for name in self.kind.ordered(found, self.schema)}

    def obeyed_under(
        self, given: Batch, draws: int = 8, guidance: float = 1.0, rows: int = 128, seed: int = 0
    ) -> dict[str, Obeyed]:
        """The same of the model's values."""
        if not self.schema.told:
            raise BadInput(
                "this model can be given nothing, so there is nothing to obey; fit it with --given or --label"
            )
        some = given.only(self._given).take(evenly(torch.arange(len(given)), rows))
        names = {field.name: field.columns or (field.name,) for field in self.schema.told}
        with seeded(seed):
            return {names[name][i]: o for (name, i), o in obeyed(self.vae, [some], draws, guidance).items()}

    def recognised(self, x: Values, guidance: float = 1.0, seed: int = 0) -> dict[str, Recognised]:
        """The same by a second opinion, for columns of codes: how often a logistic regression, trained on half of the real rows
        ``x``, finds in draws what they were given under the other half's conditions, and in the other half itself."""
        self._check_guidance(guidance)
        names = {field.name: field.columns or (field.name,) for field in self.schema.told}
        with seeded(seed):
            found = recognised(self.vae, hold(self.read(x)), guidance, seed)
        return {names[name][i]: r for (name, i), r in found.items()}

    def predict(self, x: Values, by: str = "classifier", draws: int = 16) -> pd.DataFrame:
        """The most probable class of every row, in a column of the label's own name, and the probability of each, "p(CLASS)".

        ``by`` the classifier q(y | x), or the "bound": Bayes' rule with the importance-weighted bound of every class, from
        ``draws`` of z each. What DATA say of a row's label is not looked at.
        """
        _check(1, draws=draws)
        return pd.concat(list(self.predicted(x, by, draws)), ignore_index=True)

    def predicted(self, x: Values, by: str = "classifier", draws: int = 16) -> Iterator[pd.DataFrame]:
        """The same as a stream of frames."""
        label = self._label
        names = self.kind.classes(label.columns[0], self.schema)
        for log_p in self.log_classes(self.read(x), by, draws):
            p = log_p.exp().double().cpu()
            words = np.array(names, dtype=object)[p.argmax(1).numpy()]
            yield pd.DataFrame({label.columns[0]: words, **{f"p({name})": p[:, i] for i, name in enumerate(names)}})

    def log_classes(self, batches: Iterable[Batch], by: str = "classifier", draws: int = 16) -> Iterator[Tensor]:
        """(n, K) nats of log p(y | x)."""
        ways = {"classifier": partial(predict, self.vae), "bound": partial(predict_by_bound, self.vae, draws=draws)}
        found: Iterator[Tensor] = choose("way to predict", by, ways)(batches)
        return found

    def classified(self, batches: Sequence[Batch], by: str = "classifier", draws: int = 16) -> Classified | None:
        """How well the rows (the model's values) that have a label are told; None where there are none."""
        name = self._label.name
        truth = (
            torch.where(b.seen[name], b.fields[name], -1)[:, 0] if name in b.seen else b.fields[name][:, 0]
            for b in batches
        )
        found = (torch.cat(list(self.log_classes([batch], by, draws))) for batch in batches)
        return classified(found, truth)

    @property
    def _label(self) -> Field:
        if self.schema.label is None:
            raise BadInput("this model was fitted without a label, so it has no classes; fit it with --label COLUMN")
        return self.schema.label

    def refit(
        self,
        x: Values,
        test: Values | None = None,
        prior: str = "auto",
        watch: Watch = lambda event: None,
    ) -> Refit:
        """Fits the prior of z anew to what the encoder makes of the training rows ``x``, of which as many are held out as in
        ``fit`` where no ``test`` rows are given; the model (and its folder) then has the best of the candidates, if one is
        better. ``evidence()`` of what comes back says what each was worth."""
        return self.refit_to(gather(self.spec, self.schema, x, test), prior, watch)

    def refit_to(self, data: Data, prior: str = "auto", watch: Watch = lambda event: None) -> Refit:
        """The same, from settled rows."""
        with seeded(self.spec.train.seed):
            draws = int(self.figures.get("draws", 1))  # of the bound by which training chose
            found = refit(self.spec, self.schema, self.vae, data, prior, draws, watch)
        if found.changed:
            self.spec, self.vae = found.spec, found.vae
            self.figures |= {**found.figures.plain(), "refit": found.plain()}
            if self.folder is not None:
                self.save(self.folder)
        return found

    def doctor(self, x: Values | None = None) -> Diagnosis:
        """What the model suffers from, and what to change. Without ``x`` the rows of its own training are looked at where they
        are still there, else its figures, weights and log alone; ``x`` are those rows, or others that it shall be good at."""
        data, absent = self.rows_at_hand(x)
        path = None if data is None else data.source.get("path")
        return examine(Evidence.of(self, data, absent), path, self.folder)

    def rows_at_hand(self, x: Values | None) -> tuple[Data | None, str]:
        """Rows as the run had them: of its own source, or ``x`` with what is there of that; and why some are not there."""
        where = dict(self.run_state().get("source", {}))
        path, test = where.get("path"), where.get("test")
        own, absent = None, "the rows of training are not at hand"
        if path is None:
            absent += " (they came from memory); give them as DATA"
        elif not Path(path).exists():
            absent += f" ({path} is not there any more)"
        else:
            test = test if test is None or Path(test).exists() else None
            own = gather(self.spec, self.schema, path, test, where, self.folder)
            if own.source["digest"] != where.get("digest"):
                own, absent = None, f"{path} holds other rows than when the model was fitted"
        if x is None:
            return own, absent
        given = gather(self.spec, self.schema, x, None, where, self.folder)
        if given.source["digest"] == where.get("digest"):
            return own or given, absent
        held = given.rows.take(evenly(torch.arange(len(given.rows)), HELD_OUT_ROWS))
        if own is None:
            return replace(given, training=torch.zeros(0, dtype=torch.int64), held=held), absent
        return replace(own, held=held), absent

    def run_state(self) -> dict[str, Any]:
        """What the last checkpoint of its training says of the run; nothing where that is gone."""
        if self.folder is None or not (self.folder / CHECKPOINT).is_file():
            return {}
        return load_checkpoint(self.folder)[1]

    def dissect(self, x: Values, seed: int = 0) -> Dissection:
        """What log p(x | z, c) loses when z, c or a part of the decoder is spoilt, in nats a row. See ``tasks.dissect``."""
        with seeded(self.spec.train.seed):
            fresh = build(self.spec, self.schema)
            fresh.begin(next(self.read(x)).to("cpu"))
        with seeded(seed):
            return dissect(self.vae, self.read(x), fresh.to(self.vae.device), seed=seed)

    def fidelity(self, real: Values, train: Values | None = None, target: str | None = None, seed: int = 0) -> Fidelity:
        """How like ``real`` rows of a table made ones are: shapes, pair trends, use in place of real rows, a discriminator, and
        the distance to the closest training row. See ``fidelity.compare``.

        As many rows are made as ``real`` has; as many as ``train``, the rows of training, where those are given. ``target`` is
        the column that trees are to predict, the last one if not named. A model that was fitted with ``given`` columns is
        given those of the real rows.
        """
        if not hasattr(self.schema, "columns"):
            raise BadInput(f"made rows are compared with real ones in tables; this is a model of {self.schema.kind}")
        shown = self.rows_of(real)
        learnt = None if train is None else self.rows_of(train)
        with seeded(seed):
            made = self.present(self.made_beside(real if train is None else train))
        return compare(shown, made, learnt, target, seed)

    def rows_of(self, x: Values) -> pd.DataFrame:
        """A table's rows as the model knows them: its columns, in their types."""
        frame: pd.DataFrame = self.present(self.kind.read(as_source(x), self.schema))
        return frame

    def made_beside(self, x: Values) -> Iterator[Batch]:
        """As many new rows as ``x`` has, under the same conditions; stored batches."""
        for batch in self.read(x):
            conditions = (
                batch.only(self._given) if self._given else Batch({"": torch.zeros(len(batch), 0)}).to(self.vae.device)
            )
            for part in conditions.slices(self.vae.rows):
                for drawn in sample(self.vae, [part]):
                    yield self.stored(drawn, part)

    def made_like(self, x: Values, rows: int) -> Iterator[Batch]:
        """So many new rows as ``sample`` makes them, given the conditions of the rows of ``x`` in turn; stored batches."""
        if not self._given:
            yield from self.sampled(rows)
            return
        known = hold(batch.only(self._given) for batch in self.read(x))
        conditions = known.take(torch.arange(rows) % len(known))
        for part in conditions.slices(self.vae.rows):
            for drawn in sample(self.vae, [part], mean=self.kind.centre):
                yield self.stored(drawn, part)

    def reconstruction_error(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Per column, in the data's order (of pictures: all pixels together): root mean squared error in the column's own
        units, or the share of wrong codes where values are names; seen entries only, columns without any left out."""
        fields = self.schema.modelled
        sums: dict[str, Tensor] = {}  # (2, *shape): errors, and how many entries were seen
        for batch in batches:
            truth = self.schema.to_data(batch.only([f.name for f in fields]))
            decoded = self.schema.to_data(next(reconstruct(self.vae, [batch], rows=max(len(batch), 1))))
            for field in fields:
                x, y = (b.fields[field.name].double().cpu() for b in (truth, decoded))
                error = (x.round() != y.round()).double() if coded(field) else (x - y).square()
                seen = truth.seen.get(field.name)
                weight = torch.ones_like(error) if seen is None else seen.cpu().expand_as(error).double()
                part = torch.stack([(error * weight).sum(0), weight.sum(0)])
                sums[field.name] = sums.get(field.name, torch.zeros_like(part)) + part
        errors: dict[str, float] = {}
        for field in fields:
            total = sums[field.name].flatten(1)
            names = field.columns or (field.name,)
            errors |= {
                name: float(error / count) ** (1.0 if coded(field) else 0.5)
                for name, (error, count) in zip(names, (total if field.columns else total.sum(1, True)).T, strict=True)
                if count > 0
            }
        return {name: errors[name] for name in self.kind.ordered(errors, self.schema)}

    def liveliest(self) -> list[int]:
        """Dimensions of the first latent variable (that is no label), those with the largest held-out KL first; in their order
        where the KL is not known of each, as under a prior that is no Gaussian."""
        first = self.vae.latents.first
        parts: list[float] = self.figures.get("kl_parts", {}).get(first.name, [])
        width = first.parts
        return list(np.argsort(parts)[::-1]) if len(parts) == width else list(range(width))

    def known(self, dims: Sequence[int]) -> list[int]:
        """The same dimensions of the first latent variable. BadInput where it has no such one."""
        width = len(self.liveliest())
        for dim in dims:
            if not 0 <= dim < width:
                raise BadInput(f"dims: there is no latent dimension {dim}; this model has {width} (0 to {width - 1})")
        return list(dims)

    def read(self, x: Values) -> Iterator[Batch]:
        """Batches of the model's own values."""
        return map(self.ready, self.kind.read(as_source(x), self.schema))

    def ready(self, batch: Batch) -> Batch:
        """Stored values as the model reads them. Random transforms draw the same for the same row."""
        return self.vae.own(self.schema.to_model(batch, Keyed.of(batch)))

    def along(self, batches: Iterable[Batch], task: Any, draws: int = 1) -> Iterator[Batch]:
        """Stored results of ``task``, part by part (n rows or draw-major multiples), with each row's conditions beside them."""
        for batch in batches:
            # Parts as small as tasks make them: what a task cuts once more would not stand beside its conditions.
            for part in batch.slices(max(1, self.vae.rows // max(draws, 1))):
                drawn = join(list(task(part)))
                yield self.stored(drawn, part.repeat(len(drawn) // len(part)))

    def stored(self, drawn: Batch, conditions: Batch | None = None) -> Batch:
        """The data's own values, on the CPU; conditions that were given stand beside them."""
        known = {f.name for f in self.schema.fields}
        drawn = drawn.only([name for name in drawn.fields if name in known]).to("cpu")
        made = self.schema.within(self.schema.to_data(drawn))
        if conditions is None:
            return made
        beside = self.schema.to_data(conditions.only(self._given).to("cpu"))
        seen = {k: v for k, v in beside.seen.items() if k not in made.fields}
        return Batch({**beside.fields, **made.fields}, {**seen, **made.seen})

    def present(self, batches: Iterable[Batch], draws: int = 0) -> Any:
        """What a Python user gets: an array of pictures, or a frame with the original columns; ``draws`` of all rows one
        after the other."""
        parts = list(batches)
        if draws > 1:
            places = [torch.arange(len(part)).view(draws, -1) for part in parts]
            parts = [part.take(place[draw]) for draw in range(draws) for part, place in zip(parts, places, strict=True)]
        return self.kind.present(hold(parts), self.schema)

    def conditions(self, rows: int, given: Mapping[str, object] | None, at_once: int = 4096) -> Iterator[Batch]:
        """What ``rows`` new rows are given, as batches that the model reads. BadInput where it cannot be given."""
        words = spelled(given)
        if words and not self.schema.told:
            raise BadInput(f"this model was not conditioned on anything; fit it with --given {next(iter(words))}")
        for first in range(0, rows, at_once):
            part = min(at_once, rows - first)
            if self.schema.told:
                stored = self.kind.parse_given(words, self.schema, part, first)
                yield self.schema.to_model(stored).to(self.vae.device)
            else:
                yield Batch({"": torch.zeros(part, 0, device=self.vae.device)})


def spelled(given: Mapping[str, object] | None) -> dict[str, Words]:
    """Values as words; lists of them stay lists, and a pair of numbers is a range.

    >>> spelled({"age": (30, 40), "sex": ["F", "M"], "hours": ">=40", "label": 7})
    {'age': '30..40', 'sex': ['F', 'M'], 'hours': '>=40', 'label': '7'}
    """
    words: dict[str, Words] = {}
    for name, value in (given or {}).items():
        if isinstance(value, tuple) and len(value) == 2 and not any(isinstance(end, str) for end in value):
            words[name] = f"{value[0]}..{value[1]}"
        else:
            words[name] = [str(v) for v in value] if isinstance(value, (list, tuple)) else str(value)
    return words


def fit(
    source: Values | None = None,
    *,
    out: str | Path | None = None,
    test: Values | None = None,
    resume: bool = False,
    overwrite: bool = False,
    report: bool = True,
    watch: Watch = lambda event: None,
    features: Features | None = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Model:
    """Trains a model on a path, an array or a frame, and returns the best one by held-out bound.

    ``out`` is the model's folder (a new one under ``runs/`` if not given); ``test`` supplies the held-out rows in place of
    a split. ``options`` are those of ``Spec``: short (``epochs=5``), dotted in ``settings`` ({"latent.dims": 2}), or
    sections. ``resume`` goes on with the run in ``out``, of which options such as ``epochs`` may be raised. ``watch`` is
    told of the scan, of epochs and of skipped steps. ``features``: any network from pictures (N, C, H, W) in [0, 1] to a list of
    maps, whose distance ``objective.perceptual`` weighs; it is not kept with the model.
    Raises BadInput, one line, for whatever cannot be used.
    """
    asked = named(settings, options)
    folder = Path(out) if out is not None else new_folder(source)
    if resume:
        spec, schema, where = _resumed(folder, asked)
        source = where.get("path") if source is None else source
        test = where.get("test") if test is None else test
        if source is None:
            raise BadInput(
                f"{folder}: this run read its rows from memory; give the same array or frame again to resume"
            )
        kind = KINDS[schema.kind]
    else:
        _refuse_overwriting(folder, overwrite)
        if source is None:
            raise BadInput("nothing to fit: give a path, an array or a frame")
        kind = find_kind(as_source(source), Spec.of(asked).data.kind)
        schema = kind.scan(as_source(source), Spec.of(asked).data)
        schema = suited(kind, schema, as_source(source), Spec.of(asked), tested=test is not None)
        spec, schema = fit_to_data(asked, kind, schema, schema.rows)
        where = {"path": str(Path(source).resolve()) if isinstance(source, (str, Path)) else None}
        where |= {"test": str(Path(test).resolve()) if isinstance(test, (str, Path)) else None}
    watch({"event": "scanned", "evidence": list(schema.evidence), "spec": spec, "schema": schema, "folder": folder})
    data = gather(spec, schema, source, test, where, folder)
    if resume:
        _refuse_other_rows(where, data.source)
    spec = settled(spec)
    train(spec, schema, data, folder, watch, resume, features)
    model = Model.load(folder)
    wanted = spec.latent.refit
    if wanted == "if-needed":
        wanted = "auto" if model.vae.latents.awaiting else "no"
    if wanted != "no":
        with threads(spec.train.threads):
            found = model.refit_to(data, wanted, watch)
        watch({"event": "refitted", "evidence": found.evidence()})
    with (
        threads(spec.train.threads),
        suppress(BadInput),
    ):  # models that have no scores say so when they are asked for one
        keep_scores(model, data.held)
    if report:
        from latelier.report import write_report  # here: a fit without a report need not load it

        with threads(spec.train.threads):
            write_report(model, data, folder / "report.html")
    return model


load = Model.load


def gather(
    spec: Spec,
    schema: Schema,
    source: Values,
    test: Values | None = None,
    where: Mapping[str, Any] | None = None,
    folder: Path | None = None,
) -> Data:
    """All rows of ``source``, settled, and which of them train; of the rest, or of ``test``, at most ``HELD_OUT_ROWS`` are
    held out. Rows too many for memory are mapped to nameless files on the disk of ``folder``."""
    kind = KINDS[schema.kind]
    disk = folder and next(place for place in (folder, *folder.absolute().parents) if place.is_dir())

    def all_of(x: Values) -> Batch:
        return hold((schema.settle(b) for b in kind.read(as_source(x), schema)), folder=disk)

    rows = all_of(source)
    if test is None:
        training, held_ids = split(len(rows), spec.data.holdout, spec.train.seed)
        held = rows.take(evenly(held_ids, HELD_OUT_ROWS))
    else:
        training = torch.arange(len(rows))
        tested = all_of(test)
        held = tested.take(evenly(torch.arange(len(tested)), HELD_OUT_ROWS))
    page = {**(where or {}), "digest": fingerprint(rows), "rows": len(rows), "held": fingerprint(held)}
    return Data(rows, training, held, page, kind.augmentation(spec.data, schema))


def coded(field: Field) -> bool:
    """Are the values of these columns names, of which one is right or wrong?"""
    return bool(field.columns) and field.coded


def hidden(batch: Batch, name: str, missing: Tensor) -> Batch:
    """The rows with those entries of a field marked as unseen; ``missing`` is bool (1, *entries)."""
    seen = (~missing).expand(len(batch), *missing.shape[1:])
    both = seen & batch.seen[name] if name in batch.seen else seen
    return Batch(batch.fields, {**batch.seen, name: both}, batch.log_det)


def some(batches: Sequence[Batch], rows: int) -> Batch:
    """At most so many rows of all batches, evenly."""
    ids, start, parts = evenly(torch.arange(sum(map(len, batches))), rows), 0, []
    for batch in batches:
        parts.append(batch.take(ids[(ids >= start) & (ids < start + len(batch))] - start))
        start += len(batch)
    return hold(parts)


def kept(stored: Batch, filled: Batch) -> Batch:
    """What was seen as it was, the rest as it was filled in; conditions keep their holes."""
    fields = {
        k: torch.where(stored.seen[k], stored.fields[k], v) if k in stored.seen else stored.fields.get(k, v)
        for k, v in filled.fields.items()
    }
    return Batch(fields, filled.seen)


def named(settings: Mapping[str, Any] | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Short names spelled out: ``epochs`` is ``train.epochs``."""
    return {**(settings or {}), **{SHORT.get(k, k): v for k, v in options.items() if v is not None}}


def find_kind(source: Source, name: str) -> Kind[Any]:
    """The kind of that name, or (``auto``) the one that recognises the source."""
    if name != "auto":
        found: Kind[Any] = choose("kind", name, KINDS)
        return found
    for kind in KINDS.values():
        if kind.recognise(source):
            return kind
    raise BadInput(
        f"{named_source(source)}: not recognised; {'; '.join(map(partial(_why_not, source), KINDS.values()))}"
    )


def as_source(x: Values) -> Source:
    """Paths as Path; arrays and frames as they are. BadInput where there is nothing, with the nearest name that there is."""
    if not isinstance(x, (str, Path)):
        return x
    path = Path(x).expanduser()
    if is_pattern(path):
        if not any(iglob(str(path), recursive=True)):
            raise BadInput(f"{path}: no file matches; check the pattern")
    elif not path.exists():
        near = [p.name for p in path.parent.glob("*")] if path.parent.exists() else []
        hint = (
            f"; did you mean {close[0]!r}?" if (close := get_close_matches(path.name, near, 1)) else "; check the path"
        )
        raise BadInput(f"{path}: no such file or folder{hint}")
    return path


def fingerprint(rows: Batch) -> str:
    """A digest of the number of rows and of the first and last thousand, so that a resumed run knows its data."""
    digest = hashlib.sha256(str(len(rows)).encode())
    for part in (
        rows.take(torch.arange(min(1000, len(rows)))),
        rows.take(torch.arange(max(0, len(rows) - 1000), len(rows))),
    ):
        for name in sorted(part.fields):
            digest.update(part.fields[name].contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def new_folder(source: Values | None) -> Path:
    """runs/NAME-1, runs/NAME-2, ... whichever is free."""
    stem = Path(source).resolve().stem if isinstance(source, (str, Path)) else "fit"
    stem = re.sub(r"[^\w.-]|[-_.]+$", "", re.sub(r"\[.*?\]|[*?]", "", stem)) or "fit"  # of a pattern, what is not one
    number = 1
    while Path("runs", f"{stem}-{number}").exists():
        number += 1
    return Path("runs", f"{stem}-{number}")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's generator set for the moment, and put back."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def _resumed(folder: Path, asked: Mapping[str, Any]) -> tuple[Spec, Schema, dict[str, Any]]:
    _, state = load_checkpoint(folder)
    before = described(folder / CHECKPOINT, state)
    spec = Spec.of(asked, state["spec"])
    changed = [name for name in FROZEN if getattr(before.spec, name) != getattr(spec, name)]
    changed += [f"train.{k}" for k in FROZEN_IN_TRAINING if getattr(before.spec.train, k) != getattr(spec.train, k)]
    for name in changed:
        raise BadInput(f"{folder}: {name} cannot be changed while resuming; start a new run with --out")
    return spec, before.schema, dict(state["source"])


def _refuse_other_rows(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Rows that were trained on must not become held out, nor the other way round."""
    if before.get("digest", now["digest"]) != now["digest"]:
        raise BadInput(f"{now.get('path') or 'the given rows'}: not the rows that this run began with; start a new one")
    if before.get("held", now["held"]) != now["held"]:
        raise BadInput(
            f"{now.get('test') or now.get('path') or 'the given rows'}: not the held-out rows that this run began with; "
            "give the same test rows again (none where it began with none), or start a new run"
        )


def _refuse_overwriting(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder}: is a file; --out takes a folder")
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise BadInput(
            f"{folder}: is not empty; go on with --resume {folder}, replace it with --overwrite, or name another --out"
        )


def _check(least: int, **numbers: int) -> None:
    for name, number in numbers.items():
        if number < least:
            raise BadInput(f"{name} = {number}: give {least} or more")


def named_source(source: Source) -> str:
    """How messages call it."""
    return str(source) if isinstance(source, Path) else f"the {type(source).__name__} given"


def _why_not(source: Source, kind: Kind[Any]) -> str:
    """What speaks against a kind, in its own words."""
    try:
        kind.scan(source, DataSpec())
    except BadInput as error:
        return f"as {kind.name}: {str(error).removeprefix(f'{source}: ')}"
    return f"it can be read as {kind.name} with --kind {kind.name}"
