"""``labels.csv`` as Excel, pandas and people write it: what is read, and what is refused by line, column and value."""

import json
import subprocess
import sys

import pytest
from own_tree import write_csv

from data_builders.fault_report import FaultReport
from data_builders.own import raw, sheet

HEAD = "path,subject,AU1,AU12"
GOOD = ("a.jpg,Ada,0,1", "b.jpg,Ben,1,0", "c.jpg,Cleo,,1")


def read(root, *lines, report=None, **how):
    write_csv(root, *lines, **how)
    return sheet.read(root, FaultReport() if report is None else report)


def plain(found):
    return [(row.file, row.subject, row.labels) for row in found.rows]


EXPECTED = [
    ("a.jpg", "Ada", {1: 0, 12: 1}),
    ("b.jpg", "Ben", {1: 1, 12: 0}),
    ("c.jpg", "Cleo", {1: -1, 12: 1}),
]


@pytest.mark.parametrize("between", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_ends_of_lines_and_marks_of_utf_8(between, end, encoding, tmp_path):
    lines = [line.replace(",", between) for line in (HEAD, *GOOD, between * 3)]
    found = read(tmp_path, *lines, end=end, encoding=encoding)
    assert plain(found) == EXPECTED and found.units == (1, 12)
    assert [row.line for row in found.rows] == [2, 3, 4]


def test_labels_of_pandas_of_excel_with_a_comma_and_with_spaces(tmp_path):
    lines = [
        "path;subject;AU1;AU12",
        "a.jpg;Ada;0.0;1.0",
        "b.jpg;Ben;1,0;0,0",
        " c.jpg ; Cleo ; ; 1 ",
    ]
    assert plain(read(tmp_path, *lines)) == EXPECTED


def test_quoted_cells_hold_separators_and_rows_may_end_early(tmp_path):
    found = read(tmp_path, HEAD, '"a, b.jpg","Ada ""A"" L.",0,1', "", "c.jpg,Cleo")
    assert plain(found) == [
        ("a, b.jpg", 'Ada "A" L.', {1: 0, 12: 1}),
        ("c.jpg", "Cleo", {1: -1, 12: -1}),
    ]
    assert [row.line for row in found.rows] == [2, 4] and [row.coded for row in found.rows] == [
        True,
        False,
    ]


def test_names_of_columns_in_other_spellings_and_order(tmp_path):
    found = read(tmp_path, "au12,Subject,PATH,AU01,Task,Part,frame", "1,Ada,a.jpg,0,smile,2,7.0")
    (row,) = found.rows
    assert row == sheet.Row(2, "a.jpg", False, "Ada", "smile", 7, 2, {12: 1, 1: 0})
    assert found.units == (1, 12)


def test_paths_of_windows_and_what_changes_nothing(tmp_path):
    found = read(tmp_path, HEAD, r"day 1\a.jpg,Ada,0,1", "./day 1//b.jpg,Ben,1,0")
    assert [row.file for row in found.rows] == ["day 1/a.jpg", "day 1/b.jpg"]


def test_columns_that_are_not_read_and_units_without_a_label_are_counted(tmp_path):
    report = FaultReport()
    read(tmp_path, f"{HEAD},AU25,age", *(f"{line},,31" for line in GOOD), report=report)
    assert {reason: case["examples"] for reason, case in report.as_dict().items()} == {
        "column that is not read": ["age"],
        "column of an action unit without a label": ["AU25"],
    }


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("path,subject,AU1,AU5", "column 'AU5': records hold no AU5, they hold AU1, AU2, AU4,"),
        ("path,subject,AU1,AU20", "column 'AU20': records hold no AU20"),
        (
            "path,subject,AU1,AU12_r",
            "column 'AU12_r' is not the name of an action unit: write AU1, AU12",
        ),
        ("path,subject,AU 1,AU12", "column 'AU 1' is not the name of an action unit"),
        ("path,subject,1,12", "column '1' is not the name of an action unit"),
        ("path,subject,AU1,AU01", "column 'AU01' appears twice"),
        ("path,Path,subject,AU1", "column 'Path' appears twice"),
        ("file,subject,AU1,AU12", "has no column 'path', for pictures, or 'film' and 'frame'"),
        ("film,subject,AU1,AU12", "has no column 'frame', which a film needs"),
        ("path,person,AU1,AU12", "has no column 'subject'"),
        ("path,subject,task,part", "has no column an action unit, such as 'AU12'"),
    ],
)
def test_columns_that_cannot_be_read(head, said, tmp_path):
    with pytest.raises(ValueError) as error:
        read(tmp_path, head, *GOOD)
    assert str(error.value).startswith(f"{tmp_path / 'labels.csv'}, line 1") and said in str(
        error.value
    )


