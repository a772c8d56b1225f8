"""Recordings of one's own, from csv, pictures and films to records; each frame of a film shows its number."""

import json
import os
import types

import bp4d_tree
import films
import numpy as np
import pytest
import tensorflow_datasets as tfds
from own_tree import write_csv, write_films, write_pictures
from test_faults import fails

from data_builders import prepare, validate, videos
from data_builders.own.own_dataset_builder import Builder
from piapdf_jax.action_units import RECORD_AUS
from piapdf_jax.data import source

#: In the order of their SHA-256 Ben, Ada, Cleo (see test_own_sheet.py).
PART = {"Ben": "part1", "Ada": "part2", "Cleo": "part3"}
PEOPLE = tuple(sorted(PART))
HEAD = "film,path,frame,subject,task,AU1,AU25"


def build(manual, data):
    return tfds.builder_from_directory(
        prepare.prepare("own", data_dir=data, manual_dir=manual, workers=1)
    )


def read(built):
    """{(split, subject, task, frame): record}."""
    return {
        (split, record["subject"].decode(), record["task"].decode(), int(record["frame"])): record
        for split in built.info.splits
        for record in built.as_data_source(split)
    }


def skipped(built):
    return {
        reason: (case["count"], case["examples"])
        for reason, case in built.info.metadata["skipped"].items()
    }


def labels(**known):
    """The 15 cells of a record of which some are known, ``AU1=0``."""
    return [known.get(f"AU{au}", -1) for au in RECORD_AUS]


@pytest.fixture
def any_face(monkeypatch):
    monkeypatch.setattr(Builder, "detector", films.AnyFace)


@pytest.fixture
def marked(monkeypatch):
    monkeypatch.setattr(Builder, "detector", bp4d_tree.FrameDetector)


def cells_by_hand():
    """(number of the frame that is shown, labels) by key of the record, for the rows of the test below."""
    ada, ben, cleo = (f"day 1/{name}.avi" for name in ("ada", "ben", "cleo"))
    uncoded = set(range(10)) - {5}
    return {
        ("part2", "Ada", ada, 7): (7, labels(AU1=1, AU25=0)),
        ("part2", "Ada", ada, 2): (2, labels(AU1=0)),
        ("part2", "Ada", "second", 2): (2, labels(AU25=1)),
        ("part1_uncoded", "Ben", ben, 0): (0, labels()),
        ("part1", "Ben", ben, 9): (9, labels(AU1=0, AU25=0)),
        ("part1", "Ben", "", 0): (20, labels(AU1=1, AU25=1)),
        ("part1_uncoded", "Ben", "", 1): (21, labels()),
        ("part3", "Cleo", cleo, 5): (5, labels(AU1=1, AU25=0)),
        **{("part3_uncoded", "Cleo", cleo, k): (k, labels()) for k in uncoded},
    }


def test_records_hold_the_cells_of_their_row_and_the_frame_of_its_number(any_face, tmp_path):
    """Excel's semicolons, decimal commas and ends of lines; two films of one person, pictures beside them."""
    manual = tmp_path / "manual"
    write_films(manual / "day 1", ["ada.avi", "ben.avi", "cleo.avi"])
    write_films(manual, ["ada2.avi"])
    (manual / "ben.jpg").write_bytes(films.picture(20))
    (manual / "ben 2.jpg").write_bytes(films.picture(21))
    rows = [
        r"day 1\ada.avi;;7;Ada;;1,0;0,0",
        r"day 1\ada.avi;;2;Ada;;0,0;",
        "ada2.avi;;2;Ada;second;;1,0",
        "day 1/ben.avi;;0;Ben;;;",
        "day 1/ben.avi;;9;Ben;;0;0",
        ";ben.jpg;;Ben;;1;1",
        ";ben 2.jpg;;Ben;;;",
        "day 1/cleo.avi;;;Cleo;;;",
        "day 1/cleo.avi;;5;Cleo;;1;0",
    ]
    write_csv(manual, HEAD.replace(",", ";"), *rows, end="\r\n", encoding="utf-8-sig")
    built = build(manual, tmp_path / "data")
    found = read(built)
    assert {
        key: (films.shown(record["image"]), record["labels"].tolist())
        for key, record in found.items()
    } == cells_by_hand()
    for (split, *_), record in found.items():
        assert bool(record["coded"]) != split.endswith("_uncoded")
        assert (record["intensities"] == -1).all() and record["pi_maps"].any()
    metadata = built.info.metadata
    assert metadata["action_units"] == [1, 25] and not skipped(built)
    assert metadata["parts"] == {"1": ["Ben"], "2": ["Ada"], "3": ["Cleo"]}
    read_told = {"participants": 3, "films": 4, "pictures and frames": 17, "label rows": 6}
    assert read_told.items() <= metadata["read"].items()


