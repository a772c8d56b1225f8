"""DISFA: films and pictures to the same frames, intensities to labels, faults counted or named."""

import shutil

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_builders import film_frames
from data_builders.disfa import raw
from data_builders.disfa.disfa_dataset_builder import Builder
from data_builders.fault_report import FaultReport
from data_builders.synthetic_faces.raw_layouts import write_raw
from piapdf_jax import faces
from piapdf_jax.action_units import RECORD_AUS
from piapdf_jax.folds import DISFA_PARTS, part_of

PEOPLE = ("SN001", "SN006", "SN003")


def build(manual, data, *, workers=1):
    builder = Builder(data_dir=data)
    builder.workers = workers
    config = tfds.download.DownloadConfig(manual_dir=manual, try_download_gcs=False)
    builder.download_and_prepare(download_config=config, file_format="array_record")
    return tfds.builder_from_directory(builder.data_dir)


def read(built):
    return {
        (split, record["subject"].decode(), int(record["frame"])): record
        for split in built.info.splits
        for record in built.as_data_source(split)
    }


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("disfa") / "manual"
    return write_raw("disfa", root, people=PEOPLE, size=260, video=True)


@pytest.fixture(scope="module")
def built(tree, tmp_path_factory):
    return build(tree, tmp_path_factory.mktemp("built"))


@pytest.fixture
def manual(tree, tmp_path):
    return shutil.copytree(tree, tmp_path / "manual")


def told(tree, subject):
    """{frame: {AU: intensity}}, read by other code than the builder's."""
    found = {}
    for path in (tree / "ActionUnit_Labels" / subject).iterdir():
        au = int(path.stem.split("_au")[1])
        for frame, value in np.loadtxt(path, delimiter=",", dtype=int):
            found.setdefault(int(frame), {})[au] = int(value)
    return found


def test_label_row_k_belongs_to_picture_k_less_1(tree, built):
    records = read(built)
    assert len(records) == sum(len(told(tree, subject)) for subject in PEOPLE)
    for (split, subject, frame), record in records.items():
        assert split == f"part{part_of(subject, DISFA_PARTS)}" and record["coded"] == 1
        row = told(tree, subject)[frame]
        values = [row.get(au, -1) for au in RECORD_AUS]
        assert record["intensities"].tolist() == values
        assert record["labels"].tolist() == [-1 if v < 0 else int(v >= 2) for v in values]
    assert {frame for _, subject, frame in records if subject == "SN001"} == set(
        told(tree, "SN001")
    )


def test_films_give_the_frames_of_the_pictures(tree, tmp_path):
    """Coded twice as JPEG, so not the same bytes: of all pictures, each frame is most like its own."""
    films = raw.find_files(tree, FaultReport()).films
    assert not films  # pictures go before films
    for subject in PEOPLE:
        folder = tmp_path / subject
        count = film_frames.extract(
            tree / "Videos_LeftCamera" / f"LeftVideo{subject}_comp.avi", folder
        )
        assert count == len(list((tree / "Images" / subject).iterdir())) == 20
        ours = [thumbnail(folder / f"{k}.jpg") for k in range(count)]
        theirs = [thumbnail(tree / "Images" / subject / f"{k}.jpg") for k in range(count)]
        apart = np.array([[np.abs(one - other).mean() for other in theirs] for one in ours])
        np.testing.assert_array_equal(apart.argmin(1), np.arange(count))


def thumbnail(path):
    return cv2.resize(faces.read_image(path), (64, 64), interpolation=cv2.INTER_AREA).astype(float)


def test_a_film_gives_the_records_of_its_label_rows(manual, built, tmp_path):
    shutil.rmtree(manual / "Images")
    filmed = build(manual, tmp_path / "data", workers=2)
    assert filmed.info.metadata["read"]["of them from films"] == 3
    ours, theirs = read(filmed), read(built)
    assert ours.keys() == theirs.keys()
    for key, record in ours.items():
        np.testing.assert_array_equal(record["labels"], theirs[key]["labels"])
        np.testing.assert_array_equal(record["intensities"], theirs[key]["intensities"])


