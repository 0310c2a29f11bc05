"""Pictures: folders of picture files, .npz, .npy, MNIST's IDX, arrays. N = rows, C = channels, H, W = pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.data.augment import augment
from latelier.data.schema import Field
from latelier.errors import BadInput, unknown
from latelier.kinds.base import Kind, Part, Source, Words
from latelier.kinds.pictures.arrays import Grid, Stretch
from latelier.kinds.pictures.evidence import one_size, told_of_files, told_of_pictures
from latelier.kinds.pictures.files import Colour, Folder, Frame, Pixels, recolour
from latelier.kinds.pictures.labels import Labels, known_labels, label_field, labels_of, told_of_labels
from latelier.kinds.pictures.masks import read_mask
from latelier.kinds.pictures.schema import ImageSchema, Looks, likelihood_for
from latelier.kinds.pictures.sheet import enlarged, sheet
from latelier.kinds.pictures.sources import pictures_in, source_evidence
from latelier.kinds.pictures.write import write_array, write_folder, write_gif, write_one
from latelier.spec import DataSpec

BAD_SHARE, BAD_MOST = 0.01, 100  # unreadable files of a folder that are left out, and listed; one more stops
SCANNED = 256  # pictures at a time while scanning


class Images(Kind[ImageSchema]):
    """Pictures of one size, as uint8 (N, C, H, W) in the field ``image``.

    Labels come from sub-folder names, a CSV (file,label), an array ``labels`` in the .npz or MNIST's label file. They
    are the field ``label`` (N, 1): a condition where ``given`` names it, a latent variable that some rows observe where
    ``label`` does.
    """

    name = "images"
    schema = ImageSchema
    centre: ClassVar[bool] = True
    suffix: ClassVar[str] = ""
    walk_suffix: ClassVar[str] = ".png"

    def recognise(self, source: Source) -> str | None:
        """From names and heads of files alone."""
        return source_evidence(source)

    def scan(self, source: Source, spec: DataSpec) -> ImageSchema:
        """Decodes every picture once, so that a broken one is found before training and not in the middle of it.

        Up to 1 % of a folder's files (at most 100) may be unreadable: they are left out, and listed in ``skipped``.
        """
        pictures = pictures_in(source)
        if isinstance(pictures, Folder):
            pictures.allowed = min(int(len(pictures) * BAD_SHARE), BAD_MOST)
        unlabelled = spec.unlabelled if spec.label is not None else ()
        # A mistake here should not wait for the pixels.
        label_field(_useful(labels_of(pictures, spec.labels, unlabelled)), spec)
        sizes, modes = pictures.headers()
        height, width, size = one_size(sizes, spec.pixels)
        stretch, values = pictures.measure() if isinstance(pictures, Grid) else (Stretch(), "")
        looks = Looks()
        # A file in grey may still declare a transparent level; an array cannot.
        widest: Colour = "grey" if isinstance(pictures, Grid) and "L" in modes else "rgba"
        frame = Frame(height, width, widest if spec.colour == "auto" else spec.colour)
        for part in read_all(pictures, frame, SCANNED, stretch):
            looks.add(part)
        skipped = pictures.leave_out_bad() if isinstance(pictures, Folder) else ()
        labels = _useful(labels_of(pictures, spec.labels, unlabelled))
        colour, why_colour = looks.colour() if spec.colour == "auto" else (spec.colour, "as asked")
        likelihood, support, why = likelihood_for(colour, height * width, looks.levels(colour))
        schema = ImageSchema(
            kind=self.name,
            fields=(),
            rows=len(pictures),
            height=height,
            width=width,
            colour=colour,
            exact=sizes.keys() == {(height, width)} and spec.pixels is None,
            form=pictures.form,
            values=stretch.values,
            scale=stretch.scale,
            shift=stretch.shift,
            greys=bool(looks.levels(colour)[1:255].any()),
            mean=looks.mean(colour),
            deviation=looks.deviation(colour),
            labels=labels.names if labels else (),
            label_form=labels.form if labels else "none",
            label_file=spec.labels,
            unlabelled=unlabelled,
            skipped=skipped,
        )
        plain = colour == "grey" and not modes.keys() - {"1", "L"} and spec.colour == "auto"
        told = (
            told_of_pictures(pictures, colour, height, width),
            size,
            "" if plain else f"colour: {colour} ({why_colour})",
            *told_of_files(modes, pictures),
            values,
            f"likelihood: {likelihood} ({why})",
            told_of_labels(labels, spec),
        )
        shape, transform = (schema.channels, height, width), schema.transform_for(support)
        image = Field(name="image", shape=shape, support=support, likelihood=likelihood, transform=transform)
        evidence = tuple(line for line in told if line)
        return schema.model_copy(update={"fields": (image, *label_field(labels, spec)), "evidence": evidence})

    def read(self, source: Source, schema: ImageSchema, rows: int = 4096) -> Iterator[Batch]:
        """``image`` uint8 (n, C, H, W) and, where it is a condition or a latent variable, ``label`` int64 (n, 1).

        A label that was not there when the data were scanned is an error that names the file or row.
        """
        pictures = opened(source, schema)
        ids = known_labels(pictures, schema.labels, schema.label_file, schema.unlabelled) if schema.told else None
        start = 0
        for part in read_all(pictures, schema.frame, rows, stretch_for(pictures, schema)):
            fields, seen = {"image": torch.from_numpy(part)}, {}
            if ids is not None:
                codes = torch.from_numpy(ids[start : start + len(part), None])
                fields["label"] = codes.clamp_min(0)  # a placeholder is a legal value
                if schema.label is not None:
                    seen["label"] = codes >= 0
            start += len(part)
            yield Batch(fields, seen)

    def labels(self, source: Source, schema: ImageSchema, rows: int = 4096) -> Iterator[npt.NDArray[np.int64]] | None:
        """(n,) places in ``schema.labels`` in order of reading, modelled or not; -1 for others. None without labels."""
        found = labels_of(opened(source, schema), schema.label_file, schema.unlabelled) if schema.labels else None
        if found is None:
            return None
        ids = found.among(schema.labels)
        return (ids[i : i + rows] for i in range(0, len(ids), rows))

    def files(self, source: Source, schema: ImageSchema) -> list[str] | None:
        """Relative to the folder, less those that were left out; None for arrays."""
        pictures = opened(source, schema)
        return list(pictures.names) if isinstance(pictures, Folder) else None

    def parts(self, source: Path, schema: ImageSchema, rows: int) -> list[Part]:
        """A folder's files, so many at a time; arrays are one part."""
        pictures = pictures_in(source)
        if isinstance(pictures, Grid) or len(pictures) <= rows:
            return [Part(f"{source.stem}.csv", source, source)]
        pieces = [(start, pictures.piece(start, rows)) for start in range(0, len(pictures), rows)]
        return [Part(f"{source.stem}-{i:05}.csv", source, piece, start) for i, (start, piece) in enumerate(pieces)]

    def write(self, batches: Iterable[Batch], path: Path, schema: ImageSchema) -> list[Path]:
        """A folder of PNG files, or by suffix .npz, .npy, .gif (animated, small pictures enlarged), .png (one row).

        Nothing is overwritten."""
        path, suffix = Path(path), Path(path).suffix.lower()
        parts = ((self.present(batch, schema), label_words(batch, schema)) for batch in batches)
        if suffix in (".npz", ".npy"):
            write_array(parts, path)
        elif suffix == ".gif":
            write_gif(((enlarged(on_white(pictures)), words) for pictures, words in parts), path)
        elif suffix == ".png":
            write_one(parts, path)
        elif suffix in (".jpg", ".jpeg", ".webp", ".bmp", ".csv", ".parquet"):
            raise BadInput(f"{path}: pictures are written as a folder, .npz, .npy, .gif or one .png; give another path")
        else:
            write_folder(parts, path, schema.label_form == "sub-folders")
        return [path]

    def write_sheet(
        self, batches: Iterable[Batch], path: Path, schema: ImageSchema, columns: int | None = None
    ) -> list[Path]:
        """One .png with every picture, small ones enlarged."""
        pictures = np.concatenate([self.present(batch, schema) for batch in batches])
        write_one([(sheet(pictures, columns)[None], None)], path)
        return [path]

    def present(self, batch: Batch, schema: ImageSchema) -> Pixels:
        """uint8 (N, H, W) where grey, (N, H, W, C) where not."""
        x: Pixels = batch.fields["image"].cpu().numpy()
        return x[:, 0] if x.shape[1] == 1 else np.ascontiguousarray(x.transpose(0, 2, 3, 1))

    def with_likelihood(self, schema: ImageSchema, field: str, likelihood: str, support: str) -> ImageSchema:
        """The same pictures under another likelihood, with the transform that its support needs."""
        if field != "image":
            raise BadInput(f"likelihood.{field}: of pictures only the field 'image' is modelled; set likelihood.image")
        new = {"likelihood": likelihood, "support": support, "transform": schema.transform_for(support, likelihood)}
        fields = tuple(f.model_copy(update=new) if f.name == field else f for f in schema.fields)
        told = tuple(line for line in schema.evidence if not line.startswith("likelihood:"))
        evidence = (*told, f"likelihood: {likelihood} (as asked)")
        return schema.model_copy(update={"fields": fields, "evidence": evidence})

    def augmentation(self, spec: DataSpec, schema: ImageSchema) -> Callable[[Batch], Batch] | None:
        """Mirrored and moved at random, as ``data.flip`` and ``data.shift`` say."""
        if not (spec.flip or spec.shift):
            return None
        return lambda batch: augment(batch, spec.flip, spec.shift)

    def read_mask(self, mask: Any, schema: ImageSchema) -> Tensor:
        """(1, 1, H, W) bool from words such as ``left`` or ``random:0.5``, a picture (white is missing) or an array."""
        return read_mask(mask, schema)[None]

    def parse_given(self, text: Mapping[str, Words], schema: ImageSchema, rows: int, start: int = 0) -> Batch:
        """``label=7``, or ``label=0,1,2`` in turn: ``label`` int64 (rows, 1)."""
        for name in text:
            if name != "label" or not schema.told:
                known = "it takes label alone" if schema.told else "it was fitted without --given label"
                raise BadInput(f"--given {name}: the model is not conditioned on {name!r}; {known}")
        if not schema.told:
            return Batch({})
        whole = text.get("label")
        if whole is None and schema.label is not None:  # nothing asked for: every row draws its own
            none = torch.zeros(rows, 1, dtype=torch.int64)
            return Batch({"label": none}, {"label": none > 0})
        if whole is None or whole in schema.labels:
            words = list(schema.labels) if whole is None else [str(whole)]  # nothing asked for: every label in turn
        else:
            words = [word.strip() for word in whole.split(",")] if isinstance(whole, str) else list(whole)
        for word in words:
            if word not in schema.labels:
                raise unknown("label", word, schema.labels)
        ids = torch.tensor([schema.labels.index(word) for word in words])
        return Batch({"label": ids[torch.arange(start, start + rows) % len(ids), None]})

    def classes(self, name: str, schema: ImageSchema) -> tuple[str, ...]:
        """The labels, where the model is conditioned on them."""
        self.parse_given({name: ()}, schema, 0)
        return schema.labels

    def defaults(self, schema: ImageSchema, rows: int, size: str) -> dict[str, Any]:
        """A convolutional net from 16 x 16 pixels up, an MLP below; as many epochs as the steps of that size make."""
        short, values = min(schema.height, schema.width), schema.channels * schema.height * schema.width
        step = {"small": 0, "medium": 1, "large": 2}[size]
        batch = 64 if rows < 5_000 else 128 if rows < 50_000 else 200
        if short >= 16:
            # Halvings until 4 to 7 pixels are left on the shorter side, 4 of them at most.
            base, depth = (16, 32, 64)[step], min(4, int(math.log2(short / 4)))
            # A step of 64 rows of 28 x 28 took 62 ms on one core of a busy machine without blocks, 121 ms with one.
            steps = (1_500, 20_000, 80_000)[step]
            network: dict[str, Any] = {
                "name": "conv",
                "channels": tuple(min(base << i, 256) for i in range(depth)),
                "blocks": (0, 1, 2)[step],
                "norm": "group",
                "skip": step > 0,
            }
        else:
            # A step of 64 rows of 8 x 8 pixels took 4.7 ms on the same core: half a minute for small.
            steps = (6_000, 40_000, 120_000)[step]
            network = {"name": "mlp", "hidden": ((256, 256), (512, 512), (1024, 1024))[step], "gated": step > 0}
        dims = (16, 32, 64)[step] * (2 if values > 4096 else 1) // (2 if values <= 100 else 1)
        epochs = min(max(round(steps * batch / max(rows, 1)), 5), 1000)
        train = {"batch": batch, "epochs": epochs, "patience": max(10, epochs // 5)}
        return {"network": network, "latent": {"dims": dims}, "train": train}


def opened(source: Source, schema: ImageSchema) -> Folder | Grid:
    """The pictures, less those that could not be read when the data were scanned and still cannot."""
    pictures = pictures_in(source)
    if isinstance(pictures, Folder):
        pictures.drop(schema.skipped)
    return pictures


def read_all(pictures: Folder | Grid, frame: Frame, rows: int, stretch: Stretch) -> Iterator[Pixels]:
    """(n, C, H, W) with n at most ``rows``. Only numbers in arrays need stretching."""
    return pictures.read(frame, rows) if isinstance(pictures, Folder) else pictures.read(frame, rows, stretch)


def stretch_for(pictures: Folder | Grid, schema: ImageSchema) -> Stretch:
    """As the fitted data were read, where these hold the same sort of number; else as these suggest."""
    if isinstance(pictures, Folder):
        return Stretch()
    if pictures.values == "uint8":
        # 0 and 1 stand for black and white only if they did before, and nothing here is above 1.
        as_before = schema.values == "uint8" and schema.scale != 1 and pictures.range()[1] <= 1
        return schema.stretch if as_before else Stretch()
    return schema.stretch if pictures.values == schema.values else pictures.measure()[0]


def label_words(batch: Batch, schema: ImageSchema) -> list[str] | None:
    """The names of the rows' labels, where they have any."""
    ids, seen = batch.fields.get("label"), batch.seen.get("label")
    if ids is None:
        return None
    there = [True] * len(ids) if seen is None else seen[:, 0].tolist()
    return [
        schema.labels[i] if known else schema.unlabelled[0] for i, known in zip(ids[:, 0].tolist(), there, strict=True)
    ]


def on_white(pictures: Pixels) -> Pixels:
    """(N, H, W, 4) -> (N, H, W, 3) laid on white; others as they are."""
    if pictures.ndim == 3 or pictures.shape[-1] != 4:
        return pictures
    return np.ascontiguousarray(recolour(pictures.transpose(0, 3, 1, 2), "rgb").transpose(0, 2, 3, 1))


def _useful(labels: Labels | None) -> Labels | None:
    """One sub-folder that holds everything is a place, not a label."""
    return None if labels and labels.form == "sub-folders" and len(labels.names) == 1 else labels