@pytest.mark.parametrize("write", ["avi", "mp4"])
def test_frames_of_a_film_have_the_number_of_their_time(write, any_face, tmp_path):
    """Frames 4 and 5 were dropped: an empty chunk of an AVI, a longer frame of an MP4."""
    manual, kept = tmp_path / "manual", [k for k in range(10) if k not in (4, 5)]
    names = [f"{name}.{write}" for name in PEOPLE]
    if write == "avi":
        write_films(manual, names, lost=(4, 5))
    else:
        for name in names:
            ticks = [90 if k == 3 else 30 for k in kept]
            films.write_mp4(manual / name, [films.picture(k) for k in kept], ticks)
    rows = [f"{name}.{write},,{k},{name},,{k % 2},1" for name in PEOPLE for k in (3, 4, 6, 12)]
    write_csv(manual, HEAD, *rows)
    built = build(manual, tmp_path / "data")
    assert {
        key[1:]: (films.shown(record["image"]), record["labels"][0])
        for key, record in read(built).items()
    } == {(name, f"{name}.{write}", k): (k, k % 2) for name in PEOPLE for k in (3, 6)}
    lost = [f"{name}.{write} frame 4" for name in PEOPLE]
    assert skipped(built) == {"label row without its picture": (6, lost)}


def test_an_unreadable_film_and_rows_without_their_frame_are_counted(any_face, tmp_path):
    manual = tmp_path / "manual"
    write_films(manual, ["ada.avi", "ben.avi", "cleo.avi"])
    (manual / "text.avi").write_bytes(b"no film")
    (manual / "list.avi").write_text("ffconcat version 1.0\nfile ada.avi\n")
    rows = [f"{name.lower()}.avi,,3,{name},,1,0" for name in PEOPLE]
    rows += [f"text.avi,,{k},Ada,,1,0" for k in range(3)] + ["list.avi,,0,Ada,,1,0"]
    rows += ["gone.avi,,1,Ben,,1,0", "gone.avi,,2,Ben,,1,0", ",gone.jpg,,Ben,,1,0"]
    rows += ["https://example.org/x.avi,,0,Cleo,,1,0"]
    write_csv(manual, HEAD, *rows)
    built = build(manual, tmp_path / "data")
    assert {key[:2] for key in read(built)} == {(PART[name], name) for name in PEOPLE}
    lost = ["gone.jpg", "gone.avi", "https:/example.org/x.avi"]
    assert skipped(built).pop("label row without its picture") == (4, lost)
    assert skipped(built)["film that cannot be read"] == (2, ["list.avi", "text.avi"])


def test_a_recording_whose_only_films_cannot_be_read_ends_the_build(tmp_path):
    manual = tmp_path / "manual"
    write_csv(manual, HEAD, *(f"{name}.avi,,3,{name},,1,0" for name in PEOPLE))
    (manual / "Ada.avi").write_bytes(b"no film")
    fails("own", manual, tmp_path / "data", "no frame of own can be used", "Ada.avi", "Ben.avi")


def test_a_film_whose_times_number_no_frames_ends_the_build(any_face, tmp_path):
    manual, ticks = tmp_path / "manual", [30] * 10
    ticks[4] = 1
    films.write_mp4(manual / "a.mp4", [films.picture(k) for k in range(10)], ticks)
    write_csv(manual, HEAD, *(f"a.mp4,,{k},{name},,1,0" for k, name in enumerate(PEOPLE)))
    fails("own", manual, tmp_path / "data", "a.mp4, frame", "convert the film to a constant")


def test_pictures_films_and_archives_that_no_row_names_are_counted(marked, tmp_path):
    manual = write_pictures(tmp_path / "manual", PEOPLE, frames=2)
    write_films(manual / "more", ["x.avi"])
    for name in ("Ada/._0.png", "Ada/notes.txt", "more/y.JPG", "more/old.zip"):
        (manual / name).write_bytes(b"?")
    built = build(manual, tmp_path / "data")
    assert skipped(built) == {
        "archive, of which nothing is read": (1, ["more/old.zip"]),
        "picture or film that no row names": (2, ["more/x.avi", "more/y.JPG"]),
    }
    assert len(read(built)) == 6