def test_another_film_of_a_person_is_read_anew(tree, tmp_path):
    film = tree / "Videos_LeftCamera" / "LeftVideoSN001_comp.avi"
    assert film_frames.extract(film, tmp_path / "frames") == len(told(tree, "SN001"))
    first = (tmp_path / "frames" / "0.jpg").read_bytes()
    assert film_frames.extract(film, tmp_path / "frames") == len(told(tree, "SN001"))
    assert (tmp_path / "frames" / "0.jpg").read_bytes() == first
    builder = Builder(data_dir=tmp_path / "data")
    other = tree / "Videos_LeftCamera" / "LeftVideoSN003_comp.avi"
    one, two = (
        builder._extracted({"SN001": path}, FaultReport())["SN001"] for path in (film, other)
    )
    assert one != two
    assert (one / "0.jpg").read_bytes() != (two / "0.jpg").read_bytes()


def test_faults_are_counted(manual, tmp_path):
    film = manual / "Videos_LeftCamera" / "LeftVideoSN003_comp.avi"
    film.write_bytes(b"RIFF" + bytes(100))
    shutil.rmtree(manual / "Images" / "SN003")
    shutil.rmtree(manual / "Images" / "SN006")
    (manual / "Videos_LeftCamera" / "LeftVideoSN006_comp.avi").unlink()
    pictures = manual / "Images" / "SN001"
    (pictures / "3.jpg").unlink()
    (pictures / "notes.txt").write_text("")
    cut = pictures / "5.jpg"
    cut.write_bytes(cut.read_bytes()[:900])
    for au in raw.read_intensities(raw.find_files(manual, FaultReport()).labels["SN001"])[1]:
        path = manual / "ActionUnit_Labels" / "SN001" / f"SN001_au{au}.txt"
        path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")  # a frame uncoded
    shutil.copytree(pictures, manual / "Images" / "SN099")
    built = build(manual, tmp_path / "data")
    skipped = {why: row["examples"] for why, row in built.info.metadata["skipped"].items()}
    assert skipped == {
        "file that is no numbered picture": ["SN001/notes.txt"],
        "film that cannot be read": ["LeftVideoSN003_comp.avi"],
        "label row without its picture": ["SN001 row 4"],
        "participant without film or pictures": ["SN006"],
        "picture that cannot be read": ["Images/SN001/5.jpg"],
        "unknown participant": ["SN099"],
    }
    sizes = {split: info.num_examples for split, info in built.info.splits.items()}
    assert sizes == {"part1": len(told(manual, "SN001")) - 2, "part1_uncoded": 1}


def numbered_from_1(folder):
    for path in sorted(folder.iterdir(), key=lambda path: -int(path.stem)):
        path.rename(folder / f"{int(path.stem) + 1}.jpg")


def videos(manual):
    """{participant: video} of a tree without films, and what was reported."""
    tree = raw.find_files(manual, report := FaultReport())
    return {v.subject: v for v in raw.read_videos(tree, tree.pictures, report)}, report


def picture_of(video, row):
    (path,) = [frame.path for frame in video.frames if frame.number == row]
    return path.rsplit("/", 1)[1]


def test_pictures_that_count_from_1(manual):
    for subject in PEOPLE:
        numbered_from_1(manual / "Images" / subject)
    found, report = videos(manual)
    for subject in PEOPLE:
        assert [frame.number for frame in found[subject].frames] == sorted(told(manual, subject))
        assert all(frame.labels is not None for frame in found[subject].frames)
        assert found[subject].offset == 0 and picture_of(found[subject], 5) == "5.jpg"
    assert not report.as_dict()


def test_one_participant_in_a_copy_that_counts_from_1(manual):
    numbered_from_1(manual / "Images" / "SN006")
    found, report = videos(manual)
    assert {subject: video.offset for subject, video in found.items()} == {
        "SN001": -1, "SN003": -1, "SN006": 0,
    }  # fmt: skip
    assert not report.as_dict()


