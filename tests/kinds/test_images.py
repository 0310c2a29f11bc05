"""Pictures from every source and back, what is decided about them, and what is refused."""

from __future__ import annotations

import gzip
import os
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from latelier.batch import Batch, join
from latelier.data.augment import augment
from latelier.data.transforms import Binarise, Dequantise, Levels
from latelier.errors import BadInput
from latelier.kinds.base import Source
from latelier.kinds.images import Images
from latelier.kinds.pictures import files
from latelier.kinds.pictures.files import Frame, decode, natural
from latelier.kinds.pictures.masks import read_mask
from latelier.kinds.pictures.schema import ImageSchema
from latelier.noise import Fresh
from latelier.spec import DataSpec, Spec

KIND = Images()
Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def digits() -> tuple[Pixels, npt.NDArray[np.int64]]:
    """60 handwritten digits (60, 8, 8) of 0..255 and their labels."""
    bunch = load_digits()
    return np.rint(bunch.images[:60] * 255 / 16).astype(np.uint8), bunch.target[:60]


@pytest.fixture
def photos() -> Pixels:
    """12 smooth colour pictures (12, 20, 24, 3)."""
    y, x = np.mgrid[0:20, 0:24]
    return np.stack([np.stack([x * 10, y * 12, (x + y + 5 * i) * 4], -1) for i in range(12)]).astype(np.uint8)