ALL = "path,film,subject,task,frame,part,AU1,AU12"


@pytest.mark.parametrize(
    ("row", "column", "value", "said"),
    [
        ("a.jpg,,Ada,,,1,2,1", "AU1", "2", "is not a label (0 absent, 1 present, empty where"),
        ("a.jpg,,Ada,,,1,0,-1", "AU12", "-1", "is not a label"),
        ("a.jpg,,Ada,,,1,0,yes", "AU12", "yes", "is not a label"),
        ("a.jpg,,Ada,,,1,0,0.5", "AU12", "0.5", "is not a label"),
        ("a.jpg,,Ada,,,1,0,10", "AU12", "10", "is not a label"),
        ("a.jpg,,,,,1,0,1", "subject", "", "is empty"),
        (",,Ada,,,1,0,1", "path", "", "is empty, and no film is given"),
        ("a.jpg,a.avi,Ada,,,1,0,1", "path", "a.jpg", "and 'film' are both given"),
        (",a.avi,Ada,,first,1,0,1", "frame", "first", "is not a frame number (from 0)"),
        (",a.avi,Ada,,-1,1,0,1", "frame", "-1", "is not a frame number"),
        (",a.avi,Ada,,1.5,1,0,1", "frame", "1.5", "is not a frame number"),
        (",a.avi,Ada,,٣,1,0,1", "frame", "٣", "is not a frame number"),
        ("a.jpg,,Ada,,,4,0,1", "part", "4", "is not a part (1, 2 or 3 in every row"),
        ("a.jpg,,Ada,,,,0,1", "part", "", "is not a part"),
        ("/etc/passwd,,Ada,,,1,0,1", "path", "/etc/passwd", "leads out of the folder of labels.csv"),
        ("../a.jpg,,Ada,,,1,0,1", "path", "../a.jpg", "leads out of the folder"),
        ("x/../../a.jpg,,Ada,,,1,0,1", "path", "x/../../a.jpg", "leads out of the folder"),
        (r"..\a.jpg,,Ada,,,1,0,1", "path", r"..\a.jpg", "leads out of the folder"),
        (r"\\server\a.jpg,,Ada,,,1,0,1", "path", r"\\server\a.jpg", "leads out of the folder"),
        (r",C:\a.avi,Ada,,0,1,0,1", "film", r"C:\a.avi", "leads out of the folder"),
        ("./.,,Ada,,,1,0,1", "path", "./.", "names no file"),
        ("a\0.jpg,,Ada,,,1,0,1", "path", "a\0.jpg", "holds a character that cannot be shown"),
        ("a.jpg,,A\x1bda,,,1,0,1", "subject", "A\x1bda", "holds a character that cannot be shown"),
    ],
)  # fmt: skip
def test_cells_that_cannot_be_read_are_named(row, column, value, said, tmp_path):
    with pytest.raises(ValueError) as error:
        read(tmp_path, ALL, "z.jpg,,Zoe,,,1,0,1", row)
    where = f"{tmp_path / 'labels.csv'}, line 3, column {column!r}: {value!r} "
    assert str(error.value).startswith(where) and said in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\r\n ;;\r\n", "is empty"),
        (HEAD.encode() + b"\n", "has column names and no row"),
        (HEAD.encode() + b"\na.jpg,G\xfcl,0,1\n", "is not UTF-8 (byte 29): in Excel save it as 'CSV UTF-8'"),
        ("\ufeffpath,subject".encode("utf-16-le"), "is not UTF-8 (byte 0)"),
        (HEAD.encode() + b"\na,b.jpg,Ada,0,1\n", "line 2 has 5 cells, line 1 names 4 columns"),
        (HEAD.encode() + b'\n"a.jpg,Ada,0,1\n', "line 2: unexpected end of data"),
    ],
)  # fmt: skip
def test_files_that_are_no_such_csv(content, said, tmp_path):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(ValueError) as error:
        sheet.read(tmp_path, FaultReport())
    assert said in str(error.value) and str(tmp_path / "labels.csv") in str(error.value)


def test_a_folder_without_the_file_is_told_what_goes_there(tmp_path):
    (tmp_path / "films.zip").write_bytes(b"PK")
    with pytest.raises(
        FileNotFoundError, match="no labels.csv in .* subject, AU1.*films.zip is packed"
    ):
        sheet.read(tmp_path, FaultReport())


FILM = "film,path,subject,task,frame,part,AU12"