@pytest.mark.parametrize("lost", [0, 11, 19])
def test_a_missing_picture_moves_no_other(manual, lost):
    """As SN010 lacks one: all other rows keep their pictures, even where it is the first."""
    (manual / "Images" / "SN006" / f"{lost}.jpg").unlink()
    found, report = videos(manual)
    assert found["SN006"].offset == -1
    rows = [frame.number for frame in found["SN006"].frames]
    assert rows == [row for row in range(1, 21) if row != lost + 1]
    assert all(picture_of(found["SN006"], row) == f"{row - 1}.jpg" for row in rows)
    assert report.as_dict() == {
        "label row without its picture": {"count": 1, "examples": [f"SN006 row {lost + 1}"]}
    }


def test_a_film_shorter_or_longer_than_its_label_files(manual, tmp_path):
    shutil.rmtree(manual / "Images")
    for subject, rows in (("SN001", 17), ("SN006", 23)):
        for path in (manual / "ActionUnit_Labels" / subject).iterdir():
            lines = path.read_text().splitlines()
            path.write_text("\n".join((lines + ["21,0", "22,3", "23,1"])[:rows]) + "\n")
    built = build(manual, tmp_path / "data")
    sizes = {split: info.num_examples for split, info in built.info.splits.items()}
    assert sizes == {"part1": 17, "part1_uncoded": 3, "part2": 20, "part3": 20}
    skipped = {why: row["examples"] for why, row in built.info.metadata["skipped"].items()}
    assert skipped == {"label row without its picture": ["SN006 row 21"]}
    assert built.info.metadata["skipped"]["label row without its picture"]["count"] == 3
    assert built.info.metadata["frame_offset"] == {"-1": 3}


def test_second_copies_are_counted_and_left_out(manual):
    shutil.copytree(manual / "ActionUnit_Labels", manual / "copy" / "ActionUnit_Labels")
    shutil.copytree(manual / "Images" / "SN001", manual / "right" / "SN001")
    film = manual / "Videos_LeftCamera" / "LeftVideoSN001_comp.avi"
    (manual / "films").mkdir()
    shutil.copy(film, manual / "films" / "leftvideosn001_comp.avi")
    shutil.copy(manual / "Images" / "SN003" / "7.jpg", manual / "Images" / "SN003" / "07.jpg")
    found, report = videos(manual)
    counts = {reason: case["count"] for reason, case in report.as_dict().items()}
    units = len(list((manual / "ActionUnit_Labels" / "SN001").iterdir()))
    assert counts == {
        "second film of a participant": 1,
        "second folder of pictures of a participant": 1,
        "second label file of a unit": 3 * units,
        "second picture of a frame": 1,
    }
    assert {subject: len(video.frames) for subject, video in found.items()} == dict.fromkeys(
        PEOPLE, 20
    )
    assert "/Images/SN001/" in found["SN001"].frames[0].path


def no_unit(labels):
    (labels / "SN001_au12.txt").unlink()


def empty(labels):
    (labels / "SN001_au12.txt").write_text("\n")


def six(labels):
    (labels / "SN001_au12.txt").write_text("1,0\n2,6\n")


def word(labels):
    (labels / "SN001_au12.txt").write_text("1,0\n2,two\n")


def no_frame_number(labels):
    (labels / "SN001_au12.txt").write_text("one,0\n")


def twice(labels):
    (labels / "SN001_au12.txt").write_text("1,0\n1,2\n")


def nothing(labels):
    shutil.rmtree(labels.parent)


@pytest.mark.parametrize(
    "fault, message",
    [
        (no_unit, "SN001 has no file for AU 12"),
        (empty, r"SN001_au12\.txt is empty"),
        (six, r"SN001_au12\.txt, line 2: expected FRAME,INTENSITY"),
        (word, r"SN001_au12\.txt, line 2: expected FRAME,INTENSITY"),
        (no_frame_number, r"SN001_au12\.txt, line 1: expected FRAME,INTENSITY"),
        (twice, r"SN001_au12\.txt, line 2: frame 1 appears twice"),
        (nothing, "no label file below"),
    ],
)
def test_files_that_are_not_as_distributed_end_the_build(manual, tmp_path, fault, message):
    fault(manual / "ActionUnit_Labels" / "SN001")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        build(manual, tmp_path / "data")
    assert not list((tmp_path / "data").glob("disfa/*.*.*/dataset_info.json"))