def save(folder: Path, pictures: Any, suffix: str = ".png", **options: Any) -> Path:
    """Numbered without leading zeros, so that their order is not that of the alphabet."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{i}{suffix}", **options)
    return folder


def write_idx(path: Path, array: npt.NDArray[Any], code: int = 8, type_: str = ">u1") -> Path:
    head = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    with gzip.open(path, "wb") if path.suffix == ".gz" else path.open("wb") as file:
        file.write(head + array.astype(type_).tobytes())
    return path


def pixels(source: Source, schema: ImageSchema | None = None, **options: Any) -> Pixels:
    """All that is read, as a Python user gets it."""
    schema = schema or KIND.scan(source, DataSpec(**options))
    return KIND.present(join(list(KIND.read(source, schema))), schema)


def scan(source: Source, **options: Any) -> ImageSchema:
    return KIND.scan(source, DataSpec(**options))


# Reading


@pytest.mark.parametrize(
    ("suffix", "options"), [(".png", {}), (".bmp", {}), (".gif", {}), (".webp", {"lossless": True})]
)
def test_a_folder_gives_its_pictures_in_natural_order(tmp_path: Path, digits: Any, suffix: str, options: Any) -> None:
    images, _ = digits
    assert np.array_equal(pixels(save(tmp_path / "a", images, suffix, **options)), images)


def test_jpeg_pictures_are_read_with_its_losses_only(tmp_path: Path, photos: Pixels) -> None:
    read = pixels(save(tmp_path / "a", photos, ".jpg", quality=98))
    assert read.shape == photos.shape
    assert np.abs(read.astype(int) - photos).mean() < 3


@pytest.mark.parametrize("form", ["array", "npy", "npz", "compressed npz", "columns first npz", "idx", "idx.gz"])
def test_every_form_of_array_gives_the_same_pictures(tmp_path: Path, digits: Any, form: str) -> None:
    images, _ = digits
    forms: dict[str, Callable[[], Source]] = {
        "array": lambda: images,
        "npy": lambda: np.save(tmp_path / "a.npy", images) or tmp_path / "a.npy",  # type: ignore[func-returns-value]
        "npz": lambda: np.savez(tmp_path / "a.npz", x=images) or tmp_path / "a.npz",
        "compressed npz": lambda: np.savez_compressed(tmp_path / "a.npz", anything=images) or tmp_path / "a.npz",
        "columns first npz": lambda: np.savez(tmp_path / "a.npz", np.asfortranarray(images)) or tmp_path / "a.npz",
        "idx": lambda: write_idx(tmp_path / "train-images-idx3-ubyte", images),
        "idx.gz": lambda: write_idx(tmp_path / "train-images-idx3-ubyte.gz", images),
    }
    source = forms[form]()
    schema = scan(source)
    assert KIND.recognise(source) is not None
    assert schema.rows == 60
    assert np.array_equal(pixels(source, schema), images)
    assert np.array_equal(np.concatenate([b.fields["image"][:, 0] for b in KIND.read(source, schema, rows=7)]), images)


def test_a_columns_first_npy_is_read_by_rows(tmp_path: Path, digits: Any) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(digits[0]))
    assert np.array_equal(pixels(tmp_path / "a.npy"), digits[0])


@pytest.mark.parametrize("layout", ["rows, height, width, channels", "rows, channels, height, width"])
def test_both_places_of_the_channels_are_understood(photos: Pixels, layout: str) -> None:
    source = photos if layout.endswith("channels") else np.ascontiguousarray(photos.transpose(0, 3, 1, 2))
    assert np.array_equal(pixels(source), photos)


@pytest.mark.parametrize(
    ("change", "exact"),
    [
        (lambda x: x / 255.0, True),
        (lambda x: (x / 127.5 - 1).astype(np.float32), True),
        (lambda x: x.astype(np.int64), True),
        (lambda x: x.astype(np.uint16) * 257, True),
        (lambda x: x / 255 * 16, True),
    ],
)
def test_numbers_of_other_ranges_become_levels_and_it_is_told(digits: Any, change: Any, exact: bool) -> None:
    images = digits[0].copy()
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    schema = scan(change(images))
    assert np.array_equal(pixels(change(images), schema), images)
    assert any(line.startswith("values:") for line in schema.evidence)


def test_a_part_of_the_data_is_stretched_as_the_whole_was(digits: Any) -> None:
    images = digits[0] / 255
    dark = images[:5] * 0.1
    assert pixels(dark, scan(images)).max() <= 26


def test_what_the_python_user_got_can_be_given_back(digits: Any) -> None:
    for data in (digits[0] / 255, (digits[0] > 127).astype(np.uint8), digits[0] > 127):
        schema = scan(data)
        once = pixels(data, schema)
        assert np.array_equal(pixels(once, schema), once)


def test_one_picture_file_is_one_row(tmp_path: Path, digits: Any) -> None:
    file = save(tmp_path / "a", digits[0][:1]) / "0.png"
    assert np.array_equal(pixels(file), digits[0][:1])


def test_of_four_idx_files_the_training_pictures_are_taken(tmp_path: Path, digits: Any) -> None:
    images, labels = digits
    for part, rows in (("train", slice(0, 40)), ("t10k", slice(40, 60))):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images[rows])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", labels[rows])
    assert "train-images" in (KIND.recognise(tmp_path) or "")
    schema = scan(tmp_path, given=("label",))
    assert schema.rows == 40
    assert schema.labels == tuple("0123456789")
    batch = join(list(KIND.read(tmp_path / "t10k-images-idx3-ubyte.gz", schema)))
    assert batch.fields["label"][:, 0].tolist() == labels[40:].tolist()


def test_reading_yields_parts_and_opens_no_file_before_its_turn(
    tmp_path: Path, digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path / "a", digits[0])
    schema = scan(folder)
    opened: list[Path] = []

    def counted(path: Path, frame: Frame) -> Pixels:
        opened.append(path)
        return decode(path, frame)

    monkeypatch.setattr(files, "decode", counted)
    parts = KIND.read(folder, schema, rows=10)
    for number in range(1, 7):
        assert len(next(parts)) == 10
        assert len(opened) == 10 * number
    assert next(parts, None) is None


def test_a_part_holds_no_more_bytes_than_its_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digits: Any
) -> None:
    folder = save(tmp_path / "a", digits[0])
    schema = scan(folder)
    monkeypatch.setattr(files, "PART", 5 * 64)
    assert [len(batch) for batch in KIND.read(folder, schema, rows=1000)] == [5] * 12


def test_a_compressed_array_larger_than_a_part_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((400_000, 8, 8), np.uint8))
    schema = ImageSchema(kind="images", fields=(), height=8, width=8)
    tracemalloc.start()
    rows = sum(len(batch) for batch in KIND.read(tmp_path / "a.npz", schema, rows=5000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows == 400_000
    assert peak < 4 << 20  # of the array's 24 MiB


def test_names_are_in_natural_order_and_hidden_files_are_not_seen(tmp_path: Path, digits: Any) -> None:
    folder = save(tmp_path / "a", digits[0][:11])
    (folder / "._0.png").write_bytes(b"not a picture")
    (folder / "notes.txt").write_text("x")
    schema = scan(folder)
    assert schema.rows == 11
    assert np.array_equal(pixels(folder, schema), digits[0][:11])
    assert any("notes.txt" in line for line in schema.evidence)
    assert sorted(["b/1", "a/10", "a/2"], key=natural) == ["a/2", "a/10", "b/1"]


# Size and colour


def test_the_commonest_size_wins_and_others_are_cropped_about_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((16, 40), np.uint8)
    wide[:, 12:28] = 200  # the middle square, which is what should stay
    folder = save(tmp_path / "a", [np.zeros((8, 8), np.uint8)] * 3 + [wide])
    schema = scan(folder)
    assert (schema.height, schema.width) == (8, 8)
    assert (pixels(folder, schema)[3] == 200).all()
    assert any("3 of 4 are 8 x 8" in line and "data.pixels" in line for line in schema.evidence)


def test_of_equally_common_sizes_the_larger_wins(tmp_path: Path) -> None:
    folder = save(tmp_path / "a", [np.zeros(s, np.uint8) for s in ((8, 8), (12, 10), (12, 10), (8, 8))])
    schema = scan(folder)
    assert (schema.height, schema.width) == (12, 10)


def test_large_pictures_come_down_to_64_unless_more_are_asked_for(tmp_path: Path) -> None:
    folder = save(tmp_path / "a", [np.full((100, 200, 3), 90, np.uint8)] * 2, ".jpg")
    schema = scan(folder)
    assert (schema.height, schema.width) == (32, 64)
    assert any("brought down to 32 x 64" in line for line in schema.evidence)
    assert scan(folder, pixels=(100, 200)).fields[0].shape == (1, 100, 200)
    assert scan(np.zeros((2, 128, 128), np.uint8)).height == 64


def test_a_picture_of_another_size_is_refused_where_all_had_one(tmp_path: Path, digits: Any) -> None:
    schema = scan(save(tmp_path / "a", digits[0]))
    other = save(tmp_path / "b", [np.zeros((9, 8), np.uint8)])
    with pytest.raises(BadInput, match=r"0\.png: 9 x 8 pixels.*8 x 8.*data\.pixels"):
        pixels(other, schema)
    with pytest.raises(BadInput, match=r"row 0: 9 x 8 pixels"):
        pixels(np.zeros((2, 9, 8), np.uint8), schema)
    assert pixels(other, scan(tmp_path / "a", pixels=(8, 8))).shape == (1, 8, 8)


def test_colour_files_without_colour_are_grey(tmp_path: Path, digits: Any) -> None:
    folder = save(tmp_path / "a", np.repeat(digits[0][..., None], 3, -1))
    schema = scan(folder)
    assert schema.colour == "grey"
    assert np.array_equal(pixels(folder, schema), digits[0])
    assert pixels(folder, colour="rgb").shape == (60, 8, 8, 3)


def test_one_picture_in_colour_makes_all_of_them_colour(tmp_path: Path, digits: Any, photos: Pixels) -> None:
    folder = save(tmp_path / "a", [*digits[0], photos[0][:8, :8]])
    assert scan(folder).colour == "rgb"
    assert pixels(folder)[:60].std(-1).max() == 0


def test_alpha_is_kept_where_used_and_else_laid_on_white(tmp_path: Path, photos: Pixels) -> None:
    opaque = np.concatenate([photos, np.full_like(photos[..., :1], 255)], -1)
    clear = opaque.copy()
    clear[:, :10, :, 3] = 0
    assert scan(save(tmp_path / "opaque", opaque)).colour == "rgb"
    folder = save(tmp_path / "clear", clear)
    assert np.array_equal(pixels(folder), clear)
    on_white = pixels(folder, colour="rgb")
    assert (on_white[:, :10] == 255).all()
    assert np.array_equal(on_white[:, 10:], photos[:, 10:])
    assert np.array_equal(pixels(clear), clear)


def test_16_bit_grey_is_scaled_to_8_bits(tmp_path: Path, digits: Any) -> None:
    folder = save(tmp_path / "a", digits[0].astype(np.uint16) * 257)
    schema = scan(folder)
    assert np.array_equal(pixels(folder, schema), digits[0])
    assert any("16-bit" in line for line in schema.evidence)


@pytest.mark.parametrize("mode", ["1", "P", "LA", "CMYK", "RGBA"])
def test_every_mode_of_a_file_is_understood(tmp_path: Path, digits: Any, mode: str) -> None:
    suffix = ".jpg" if mode == "CMYK" else ".png"
    black_and_white = np.where(digits[0] > 127, 255, 0).astype(np.uint8)
    (tmp_path / "a").mkdir()
    for i, picture in enumerate(black_and_white):
        Image.fromarray(picture).convert("RGB" if mode == "CMYK" else "L").convert(mode).save(
            tmp_path / "a" / f"{i}{suffix}"
        )
    read = pixels(tmp_path / "a", colour="grey")
    assert np.abs(read.astype(int) - black_and_white).mean() < 4


def test_pictures_stand_as_their_camera_says(tmp_path: Path, photos: Pixels) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    Image.fromarray(photos[0]).save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    schema = scan(tmp_path / "a.jpg")
    assert (schema.height, schema.width) == (24, 20)
    turned = np.rot90(photos[0], -1)
    assert np.abs(pixels(tmp_path / "a.jpg", schema)[0].astype(int) - turned).mean() < 3


# Likelihoods


def test_pictures_of_two_levels_and_nearly_so_are_binary(digits: Any) -> None:
    two = np.where(digits[0] > 127, 255, 0).astype(np.uint8)
    schema = scan(two)
    assert schema.fields[0].likelihood == "bernoulli"
    assert schema.fields[0].transform == Binarise(dynamic=False)
    nearly = np.zeros((60, 28, 28), np.uint8)
    nearly[:, 10:18, 10:18] = digits[0]  # a small figure on a large black ground, as in MNIST
    schema = scan(nearly)
    assert schema.fields[0].likelihood == "bernoulli"
    assert schema.fields[0].transform == Binarise(dynamic=True)
    assert any("9" in line and "likelihood.image=logistic" in line for line in schema.evidence)


def test_two_levels_that_are_not_black_and_white_are_not_binary(digits: Any) -> None:
    schema = scan(np.where(digits[0] > 127, 200, 100).astype(np.uint8))
    assert schema.fields[0].likelihood == "logistic"


def test_grey_levels_get_a_logistic_and_colour_a_mixture(digits: Any, photos: Pixels) -> None:
    assert scan(digits[0]).fields[0].likelihood == "logistic"
    field = scan(photos).fields[0]
    assert (field.likelihood, field.support, field.transform) == ("logistic_mixture", "levels", Levels())


@pytest.mark.parametrize("support", ["binary", "unit", "real", "levels"])
def test_another_likelihood_brings_its_transform_and_levels_survive_it(digits: Any, support: str) -> None:
    schema = KIND.with_likelihood(scan(digits[0]), "image", "some", support)
    batch = next(KIND.read(digits[0], schema))
    model = schema.to_model(batch)
    if support != "binary":
        assert torch.equal(schema.to_data(model).fields["image"], batch.fields["image"])
    assert schema.fields[0].support == support
    assert schema.evidence[-1] == "likelihood: some (as asked)"


def test_real_pixels_are_standardised(digits: Any) -> None:
    schema = KIND.with_likelihood(scan(digits[0]), "image", "gaussian", "real")
    assert isinstance(schema.fields[0].transform, Dequantise)
    x = schema.to_model(next(KIND.read(digits[0], schema))).fields["image"]
    assert abs(float(x.mean())) < 0.01
    assert abs(float(x.std()) - 1) < 0.01


@pytest.mark.parametrize("support", ["category", "ordinal", "count"])
def test_a_likelihood_of_no_pixels_is_refused(digits: Any, support: str) -> None:
    with pytest.raises(BadInput, match="binary, unit, real or levels"):
        KIND.with_likelihood(scan(digits[0]), "image", "some", support)


# Labels


def labelled(tmp_path: Path, digits: Any, form: str) -> tuple[Path, dict[str, Any], list[int]]:
    """The same pictures with their labels in one of the forms, and the labels in the order of reading."""
    images, labels = digits
    if form == "sub-folders":
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            (tmp_path / "a" / f"n{label}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / "a" / f"n{label}" / f"{i}.png")
        return tmp_path / "a", {}, sorted(labels.tolist())
    if form == "csv":
        folder = save(tmp_path / "a", images)
        table = pd.DataFrame({"file": [f"{i}.png" for i in range(60)], "label": [f"n{label}" for label in labels]})
        table.sample(frac=1, random_state=0).to_csv(tmp_path / "l.csv", index=False)
        return folder, {"labels": str(tmp_path / "l.csv")}, labels.tolist()
    if form == "npz":
        np.savez(tmp_path / "a.npz", images=images, labels=np.array([f"n{label}" for label in labels]))
        return tmp_path / "a.npz", {}, labels.tolist()
    write_idx(tmp_path / "train-labels-idx1-ubyte", labels)
    return write_idx(tmp_path / "train-images-idx3-ubyte", images), {}, labels.tolist()


@pytest.mark.parametrize("form", ["sub-folders", "csv", "npz", "idx"])
def test_labels_are_a_condition_if_asked_for_and_known_if_not(tmp_path: Path, digits: Any, form: str) -> None:
    source, options, expected = labelled(tmp_path, digits, form)
    schema = scan(source, **options)
    assert [f.name for f in schema.fields] == ["image"]
    assert len(schema.labels) == 10
    found = KIND.labels(source, schema, rows=13)
    assert found is not None
    assert np.concatenate(list(found)).tolist() == expected
    schema = scan(source, given=("label",), **options)
    field = schema.conditions[0]
    assert (field.name, field.shape, field.sizes, field.support) == ("label", (1,), (10,), "category")
    batch = join(list(KIND.read(source, schema, rows=11)))
    assert batch.fields["label"].dtype == torch.int64
    assert batch.fields["label"][:, 0].tolist() == expected


def test_a_new_label_is_an_error_that_names_the_file_only_where_labels_matter(tmp_path: Path, digits: Any) -> None:
    source, _, _ = labelled(tmp_path, digits, "sub-folders")
    plain, conditioned = scan(source), scan(source, given=("label",))
    save(tmp_path / "b" / "z", digits[0][:1])
    with pytest.raises(BadInput, match=r"z.0\.png: label 'z' is new; the model knows n0, n1"):
        list(KIND.read(tmp_path / "b", conditioned))
    assert len(join(list(KIND.read(tmp_path / "b", plain)))) == 1
    found = KIND.labels(tmp_path / "b", plain)
    assert found is not None
    assert next(found).tolist() == [-1]


def test_other_data_find_a_csv_of_the_same_name_beside_them(tmp_path: Path, digits: Any) -> None:
    images, labels = digits
    for part, rows in (("train", slice(0, 40)), ("test", slice(40, 60))):
        folder = save(tmp_path / part / "pictures", images[rows])
        lines = [f"{i}.png,{label}" for i, label in enumerate(labels[rows])]
        (tmp_path / part / "labels.csv").write_text("\n".join(["file,label", *lines]))
    schema = scan(tmp_path / "train" / "pictures", given=("label",), labels=str(tmp_path / "train" / "labels.csv"))
    batch = join(list(KIND.read(folder, schema)))
    assert batch.fields["label"][:, 0].tolist() == labels[40:].tolist()


def test_conditions_are_read_from_words(tmp_path: Path, digits: Any) -> None:
    source, _, _ = labelled(tmp_path, digits, "sub-folders")
    schema = scan(source, given=("label",))
    assert KIND.parse_given({"label": "n7"}, schema, 3).fields["label"].tolist() == [[7], [7], [7]]
    assert KIND.parse_given({"label": "n0, n9"}, schema, 3).fields["label"].tolist() == [[0], [9], [0]]
    with pytest.raises(BadInput, match="unknown label 'n77'; did you mean 'n7'"):
        KIND.parse_given({"label": "n77"}, schema, 3)
    assert KIND.parse_given({}, schema, 12).fields["label"].flatten().tolist() == [*range(10), 0, 1]  # all in turn
    with pytest.raises(BadInput, match="sex"):
        KIND.parse_given({"sex": "F"}, schema, 3)
    with pytest.raises(BadInput, match="fitted without --given label"):
        KIND.parse_given({"label": "n7"}, scan(source), 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("name,label\n0.png,1\n", "columns name,label; expected file,label"),
        ("file,label\n0.png,\n", "line 2 is incomplete"),
        ("file,label\n0.png,1\n", "no line for picture 1.png"),
    ],
)
def test_a_labels_file_that_does_not_fit_is_refused(
    tmp_path: Path, digits: Any, text: str | None, message: str
) -> None:
    folder = save(tmp_path / "a", digits[0][:3])
    if text is not None:
        (tmp_path / "l.csv").write_text(text)
    with pytest.raises(BadInput, match=message):
        scan(folder, labels=str(tmp_path / "l.csv"))


def test_conditioning_on_what_is_not_there_is_refused(tmp_path: Path, digits: Any) -> None:
    folder = save(tmp_path / "a", digits[0][:3])
    with pytest.raises(BadInput, match="the pictures have no labels; put them in a sub-folder"):
        scan(folder, given=("label",))
    with pytest.raises(BadInput, match="conditioned on 'label' alone"):
        scan(folder, given=("sex",))


# Writing


@pytest.mark.parametrize("form", ["folder", ".npz", ".npy"])
@pytest.mark.parametrize("what", ["grey", "colour", "alpha"])
def test_what_is_written_is_read_back_the_same(
    tmp_path: Path, digits: Any, photos: Pixels, form: str, what: str
) -> None:
    ramp = np.linspace(0, 254, 24).astype(np.uint8)
    alpha = np.broadcast_to(ramp[None, None, :, None], (*photos.shape[:3], 1))
    images = {"grey": digits[0], "colour": photos, "alpha": np.concatenate([photos, alpha], -1)}[what]
    schema = scan(images)
    path = tmp_path / ("out" if form == "folder" else "out" + form)
    assert KIND.write(KIND.read(images, schema, rows=5), path, schema) == [path]
    assert np.array_equal(pixels(path), images)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if form == "folder":
        assert (path / "000000.png").is_file()


@pytest.mark.parametrize("form", ["sub-folders", "csv", "npz"])
def test_labels_are_written_beside_their_pictures(tmp_path: Path, digits: Any, form: str) -> None:
    source, options, expected = labelled(tmp_path, digits, form)
    schema = scan(source, given=("label",), **options)
    out = tmp_path / ("out.npz" if form == "npz" else "out")
    KIND.write(KIND.read(source, schema, rows=5), out, schema)
    again = {"labels": str(out / "labels.csv")} if form == "csv" else {}
    back = join(list(KIND.read(out, scan(out, given=("label",), **again))))
    assert back.fields["label"][:, 0].tolist() == expected
    assert torch.equal(back.fields["image"], join(list(KIND.read(source, schema))).fields["image"])


def test_a_label_that_is_a_way_out_of_the_folder_makes_no_file_outside(tmp_path: Path, digits: Any) -> None:
    source, _, _ = labelled(tmp_path, digits, "sub-folders")
    schema = scan(source, given=("label",)).model_copy(update={"labels": ("../x", "..", *"23456789")})
    KIND.write(KIND.read(source, scan(source, given=("label",))), tmp_path / "out" / "in", schema)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["in"]
    assert "../x" in (tmp_path / "out" / "in" / "labels.csv").read_text()


def test_a_gif_is_an_animation_and_a_png_one_picture(tmp_path: Path, digits: Any) -> None:
    schema = scan(digits[0])
    KIND.write(KIND.read(digits[0], schema, rows=4), tmp_path / "a.gif", schema)
    with Image.open(tmp_path / "a.gif") as animation:
        assert animation.n_frames == 60  # type: ignore[attr-defined]
    KIND.write(KIND.read(digits[0][:1], schema), tmp_path / "a.png", schema)
    assert np.array_equal(pixels(tmp_path / "a.png"), digits[0][:1])
    with pytest.raises(BadInput, match="holds one picture"):
        KIND.write(KIND.read(digits[0], schema, rows=4), tmp_path / "b.png", schema)
    assert not (tmp_path / "b.png").exists()


def test_nothing_is_overwritten_but_an_empty_folder(tmp_path: Path, digits: Any) -> None:
    schema = scan(digits[0])
    full = save(tmp_path / "full", digits[0][:2])
    before = (full / "0.png").read_bytes()
    (tmp_path / "a.npz").write_bytes(b"mine")
    for path in (full, tmp_path / "a.npz"):
        with pytest.raises(BadInput, match="already there"):
            KIND.write(KIND.read(digits[0], schema), path, schema)
    assert (full / "0.png").read_bytes() == before
    assert (tmp_path / "a.npz").read_bytes() == b"mine"
    (tmp_path / "empty").mkdir()
    KIND.write(KIND.read(digits[0], schema), tmp_path / "empty", schema)
    assert len(list((tmp_path / "empty").iterdir())) == 60


@pytest.mark.parametrize("name", ["out", "out.npz", "out.npy", "out.gif"])
def test_a_write_that_fails_midway_leaves_nothing(tmp_path: Path, digits: Any, name: str) -> None:
    schema = scan(digits[0])

    def failing() -> Iterator[Batch]:
        yield from KIND.read(digits[0][:5], schema)
        raise OSError(28, "No space left on device")

    with pytest.raises(BadInput, match="No space left"):
        KIND.write(failing(), tmp_path / name, schema)
    assert list(tmp_path.iterdir()) == []


def test_pictures_are_not_written_as_a_table(tmp_path: Path, digits: Any) -> None:
    schema = scan(digits[0])
    with pytest.raises(BadInput, match="pictures are written as a folder"):
        KIND.write(KIND.read(digits[0], schema), tmp_path / "a.csv", schema)


# Mistakes


def _broken(folder: Path, name: str) -> Path:
    """Cut off in the middle of its pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    Image.fromarray(noise).save(folder / name)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    return folder