def test_frames_with_numbers_lend_landmarks_and_other_pictures_do_not(marked, tmp_path):
    """Of three pictures the detector finds no face in the second."""
    manual = tmp_path / "manual"
    for name in PEOPLE:
        for k, mark in enumerate((20, bp4d_tree.NO_FACE, 40)):
            bp4d_tree.write_picture(manual / name / f"{k}.png", mark)
    rows = [f",Ada/{k}.png,{10 + k},Ada,,1,0" for k in range(3)]
    rows += [f",{name}/{k}.png,,{name},,1,0" for name in ("Ben", "Cleo") for k in range(3)]
    write_csv(manual, HEAD, *rows)
    built = build(manual, tmp_path / "data")
    found = read(built)
    assert sorted(key[1:] for key in found) == [
        *(("Ada", "", k) for k in (10, 11, 12)),
        *((name, "", k) for name in ("Ben", "Cleo") for k in (0, 2)),
    ]
    first, lent, last = (found["part2", "Ada", "", k]["landmarks"] for k in (10, 11, 12))
    assert np.allclose(lent, (first + last) / 2, atol=0.05) and np.abs(first - last).max() > 1
    lost = ["manual/Ben/1.png", "manual/Cleo/1.png"]
    assert skipped(built) == {"no face found, none in the neighboring frames": (2, lost)}
    assert built.info.metadata["read"]["landmarks from neighboring frames"] == 1


NAMES = ["../../outside", "/outside", "a_b", "a", "Zoë Ünal 张", "x" * 200, "."]


def test_people_and_tasks_are_names_and_never_paths(marked, tmp_path):
    """``a_b`` without a task and ``a`` in the task ``b`` are two."""
    manual = tmp_path / "manual"
    for k in range(len(NAMES)):
        bp4d_tree.write_picture(manual / f"{k}.png", 10 * k + 10)
    rows = [f",{k}.png,,{name},{'b' if name == 'a' else ''},1,0" for k, name in enumerate(NAMES)]
    write_csv(manual, HEAD, *rows)
    before = {path for path in tmp_path.rglob("*")}
    built = build(manual, tmp_path / "data")
    assert {key[1] for key in read(built)} == set(NAMES) and len(read(built)) == len(NAMES)
    made = {path for path in tmp_path.rglob("*")} - before
    assert all(path.is_relative_to(tmp_path / "data") for path in made)
    names = {videos.name_of("a_b", ""), videos.name_of("a", "b"), videos.name_of("a", "")}
    assert len(names) == 3 and videos.name_of("F001", "T1") == "F001_T1"


def test_a_link_out_of_the_folder_is_refused(marked, tmp_path):
    manual = write_pictures(tmp_path / "manual", PEOPLE, frames=1)
    os.replace(manual / "Ada" / "0.png", tmp_path / "outside.png")
    (manual / "Ada" / "0.png").symlink_to(tmp_path / "outside.png")
    fails("own", manual, tmp_path / "data", "Ada/0.png is a link to", "--follow_links")


def test_a_csv_that_has_changed_is_not_called_built(marked, tmp_path):
    manual = write_pictures(tmp_path / "manual", PEOPLE, frames=2)
    folder = prepare.prepare("own", data_dir=tmp_path / "data", manual_dir=manual, workers=1)
    again = prepare.prepare("own", data_dir=tmp_path / "data", manual_dir=manual, workers=1)
    assert again == folder == prepare.prepare("own", data_dir=tmp_path / "data")
    with (manual / "labels.csv").open("a") as file:
        file.write("Ada/9.png,Ada,9,1,1\n")
    with pytest.raises(ValueError, match="labels.csv has changed since .* delete that folder"):
        prepare.prepare("own", data_dir=tmp_path / "data", manual_dir=manual, workers=1)