@pytest.mark.parametrize(
    ("rows", "line", "column", "value", "said"),
    [
        ([",a.jpg,Ada,,,1,0", ",./a.jpg,Ben,,,1,0"], 3, "path", "a.jpg", "is in line 2 already"),
        (["a.avi,,Ada,,3,1,0", "a.avi,,Ben,,3.0,1,1"], 3, "film", "a.avi", ", frame 3, is in line 2 already"),
        (["a.avi,,Ada,,,1,", "a.avi,,Ada,,,1,"], 3, "film", "a.avi", "is in line 2 already"),
        ([",a.jpg,Ada,x,7,1,0", ",b.jpg,Ada,x,7,1,0"], 3, "frame", "7", "is the number of another picture"),
        (["a.avi,,Ada,x,3,1,0", "b.avi,,Ada,x,4,1,0"], 3, "film", "b.avi", "give each film a task of its own"),
        (["a.avi,,Ada,x,3,1,0", ",b.jpg,Ada,x,4,1,0"], 3, "path", "b.jpg", "another file"),
        ([",a.jpg,Ada,x,3,1,0", ",b.jpg,Ada,x,,1,0"], 3, "frame", "", "a frame number, or none of them"),
        (["a.avi,,Ada,,,1,1"], 2, "frame", "", "is missing: a row with labels is of one frame"),
        (["a.avi,,Ada,,,1,", "a.avi,,Ben,,3,1,1"], 2, "film", "a.avi", "of which line 3 is another person"),
    ],
)  # fmt: skip
def test_rows_that_do_not_go_together(rows, line, column, value, said, tmp_path):
    found = read(tmp_path, FILM, *rows)
    with pytest.raises(ValueError) as error:
        raw.takes(found)
    where = f"{tmp_path / 'labels.csv'}, line {line}, column {column!r}: {value!r}"
    assert str(error.value).startswith(where) and said in str(error.value)


def test_rows_are_put_together_by_person_and_task(tmp_path):
    """A film without a task is one by itself; two people may share a film, whose frames are theirs alone."""
    rows = ["a.avi,,Ada,,3,1,0", "a.avi,,Ben,,5,1,1", "b.avi,,Ada,,3,1,", "b.avi,,Ada,,,1,"]
    found = {
        (take.subject, take.task): (take.film, take.wanted, [row.frame for row in take.rows])
        for take in raw.takes(read(tmp_path, FILM, *rows, ",c.jpg,Ada,,,1,0"))
    }
    assert found == {
        ("Ada", "a.avi"): ("a.avi", (3,), [3]),
        ("Ben", "a.avi"): ("a.avi", (5,), [5]),
        ("Ada", "b.avi"): ("b.avi", None, [3]),
        ("Ada", ""): (None, (), [None]),
    }


#: Dealt by hand in the order of ``printf NAME | sha256sum``: Ben 030d, Finn 1696, Gül 71fc, Ada 99a5, Cleo a86b,
#: Dan b125, Eva d660.
THIRDS = {1: ["Ada", "Ben", "Eva"], 2: ["Cleo", "Finn"], 3: ["Dan", "Gül"]}


def test_people_are_dealt_to_thirds_by_the_sha_256_of_their_names(tmp_path):
    people = [name for names in THIRDS.values() for name in names]
    rows = [f"{k}.jpg,{name},0,1" for k, name in enumerate(people * 2)]
    assert raw.parts(read(tmp_path, HEAD, *rows)) == THIRDS
    assert raw.parts(read(tmp_path, HEAD, *reversed(rows))) == THIRDS


def test_parts_that_are_given_are_kept(tmp_path):
    head, rows = "path,subject,part,AU1", ["a.jpg,Ada,3,0", "b.jpg,Ben,1.0,0", "c.jpg,Cleo,2,0"]
    rows += ["d.jpg,Ada,3,1", "e.jpg,Dan,1,1"]
    assert raw.parts(read(tmp_path, head, *rows)) == {1: ["Ben", "Dan"], 2: ["Cleo"], 3: ["Ada"]}
    with pytest.raises(
        ValueError, match="line 7, column 'part': '2' is not the part of 'Ben' in line 3, 1"
    ):
        raw.parts(read(tmp_path, head, *rows, "f.jpg,Ben,2,0"))
    rows[2] = "c.jpg,Cleo,3,0"
    with pytest.raises(ValueError, match="part 2 has no people: use all of 1, 2 and 3"):
        raw.parts(read(tmp_path, head, *rows))


def test_fewer_than_three_people_are_an_error(tmp_path):
    with pytest.raises(
        ValueError, match=r"names 2 people \(Ada, Ben\): three parts.* need at least three"
    ):
        raw.parts(read(tmp_path, HEAD, *GOOD[:2], "c.jpg,Ada,1,1"))


def test_the_csv_is_read_without_jax_and_tfds():
    code = "import sys; from data_builders.own import sheet; import json; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"jax", "tensorflow_datasets", "cv2"} & set(json.loads(done.stdout))
