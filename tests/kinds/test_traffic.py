"""Flow records in every format: recognised, read as their roles say, and scored."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import flows
import latelier
from latelier.batch import join
from latelier.errors import BadInput
from latelier.kinds import KINDS
from latelier.kinds.cells.files import FrameTable
from latelier.kinds.flows.formats import FORMATS, KDD, format_of, kdd_names, plain_name
from latelier.kinds.flows.roles import EXACT, KEPT, ROLES, as_amounts, as_clock, grouped, kept_of
from latelier.kinds.flows.span import Span
from latelier.kinds.flows.table import FlowTable
from latelier.kinds.traffic import TrafficSchema
from latelier.model import find_kind
from latelier.model.drawing import sampled
from latelier.spec import DataSpec

TINY = {"network.hidden": (16,), "latent.dims": 3, "train.batch": 32}
TRAFFIC = KINDS["traffic"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("flows")
    return {name: flows.written(name, folder) for name in flows.FILES}


@pytest.fixture(scope="module")
def models(files: dict[str, Path]) -> dict[str, latelier.Model]:
    return {
        name: latelier.fit(path, out=path.with_suffix(".model"), epochs=2, report=False, settings=TINY)
        for name, path in files.items()
        if name in ("conn.log", "cic2018.csv", "KDD.txt")
    }


def scanned(path: Path, **options: object) -> TrafficSchema:
    schema = TRAFFIC.scan(path, DataSpec(**options))
    assert isinstance(schema, TrafficSchema)
    return schema


def family(schema: TrafficSchema, name: str) -> str:
    return schema.by_name[name].family if name in schema.by_name else ""


@pytest.mark.parametrize("name", flows.FILES)
def test_each_format_is_recognised_by_its_columns_and_another_kind_can_be_asked_for(name, files):
    assert find_kind(files[name], "auto") is TRAFFIC
    schema = scanned(files[name])
    assert schema.format == flows.FILES[name][0]
    assert any("override with --kind tables" in line for line in schema.evidence)
    assert find_kind(files[name], "tables") is KINDS["tables"]
    assert schema.rows == 200


@pytest.mark.parametrize("name", flows.FILES)
def test_each_format_fits_scores_and_samples(name, files, tmp_path):
    model = latelier.fit(files[name], out=tmp_path / "m", epochs=1, report=False, settings=TINY)
    scores = model.score(files[name], draws=2)
    assert scores.shape == (200,) and np.isfinite(scores).all()
    made = model.sample(20)
    assert len(made) == 20 and set(made.columns) == {column.name for column in model.schema.columns}


@pytest.mark.parametrize(
    ("name", "families"),
    [
        ("conn.log", {"id.orig_p": "category", "id.resp_p": "category", "proto": "category", "conn_state": "category",
                      "duration": "real", "orig_bytes": "count", "resp_ip_bytes": "count", "time_of_day": "cyclic",
                      "uid": "", "id.orig_h": "", "ts": "", "tunnel_parents": ""}),
        ("cic2018.csv", {"Dst Port": "category", "Protocol": "category", "Flow Duration": "amount", "Tot Fwd Pkts": "count",
                         "TotLen Bwd Pkts": "count", "Flow Byts/s": "real", "Flow IAT Mean": "amount", "time_of_day": "cyclic",
                         "Label": "", "Timestamp": ""}),
        ("cic2017.csv", {"Destination Port": "category", "Total Length of Fwd Packets": "count", "Flow Bytes/s": "real",
                         "Fwd Header Length": "count", "Fwd Header Length.1": "", "Label": ""}),
        ("nfstream.csv", {"src_ip": "", "dst_mac": "", "dst_port": "category", "bidirectional_packets": "count",
                          "application_name": "category", "time_of_day": "cyclic", "bidirectional_last_seen_ms": "", "id": ""}),
        ("nfdump.csv", {"sa": "", "dp": "category", "flg": "category", "td": "amount", "ibyt": "count", "te": "", "tr": ""}),
        ("netflow.csv", {"IPV4_SRC_ADDR": "", "L4_DST_PORT": "category", "IN_BYTES": "count", "TCP_FLAGS": "category",
                         "FLOW_DURATION_MILLISECONDS": "amount", "Attack": ""}),
        ("KDD.txt", {"duration": "amount", "service": "category", "flag": "category", "src_bytes": "count", "count": "count",
                     "dst_host_serror_rate": "real", "label": "", "difficulty": ""}),
    ],
)  # fmt: skip
def test_columns_are_what_the_format_says(name, families, files):
    schema = scanned(files[name])
    assert {column: family(schema, column) for column in families} == families


def test_times_on_a_log_scale_are_logarithmic_beyond_a_tenth_of_the_values(files):
    schema = scanned(files["conn.log"])
    field = next(f for f in schema.fields if f.name == "real")
    assert field.columns == ("duration",)
    assert 0 < field.transform.bend[0] < 0.2  # a tenth of the durations are shorter
    assert "on a log scale: duration" in schema.evidence
    values = join(list(TRAFFIC.read(files["conn.log"], schema))).fields["real"]
    settled = field.transform.to_model(values, None)
    low, high = field.transform.to_model(torch.tensor([[1.0], [100.0]]), None).flatten()
    middle = field.transform.to_model(torch.tensor([[10.0]]), None).item()
    assert abs((low + high).item() / 2 - middle) < 0.05 * (high - low).item()
    assert settled.std() < 1.5 and settled.abs().max() < 6


def test_a_log_and_its_json_say_the_same(files):
    log, page = scanned(files["conn.log"]), scanned(files["conn.json"])
    a = join(list(TRAFFIC.read(files["conn.log"], log)))
    b = join(list(TRAFFIC.read(files["conn.json"], log)))
    assert {f.name: f.columns for f in page.fields} == {f.name: f.columns for f in log.fields}
    for name in a.fields:
        seen = a.seen.get(name, torch.ones_like(a.fields[name], dtype=torch.bool))
        assert torch.equal(seen, b.seen.get(name, torch.ones_like(seen)))
        assert torch.equal(torch.where(seen, a.fields[name], 0), torch.where(seen, b.fields[name], 0))


def test_a_frame_a_parquet_file_and_a_packed_file_are_read_as_the_text_is(files, tmp_path):
    schema = scanned(files["cic2018.csv"])
    frame = pd.read_csv(files["cic2018.csv"])
    frame = frame[frame["Dst Port"] != "Dst Port"]  # the header that comes again
    frame = frame.apply(lambda column: pd.to_numeric(column) if column.name not in ("Timestamp", "Label") else column)
    finite = frame.replace([np.inf, -np.inf], np.nan)
    finite.to_parquet(tmp_path / "flows.parquet")
    with open(files["cic2018.csv"], "rb") as plain, gzip.open(tmp_path / "flows.csv.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    whole = join(list(TRAFFIC.read(files["cic2018.csv"], schema)))
    for source in (frame, tmp_path / "flows.parquet", tmp_path / "flows.csv.gz"):
        assert find_kind(source, "auto") is TRAFFIC
        again = join(list(TRAFFIC.read(source, schema)))
        assert all(torch.equal(whole.fields[name], again.fields[name]) for name in whole.fields)


def test_what_never_occurred_in_training_is_read_as_the_group_it_falls_into(models, files, tmp_path):
    model = models["conn.log"]
    rows = files["conn.log"].read_text().splitlines()
    row = next(i for i, line in enumerate(rows) if "\t443\t" in line and "\tSF\t" in line)
    changed = rows[row].replace("\t443\ttcp\tssl\t", "\t31337\ticmp\tgopher\t")
    assert changed != rows[row]
    (tmp_path / "conn.log").write_text("\n".join([*rows[:8], rows[row], changed]) + "\n")
    batch = join(list(model.kind.read(tmp_path / "conn.log", model.schema)))
    field = next(f for f in model.schema.fields if f.name == "category")
    read = {}
    for name in ("id.resp_p", "proto", "service"):
        code = int(batch.fields["category"][1, field.columns.index(name)])
        read[name] = model.schema.by_name[name].levels[code]
    assert read == {"id.resp_p": "(registered)", "proto": "(other)", "service": "(other)"}
    assert np.isfinite(model.score(tmp_path / "conn.log")).all()


def test_a_column_that_was_always_the_same_can_have_another_value_which_is_odd(files, tmp_path):
    trained = {**TINY, "train.ema": 0.9}
    model = latelier.fit(files["KDD.txt"], out=tmp_path / "m", epochs=80, report=False, settings=trained)
    rows = files["KDD.txt"].read_text().splitlines()
    cells = rows[0].split(",")
    cells[KDD.index("wrong_fragment")] = "3"
    (tmp_path / "KDD.txt").write_text("\n".join([rows[0], ",".join(cells)]) + "\n")
    shares = model.score(tmp_path / "KDD.txt", entries=True)
    assert shares["wrong_fragment"][1] < shares["wrong_fragment"][0] - 1


def test_infinite_speeds_and_negative_amounts_are_read_as_missing(files):
    schema = scanned(files["cic2018.csv"])
    batch = join(list(TRAFFIC.read(files["cic2018.csv"], schema)))
    field = next(f for f in schema.fields if f.name == "real")
    failed = flows.Flows(200).failed | (flows.Flows(200).seconds == 0)
    seen = batch.seen["real"][:, field.columns.index("Flow Byts/s")].numpy()
    assert np.array_equal(~seen, failed) and failed.any()
    assert as_amounts(pa.array(["5", "-1", None, "Infinity"])).to_pylist() == ["5", None, None, None]


def test_unset_words_are_a_value_of_their_own(files):
    schema = scanned(files["conn.log"])
    assert "-" in schema.by_name["service"].levels and schema.by_name["service"].missing == 0
    assert schema.by_name["duration"].missing > 0


def test_amounts_beyond_what_float32_counts_exactly_are_real_on_a_log_scale_and_told(tmp_path):
    made = flows.Flows(200)
    made.bytes = made.bytes.astype(np.int64)
    made.bytes[3] = 1_379_963_888  # the largest of KDD Cup 99
    schema = scanned(flows.kdd(tmp_path / "KDD.txt", made))
    assert family(schema, "src_bytes") == "amount" and family(schema, "dst_bytes") == "count"
    assert any(line.startswith("src_bytes: up to 1.38e+09") for line in schema.evidence)
    batch = join(list(TRAFFIC.read(tmp_path / "KDD.txt", schema)))
    field = next(f for f in schema.fields if f.name == "amount")
    place = field.columns.index("src_bytes")
    assert batch.fields["amount"][3, place] == 1_379_963_888 and field.transform.bend[place] < 1e4
    model = latelier.fit(tmp_path / "KDD.txt", out=tmp_path / "m", epochs=2, report=False, settings=TINY)
    assert np.isfinite(model.score(tmp_path / "KDD.txt")).all()


def test_counts_up_to_the_limit_keep_every_digit_and_have_finite_scores(tmp_path):
    made = flows.Flows(200)
    made.bytes = made.bytes.astype(np.int64)
    made.bytes[3] = int(EXACT) - 1
    path = flows.kdd(tmp_path / "KDD.txt", made)
    model = latelier.fit(path, out=tmp_path / "m", epochs=2, report=False, settings=TINY)
    assert family(model.schema, "src_bytes") == "count"
    TRAFFIC.write(TRAFFIC.read(path, model.schema), tmp_path / "copy.csv", model.schema)
    assert pd.read_csv(tmp_path / "copy.csv").src_bytes[3] == int(EXACT) - 1
    made.bytes[3] = 1_000_000_000
    assert np.isfinite(model.score(flows.kdd(tmp_path / "more.txt", made))).all()


def test_addresses_and_labels_are_left_out_told_and_can_be_kept(files):
    told = "\n".join(scanned(files["conn.log"]).evidence)
    assert "left out: addresses id.orig_h, id.resp_h" in told
    assert "left out: labels Label" in "\n".join(scanned(files["cic2018.csv"]).evidence)
    kept = scanned(files["cic2018.csv"], families={"Label": "category"})
    assert family(kept, "Label") == "category"
    given = scanned(files["conn.log"], given=("service",), families={"id.orig_h": "category"})
    assert [f.columns for f in given.conditions] == [("service",)]
    assert family(given, "id.orig_h") == "category"


def test_likelihoods_are_compared_on_rows_as_they_are_read(tmp_path):
    """Enough rows for the comparison, which takes single rows of the file."""
    path = flows.written("conn.log", tmp_path, rows=1_500)
    model = latelier.fit(path, out=tmp_path / "m", epochs=1, report=False, settings=TINY)
    assert any("likelihoods: compared on" in line for line in model.schema.evidence)
    assert np.isfinite(model.score(path, draws=2)).all()


def test_a_model_is_conditioned_on_a_label_and_samples_it(files, tmp_path):
    options = {"out": tmp_path / "m", "epochs": 1, "report": False, "settings": TINY, "given": ("Label",)}
    model = latelier.fit(files["cic2018.csv"], **options)
    assert (model.sample(5, given={"Label": "Infilteration"})["Label"] == "Infilteration").all()


@pytest.mark.parametrize("name", ["conn.log", "cic2018.csv", "KDD.txt"])
def test_what_was_sampled_and_imputed_is_scored_again(name, models, files, tmp_path):
    model = models[name]
    suffix = ".log" if name == "conn.log" else ".csv"
    model.kind.write(sampled(model, 30), tmp_path / f"made{suffix}", model.schema)
    assert len(model.score(tmp_path / f"made{suffix}")) == 30
    filled = model.impute(files[name], draws=2)
    assert len(filled) == 200 and not filled.isna().any().any()


def test_the_rare_words_of_a_column_beyond_a_bound_are_grouped():
    counts = {f"w{i:04}": 10_000 - i for i in range(1_000)}
    assert kept_of(counts, "word") == {f"w{i:04}" for i in range(KEPT)}


def test_ports_are_kept_by_range():
    counts = {
        "22": 1,
        "443": 900_000,
        "1023": 1,
        "8080": 90_000,
        "5000": 50,
        "49151": 2_000,
        "49152": 500_000,
        "60000": 9,
    }
    assert kept_of(counts, "port") == {"22", "443", "1023", "8080", "49151"}
    read = grouped(pa.array(["443", "443.0", "7", "5000", "50000", "x"]), "port", {"443"})
    assert read.to_pylist() == ["443", "443", "(other)", "(registered)", "(ephemeral)", "(other)"]


@pytest.mark.parametrize(
    ("spelled", "clock"),
    [("1709528767.5", "05:06:07"), ("1709528767500", "05:06:07"), ("1709528767500000", "05:06:07"),
     ("2024-03-04T23:59:59.1Z", "23:59:59"), ("04/03/2024 08:47:38", "08:47:38"), ("7/7/2017 3:30", "03:30:00"),
     ("5/7/2017 12:42:42 AM", "00:42:42"), ("5/7/2017 12:01:00 PM", "12:01:00"), ("5/7/2017 01:01:00 PM", "13:01:00"),
     ("25:00:00", None), ("10:61", None), ("", None), ("never", None)],
)  # fmt: skip
def test_the_time_of_day_however_it_is_spelled(spelled, clock):
    assert as_clock(pa.array([spelled or None], pa.string())).to_pylist() == [clock]
    assert as_clock(pa.array([pd.Timestamp("2024-03-04 17:00:01")])).to_pylist() == ["17:00:01"]


def test_the_time_of_day_comes_round(files):
    schema = scanned(files["conn.log"])
    field = next(f for f in schema.fields if f.name == "cyclic")
    late, early, noon = field.transform.to_model(torch.tensor([[86_399.0], [0.0], [43_200.0]]), None).flatten()
    assert torch.cos(late - early) > 0.999 and torch.cos(noon - early) < -0.999


@pytest.mark.parametrize("name", ["conn.log", "conn.json", "cic2018.csv", "nfstream.csv", "nfdump.csv"])
def test_the_time_of_day_is_left_out_of_what_is_fitted_to_less_than_a_day(name, tmp_path):
    short = scanned(flows.written(name, tmp_path, hours=5))
    assert family(short, "time_of_day") == ""
    assert [line for line in short.evidence if "left out: time_of_day, as the rows span" in line and "hours" in line]
    asked = scanned(tmp_path / name, families={"time_of_day": "cyclic"})
    assert family(asked, "time_of_day") == "cyclic"
    late = flows.Flows(200, hours=6.0)
    late.time += 16 * 3600  # over midnight
    flows.FILES[name][1](tmp_path / f"late-{name}", late)
    assert family(scanned(tmp_path / f"late-{name}"), "time_of_day") == ""
    assert family(scanned(flows.written(name, tmp_path, hours=70)), "time_of_day") == "cyclic"


def test_how_long_time_stamps_span():
    def seconds(*parts: list[object]) -> float:
        span = Span()
        for part in parts:
            span.add(pa.array(part))
        return span.seconds

    assert seconds([1709528767.5, 1709528777.5], [None, 1709528787.5]) == 20
    assert seconds(["1709528767000", "1709528777000"]) == 10
    assert seconds([pd.Timestamp("2024-03-04 17:00:01")], [pd.Timestamp("2024-03-05 17:00:01")]) == 86_400
    assert seconds(["02/03/2018 08:00:00", "02/03/2018 10:00:00"]) == 7_200
    assert seconds(["02/03/2018 11:00:00 PM"], ["03/03/2018 01:00:00 AM"]) == 7_200
    for unknown in (["08:00:00", "09:00:00"], ["1/1/2018 09:00", "2/1/2018 18:00"], ["never"], [None], []):
        assert seconds(pa.array(unknown, pa.string()).to_pylist() if unknown else []) == np.inf
    assert seconds([f"{day}/1/2018 09:00" for day in (1, 2, 3)]) == np.inf


def test_a_folder_or_a_pattern_of_logs_is_traffic_and_other_logs_are_passed_over(tmp_path):
    """As Zeek's own folder: rotated logs, some packed, and logs of another kind beside them."""
    whole = flows.Flows(90)
    for number, part in enumerate((range(30), range(30, 60), range(60, 90))):
        text = flows.ZEEK_HEAD + "".join("\t".join(whole.zeek(i)) + "\n" for i in part)
        place = tmp_path / "logs" / f"conn.{number}.log"
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)
    with gzip.open(place.with_suffix(".log.gz"), "wb") as packed:
        packed.write(place.read_bytes())
    place.unlink()
    dns = "#separator \\x09\n#fields\tts\tuid\tquery\n#types\ttime\tstring\tstring\n1.0\tC\texample.org\n"
    (tmp_path / "logs" / "dns.log").write_text(dns)
    one = flows.zeek(tmp_path / "conn.log", whole)
    model = latelier.fit(one, out=tmp_path / "m", epochs=1, report=False, settings=TINY)
    scores = model.score(one)
    for source in (tmp_path / "logs", tmp_path / "logs" / "conn.*"):
        assert find_kind(source, "auto") is TRAFFIC
        schema = scanned(source)
        assert schema.rows == 90 and schema.by_name == scanned(one).by_name
        np.testing.assert_array_equal(model.score(source), scores)
    assert "passed over: 1 other file(s)" in scanned(tmp_path / "logs").evidence
    assert [part.name for part in TRAFFIC.parts(tmp_path / "logs", schema, 10)] == [
        "conn.0.log.csv", "conn.1.log.csv", "conn.2.log.gz.csv",
    ]  # fmt: skip
    (tmp_path / "logs" / "conn.3.log").write_text(text.replace("\torig_pkts", "\tother"))
    with pytest.raises(BadInput, match="orig_pkts"):
        scanned(tmp_path / "logs")
    with pytest.raises(BadInput, match="no flow records there"):
        scanned(tmp_path / "logs" / "dns*")


