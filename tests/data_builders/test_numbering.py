"""Copies that count pictures from 0 here and from 1 there: by video, row k belongs to its k-th picture.

Every picture of BP4D's tree holds its place in the video as a gray value, so that the files say what is right.
"""

import bp4d_tree
import films
import pytest
import tensorflow_datasets as tfds
from test_faults import skipped

from data_builders import numbering, prepare
from data_builders.bp4d import raw
from data_builders.bp4d.bp4d_dataset_builder import Builder
from data_builders.disfa import raw as disfa
from data_builders.fault_report import FaultReport
from data_builders.numbering import Counting, Numbers, find_countings
from piapdf_jax import faces


def write_video(
    root, subject, task, first, *, places=range(1, 21), rows=range(8, 13), name="{}.jpg"
):
    """Twenty pictures, of which some are there; row k codes the k-th."""
    for place in places:
        path = root / "2D+3D" / subject / task / name.format(place - 1 + first)
        bp4d_tree.write_picture(path, 10 * place)
    bp4d_tree.write_labels(root / "AUCoding" / "AU_OCC" / f"{subject}_{task}.csv", list(rows))


def place_of(frame):
    return round(float(faces.read_image(frame.path)[:8, :8].mean()) / 10)


def check(root, *, coded=range(8, 13), uncoded=()):
    """Every frame has the number and label row of its place; {video: number of its first picture}."""
    videos = raw.read_videos(root, report := FaultReport())
    for video in videos:
        for frame in video.frames:
            row = place_of(frame)
            if f"{video.subject}/{video.task}" in uncoded:
                assert frame.labels is None
                continue
            assert frame.number == row
            labels = bp4d_tree.label_row(row)
            expected = {au: -1 if value == 9 else value for au, value in labels.items()}
            assert frame.labels == (expected if row in coded else None)
    return {f"{video.subject}/{video.task}": video.first for video in videos}, report


def test_one_participant_from_0_and_one_from_1(tmp_path):
    for task in ("T1", "T2"):
        write_video(tmp_path, "F001", task, 0, name="{:04}.jpg")
        write_video(tmp_path, "M001", task, 1)
    found, report = check(tmp_path)
    assert found == {"F001/T1": 0, "F001/T2": 0, "M001/T1": 1, "M001/T2": 1}
    assert not report.counts


def test_videos_of_one_participant_from_0_and_from_1(tmp_path):
    write_video(tmp_path, "F001", "T1", 0)
    write_video(tmp_path, "F001", "T2", 1, name="{:03}.png")
    found, report = check(tmp_path)
    assert found == {"F001/T1": 0, "F001/T2": 1} and not report.counts


@pytest.mark.parametrize("first", [0, 1])
def test_missing_first_pictures_are_counted_as_the_other_videos_of_the_participant(first, tmp_path):
    write_video(tmp_path, "F001", "T1", first)
    write_video(tmp_path, "F001", "T2", first, places=range(4, 21))
    write_video(tmp_path, "M001", "T1", 1 - first)
    found, report = check(tmp_path)
    assert found == {"F001/T1": first, "F001/T2": first, "M001/T1": 1 - first}
    assert not report.counts


@pytest.mark.parametrize("first", [0, 1])
def test_a_participant_whose_first_pictures_are_missing_counts_as_all_others(first, tmp_path):
    write_video(tmp_path, "F001", "T1", first)
    write_video(tmp_path, "M001", "T1", first, places=range(4, 21))
    assert check(tmp_path)[0] == {"F001/T1": first, "M001/T1": first}


def test_a_copy_of_the_coded_frames_alone_shows_it_by_its_rows(tmp_path):
    write_video(tmp_path, "F001", "T1", 0, places=range(8, 13))
    write_video(tmp_path, "M001", "T1", 1, places=range(8, 13))
    write_video(tmp_path, "M002", "T1", 1)
    write_video(tmp_path, "F002", "T1", 0)
    assert check(tmp_path)[0] == {"F001/T1": 0, "F002/T1": 0, "M001/T1": 1, "M002/T1": 1}


def test_a_video_that_fits_both_ways_in_a_mixed_copy_loses_its_labels_and_is_counted(tmp_path):
    write_video(tmp_path, "F001", "T1", 0)
    write_video(tmp_path, "M001", "T1", 1)
    write_video(tmp_path, "M002", "T1", 1, places=range(4, 21))
    found, report = check(tmp_path, uncoded=("M002/T1",))
    assert found == {"F001/T1": 0, "M001/T1": 1, "M002/T1": None}
    assert report.as_dict() == {numbering.UNDECIDED: {"count": 1, "examples": ["M002/T1"]}}


def test_label_rows_that_count_from_0(tmp_path):
    for subject, first in (("F001", 0), ("M001", 1)):
        write_video(tmp_path, subject, "T1", first)
        bp4d_tree.write_labels(tmp_path / "AUCoding" / "AU_OCC" / f"{subject}_T1.csv", range(20))
    videos = raw.read_videos(tmp_path, report := FaultReport())
    assert [video.offset for video in videos] == [0, 1] and not report.counts
    assert all(place_of(frame) == frame.number + 1 for video in videos for frame in video.frames)