def _empty_file(folder: Path) -> Path:
    (folder / "zero.png").touch()
    return folder


def _text(folder: Path) -> Path:
    (folder / "text.png").write_text("this is not a picture")
    return folder


def _bomb(folder: Path) -> Path:
    Image.new("1", (12_000, 12_000)).save(folder / "bomb.png")
    return folder


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: _broken(folder, "cut.png"), r"cut\.png: broken picture .*; remove it or copy it again"),
        (_empty_file, r"zero\.png: the file is empty"),
        (_text, r"text\.png: not a picture"),
        (_bomb, r"bomb\.png: more than .* pixels .*bomb"),
    ],
)
def test_one_bad_file_among_few_is_an_error_that_names_it(
    tmp_path: Path, digits: Any, spoil: Any, message: str
) -> None:
    folder = spoil(save(tmp_path / "a", digits[0]))
    with pytest.raises(BadInput, match=message) as raised:
        scan(folder)
    assert "\n" not in str(raised.value)


def test_a_folder_with_one_file_of_arrays_is_that_file(tmp_path: Path, digits: Any) -> None:
    np.savez(tmp_path / "digits.npz", images=digits[0][:20], labels=np.arange(20))
    (tmp_path / "README.md").write_text("digits")
    assert KIND.recognise(tmp_path)
    schema = scan(tmp_path)
    np.testing.assert_array_equal(pixels(tmp_path, schema), pixels(tmp_path / "digits.npz", schema))
    assert np.concatenate(list(KIND.labels(tmp_path, schema))).tolist() == list(range(20))
    (tmp_path / "rows.csv").write_text("a\n1\n")
    assert not KIND.recognise(tmp_path)
    np.save(tmp_path / "more.npy", digits[0])
    with pytest.raises(BadInput, match=r"several files of arrays \(digits.npz, more.npy\); pass one of them"):
        scan(tmp_path)