def test_json_logs_of_a_folder_may_lack_each_other_s_keys(tmp_path):
    (tmp_path / "logs").mkdir()
    rows = flows.zeek_json(tmp_path / "conn.json", flows.Flows(60)).read_text().splitlines(keepends=True)
    (tmp_path / "logs" / "a.json").write_text("".join(row for row in rows[:30] if '"service"' not in row))
    (tmp_path / "logs" / "b.json").write_text("".join(rows[30:]))
    schema = scanned(tmp_path / "logs")
    assert family(schema, "service") == "category"
    assert sum(map(len, TRAFFIC.read(tmp_path / "logs", schema))) == schema.rows


def test_every_role_of_a_format_is_in_the_table_and_every_format_has_marks_of_its_own():
    for key, known in FORMATS.items():
        assert {role for _, role in known.roles} <= ROLES.keys()
        assert format_of(mark.split("|")[0] for mark in known.marks) == key
        assert all(plain_name(name) == name for mark in known.marks for name in mark.split("|"))
    assert len(KDD) == 43 and kdd_names(["0", "tcp", *["0"] * 41]) == KDD
    assert kdd_names(["0", "carp", *["0"] * 41]) is None


def test_a_table_that_only_looks_alike_is_no_traffic(tmp_path):
    pd.DataFrame({"src_ip": ["a", "b"], "port": [1, 2], "bytes": [3, 4]}).to_csv(tmp_path / "t.csv", index=False)
    assert find_kind(tmp_path / "t.csv", "auto") is KINDS["tables"]
    with pytest.raises(BadInput, match=r"names no flow record.*Zeek conn.log.*--kind tables"):
        TRAFFIC.scan(tmp_path / "t.csv", DataSpec())


def test_a_wide_frame_of_flows_keeps_the_file_s_own_names():
    frame = pd.DataFrame({" Flow ID ": ["x", "y"], "n": [1, 2]})
    assert FlowTable(FrameTable(frame), {}).names == ("Flow ID", "n")


def test_nsl_kdd_is_read_whole_with_attacks_that_no_training_row_had(data, tmp_path):
    source = data / "nsl_kdd" / "KDDTrain+.txt.gz"
    with gzip.open(source, "rt") as file:
        normal = [line for line in file if line.split(",")[41] == "normal"]
    (tmp_path / "normal.txt").write_text("".join(normal[:20_000]))
    schema = scanned(tmp_path / "normal.txt")
    assert schema.rows == 20_000 and "label" not in schema.by_name and "difficulty" not in schema.by_name
    tested = join(list(TRAFFIC.read(data / "nsl_kdd" / "KDDTest+.txt.gz", schema)))
    assert len(tested) == 22_544
