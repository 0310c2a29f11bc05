"""What the data are: fields, their likelihoods, transforms and roles. Everything here is plain and goes into model.json."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Option

from latelier.batch import Batch
from latelier.data.bins import Binned
from latelier.data.transforms import AnyTransform, Same
from latelier.noise import FRESH, Noise

Role = Literal["model", "condition", "label"]
Options = dict[str, float | int | str | bool]


class Field(BaseModel):
    """One named tensor of a batch, (N, *shape). Columns of one family are one field of many entries.

    ``model`` fields are what the decoder explains; ``condition`` fields are only read, as c; the ``label`` is a latent
    variable that some rows observe: one code a row, (N, 1), unseen in the others. ``support`` says which values
    are possible (see ``Likelihood``), ``sizes`` how many codes each entry has, ``columns`` what the entries are called.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    shape: tuple[int, ...]
    support: str
    likelihood: str = ""
    options: Options = {}
    sizes: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()
    transform: Annotated[AnyTransform | Binned, Option(discriminator="type")] = Same()
    role: Role = "model"
    holes: bool = False  # were there missing entries in training? then the encoder also reads the mask

    @property
    def coded(self) -> bool:
        """Are the stored values codes, of which one is right or wrong? Codes of bins are not: what is stored is numbers."""
        return self.support in ("category", "ordinal", "binary") and not isinstance(self.transform, Binned)


class Schema(BaseModel):
    """The fields of a data set. A kind adds what it needs to read and write files of the data's own form."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: str
    fields: tuple[Field, ...]
    rows: int = 0  # how many were scanned
    evidence: tuple[str, ...] = ()  # what was guessed, from what, and the flag that overrides it

    @property
    def modelled(self) -> tuple[Field, ...]:
        return tuple(f for f in self.fields if f.role == "model")

    @property
    def entries(self) -> int:
        """Modelled values of a row."""
        return sum(math.prod(f.shape) for f in self.modelled)

    @property
    def dimensions(self) -> int | None:
        """Modelled values of a row that is a picture, of which bits per dimension are told; None where rows are columns."""
        shape = self.modelled[0].shape
        return math.prod(shape) if len(shape) > 1 else None

    @property
    def conditions(self) -> tuple[Field, ...]:
        return tuple(f for f in self.fields if f.role == "condition")

    @property
    def label(self) -> Field | None:
        """The field that is a latent variable which some rows observe."""
        return next((f for f in self.fields if f.role == "label"), None)

    @property
    def told(self) -> tuple[Field, ...]:
        """What new rows can be given by name without being weighed: conditions and the label."""
        return tuple(f for f in self.fields if f.role != "model")

    def with_fields(self, fields: tuple[Field, ...]) -> Any:
        """A copy with other fields."""
        return self.model_copy(update={"fields": fields})

    def settle(self, batch: Batch) -> Batch:
        """Applies what is the same at every step: done once, when data are read."""
        return self._apply(batch, FRESH, random=False)

    def refine(self, batch: Batch, noise: Noise = FRESH) -> Batch:
        """Applies what is drawn anew at every step, such as binarisation, to a settled batch."""
        return self._apply(batch, noise, random=True)

    def to_model(self, batch: Batch, noise: Noise = FRESH) -> Batch:
        """Stored values -> the model's, with the log-determinants of what was stretched."""
        return self.refine(self.settle(batch), noise)

    def to_data(self, batch: Batch) -> Batch:
        """The model's values -> stored ones. Fields that the batch lacks are passed over."""
        transforms = {f.name: f.transform for f in self.fields}
        return Batch({k: transforms[k].to_data(v) for k, v in batch.fields.items()}, batch.seen)

    def within(self, batch: Batch) -> Batch:
        """Stored values that the model made, brought into the range that the data had."""
        transforms = {f.name: f.transform for f in self.fields}
        return Batch({k: transforms[k].within(v) for k, v in batch.fields.items()}, batch.seen)

    def _apply(self, batch: Batch, noise: Noise, random: bool) -> Batch:
        fields, log_det = dict(batch.fields), dict(batch.log_det)
        for field in self.fields:
            if field.name in fields and field.transform.random == random:
                stored = fields[field.name]
                fields[field.name] = field.transform.to_model(stored, noise)
                stretch = field.transform.log_det(stored) if field.role == "model" else None
                if stretch is not None:
                    log_det[field.name] = stretch
        return Batch(fields, batch.seen, log_det)
