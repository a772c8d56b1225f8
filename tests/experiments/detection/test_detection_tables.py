import csv

import pytest

from experiments.detection import tables
from experiments.detection.rows import Row
from experiments.detection.tables import write_table

UNITS = (1, 12)
CUTS = {1: 0.5, 12: None}
ROWS = [
    Row("a.mp4", 0, 0.0, 0, 0.875, "", (1.5, 2.25, 30.0, 40.0), -3.25, (1.0, 0, 0, 0), (0.5, 0.123456)),
    Row("a.mp4", 0, 0.0, 1, 0.5, "", (100.0, 2.0, 3.0, 4.0), 0.0, (1.0, 0, 0, 0), (0.499999, 1.0)),
    Row("a.mp4", 1, 61.04, reason="no_face"),
    Row('b,"c"\nd.jpg', 2, None, reason="unreadable"),
]  # fmt: skip


def written(tmp_path, rows=ROWS, form="native", kind="csv", cuts=CUTS, weak=()):
    path = tmp_path / f"t.{kind}"
    write_table(path, iter(rows), UNITS, form=form, kind=kind, cuts=cuts, weak=weak)
    return path


def test_native_to_the_letter(tmp_path):
    text = written(tmp_path).read_bytes().decode()
    assert text == (
        "input,frame,timestamp,face_id,confidence,success,reason,x,y,width,height,roll,"
        "AU01_p,AU12_p,AU01_c,AU12_c\n"
        "a.mp4,0,0.000000,0,0.875000,1,,1.50,2.25,30.00,40.00,-3.25,0.500000,0.123456,1,\n"
        "a.mp4,0,0.000000,1,0.500000,1,,100.00,2.00,3.00,4.00,0.00,0.499999,1.000000,0,\n"
        "a.mp4,1,61.040000,,0.000000,0,no_face,,,,,,,,,\n"
        '"b,""c""\nd.jpg",2,,,0.000000,0,unreadable,,,,,,,,,\n'
    )


def test_weak_units_are_named_in_each_row_of_our_own_columns_alone(tmp_path):
    for form in tables.FORMS:
        plain = written(tmp_path, form=form).read_text().replace("\nd.jpg", " d.jpg").splitlines()
        text = written(tmp_path, form=form, weak=(1, 12)).read_text()
        ends = [",weak_units", *[",AU01 AU12"] * 4] if form == "native" else [""] * 5
        assert text.replace("\nd.jpg", " d.jpg").splitlines() == [
            line + end for line, end in zip(plain, ends, strict=True)
        ]


def test_names_come_back_whatever_they_hold(tmp_path):
    names = [
        'b,"c"\nd.jpg',
        "b\rd.jpg",
        "b\r\n.jpg",
        "ends\r\n",
        "Zoë ☺.jpg",
        "=1+1.jpg",
        " blank .jpg",
        "\udcff.jpg",
    ]
    path = written(tmp_path, [Row(name, 0) for name in names])
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert [row["input"] for row in csv.DictReader(file)] == names


def test_columns_of_openface(tmp_path):
    # Names and order of OpenFace 2.2's FeatureExtraction, of what we have: frames from 1, _c for presence. An
    # intensity (_r) is no probability.
    path = written(tmp_path, form="openface", cuts={1: 0.5, 12: 0.5})
    assert path.read_text() == (
        "frame,face_id,timestamp,confidence,success,AU01_c,AU12_c,AU01_p,AU12_p\n"
        "1,0,0.000000,0.875000,1,1,0,0.500000,0.123456\n"
        "1,1,0.000000,0.500000,1,0,1,0.499999,1.000000\n"
        "2,,61.040000,0.000000,0,,,,\n"
        "3,,,0.000000,0,,,,\n"
    )


def test_columns_of_py_feat(tmp_path):
    # Names of py-feat's Fex: FaceRect*, FaceScore, AU* as probabilities, frames from 0, minutes and seconds.
    path = written(tmp_path, ROWS[:3], form="pyfeat")
    assert path.read_text() == (
        "FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,FaceScore,AU01,AU12,input,frame,approx_time\n"
        "1.50,2.25,30.00,40.00,0.875000,0.500000,0.123456,a.mp4,0,00:00\n"
        "100.00,2.00,3.00,4.00,0.500000,0.499999,1.000000,a.mp4,0,00:00\n"
        ",,,,0.000000,,,a.mp4,1,01:01\n"
    )


@pytest.mark.parametrize(
    ("seconds", "clock"), [(59.999, "00:59"), (120.0, "02:00"), (3725.9, "62:05")]
)
def test_py_feat_counts_whole_minutes_and_seconds(tmp_path, seconds, clock):
    path = written(tmp_path, [Row("a.mp4", 0, seconds, reason="no_face")], form="pyfeat")
    assert path.read_text().splitlines()[1].endswith(f",a.mp4,0,{clock}")


@pytest.mark.parametrize("form", tables.FORMS)
def test_parquet_holds_what_csv_holds(tmp_path, form):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(written(tmp_path, form=form, kind="parquet", weak=(12,)))
    path = written(tmp_path, form=form, weak=(12,))
    with path.open(newline="") as file:
        plain = list(csv.DictReader(file))
    assert table.column_names == list(plain[0])
    for row, other in zip(table.to_pylist(), plain, strict=True):
        for name, text in other.items():
            value = row[name]
            assert (text == "") == (value is None or value == ""), name
            if isinstance(value, float):
                assert value == pytest.approx(float(text), abs=1e-9)
            elif value is not None:
                assert str(value) == text
    whole = {"frame", "face_id", "success"} & set(table.column_names)
    assert {str(table.schema.field(name).type) for name in whole} == {"int64"}
