"""Tables from every source and back, what each column is taken for, and what is refused."""

from __future__ import annotations

import datetime
import gzip
import io
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from latelier.batch import Batch, join
from latelier.data.transforms import Standardise
from latelier.errors import BadInput, NewCategories
from latelier.kinds.cells import blanks
from latelier.kinds.cells import tally as tallies
from latelier.kinds.cells.curves import bend_of, curve_of
from latelier.kinds.cells.schema import TableSchema
from latelier.kinds.tables import Tables
from latelier.likelihoods import LIKELIHOODS
from latelier.spec import DataSpec, Spec
from latelier.wording import percent

KIND = Tables()
AUTO = DataSpec()
LOADERS = {"wine": load_wine, "breast cancer": load_breast_cancer, "diabetes": load_diabetes}


def people(rows: int = 400) -> pd.DataFrame:
    """One column of every family, with holes in three of them."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "height": random.normal(170, 9, rows).round(1),
            "age": random.integers(17, 91, rows),
            "city": random.choice(["Köln", "New York", "Wien, 1. Bezirk", "Łódź"], rows),
            "grade": random.integers(1, 7, rows),
            "sex": random.choice(["Female", "Male"], rows),
            "member": random.choice([True, False], rows),
            "born": pd.to_datetime("1990-01-01") + pd.to_timedelta(random.integers(0, 9000, rows), unit="D"),
            "income": np.exp(random.normal(8, 2, rows)).round(2),
        }
    )
    for name, share in (("height", 0.1), ("city", 0.2), ("sex", 0.05)):
        frame.loc[random.random(rows) < share, name] = np.nan if name == "height" else None
    return frame


FAMILIES = {
    "height": "real",
    "age": "count",
    "city": "category",
    "grade": "ordinal",
    "sex": "binary",
    "member": "binary",
    "born": "real",
    "income": "real",
}


@pytest.fixture
def text(tmp_path: Path) -> Callable[..., Path]:
    """Writes words to a file and says where."""

    def write(words: str | bytes, name: str = "table.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(words.encode() if isinstance(words, str) else words)
        return path

    return write


def numbered(column: str, values: Iterable[object]) -> str:
    """A CSV of the column beside one of distinct numbers."""
    return f"x,{column}\n" + "".join(f"{i * 1.37:.2f},{value}\n" for i, value in enumerate(values))


def families(schema: TableSchema) -> dict[str, str]:
    return {c.name: c.family for c in schema.columns}


def read_all(source: Any, schema: TableSchema, rows: int = 4096) -> Batch:
    return join(list(KIND.read(source, schema, rows)))


def same(a: Batch, b: Batch) -> bool:
    parts = [(a.fields, b.fields), (a.seen, b.seen)]
    return all(x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x) for x, y in parts)


def refused(source: Any, spec: DataSpec = AUTO) -> str:
    with pytest.raises(BadInput) as error:
        KIND.scan(source, spec)
    assert "\n" not in str(error.value)
    return str(error.value).replace(f"{source}, ", "")


def refused_later(source: Any, schema: TableSchema) -> str:
    with pytest.raises(BadInput) as error:
        list(KIND.read(source, schema))
    assert "\n" not in str(error.value)
    return str(error.value).replace(f"{source}, ", "")


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("form", ["csv", "tsv", "csv.gz", "parquet", "frame"])
def test_real_tables_come_back_as_they_were(loader: str, form: str, tmp_path: Path) -> None:
    frame = LOADERS[loader](as_frame=True).frame
    first, second = tmp_path / f"first.{form}", tmp_path / f"second.{form}"
    if form == "frame":
        schema = KIND.scan(frame, DataSpec())
        pd.testing.assert_frame_equal(KIND.present(read_all(frame, schema), schema), frame, check_exact=True)
        return
    if form == "parquet":
        frame.to_parquet(first)
    else:
        frame.to_csv(first, index=False, sep="\t" if form == "tsv" else ",")
    schema = KIND.scan(first, DataSpec())
    assert KIND.write(KIND.read(first, schema, 50), second, schema) == [second]
    read = pd.read_parquet if form == "parquet" else lambda p: pd.read_csv(p, sep="\t" if form == "tsv" else ",")
    pd.testing.assert_frame_equal(read(second), read(first), check_exact=True)
    pd.testing.assert_frame_equal(KIND.present(read_all(first, schema), schema), read(first), check_exact=True)


@pytest.mark.parametrize("form", ["csv", "parquet", "frame"])
def test_every_family_with_its_holes_comes_back_in_its_type(form: str, tmp_path: Path) -> None:
    frame = people()
    source: Any = frame
    if form == "csv":
        source = tmp_path / "people.csv"
        frame.to_csv(source, index=False)
    elif form == "parquet":
        source = tmp_path / "people.parquet"
        frame.to_parquet(source)
    schema = KIND.scan(source, DataSpec())
    assert families(schema) == FAMILIES
    back = KIND.present(read_all(source, schema), schema)
    if form == "csv":
        back["born"] = back["born"].astype(frame["born"].dtype)
    pd.testing.assert_frame_equal(back, frame, check_exact=True)
    again = tmp_path / "again.csv"
    KIND.write(KIND.read(source, schema, 37), again, schema)
    frame.to_csv(tmp_path / "direct.csv", index=False)
    assert again.read_text() == (tmp_path / "direct.csv").read_text()


@pytest.mark.parametrize("form", ["csv", "str", "object"])
def test_dates_and_times_that_were_text_come_back_as_they_were_spelled(form: str, tmp_path: Path) -> None:
    moments = pd.Series(pd.date_range("2024-02-28 23:59:30", periods=60, freq="7h"))
    frame = pd.DataFrame({"zoned": moments.dt.strftime("%Y-%m-%dT%H:%M:%SZ"), "plain": moments.astype(str)})
    frame["fine"] = moments.dt.strftime("%Y-%m-%dT%H:%M:%S.250")
    frame["day"] = moments.dt.strftime("%Y-%m-%d")
    frame["time"] = moments.dt.strftime("%H:%M")
    frame = frame.astype(form if form != "csv" else "str")
    source: Any = frame
    if form == "csv":
        frame.to_csv(source := tmp_path / "first.csv", index=False)
    schema = KIND.scan(source, DataSpec())
    assert set(families(schema).values()) == {"real", "cyclic"}
    if form == "csv":
        KIND.write(KIND.read(source, schema), tmp_path / "second.csv", schema)
        assert (tmp_path / "second.csv").read_text() == source.read_text()
    else:
        pd.testing.assert_frame_equal(KIND.present(read_all(source, schema), schema), frame)


def test_text_with_another_zone_comes_back_as_the_same_moment(tmp_path: Path) -> None:
    moments = pd.date_range("2024-02-28", periods=60, freq="7h", tz="Europe/Berlin")
    pd.DataFrame({"when": moments.astype(str), "x": range(60)}).to_csv(tmp_path / "first.csv", index=False)
    schema = KIND.scan(tmp_path / "first.csv", DataSpec())
    KIND.write(KIND.read(tmp_path / "first.csv", schema), tmp_path / "second.csv", schema)
    words = pd.read_csv(tmp_path / "second.csv")["when"]
    assert words.str.endswith("Z").all() and (pd.to_datetime(words) == moments).all()


@pytest.mark.parametrize("form", ["csv", "parquet", "frame"])
def test_chunks_say_the_same_as_the_whole(form: str, tmp_path: Path) -> None:
    frame = people()
    source: Any = {"csv": tmp_path / "a.csv", "parquet": tmp_path / "a.parquet", "frame": frame}[form]
    if form == "csv":
        frame.to_csv(source, index=False)
    elif form == "parquet":
        frame.to_parquet(source, row_group_size=90)
    schema = KIND.scan(source, DataSpec())
    parts = list(KIND.read(source, schema, 64))
    assert max(map(len, parts)) <= 64
    assert same(join(parts), read_all(source, schema))


def test_the_scan_does_not_depend_on_the_size_of_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = people()
    whole = KIND.scan(frame, DataSpec())
    monkeypatch.setattr("latelier.kinds.cells.scan.SCANNED", 23)
    cut = KIND.scan(frame, DataSpec())
    assert cut.columns == whole.columns
    assert cut.evidence == whole.evidence
    a, b = cut.fields[0].transform, whole.fields[0].transform
    assert isinstance(a, Standardise)
    assert isinstance(b, Standardise)
    np.testing.assert_allclose([a.loc, a.scale, a.bend], [b.loc, b.scale, b.bend], rtol=1e-12)


def test_fields_hold_the_columns_of_one_family() -> None:
    schema = KIND.scan(people(), DataSpec())
    shapes = {f.name: (f.columns, f.support, f.likelihood, f.sizes, f.holes) for f in schema.fields}
    assert shapes == {
        "real": (("height", "born", "income"), "real", "gaussian", (), True),
        "count": (("age",), "count", "negative_binomial", (), False),
        "category": (("city",), "category", "categorical", (4,), True),
        "ordinal": (("grade",), "ordinal", "ordinal", (6,), False),
        "binary": (("sex", "member"), "binary", "bernoulli", (), True),
    }
    batch = read_all(people(), schema)
    dtypes = {k: v.dtype for k, v in batch.fields.items()}
    assert dtypes == {
        "real": torch.float64,
        "count": torch.float32,
        "category": torch.int64,
        "ordinal": torch.int64,
        "binary": torch.float32,
    }


def test_the_schema_survives_json() -> None:
    schema = KIND.scan(people(), DataSpec(given=("sex",)))
    again = TableSchema.model_validate_json(schema.model_dump_json())
    assert again == schema
    assert same(read_all(people(), again), read_all(people(), schema))


def test_standardised_columns_have_zero_mean_and_unit_scale() -> None:
    frame = load_diabetes(as_frame=True).data * 1e6 + 1e9
    schema = KIND.scan(frame, DataSpec())
    values = schema.to_model(read_all(frame, schema)).fields["real"].double()
    torch.testing.assert_close(values.mean(0), torch.zeros(values.shape[1]).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.std(0, correction=0), torch.ones(values.shape[1]).double(), atol=1e-5, rtol=0)


def test_placeholders_of_missing_values_are_legal() -> None:
    frame = people()
    schema = KIND.scan(frame, DataSpec())
    batch = read_all(frame, schema)
    assert all(torch.isfinite(v.double()).all() for v in batch.fields.values())
    assert torch.equal(batch.seen["real"][:, 0], torch.tensor(frame["height"].notna().to_numpy()))
    model = schema.to_model(batch)
    torch.testing.assert_close(model.fields["real"][~batch.seen["real"]], torch.zeros(int((~batch.seen["real"]).sum())))


def test_default_spellings_of_missing_and_those_that_are_named(text: Callable[..., Path]) -> None:
    words = ["", "NA", "N/A", "n/a", "nan", "NaN", "NULL", "null", "None", "?", " ?", '""', "-"]
    path = text(numbered("y", [*words, *(i / 7 for i in range(50))]))
    schema = KIND.scan(path, DataSpec(missing=("-",)))
    seen = read_all(path, schema).seen["real"][:, 1]
    assert families(schema)["y"] == "real"
    assert seen.tolist() == [False] * len(words) + [True] * 50


@pytest.mark.parametrize("form", ["csv", "parquet", "frame"])
def test_a_number_can_be_a_spelling_of_missing(form: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1.5, -999.0, 2.5, 3.25] * 10, "y": [2, 4, -999, 8] * 10})
    source: Any = frame
    if form == "csv":
        source = tmp_path / "a.csv"
        frame.to_csv(source, index=False, float_format="%g")
    elif form == "parquet":
        source = tmp_path / "a.parquet"
        frame.to_parquet(source)
    schema = KIND.scan(source, DataSpec(missing=("-999",)))
    assert {c.name: (c.missing, c.low) for c in schema.columns} == {"x": (0.25, 1.5), "y": (0.25, 2.0)}
    assert not read_all(source, schema).seen["real"][1, 0]


@pytest.mark.parametrize(
    ("values", "family", "levels"),
    [
        ([0, 1] * 30, "binary", ("0", "1")),
        (["yes", "no"] * 30, "binary", ("no", "yes")),
        ([0.5, 2.0] * 30, "binary", ("0.5", "2.0")),
        (["TRUE", "FALSE"] * 30, "binary", ("FALSE", "TRUE")),
        ([3, 4, 5, 7] * 15, "ordinal", ("3", "4", "5", "6", "7")),
        ([-1, 0, 1] * 20, "ordinal", ("-1", "0", "1")),
        (list(range(60)), "count", ()),
        ([0] * 40 + [5000 * i for i in range(20)], "amount", ()),
        ([2.5] * 20 + [i / 8 for i in range(40)], "amount", ()),
        ([f"{i % 24:02d}:{i % 7 * 8:02d}" for i in range(60)], "cyclic", ()),
        ([f"{i % 24}:{i % 7 * 8:02d}:09" for i in range(60)], "cyclic", ()),
        ([5000 * i for i in range(60)], "real", ()),
        (range(-30, 30), "real", ()),
        ([i / 4 for i in range(60)], "real", ()),
        (["a", "b", "c"] * 20, "category", ("a", "b", "c")),
        (["007", "012", "7"] * 20, "category", ("007", "012", "7")),
        (["1", "2", "A"] * 20, "category", ("1", "2", "A")),
        ([5] * 60, "constant", ("5",)),
        ([""] * 60, "constant", ()),
        ([f"2024-01-{1 + i % 30:02d}" for i in range(60)], "real", ()),
        ([f"2024-01-01 10:{i:02d}:00" for i in range(60)], "real", ()),
    ],
)
def test_what_a_column_is_taken_for(
    values: Any, family: str, levels: tuple[str, ...], text: Callable[..., Path]
) -> None:
    path = text(numbered("y", values))
    column = KIND.scan(path, DataSpec()).by_name["y"]
    assert (column.family, column.levels) == (family, levels)


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        (list(range(60)), "real"),
        (list(range(60)), "ordinal"),
        ([0, 1] * 30, "category"),
        ([3, 4, 5, 7] * 15, "count"),
        ([3, 4, 5, 7] * 15, "real"),
        (["u", "v"] * 30, "category"),
        ([f"name {i}" for i in range(60)], "category"),
        ([f"2024-01-{1 + i % 30:02d}" for i in range(60)], "category"),
    ],
)
def test_a_family_can_be_named(values: list[Any], asked: str, text: Callable[..., Path]) -> None:
    path = text(numbered("y", values))
    schema = KIND.scan(path, DataSpec(families={"y": asked}))
    assert families(schema)["y"] == asked
    KIND.write(KIND.read(path, schema), path.with_name("again.csv"), schema)
    assert pd.read_csv(path.with_name("again.csv"))["y"].tolist() == pd.read_csv(path)["y"].tolist()


@pytest.mark.parametrize(
    ("values", "asked", "reason"),
    [
        (["a", "b", "c"] * 20, "real", "holds words (first 'a', line 2)"),
        (["a", "b", "c"] * 20, "ordinal", "no order"),
        (["a", "b", "c"] * 20, "binary", "two values"),
        ([i - 5 for i in range(60)], "count", "counts are 0, 1, 2"),
        (["07", "08", "09"] * 20, "real", "leading zeros"),
        ([1, 2, 3], "nominal", "unknown family of column 'y' 'nominal'"),
        ([f"n{i}" for i in range(1500)], "category", "over 1,000 different values"),
    ],
)
def test_a_family_that_does_not_fit_is_refused(
    values: list[Any], asked: str, reason: str, text: Callable[..., Path]
) -> None:
    assert reason in refused(text(numbered("y", values)), DataSpec(families={"y": asked}))


def test_evidence_names_what_was_seen_and_the_option_that_changes_it() -> None:
    lines = KIND.scan(people(), DataSpec()).evidence
    assert "age: count (74 distinct whole numbers 17 .. 90; override with --set data.families.age=real)" in lines
    assert any(line.startswith("city: category (") and "% missing" in line for line in lines)
    assert "real: skew in income, so modelled by the logarithm" in lines


def test_wide_tables_tell_of_families_and_not_of_columns() -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 300)), columns=[f"gene{i}" for i in range(300)])
    frame["one"] = 1
    lines = KIND.scan(frame, DataSpec()).evidence
    assert len(lines) < 8
    assert any(line.startswith("300 columns (gene0, gene1, ... gene299): real") for line in lines)
    assert any(line.startswith("one: constant (always '1'") for line in lines)


def test_every_default_likelihood_fits_its_field() -> None:
    frame = people()
    frame["visits"] = np.random.default_rng(0).poisson(0.1, len(frame)) * np.arange(len(frame))
    schema = KIND.scan(frame, DataSpec())
    for field in schema.modelled:
        head = LIKELIHOODS[field.likelihood]
        assert head.support == field.support
        head.make(field.shape, field.sizes, field.options)
    assert {f.name: f.likelihood for f in schema.fields}["count"] == "zero_inflated_negative_binomial"


def test_heavy_tails_are_bent_and_others_are_not() -> None:
    random = np.random.default_rng(0)
    assert bend_of(random.normal(size=5000)) == 0
    assert bend_of(random.exponential(size=5000)) == 0
    assert bend_of(random.uniform(size=5000)) == 0
    for heavy in (random.standard_cauchy(5000), np.exp(2 * random.normal(size=5000))):
        assert bend_of(heavy) > 0
        assert bend_of(heavy * 1000) == pytest.approx(1000 * bend_of(heavy))
    frame = pd.DataFrame({"x": random.standard_cauchy(3000)})
    schema = KIND.scan(frame, DataSpec())
    values = schema.to_model(read_all(frame, schema)).fields["real"]
    assert values.abs().max() < 12
    pd.testing.assert_frame_equal(KIND.present(read_all(frame, schema), schema), frame)


def test_the_sample_for_quantiles_does_not_depend_on_the_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "RESERVOIR", 50)
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=2000)})
    samples = []
    for rows in (7, 2000):
        tally = tallies.Tally("x")
        for start in range(0, 2000, rows):
            tally.add(tallies.pa.array(frame["x"][start : start + rows]))
        samples.append(np.sort(tally.sample))
    assert len(samples[0]) == 50
    np.testing.assert_array_equal(*samples)


def test_columns_are_found_by_name_in_any_order_and_others_passed_over() -> None:
    frame = people()
    schema = KIND.scan(frame, DataSpec())
    moved = frame[frame.columns[::-1]].assign(new="x")
    assert same(read_all(moved, schema), read_all(frame, schema))


def test_a_model_of_a_file_reads_frames_and_the_other_way_round(tmp_path: Path) -> None:
    frame, path = people(), tmp_path / "people.csv"
    frame.to_csv(path, index=False)
    of_file, of_frame = KIND.scan(path, DataSpec()), KIND.scan(frame, DataSpec())
    for schema in (of_file, of_frame):
        assert same(read_all(path, schema), read_all(frame, schema))


def test_a_file_without_header_in_the_style_of_uci(text: Callable[..., Path]) -> None:
    rows = [f"{20 + i % 40}, {'Private' if i % 3 else '?'}, {i * 1.5}, <={i % 2}0K" for i in range(90)]
    path = text("\n".join(rows) + "\n\n", "adult.data")
    schema = KIND.scan(path, DataSpec())
    assert schema.rows == 90
    assert families(schema) == {"c0": "count", "c1": "constant", "c2": "real", "c3": "binary"}
    assert schema.by_name["c1"].missing == pytest.approx(1 / 3)
    assert schema.by_name["c3"].levels == ("<=00K", "<=10K")
    assert any("no header" in line and "data.header=yes" in line for line in schema.evidence)
    written = path.with_name("new.csv")
    KIND.write(KIND.read(path, schema), written, schema)
    assert written.read_text().splitlines()[1] == "21,Private,1.5,<=10K"
    assert same(read_all(written, schema), read_all(path, schema))


@pytest.mark.parametrize(
    ("first", "header"),
    [("year,rate", True), ("2019,2020", False), ("a,b", True), ("1.5,x", False)],
)
def test_a_header_is_told_from_a_row(first: str, header: bool, text: Callable[..., Path]) -> None:
    path = text(first + "\n" + "".join(f"{i},{i * 1.5}\n" for i in range(30)))
    if first == "1.5,x":
        path = text(first + "\n" + "".join(f"{i},{'xyz'[i % 3]}\n" for i in range(30)))
    assert KIND.scan(path, DataSpec()).header == header
    assert KIND.scan(path, DataSpec()).rows == 30 + (not header)


def test_a_table_of_words_alone_has_a_header_if_it_does_not_come_back(text: Callable[..., Path]) -> None:
    body = "".join(f"{'ab'[i % 2]},{'cde'[i % 3]}\n" for i in range(40))
    assert KIND.scan(text("left,right\n" + body), DataSpec()).header
    assert not KIND.scan(text(body), DataSpec()).header


def test_the_header_can_be_said(text: Callable[..., Path]) -> None:
    path = text("2019,2020\n" + "".join(f"{i},{i * 1.5}\n" for i in range(30)))
    schema = KIND.scan(path, DataSpec(header="yes"))
    assert list(families(schema)) == ["2019", "2020"]
    assert len(read_all(path, schema)) == 30


def test_blanks_become_single_tabs_wherever_a_block_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    words = b"  a  b\tc \r\n1 2\t \t3\n\n  x y  z"
    for block in (1, 2, 3, 5, 1000):
        monkeypatch.setattr(blanks, "BLOCK", block)
        for size in (1, 4, 100):
            file = blanks.Tabbed(io.BytesIO(words))
            parts = iter(lambda file=file, size=size: file.read(size), b"")  # type: ignore[misc]
            assert b"".join(parts).split(b"\n") == [b"a\tb\tc\r", b"1\t2\t3", b"", b"x\ty\tz", b""]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "  "])
def test_separators_are_found(separator: str, text: Callable[..., Path]) -> None:
    lines = [separator.join(("name", "size", "left over")).replace(" over", "")]
    lines += [separator.join((f"{'uvw'[i % 3]}", f"{i * 1.25}", f"{i % 7}")) for i in range(50)]
    path = text("\n".join(lines), "table.txt")
    schema = KIND.scan(path, DataSpec())
    assert families(schema) == {"name": "category", "size": "real", "left": "ordinal"}
    written = path.with_name("again.csv")
    KIND.write(KIND.read(path, schema), written, schema)
    assert same(read_all(written, schema), read_all(path, schema))


def test_a_header_longer_than_the_sample_is_read_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("latelier.kinds.cells.dialect.SAMPLE", 64)
    names = [f"a long name {i}" for i in range(40)]
    values = np.random.default_rng(0).normal(size=(30, 40)).round(2)
    pd.DataFrame(values, columns=names).to_csv(tmp_path / "wide.csv", index=False)
    schema = KIND.scan(tmp_path / "wide.csv", AUTO)
    np.testing.assert_array_equal(read_all(tmp_path / "wide.csv", schema).fields["real"], values)


def test_a_decimal_comma_is_read_and_written(text: Callable[..., Path]) -> None:
    path = text("x;n\n" + "".join(f"{i},{i % 10}5;{i % 5},0\n" for i in range(50)))
    schema = KIND.scan(path, DataSpec())
    assert read_all(path, schema).fields["real"][:2, 0].tolist() == [0.05, 1.15]
    written = path.with_name("again.csv")
    KIND.write(KIND.read(path, schema), written, schema)
    assert written.read_text() == path.read_text()


def test_text_that_needs_quotation_marks_gets_them(text: Callable[..., Path]) -> None:
    words = ["plain", 'say "hi"', "a,b", "two\nlines"] * 10
    path = text("")
    pd.DataFrame({"x": np.arange(40) / 3, "word": words}).to_csv(path, index=False)
    schema = KIND.scan(path, DataSpec())
    KIND.write(KIND.read(path, schema), path.with_name("again.csv"), schema)
    assert pd.read_csv(path.with_name("again.csv"))["word"].tolist() == words


def test_gzip_and_encodings_are_read(text: Callable[..., Path]) -> None:
    words = numbered("city", ["Köln", "Nîmes", "Łódź"] * 20)
    plain = text(words, "plain.csv")
    schema = KIND.scan(plain, DataSpec())
    for name, content in (
        ("a.csv.gz", gzip.compress(words.encode())),
        ("mark.csv", words.encode("utf-8-sig")),
        ("wide.csv", words.encode("utf-16")),
    ):
        path = text(content, name)
        assert same(read_all(path, schema), read_all(plain, schema))
        assert KIND.scan(path, DataSpec()).columns == schema.columns
    old = text(words.replace("Łódź", "Évry").encode("latin-1"), "old.csv")
    found = KIND.scan(old, DataSpec())
    assert found.by_name["city"].levels == ("Köln", "Nîmes", "Évry")
    assert any("latin-1, because line 2 is not UTF-8" in line for line in found.evidence)


@pytest.mark.parametrize("head", ["name", "street address"])
def test_one_column_of_words_with_blanks_is_not_cut_by_them(head: str, text: Callable[..., Path]) -> None:
    schema = KIND.scan(text(numbered(head, [f"person {i % 7}" for i in range(60)])), DataSpec())
    assert families(schema) == {"x": "real", head: "category"}
    alone = text(head + "\n" + "".join(f"person {i % 7}\n" for i in range(60)), "alone.csv")
    (column,) = KIND.scan(alone, DataSpec()).columns
    assert (column.name, column.family, len(column.levels)) == (head, "category", 7)


def test_lines_above_the_table_are_left_out_with_evidence(text: Callable[..., Path]) -> None:
    path = text("|1x3 Cross validator\n" + "".join(f"{i},{i * 1.5},{i % 3}\n" for i in range(30)))
    schema = KIND.scan(path, DataSpec())
    assert schema.rows == 30
    assert any("left out 1 line(s) above the table" in line for line in schema.evidence)


def test_identifiers_are_left_out_and_ignored_columns_too(text: Callable[..., Path]) -> None:
    path = text("id,x,y\n" + "".join(f"name{i},{i / 3},{i * i / 7}\n" for i in range(60)))
    schema = KIND.scan(path, DataSpec(ignore=("y",)))
    assert families(schema) == {"x": "real"}
    assert any(line.startswith("id: left out (60 distinct words in 60 values") for line in schema.evidence)


def test_a_large_number_that_floats_cannot_hold_is_an_identifier() -> None:
    frame = pd.DataFrame({"id": np.arange(50) + 2**60, "x": np.arange(50) / 3})
    assert families(KIND.scan(frame, DataSpec())) == {"x": "real"}


def test_constant_and_empty_columns_are_written_back(text: Callable[..., Path]) -> None:
    path = text("x,unit,note\n" + "".join(f"{i / 4},kg,\n" for i in range(40)))
    schema = KIND.scan(path, DataSpec())
    assert [f.name for f in schema.fields] == ["real"]
    assert any(line.startswith("note: constant (no value in 40 rows") for line in schema.evidence)
    written = path.with_name("again.csv")
    KIND.write(KIND.read(path, schema), written, schema)
    assert written.read_text() == path.read_text()
    assert "'lb' (line 3), but it was always 'kg'" in refused_later(text("x,unit\n1,kg\n2,lb\n", "new.csv"), schema)
    assert len(read_all(text("x\n1\n2\n", "without.csv"), schema)) == 2


def test_pandas_types_come_back() -> None:
    frame = pd.DataFrame(
        {
            "small": np.arange(40, dtype=np.int8) - 20,
            "single": (np.arange(40) / 3).astype(np.float32),
            "nullable": pd.array([None, *range(39)], "Int64"),
            "size": pd.Categorical(["S", "M", "L", "M"] * 10, ["S", "M", "L"], ordered=True),
            "plain": pd.Categorical(["v", "u", "w", "u"] * 10, ["w", "v", "u"]),
            "whole": pd.Categorical([30, 10, 20, 10] * 10),
            "words": pd.Series(["a", "b", None, "c"] * 10, dtype=object),
            "when": pd.date_range("2024-01-01", periods=40, freq="7h", tz="UTC").as_unit("ns"),
            "flag": pd.array([True, False, None, True] * 10, "boolean"),
        }
    )
    schema = KIND.scan(frame, DataSpec())
    assert families(schema)["size"] == "ordinal"
    assert schema.by_name["size"].levels == ("S", "M", "L")
    pd.testing.assert_frame_equal(KIND.present(read_all(frame, schema), schema), frame, check_exact=True)


def test_arrays_have_columns_x0_and_so_on() -> None:
    array = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    array[3, 2] = np.nan
    schema = KIND.scan(array, DataSpec())
    back = KIND.present(read_all(array, schema), schema)
    assert list(back.columns) == ["x0", "x1", "x2", "x3"]
    np.testing.assert_array_equal(back.to_numpy(), array)


def test_labels_that_are_whole_numbers_stay_so() -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 3)))
    schema = KIND.scan(frame, DataSpec())
    pd.testing.assert_frame_equal(KIND.present(read_all(frame, schema), schema), frame, check_column_type=False)


def test_generated_numbers_get_the_decimals_and_types_of_the_data() -> None:
    frame = pd.DataFrame(
        {"price": np.arange(50) / 4, "n": np.arange(50) * 3 - 60, "day": pd.date_range("2024-01-01", periods=50)}
    )
    schema = KIND.scan(frame, DataSpec())
    moment = pd.Timestamp("2024-03-01").timestamp()
    batch = Batch(
        {"real": torch.tensor([[3.14159265, 41.7, moment + 30_000], [0.125, -8.2, moment]], dtype=torch.float64)}
    )
    back = KIND.present(batch, schema)
    assert back["price"].tolist() == [3.14, 0.125]  # the second has few decimals, as if it was read: it stays
    assert back["n"].tolist() == [42, -8]
    assert back["n"].dtype == np.int64


def test_conditions_are_fields_of_their_own() -> None:
    schema = KIND.scan(people(), DataSpec(given=("sex", "age")))
    assert {f.name: f.columns for f in schema.conditions} == {"given_count": ("age",), "given_binary": ("sex",)}
    assert "age" not in sum((f.columns for f in schema.modelled), ())
    batch = KIND.parse_given({"sex": "Male", "age": "40"}, schema, 3)
    assert batch.fields["given_binary"].tolist() == [[1.0]] * 3
    assert batch.fields["given_count"].tolist() == [[40.0]] * 3
    assert KIND.parse_given({"sex": "Female,Male"}, schema, 4).fields["given_binary"].flatten().tolist() == [0, 1, 0, 1]
    part = KIND.parse_given({"age": "40"}, schema, 2)
    assert part.seen["given_binary"].tolist() == [[False]] * 2
    assert part.seen["given_count"].tolist() == [[True]] * 2
    shown = KIND.present(Batch(batch.fields, batch.seen), schema)
    assert shown["sex"].tolist() == ["Male"] * 3


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"city": "Wien"}, "--given city: it was fitted with --given age sex"),
        ({"sex": "Mole"}, "column 'sex': 'Mole' (in --given) did not occur in training; did you mean 'Male'?"),
        ({"age": "old"}, "column 'age': 1 value is not a number ('old', in --given)"),
        ({"age": "-3"}, "is not a count"),
    ],
)
def test_conditions_that_cannot_be_are_refused(words: dict[str, str], reason: str) -> None:
    schema = KIND.scan(people(), DataSpec(given=("sex", "age")))
    with pytest.raises(BadInput) as error:
        KIND.parse_given(words, schema, 2)
    assert reason in str(error.value)


def test_nothing_can_be_given_to_a_model_without_conditions() -> None:
    with pytest.raises(BadInput, match="fitted without --given"):
        KIND.parse_given({"sex": "Male"}, KIND.scan(people(), DataSpec()), 2)


def test_likelihoods_can_be_swapped_for_those_that_fit() -> None:
    schema = KIND.scan(people(), DataSpec())
    for field, likelihood in (("real", "student_t"), ("count", "poisson"), ("ordinal", "categorical")):
        support = LIKELIHOODS[likelihood].support
        changed = KIND.with_likelihood(schema, field, likelihood, support)
        assert {f.name: (f.likelihood, f.support) for f in changed.fields}[field] == (likelihood, support)
        assert same(read_all(people(), changed), read_all(people(), schema))
    with pytest.raises(BadInput, match=r"gaussian is for real values.*choose one for count"):
        KIND.with_likelihood(schema, "count", "gaussian", "real")
    with pytest.raises(BadInput, match="did you mean 'count'"):
        KIND.with_likelihood(schema, "counts", "poisson", "count")


@pytest.mark.parametrize("size", ["small", "medium", "large"])
def test_defaults_are_settings_of_a_spec(size: str) -> None:
    schema = KIND.scan(people(), DataSpec())
    spec = Spec.of({}, KIND.defaults(schema, schema.rows, size))
    assert spec.network.name == "mlp"
    assert spec.train.holes > 0


def test_sources_of_tables_are_recognised() -> None:
    for source in (Path("a.csv"), Path("a.tsv.gz"), Path("a.parquet"), Path("a.data"), people(), np.zeros((3, 2))):
        assert KIND.recognise(source)
    for source in (Path("a.png"), Path("a.npz"), np.zeros((3, 2, 2)), np.zeros(3)):
        assert KIND.recognise(source) is None


def test_a_few_words_among_numbers_are_named_with_their_line_and_remedy(text: Callable[..., Path]) -> None:
    values: list[object] = list(range(100))
    values[16] = values[40] = values[60] = "unknown"
    path = text(numbered("age", values))
    words = refused(path)
    assert words.startswith("column 'age': 3 values are not numbers (first 'unknown', line 18); ")
    assert "--missing unknown" in words
    schema = KIND.scan(path, DataSpec(missing=("unknown",)))
    assert families(schema)["age"] == "count"
    assert "('old', line 3)" in refused_later(text("x,age\n1,2\n3,old\n", "new.csv"), schema)
    assert "('old', row 2)" in refused_later(pd.DataFrame({"x": [1.0, 2.0], "age": ["3", "old"]}), schema)


def test_the_file_is_named_beside_the_line(text: Callable[..., Path]) -> None:
    path = text("a,b\n1.5,2\ninf,3\n2,4\n")
    with pytest.raises(BadInput, match=r"table\.csv, line 3"):
        KIND.scan(path, AUTO)


def test_lines_are_counted_as_in_the_file(text: Callable[..., Path]) -> None:
    cells = ["1", '"two\nlines"', "3"] * 15
    path = text("\n\nx,word\n" + "".join(f"{i / 3},{cell}\n" for i, cell in enumerate(cells)) + "inf,1\n")
    assert f"line {3 + 45 + 15 + 1}" in refused(path)


def test_a_new_category_is_named_with_its_place_and_the_nearest(text: Callable[..., Path]) -> None:
    schema = KIND.scan(text(numbered("city", ["Paris", "Rome", "Oslo"] * 20)), DataSpec())
    words = refused_later(text(numbered("city", ["Rome", "Pariss"]), "new.csv"), schema)
    assert words.startswith("column 'city': 'Pariss' (line 3) did not occur in training; did you mean 'Paris'?")
    assert "known: Oslo, Paris, Rome" in words


def test_a_new_level_of_an_ordinal_names_the_family_that_would_take_it(text: Callable[..., Path]) -> None:
    schema = KIND.scan(text(numbered("grade", [1, 2, 3] * 20)), DataSpec())
    assert "data.families.grade=real" in refused_later(text(numbered("grade", [9]), "new.csv"), schema)


def test_values_that_do_not_fit_are_refused_later(text: Callable[..., Path]) -> None:
    schema = KIND.scan(text(numbered("n", range(60))), DataSpec())
    assert "1.5 (line 3) is not a count" in refused_later(text(numbered("n", [1, 1.5]), "a.csv"), schema)
    assert "-2 (line 3) is not a count" in refused_later(text(numbered("n", [1, -2]), "b.csv"), schema)
    assert "infinite" in refused_later(text("x,n\n1,1\n-inf,2\n", "c.csv"), schema)
    signed = KIND.scan(text(numbered("n", range(-30, 30)), "d.csv"), DataSpec())
    assert "not a whole number" in refused_later(text(numbered("n", [1, 1.5]), "e.csv"), signed)


def test_a_column_that_is_not_there_is_named(text: Callable[..., Path]) -> None:
    schema = KIND.scan(people(), DataSpec(given=("sex",)))
    assert "'age' is not there" in refused_later(people().drop(columns="age"), schema)
    assert "conditioned on it" in refused_later(people().drop(columns="sex"), schema)
    assert len(read_all(people().assign(city=None), schema)) == 400


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("a,b\n", "only a header (2 columns)"),
        ("a,b\n1,2\n", "1 row(s)"),
        ("a,b,a\n1.5,2,3\n2,3,4\n", "column 'a' is there twice (columns 1 and 3)"),
        ("a,b\n1.5,2\n3,4,5\n6,7\n", "line 3 has 3 values where others have 2"),
        ("a,b\n1.5,2\n3\n6,7\n", "line 3 has 1 values where others have 2"),
        ("a,b\n1.5,2\ninf,3\n2,4\n", "column 'a': inf (line 3) is infinite"),
        ("a,b\nx,2\nx,2\nx,2\n", "no column left to model"),
        (numbered("word", ["a", "b", '"c', "d", "e"]), "line 4: a quotation mark is opened here and never closed"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a text file (a zero byte in line 3)"),
        (numbered("y", ["1e200", "2e200", "3e200"] * 20), "cannot be standardised"),
        (numbered("y", [f"{i % 3000}-x" for i in range(7000)]), "over 1,000 different values"),
        (
            numbered("day", [*(f"2024-01-{i % 28 + 1:02d}" for i in range(99)), "soon"]),
            "1 value is not a date ('soon', line 101)",
        ),
    ],
)
def test_files_that_are_no_tables_are_refused_in_one_line(words: Any, reason: str, text: Callable[..., Path]) -> None:
    assert reason in refused(text(words))


def test_broken_containers_are_refused_in_one_line(text: Callable[..., Path], tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.csv")
    assert "no such file" in refused(tmp_path / "none.parquet")
    assert "a folder" in refused(tmp_path)
    assert "not a readable Parquet file" in refused(text("hello", "a.parquet"))
    packed = gzip.compress(numbered("y", range(5000)).encode())
    assert "broken or cut off gzip" in refused(text(packed[: len(packed) // 2], "a.csv.gz"))
    assert "broken or cut off gzip" in refused(text("x,y\n1,2\n", "b.csv.gz"))
    assert "a 2-d array of numbers" in refused(np.array([["a", "b"]], dtype=object))
    assert "there twice" in refused(pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]))
    assert "0 rows" in refused(pd.DataFrame({"a": []}))
    nested = pd.DataFrame({"x": [1.0, 2.0, 3.0], "list": [[1], [2], [3]]})
    assert "--ignore list" in refused(nested)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (DataSpec(given=("sox",)), "unknown column 'sox'; did you mean 'sex'?"),
        (DataSpec(ignore=("hight",)), "did you mean 'height'?"),
        (DataSpec(families={"grad": "real"}), "did you mean 'grade'?"),
        (DataSpec(given=("sex",), ignore=("sex",)), "--given sex: there is nothing to condition on"),
        (DataSpec(ignore=tuple(FAMILIES)), "every column is ignored"),
    ],
)
def test_options_that_name_no_column_are_refused(spec: DataSpec, reason: str) -> None:
    assert reason in refused(people(), spec)


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path: Path) -> None:
    frame = people()
    schema = KIND.scan(frame, DataSpec())
    path = tmp_path / "out.csv"
    path.write_text("mine")
    with pytest.raises(BadInput, match=r"out\.csv: already there"):
        KIND.write(KIND.read(frame, schema), path, schema)
    assert path.read_text() == "mine"
    with pytest.raises(BadInput, match="written as"):
        KIND.write(KIND.read(frame, schema), tmp_path / "out.xlsx", schema)

    def broken() -> Iterable[Batch]:
        yield from KIND.read(frame, schema, 100)
        raise RuntimeError("the source ended early")

    for name in ("half.csv", "half.parquet"):
        with pytest.raises(RuntimeError):
            KIND.write(broken(), tmp_path / name, schema)
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]


def test_a_long_file_is_read_and_written_in_small_parts(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    values = np.random.default_rng(0).normal(size=(60_000, 5)).round(3)
    pd.DataFrame(values, columns=list("abcde")).to_csv(path, index=False)
    schema = KIND.scan(path, DataSpec())
    tracemalloc.start()
    KIND.write(KIND.read(path, schema, 1000), tmp_path / "again.csv", schema)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6e6  # the numbers alone are 2.4e6 bytes of float64, twice that as text
    np.testing.assert_array_equal(pd.read_csv(tmp_path / "again.csv").to_numpy(), values)


@given(
    st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, width=32)), min_size=3, max_size=60)
)
def test_any_numbers_survive_storage(values: list[float | None]) -> None:
    frame = pd.DataFrame({"x": np.array(values, dtype=np.float64), "y": np.arange(len(values)) / 3})
    if frame["x"].dropna().nunique() < 2:
        return
    with np.errstate(all="ignore"):
        spread = (frame["x"] - frame["x"].mean()).std()
    if not spread > 1e-150:
        with pytest.raises(BadInput, match="too close"):
            KIND.scan(frame, DataSpec(families={"x": "real"}))
        return
    schema = KIND.scan(frame, AUTO)
    pd.testing.assert_frame_equal(KIND.present(read_all(frame, schema), schema), frame, check_exact=True)


def test_times_of_day_come_back_as_they_were_spelled(text: Callable[..., Path], tmp_path: Path) -> None:
    for number, words in enumerate((["09:30", "23:59", "00:00"], ["09:30:15", "23:59:59", "00:00:01"])):
        path = text(numbered("at", words * 30), f"t{number}.csv")
        schema = KIND.scan(path, DataSpec())
        assert families(schema)["at"] == "cyclic"
        KIND.write(KIND.read(path, schema), tmp_path / f"again{number}.csv", schema)
        assert pd.read_csv(tmp_path / f"again{number}.csv")["at"].tolist() == words * 30
    path = text(numbered("at", ["09:30", "23:59"] * 30), "two.csv")  # two values are binary, and times all the same
    schema = KIND.scan(path, DataSpec())
    assert families(schema)["at"] == "binary"
    KIND.write(KIND.read(path, schema), tmp_path / "two-again.csv", schema)
    assert pd.read_csv(tmp_path / "two-again.csv")["at"].tolist() == ["09:30", "23:59"] * 30
    clock = [datetime.time(9, 30), datetime.time(23, 59, 59), datetime.time(0, 0), None]
    frame = pd.DataFrame({"at": clock * 15, "x": range(60)})
    schema = KIND.scan(frame, DataSpec())
    pd.testing.assert_frame_equal(KIND.present(read_all(frame, schema), schema), frame)
    assert "('25:00', line 2)" in refused_later(text("x,at\n1,25:00\n", "late.csv"), schema)


@pytest.mark.parametrize(
    ("values", "asked", "start", "period"),
    [
        (range(24), "cyclic", 0, 24),
        (range(1, 13), "cyclic", 1, 12),
        (range(1, 8), "cyclic", 1, 7),
        (range(7), "cyclic", 0, 7),
        ([i * 3.6 for i in range(100)], "cyclic", 0, 360),
        ([i / 20 for i in range(120)], "cyclic", 0, 2 * np.pi),
        ([i * 3.6 - 180 for i in range(100)], "cyclic", -180, 360),
        (range(40), "cyclic:100", 0, 100),
    ],
)
def test_numbers_come_round_if_asked_to(values: Any, asked: str, start: float, period: float) -> None:
    frame = pd.DataFrame({"y": list(values) * 5})
    schema = KIND.scan(frame, DataSpec(families={"y": asked}))
    column = schema.by_name["y"]
    assert (column.family, column.start) == ("cyclic", start) and column.period == pytest.approx(period)
    pd.testing.assert_frame_equal(KIND.present(read_all(frame, schema), schema), frame)
    # what is rounded up to the end of a turn is at its start
    end = torch.tensor([[start + period - 1e-9]], dtype=torch.float64)
    made = KIND.present(Batch({"cyclic": end}), schema)["y"].item()
    assert made == pytest.approx(start, abs=1e-6) or made == pytest.approx(start + period, abs=1e-2)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("cyclic:none", "number above 0"),
        ("cyclic:-3", "number above 0"),
        ("count:3", "cyclic:PERIOD"),
        ("cyclic", "how soon"),
    ],
)
def test_periods_that_cannot_be_are_refused(asked: str, reason: str) -> None:
    assert reason in refused(pd.DataFrame({"y": range(0, 10_000_000, 50_000)}), DataSpec(families={"y": asked}))


def test_amounts_keep_their_spike_apart_and_exact() -> None:
    random = np.random.default_rng(0)
    paid = np.where(random.random(500) < 0.6, 0.0, np.exp(random.normal(4, 1, 500)).round(2))
    capped = np.where(random.random(500) < 0.3, -5.25, random.normal(size=500))
    frame = pd.DataFrame({"paid": paid, "capped": capped})
    schema = KIND.scan(frame, DataSpec())
    assert families(schema) == {"paid": "amount", "capped": "amount"}
    assert any(f"{percent(np.mean(paid == 0))} zero" in line for line in schema.evidence)
    assert "amount: skew in paid, so modelled by the logarithm" in schema.evidence
    read = schema.to_model(read_all(frame, schema)).fields["amount"].numpy()
    np.testing.assert_array_equal(read == 0, frame.to_numpy() == [0.0, -5.25])
    pd.testing.assert_frame_equal(KIND.present(read_all(frame, schema), schema), frame)


def test_curves_are_chosen_by_nats_that_were_held_out() -> None:
    random = np.random.default_rng(0)
    skewed, normal = np.exp(0.7 * random.normal(size=4000)), random.normal(size=4000)
    bounded = random.beta(0.4, 0.4, size=4000)
    assert curve_of(skewed, skewed.min(), skewed.max()).log > 0
    assert curve_of(bounded, 0.0, 1.0).margin > 0
    straight = curve_of(normal, normal.min(), normal.max())
    assert (straight.bend, straight.log, straight.margin) == (0.0, 0.0, 0.0)
    assert curve_of(skewed, skewed.min(), skewed.max(), held_out=False).log == 0


def test_hundreds_of_levels_are_kept_and_rare_ones_too(text: Callable[..., Path]) -> None:
    words = [f"code-{i % 300:03d}" for i in range(900)] + ["once"]
    path = text(numbered("code", words))
    schema = KIND.scan(path, DataSpec())
    assert len(schema.by_name["code"].levels) == 301
    assert KIND.present(read_all(path, schema), schema)["code"].tolist() == words


def test_new_categories_can_be_missing_and_are_counted(text: Callable[..., Path]) -> None:
    schema = KIND.scan(text(numbered("city", ["Paris", "Rome", "Oslo"] * 20)), DataSpec(new_categories="missing"))
    later = text(numbered("city", ["Rome", "Bonn", "Oslo", "Bonn"]), "new.csv")
    with pytest.warns(NewCategories, match=r"column 'city': 2 \(first 'Bonn', .*line 3\)"):
        batch = join(list(KIND.read(later, schema)))
    assert batch.seen["category"][:, 0].tolist() == [True, False, True, False]


def test_a_renamed_column_is_suggested() -> None:
    schema = KIND.scan(people(), DataSpec())
    renamed = refused_later(people().rename(columns={"income": "Incomes"}), schema)
    assert "column 'income' is not there" in renamed and "'Incomes', which it may be: then rename that" in renamed