def test_one_bad_file_in_a_hundred_is_left_out_and_told(tmp_path: Path, digits: Any) -> None:
    folder = _broken(save(tmp_path / "a", [digits[0][0]] * 150), "cut.png")
    schema = scan(folder, pixels=(8, 8))
    assert schema.skipped == ("cut.png",)
    assert schema.rows == 150
    assert any("cut.png" in line for line in schema.evidence)
    assert len(pixels(folder, schema)) == 150
    _broken(folder, "later.png")
    with pytest.raises(BadInput, match=r"later\.png"):
        pixels(folder, schema)
    (folder / "later.png").unlink()
    Image.fromarray(digits[0][0]).save(folder / "cut.png")
    assert len(pixels(folder, schema)) == 151


def test_more_than_one_bad_file_in_a_hundred_stops(tmp_path: Path, digits: Any) -> None:
    folder = _text(_broken(save(tmp_path / "a", [digits[0][0]] * 150), "cut.png"))
    with pytest.raises(BadInput, match=r"cut\.png.*1 more could not be read"):
        scan(folder)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "digit", r"no such file or folder; did you mean .*digits"),
        (lambda p: p / "digits", r"the folder holds no pictures; looked for \.png"),
        (lambda p: np.zeros((5, 64)), r"shape \(5, 64\), but pictures are \(N, H, W\)"),
        (lambda p: np.zeros((5, 8, 8, 2)), "C = 1, 3 or 4"),
        (lambda p: np.zeros((0, 8, 8)), "holds no pictures"),
        (lambda p: np.full((5, 8, 8), np.nan), "row 0 holds a value that is not a finite number"),
        (lambda p: np.linspace(-500, 500, 320).reshape(5, 8, 8), "values from -500 to 500"),
        (lambda p: np.array([[["a"]]]), "not numbers"),
        (lambda p: np.array([np.zeros(2), None], object), "never unpickled"),
        (lambda p: pd.DataFrame({"a": [1]}), "a table, not pictures"),
    ],
)
def test_a_source_that_holds_no_pictures_is_refused(tmp_path: Path, make: Any, message: str) -> None:
    (tmp_path / "digits").mkdir()
    with pytest.raises(BadInput, match=message):
        scan(make(tmp_path))