def test_frames_of_a_film_are_taken_anew_when_film_or_rows_change(any_face, tmp_path):
    manual, data = tmp_path / "manual", tmp_path / "data"
    write_films(manual, [f"{name}.avi" for name in PEOPLE])
    rows = [f"{name}.avi,,3,{name},,1,0" for name in PEOPLE]
    write_csv(manual, HEAD, *rows)
    folder = prepare.prepare("own", data_dir=data, manual_dir=manual, workers=1)
    frames = data / ".cache" / "frames" / "own"
    first = {path.name for path in frames.iterdir()}
    assert len(first) == 3 and [path.name for path in frames.glob("*/*")] == 3 * ["3.jpg"]
    for path in (*folder.iterdir(), folder):
        path.rmdir() if path.is_dir() else path.unlink()
    write_csv(manual, HEAD, *rows, "Ada.avi,,4,Ada,,1,0")
    films.write_avi(manual / "Ben.avi", [films.picture(9 - k) for k in range(10)])
    found = read(build(manual, data))
    assert {key[1:]: films.shown(record["image"]) for key, record in found.items()} == {
        ("Ada", "Ada.avi", 3): 3,
        ("Ada", "Ada.avi", 4): 4,
        ("Ben", "Ben.avi", 3): 6,
        ("Cleo", "Cleo.avi", 3): 3,
    }
    second = {path.name for path in frames.iterdir()}
    assert {name.partition("-")[0] for name in second - first} == {"Ada", "Ben"}


def test_processes_make_the_same_bytes(tmp_path, monkeypatch):
    """A named detector is found by worker processes too."""
    monkeypatch.setattr(Builder, "detector", bp4d_tree.FrameDetector)
    manual = write_pictures(tmp_path / "manual", PEOPLE)
    made = [
        prepare.prepare("own", data_dir=tmp_path / str(n), manual_dir=manual, workers=n)
        for n in (1, 2)
    ]
    one, two = (
        {path.name: path.read_bytes() for path in folder.iterdir() if "array_record" in path.name}
        for folder in made
    )
    assert one == two and len(one) == 3


def said(data, monkeypatch, capsys):
    monkeypatch.setattr(validate.flags, "FLAGS", types.SimpleNamespace(data_dir=str(data)))
    code = validate._main(["validate", "own"])
    return code, capsys.readouterr().out.splitlines()


def test_validate_checks_what_must_hold_of_any(marked, monkeypatch, capsys, tmp_path):
    manual = write_pictures(tmp_path / "manual", PEOPLE)
    bp4d_tree.write_picture(manual / "Ada" / "3.png", bp4d_tree.NO_FACE)
    (manual / "Ben" / "3.png").write_bytes(b"no picture")
    text = (manual / "labels.csv").read_text().replace("Cleo,2,0,1", "Cleo,2,,")
    (manual / "labels.csv").write_text(text.replace("Ada,3,", "Ada,30,"))
    folder = prepare.prepare("own", data_dir=tmp_path / "data", manual_dir=manual, workers=1)
    code, lines = said(tmp_path / "data", monkeypatch, capsys)
    assert code == 0 and lines[-1] == "own: expected numbers compared: 5, differing: 0"
    assert "participants: 3 (nobody has published counts of it;" in lines[0]
    # Ada and Ben have frames 0 to 2 left, Cleo 0, 1 and 3; AU 4 is present in odd frames, AU 12 unknown in 0.
    assert "coded frames: 9" in lines and "uncoded frames, part3: 1" in lines
    assert "AU4 present: 4 (44.44 % of the known cells)" in lines
    assert "AU4 present, part 3: 2 (66.67 % of the known cells)" in lines
    assert "AU12 present: 6 (100.00 % of the known cells)" in lines and "AU12 unknown: 3" in lines
    assert "left out: picture that cannot be read: 1 (manual/Ben/3.png)" in lines

    good = json.loads((folder / "metadata.json").read_text())
    for change, wrong in (
        (
            {"parts": {"1": ["Ada"], "2": ["Ben"], "3": ["Cleo"]}},
            "people with frames of another part than theirs: 2",
        ),
        ({"action_units": [12]}, "frames with labels of units that the data set does not name: 9"),
        (
            {"read": good["read"] | {"pictures and frames": 13}},
            "frames that were read, and are neither a record nor left out: 1",
        ),
    ):
        (folder / "metadata.json").write_text(json.dumps(good | change))
        code, lines = said(tmp_path / "data", monkeypatch, capsys)
        differing = [line for line in lines if "DIFFERS" in line]
        assert code == 1 and len(differing) == 1 and differing[0].startswith(f"{wrong}, expected 0")


def test_a_missing_recording_names_the_command_and_the_page(tmp_path):
    with pytest.raises(source.MissingDataset) as error:
        source.dataset_folder(tmp_path, "own")
    assert "data_builders.prepare own" in str(error.value)
    assert "own/README.md" in str(error.value)
