"""One trained model and its verbs, for arrays, frames and paths alike. N = rows of what is given.

The verbs read with the model's kind, call a task on batches, and give back the data's own form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn

from latelier.batch import Batch
from latelier.disentanglement import Disentanglement
from latelier.doctor import Diagnosis, Evidence
from latelier.doctor.examine import examine
from latelier.errors import BadInput, at_least
from latelier.fidelity import Fidelity
from latelier.fidelity.extractor import Extractor
from latelier.fidelity.likeness import Likeness
from latelier.kinds import KINDS
from latelier.kinds.base import Kind
from latelier.machine import choose_device
from latelier.model import drawing, filling, gathering, judging, latent, likening, passage, predicting, scoring
from latelier.model.filling import Imputation
from latelier.model.gathering import gather
from latelier.model.source import Values
from latelier.noise import seeded
from latelier.refit import Refit, refit
from latelier.step import Watch
from latelier.store import CHECKPOINT, MODEL, Stored, load_model, load_unfinished, read_page, save_model
from latelier.tasks.alarm import Usual
from latelier.tasks.annealed import Ais, Start
from latelier.tasks.codebook import codes
from latelier.tasks.dissect import Dissection
from latelier.tasks.evaluate import Figures
from latelier.tasks.obeyed import Obeyed, Recognised
from latelier.tasks.reconstruct import augment, denoise
from latelier.tasks.score import score
from latelier.train import Data
from latelier.vae import VAE


class Model:
    """A decoder with its encoder and latents, trained on one kind of data.

    >>> from sklearn.datasets import load_wine
    >>> from latelier import fit
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
            drawn = drawing.sampled(self, rows, given, temperature, mean, balance, draws, level, guidance)
            return self.present(drawn)

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
        return latent.way_back(self, draws, mean, temperature, redrawn)

    def finer(self, level: int) -> list[str]:
        """The names of the latent variables after the first ``level``. BadInput where there are not so many."""
        return latent.finer(self, level)

    def encode(self, x: Values) -> np.ndarray[Any, Any]:
        """(N, dimensions) posterior means of all latent variables, side by side."""
        return latent.encoded(self, x)

    def codes(self, x: Values) -> np.ndarray[Any, Any]:
        """(N, positions, books) whole numbers: the codes of each row, where the latent has codes."""
        latent.quantiser_block(self)
        return np.concatenate([next(iter(p.values())).cpu().numpy() for p in codes(self.vae, self.read(x))])

    def decode_codes(self, codes: np.ndarray[Any, Any], given: Mapping[str, object] | None = None) -> Any:
        """(N, positions, books) codes, as ``codes`` gives them -> the centre of p(x | z) of each, as rows, under what they are
        ``given``: a list of values is one a row. A label that stands above codes has to be named."""
        return latent.decoded_codes(self, codes, given)

    def decode(self, z: np.ndarray[Any, Any]) -> Any:
        """(N, dimensions) values of z, side by side as ``encode`` gives them -> the centre of p(x | z) of each, as rows."""
        return latent.decoded(self, z)

    def interpolate(self, x: Values, steps: int = 8, spherical: bool = False) -> Any:
        """((N - 1) * steps) rows on the way from each row to the next."""
        return latent.interpolated(self, x, steps, spherical)

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
        return latent.traversed(self, x, rows, steps, dims, given)

    def grid(
        self, side: int = 12, dims: tuple[int, int] | None = None, given: Mapping[str, object] | None = None
    ) -> Any:
        """(side * side) rows: two latent dimensions at equal quantiles of the prior, row-major from the top left."""
        return latent.gridded(self, side, dims, given)

    def score(self, x: Values, draws: int = 16, entries: bool = False) -> Any:
        """(N,) importance-weighted bound on log p(x | c), nats of the data's own units; larger is more usual. Repeatable.

        With ``entries``: a frame with ``score``, the ``latent`` share and one column per entry, which sum to the score.
        """
        at_least(1, draws=draws)
        if entries:
            return pd.concat(list(self.entry_scores(x, draws)), ignore_index=True)
        return np.concatenate([s.cpu().numpy() for s in score(self.vae, self.read(x), draws)])

    def entry_scores(self, x: Values, draws: int = 16) -> Iterator[pd.DataFrame]:
        """A stream of frames: score, latent, then every column (or pixel) by name; a column of a name that is taken is
        called "NAME (column)"."""
        return scoring.entry_scores(self, x, draws)

    def p_values(self, x: Values, normal: Values | None = None, draws: int = 16) -> np.ndarray[Any, Any]:
        """(N,) conformal p-values: the share of normal rows that are at least as odd, measured as ``usual`` says. Of fresh normal
        rows a share p has a p-value of p or less."""
        found = self.usual(normal, draws)
        return found.p_values(self.score(x, draws))

    def usual(self, normal: Values | None = None, draws: int = 16) -> Usual:
        """Scores of normal rows: those that training held out, kept in the model's folder, or other ones. Its ``threshold(rate)``
        is the score below which at most so large a share of normal rows lies."""
        return scoring.usual(self, normal, draws)

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
        return filling.imputation(self, x, mask, draws, seed)

    def completed(
        self, x: Values, mask: Values | None = None, draws: int | None = None, copies: int = 0, seed: int = 0
    ) -> Iterator[Batch]:
        """The same as a stream of stored batches. What was seen comes back to the last bit, as it never passes the model."""
        return filling.completed(self, x, mask, draws, copies, seed)

    def completed_with_spread(
        self, x: Values, mask: Values | None = None, draws: int | None = None, seed: int = 0
    ) -> Iterator[tuple[Batch, dict[str, Tensor]]]:
        """Stored batches without holes, and of every field the spread (n, *entries) of what was filled in, NaN elsewhere."""
        return filling.completed_with_spread(self, x, mask, draws, seed)

    def spread_frame(self, spread: Mapping[str, Tensor]) -> pd.DataFrame:
        """A column for every one that is modelled, in the data's order."""
        return filling.spread_frame(self, spread)

    def imputed(self, batches: Iterable[Batch], draws: int = 64, copies: int = 0, seed: int = 0) -> Iterator[Batch]:
        """Batches of the model's values -> stored ones without holes."""
        return filling.imputed(self, batches, draws, copies, seed)

    def denoise(self, x: Values, draws: int = 16, seed: int = 0) -> Any:
        """What the model makes of noisy rows: E[x | z] averaged over z ~ q(z | x)."""
        at_least(1, draws=draws)
        with seeded(seed):
            return self.present(self.along(self.read(x), lambda b: denoise(self.vae, [b], draws), draws))

    def augment(self, x: Values, copies: int = 1, temperature: float = 1.0, seed: int = 0) -> Any:
        """(copies * N) new rows beside the given ones, draw-major."""
        at_least(1, copies=copies)
        at_least(0, temperature=temperature)
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
        return drawing.balanced(self, x, column, draws)

    def evaluate(self, x: Values, draws: int = 64) -> Figures:
        """ELBO and IW-``draws`` bound in nats per row with standard errors, KL per dimension, active units, what z tells of the
        rows and how far they are from the prior, bits/dim of pictures, and the reconstruction error of pictures or of every
        column: root mean squared in its units, or the share of wrong codes."""
        return judging.figures(self, x, draws)

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
        return judging.annealed(self, x, chains, steps, start, rows, draws)

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
        first where there is none (on ``train`` if given); any network in an ONNX file; or any torch module that takes (n, C, H,
        W) of levels 0 to 255. Without a name the file is ``features.safetensors`` in the model's folder.
        """
        return likening.likeness(self, real, rows, train, features, seed)

    def extractor(self, x: Values, file: str | Path | None = None) -> Extractor:
        """The feature network of a file, trained on the pictures ``x`` and their labels and written there if it is not yet."""
        return likening.extractor(self, x, file)

    def disentangled(self, x: Values, factors: Sequence[str] | pd.DataFrame, seed: int = 0) -> Disentanglement:
        """MIG, DCI and SAP of the posterior means of ``x`` and known ``factors``: names of columns of its table (also of ones
        that the model does not know), ``["label"]`` of pictures, the path of a table with a line for each row, or a frame."""
        return likening.disentanglement(self, x, factors, seed)

    def obeyed(
        self, x: Values, draws: int = 8, guidance: float = 1.0, rows: int = 128, seed: int = 0
    ) -> dict[str, Obeyed]:
        """By column that rows can be given: of draws under the conditions of ``rows`` rows of ``x``, how many are most likely
        under the value that they were given, of all its alternatives. Columns that ``x`` does not have are left out."""
        return judging.obedience(self, x, draws, guidance, rows, seed)

    def recognised(self, x: Values, guidance: float = 1.0, seed: int = 0) -> dict[str, Recognised]:
        """The same by a second opinion, for columns of codes: how often a logistic regression, trained on half of the real rows
        ``x``, finds in draws what they were given under the other half's conditions, and in the other half itself."""
        return judging.recognition(self, x, guidance, seed)

    def predict(self, x: Values, by: str = "classifier", draws: int = 16) -> pd.DataFrame:
        """The most probable class of every row, in a column of the label's own name, and the probability of each, "p(CLASS)".

        ``by`` the classifier q(y | x), or the "bound": Bayes' rule with the importance-weighted bound of every class, from
        ``draws`` of z each. What DATA say of a row's label is not looked at.
        """
        at_least(1, draws=draws)
        return pd.concat(list(self.predicted(x, by, draws)), ignore_index=True)

    def predicted(self, x: Values, by: str = "classifier", draws: int = 16) -> Iterator[pd.DataFrame]:
        """The same as a stream of frames."""
        return predicting.predicted(self, x, by, draws)

    def refit(
        self,
        x: Values,
        test: Values | None = None,
        prior: str = "auto",
        watch: Watch = lambda event: None,
        minutes: float | None = None,
    ) -> Refit:
        """Fits the prior of z anew to what the encoder makes of the training rows ``x``, of which as many are held out as in
        ``fit`` where no ``test`` rows are given; the model (and its folder) then has the best of the candidates, if one is
        better. ``evidence()`` of what comes back says what each was worth. It takes no more than the
        ``minutes``, once rows are read, and what the held-out rows need."""
        if minutes is not None and not minutes > 0:
            raise BadInput(f"minutes {minutes:g}: give more than 0")
        return self.refit_to(gather(self.spec, self.schema, x, test), prior, watch, minutes)

    def refit_to(
        self, data: Data, prior: str = "auto", watch: Watch = lambda event: None, minutes: float | None = None
    ) -> Refit:
        """The same, from settled rows."""
        seconds = None if minutes is None else 60 * minutes
        with seeded(self.spec.train.seed):
            draws = int(self.figures.get("draws", 1))  # of the bound by which training chose
            found = refit(self.spec, self.schema, self.vae, data, prior, draws, watch, seconds)
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
        return gathering.rows_at_hand(self, x)

    def run_state(self) -> dict[str, Any]:
        """What the last checkpoint of its training says of the run; nothing where that is gone."""
        return gathering.run_state(self)

    def dissect(self, x: Values, seed: int = 0) -> Dissection:
        """What log p(x | z, c) loses when z, c or a part of the decoder is spoilt, in nats a row. See ``tasks.dissect``."""
        return judging.dissection(self, x, seed)

    def fidelity(self, real: Values, train: Values | None = None, target: str | None = None, seed: int = 0) -> Fidelity:
        """How like ``real`` rows of a table made ones are: shapes, pair trends, use in place of real rows, a discriminator, and
        the distance to the closest training row. See ``fidelity.compare``.

        As many rows are made as ``real`` has; as many as ``train``, the rows of training, where those are given. ``target`` is
        the column that trees are to predict, the last one if not named. A model that was fitted with ``given`` columns is
        given those of the real rows.
        """
        return likening.fidelity(self, real, train, target, seed)

    def liveliest(self) -> list[int]:
        """Dimensions of the first latent variable (that is no label), those with the largest held-out KL first; in their order
        where the KL is not known of each, as under a prior that is no Gaussian."""
        return latent.liveliest(self)

    def read(self, x: Values) -> Iterator[Batch]:
        """Batches of the model's own values."""
        return passage.read(self, x)

    def ready(self, batch: Batch) -> Batch:
        """Stored values as the model reads them. Random transforms draw the same for the same row."""
        return passage.ready(self, batch)

    def along(self, batches: Iterable[Batch], task: Any, draws: int = 1) -> Iterator[Batch]:
        """Stored results of ``task``, part by part (n rows or draw-major multiples), with each row's conditions beside them."""
        return passage.along(self, batches, task, draws)

    def stored(self, drawn: Batch, conditions: Batch | None = None) -> Batch:
        """The data's own values, on the CPU; conditions that were given stand beside them."""
        return passage.stored(self, drawn, conditions)

    def present(self, batches: Iterable[Batch], draws: int = 0) -> Any:
        """What a Python user gets: an array of pictures, or a frame with the original columns; ``draws`` of all rows one
        after the other."""
        return passage.present(self, batches, draws)

    def conditions(self, rows: int, given: Mapping[str, object] | None, at_once: int = 4096) -> Iterator[Batch]:
        """What ``rows`` new rows are given, as batches that the model reads. BadInput where it cannot be given."""
        return passage.conditions_for(self, rows, given, at_once)


load = Model.load