@pytest.mark.parametrize(
    ("pictures", "rows", "expected"),
    [
        (range(0, 9), range(1, 10), Counting(0, -1)),
        (range(1, 10), range(1, 10), Counting(1, 0)),
        (range(0, 9), range(0, 9), Counting(0, 0)),
        (range(1, 10), range(0, 9), Counting(1, 1)),
        (range(0, 9), range(4, 6), Counting(0, -1)),
        (range(1, 9), range(4, 6), Counting(1, 0)),
        (range(3, 9), range(4, 8), Counting(1, 0)),  # nobody shows it: as the distributions
        (range(5, 9), range(6, 10), Counting(0, -1)),
        (range(5, 9), range(5, 9), Counting(1, 0)),
        ([0, 1, 2, 3, 5, 6], range(1, 8), Counting(0, -1)),
        ([1, 2, 3, 5, 6, 7], range(1, 8), Counting(1, 0)),
        (range(0, 7), range(1, 20), Counting(0, -1)),  # cut off at the end
        (range(1, 8), range(1, 20), Counting(1, 0)),
        ([], range(1, 4), Counting(1, 0)),
        (range(0, 3), [], Counting(0, -1)),
    ],
)
def test_one_video_by_hand(pictures, rows, expected):
    assert find_countings({"v": Numbers(pictures, rows)}, person=str) == {"v": expected}


def test_what_was_found_is_said(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(Builder, "detector", bp4d_tree.FrameDetector)
    for subject in ("F001", "F003"):
        for task in ("T1", "T2"):
            write_video(tmp_path / "manual", subject, task, 1)
    write_video(tmp_path / "manual", "F001", "T3", 0)
    write_video(tmp_path / "manual", "F004", "T1", 0)
    prepare.prepare("bp4d", data_dir=tmp_path / "data", manual_dir=tmp_path / "manual", workers=1)
    said = capfd.readouterr().err.splitlines()
    assert "bp4d: 4 videos whose pictures count from 1" in said
    assert "bp4d: 2 videos whose pictures count from 0 (F001/T3, F004)" in said


def read_disfa(root, pictures):
    """Participants with 20 label rows and, by the first number and the places that are there, pictures."""
    for subject, (first, places) in pictures.items():
        films.write_disfa(root, subject)
        (root / "Images" / subject).mkdir(parents=True)
        for place in places:
            name = f"{place - 1 + first}.jpg"
            (root / "Images" / subject / name).write_bytes(films.picture(place))
    tree = disfa.find_files(root, report := FaultReport())
    videos = disfa.read_videos(tree, tree.pictures, report)
    rows = {
        video.subject: {frame.number: films.shown(faces.read_image(frame.path))
                        for frame in video.frames if frame.labels}
        for video in videos
    }  # fmt: skip
    return rows, report


def test_disfa_merged_of_two_copies(tmp_path):
    """All find their rows but the two of whom it cannot be said: without their last picture, or without their first."""
    whole, but_12 = set(range(1, 21)), set(range(1, 21)) - {12}
    rows, report = read_disfa(tmp_path, {
        "SN001": (0, whole), "SN002": (1, whole), "SN003": (0, but_12), "SN004": (1, but_12),
        "SN005": (0, range(1, 9)), "SN006": (1, range(1, 9)), "SN007": (1, range(1, 20)), "SN008": (0, range(2, 21)),
    })  # fmt: skip
    right = {k: k for k in range(1, 21)}
    without_12 = {k: k for k in but_12}
    assert rows == {
        "SN001": right, "SN002": right, "SN003": without_12, "SN004": without_12,
        "SN005": {k: k for k in range(1, 9)}, "SN006": {k: k for k in range(1, 9)}, "SN007": {}, "SN008": {},
    }  # fmt: skip
    told = report.as_dict()
    assert told[numbering.UNDECIDED] == {"count": 2, "examples": ["SN007", "SN008"]}
    assert told["label row without its picture"]["count"] == 1 + 1 + 12 + 12


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("places", [range(1, 20), range(2, 21), range(2, 20), range(5, 15)])
def test_disfa_of_one_copy_keeps_all_rows_of_who_lacks_pictures(first, places, tmp_path):
    pictures = {"SN001": (first, range(1, 21)), "SN003": (first, places)}
    rows, report = read_disfa(tmp_path, pictures)
    assert rows["SN003"] == {k: k for k in places}
    assert report.as_dict().keys() == {"label row without its picture"}


def test_a_merged_copy_is_built_to_the_end(tmp_path):
    """The participant that fits both ways is uncoded and counted; the others keep their labels."""
    for subject, first, places in (
        ("F001", 0, range(1, 21)),
        ("F003", 1, range(1, 21)),
        ("F004", 1, range(4, 21)),
    ):
        write_video(tmp_path / "manual", subject, "T1", first, places=places)
    builder = Builder(data_dir=tmp_path / "data")
    builder.detector = bp4d_tree.FrameDetector
    config = tfds.download.DownloadConfig(manual_dir=tmp_path / "manual", try_download_gcs=False)
    builder.download_and_prepare(download_config=config, file_format="array_record")
    sizes = {split: info.num_examples for split, info in builder.info.splits.items()}
    assert sizes == {
        "part1": 5,
        "part1_uncoded": 15,
        "part2": 5,
        "part2_uncoded": 15,
        "part3_uncoded": 17,
    }
    assert skipped(builder) == {numbering.UNDECIDED: ["F004/T1"]}