def test_files_of_arrays_that_cannot_be_read_are_refused(tmp_path: Path, digits: Any) -> None:
    images, path = digits[0], tmp_path / "a.npy"
    np.save(path, np.array([{"run": "me"}], object), allow_pickle=True)
    with pytest.raises(BadInput, match=r"a\.npy: .*never unpickled"):
        scan(path)
    np.save(path, images)
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(BadInput, match=r"a\.npy: .*truncated: 60 rows were announced, 49 are there"):
        scan(path)
    path.write_bytes(b"no array")
    with pytest.raises(BadInput, match=r"a\.npy: cannot be read"):
        scan(path)
    np.savez(tmp_path / "b.npz", images=np.array([{}], object))
    with pytest.raises(BadInput, match=r"b\.npz, 'images': Python objects"):
        scan(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", left=images, right=images)
    with pytest.raises(BadInput, match=r"left \(60, 8, 8\), right \(60, 8, 8\); call it 'images'"):
        scan(tmp_path / "c.npz")
    (tmp_path / "d.npz").write_bytes(b"PK no zip")
    with pytest.raises(BadInput, match=r"d\.npz: cannot be read"):
        scan(tmp_path / "d.npz")
    gz = write_idx(tmp_path / "train-images-idx3-ubyte.gz", images)
    gz.write_bytes(gz.read_bytes()[:-200])
    with pytest.raises(BadInput, match=r"idx3-ubyte\.gz: cannot be read"):
        scan(gz)
    (tmp_path / "e.xyz").write_text("hello")
    with pytest.raises(BadInput, match=r"e\.xyz: not pictures"):
        scan(tmp_path / "e.xyz")


def test_a_value_out_of_the_fitted_range_is_an_error_that_names_the_row(digits: Any) -> None:
    schema = scan(digits[0] / 255)
    with pytest.raises(BadInput, match="row 5 holds 255, outside the range 0 to 1"):
        pixels(np.where(np.arange(60)[:, None, None] == 5, 255.0, digits[0] / 255), schema)


@pytest.mark.parametrize("name", ["table.csv", "nothing", "flat.npy", "broken.npz"])
def test_what_is_not_pictures_is_not_recognised(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "flat.npy":
        np.save(path, np.zeros((5, 3)))
    elif name != "nothing":
        path.write_text("a,b\n1,2\n")
    assert KIND.recognise(path) is None
    assert KIND.recognise(pd.DataFrame({"a": [1]})) is None
    assert KIND.recognise(np.zeros((5, 3))) is None


# Masks, augmentation, defaults


@pytest.mark.parametrize(
    ("word", "missing"), [("left", 32), ("right", 32), ("top", 32), ("bottom", 32), ("centre", 16)]
)
def test_words_name_the_missing_part(digits: Any, word: str, missing: int) -> None:
    mask = KIND.read_mask(word, scan(digits[0]))
    assert mask.shape == (1, 1, 8, 8)
    assert int(mask.sum()) == missing


def test_a_random_mask_repeats_and_hides_its_share(digits: Any) -> None:
    schema = scan(np.zeros((2, 60, 60), np.uint8))
    mask = read_mask("random:0.3", schema)
    assert torch.equal(mask, read_mask("random:0.3", schema))
    assert not torch.equal(mask, read_mask("random:0.3", schema, seed=1))
    assert abs(float(mask.float().mean()) - 0.3) < 0.03


def test_white_marks_the_missing_pixels_of_a_mask_picture(tmp_path: Path, digits: Any) -> None:
    schema = scan(digits[0])
    drawn = np.zeros((8, 8), np.uint8)
    drawn[2:4] = 255
    Image.fromarray(drawn).save(tmp_path / "mask.png")
    assert torch.equal(read_mask(tmp_path / "mask.png", schema), torch.from_numpy(drawn > 0)[None])
    assert torch.equal(read_mask(drawn > 0, schema), torch.from_numpy(drawn > 0)[None])
    assert torch.equal(read_mask(drawn, schema), torch.from_numpy(drawn > 0)[None])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("lefft", "unknown mask 'lefft'; did you mean 'left'"),
        ("random:2", r"a number in \(0, 1\]"),
        ("random:x", r"a number in \(0, 1\]"),
        (np.zeros((3, 3), bool), r"shape \(3, 3\); pictures are 8 x 8"),
        (np.zeros((8, 8), bool), "hides no pixel"),
        ("gone.png", "gone.png: no such file"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(digits: Any, mask: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_mask(mask, scan(digits[0]))


def test_augmentation_moves_whole_pictures_and_repeats_the_edge() -> None:
    x = torch.arange(25, dtype=torch.uint8).view(1, 1, 5, 5).repeat(400, 1, 1, 1)
    seen = x[:, :1] != 12
    batch = augment(
        Batch({"image": x}, {"image": seen}), flip=True, shift=1, noise=Fresh(torch.Generator().manual_seed(0))
    )
    padded = torch.nn.functional.pad(x[:1].float(), (1, 1, 1, 1), mode="replicate").byte()[0, 0]
    moved = [padded[i : i + 5, j : j + 5] for i in range(3) for j in range(3)]
    possible = {tuple(p.flatten().tolist()) for q in moved for p in (q, q.flip(1))}
    found = {tuple(p.flatten().tolist()) for p in batch.fields["image"]}
    assert found == possible
    assert torch.equal(batch.seen["image"], batch.fields["image"] != 12)


def test_augmentation_leaves_other_fields_and_is_off_unless_asked_for(digits: Any) -> None:
    schema = scan(digits[0])
    assert KIND.augmentation(DataSpec(), schema) is None
    change = KIND.augmentation(DataSpec(flip=True), schema)
    assert change is not None
    batch = next(KIND.read(digits[0], schema))
    label = torch.arange(60)[:, None]
    changed = change(Batch({**batch.fields, "label": label}))
    assert torch.equal(changed.fields["label"], label)
    mirrored = (changed.fields["image"] == batch.fields["image"].flip(-1)).flatten(1).all(1)
    same = (changed.fields["image"] == batch.fields["image"]).flatten(1).all(1)
    assert bool((mirrored | same).all())
    assert 10 < int(mirrored.sum()) < 50


@pytest.mark.parametrize("size", ["small", "medium", "large"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 64, 48), (4, 300, 16)])
def test_defaults_are_settings_that_a_spec_takes(size: str, shape: tuple[int, int, int]) -> None:
    colour = {1: "grey", 3: "rgb", 4: "rgba"}[shape[0]]
    schema = ImageSchema(kind="images", fields=(), height=shape[1], width=shape[2], colour=colour)  # type: ignore[arg-type]
    for rows in (20, 2_000, 60_000):
        spec = Spec.of({"size": size}, KIND.defaults(schema, rows, size))
        assert spec.network.name == ("conv" if min(shape[1:]) >= 16 else "mlp")
        if spec.network.name == "conv":
            assert min(shape[1:]) >> len(spec.network.channels) >= 4


def test_the_schema_goes_to_json_and_back(tmp_path: Path, digits: Any) -> None:
    source, _, _ = labelled(tmp_path, digits, "sub-folders")
    schema = scan(source, given=("label",))
    assert ImageSchema.model_validate_json(schema.model_dump_json()) == schema
    assert os.sep not in "".join(schema.labels)
