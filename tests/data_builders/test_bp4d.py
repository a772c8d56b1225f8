import os

import bp4d_tree
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_builders import schema
from data_builders.bp4d import raw
from data_builders.bp4d.bp4d_dataset_builder import Builder
from data_builders.fault_report import FaultReport
from piapdf_jax import faces
from piapdf_jax.action_units import BP4D_AUS, RECORD_AUS, record_columns
from piapdf_jax.folds import BP4D_PARTS, part_of, part_split
from piapdf_jax.pi_maps import predefined_pi_maps
from piapdf_jax.records import unpack_planes


def build(manual, data, *, detector=bp4d_tree.FrameDetector, workers=1):
    builder = Builder(data_dir=data)
    builder.detector, builder.workers = detector, workers
    config = tfds.download.DownloadConfig(manual_dir=manual, try_download_gcs=False)
    builder.download_and_prepare(download_config=config, file_format="array_record")
    return builder


def read(builder):
    """{(split, subject, task, frame): record}."""
    found = {}
    for split in builder.info.splits:
        for record in builder.as_data_source(split):
            key = split, record["subject"].decode(), record["task"].decode(), int(record["frame"])
            assert key not in found
            found[key] = record
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("bp4d")
    manual = bp4d_tree.write_tree(root / "manual")
    return manual, root / "data", build(manual, root / "data")


def test_splits_hold_the_published_parts_coded_and_uncoded_apart(built):
    _, data, builder = built
    sizes = {split: info.num_examples for split, info in builder.info.splits.items()}
    assert sizes == {f"part{k}{coded}": 6 for k in (1, 2, 3) for coded in ("", "_uncoded")}
    frames = set()
    for split, subject, task, frame in read(tfds.builder_from_directory(builder.data_dir)):
        coded = frame in (12, 13, 14)
        assert split == part_split(part_of(subject, BP4D_PARTS), coded=coded)
        assert (subject, task, frame) not in frames
        frames.add((subject, task, frame))
    assert frames == {
        (subject, task, frame)
        for subject in ("F001", "F003", "F004")
        for task in ("T1", "T2")
        for frame in range(11, 17)
    }


def test_records_hold_labels_landmarks_maps_and_picture(built):
    manual, _, builder = built
    columns = record_columns(BP4D_AUS)
    for (_, subject, task, frame), record in read(builder).items():
        labels = dict.fromkeys(BP4D_AUS, -1)
        if frame in (12, 13, 14):
            labels = {au: -1 if v == 9 else v for au, v in bp4d_tree.label_row(frame).items()}
        assert dict(zip(BP4D_AUS, record["labels"][columns].tolist(), strict=True)) == labels
        others = [k for k in range(len(RECORD_AUS)) if k not in columns]
        assert (record["labels"][others] == -1).all() and (record["intensities"] == -1).all()
        assert record["coded"] == (frame in (12, 13, 14))
        source = faces.read_image(manual / "2D+3D" / subject / task / f"{frame}.jpg")
        image, points = faces.crop(source, bp4d_tree.face_points(10 * (frame - 10)))
        np.testing.assert_array_equal(record["landmarks"], points)
        maps = unpack_planes(record["pi_maps"][..., 0], list(range(len(RECORD_AUS))))
        np.testing.assert_array_equal(maps, predefined_pi_maps(points))
        assert np.abs(record["image"].astype(int) - image.astype(int)).mean() < 3


def test_metadata_tell_what_was_read(built):
    metadata = dict(tfds.builder_from_directory(built[2].data_dir).info.metadata)
    nines = sum(list(bp4d_tree.label_row(k).values()).count(9) for k in (12, 13, 14))
    assert metadata["read"] == {
        "participants": 3,
        "videos": 6,
        "videos whose pictures count from 1": 6,
        "pictures": 36,
        "label rows": 18,
        "label cells unknown (9)": 6 * nines,
        "landmarks detected": 36,
        "landmarks from neighboring frames": 0,
    }
    assert metadata["skipped"] == {} and metadata["frame_offset"] == {"0": 6}


def test_a_rebuild_takes_landmarks_from_the_cache_and_gives_the_same_shards(built, tmp_path):
    manual, data, builder = built
    cache = tmp_path / "data" / ".cache"
    cache.parent.mkdir()
    cache.symlink_to(data / ".cache")
    again = build(manual, tmp_path / "data", detector=bp4d_tree.NoDetector)
    shards = sorted(path.name for path in builder.data_path.glob("*.array_record*"))
    assert len(shards) == 6
    for name in shards:
        assert (again.data_path / name).read_bytes() == (builder.data_path / name).read_bytes()


def test_worker_processes_give_the_same_shards(built, tmp_path):
    one_part = bp4d_tree.write_tree(tmp_path / "manual", subjects=("F001",))
    other = build(one_part, tmp_path / "data", workers=2)
    shards = list(other.data_path.glob("*.array_record*"))
    assert len(shards) == 2
    for path in shards:
        assert path.read_bytes() == (built[2].data_path / path.name).read_bytes()


def test_faults_are_counted_and_left_out(tmp_path):
    manual = bp4d_tree.write_tree(tmp_path / "Gesichter äöü", subjects=("F001",), tasks=("T1",))
    folder = manual / "2D+3D" / "F001" / "T1"
    bp4d_tree.write_picture(manual / "2D+3D" / "F099" / "T1" / "1.jpg", 10)
    (folder / "13.jpg").write_bytes((folder / "13.jpg").read_bytes()[:900])
    bp4d_tree.write_picture(folder / "12.jpg", bp4d_tree.NO_FACE)
    bp4d_tree.write_picture(folder / "90.jpg", bp4d_tree.NO_FACE)
    bp4d_tree.write_picture(folder / "0014.jpg", 77)
    (folder / "Thumbs.db").write_bytes(b"")
    labels = manual / "AUCoding" / "AU_OCC" / "F001_T1.csv"
    bp4d_tree.write_labels(labels, [12, 13, 14, 14, 40])
    bp4d_tree.write_labels(labels.with_name("F002_T3.csv"), [1, 2])
    builder = build(manual, tmp_path / "data")
    skipped = {reason: case["count"] for reason, case in builder.info.metadata["skipped"].items()}
    assert skipped == {
        "file that is no numbered picture": 1,
        "label row without its picture": 3,
        "no face found, none in the neighboring frames": 1,
        "picture that cannot be read": 1,
        "second label row of a frame": 1,
        "second picture of a frame": 1,
        "unknown participant": 1,
    }
    assert builder.info.metadata["read"]["landmarks from neighboring frames"] == 1
    records = read(builder)
    assert {key[-1] for key in records} == {11, 12, 14, 15, 16}
    # The frame before (11) and the next readable one (14) lend frame 12 their landmarks.
    lent = (2 * bp4d_tree.face_points(10) + bp4d_tree.face_points(77)) / 3
    image = faces.read_image(folder / "12.jpg")
    expected = faces.crop(image, lent)[1]
    np.testing.assert_allclose(records["part1", "F001", "T1", 12]["landmarks"], expected, atol=1e-3)


@pytest.mark.parametrize("change", ["content", "time"])
def test_a_changed_picture_is_searched_again(tmp_path, change):
    manual = bp4d_tree.write_tree(tmp_path / "manual", subjects=("F001",), tasks=("T1",))
    first = build(manual, tmp_path / "data")
    first.data_path.rename(tmp_path / "first")
    picture = manual / "2D+3D" / "F001" / "T1" / "13.jpg"
    if change == "content":
        bp4d_tree.write_picture(picture, 200)
    else:
        os.utime(picture, (1, 1))
    with pytest.raises(AssertionError, match="cache"):
        build(manual, tmp_path / "data", detector=bp4d_tree.NoDetector)
    found = read(build(manual, tmp_path / "data"))["part1", "F001", "T1", 13]["landmarks"]
    expected = bp4d_tree.face_points(200 if change == "content" else 30)
    np.testing.assert_array_equal(found, faces.crop(faces.read_image(picture), expected)[1])


def test_a_torn_cache_costs_only_the_search(tmp_path):
    manual = bp4d_tree.write_tree(tmp_path / "manual", subjects=("F001",), tasks=("T1",))
    cache = tmp_path / "data" / ".cache" / "landmarks" / "bp4d" / "frame-1" / "F001_T1.npz"
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"PK\x03\x04 torn")
    assert len(read(build(manual, tmp_path / "data"))) == 6
    with np.load(cache, allow_pickle=False) as stored:
        assert stored["landmarks"].shape == (6, 68, 2)


@pytest.mark.parametrize(
    "folder", ["2D+3D", "Sequences(2D+3D)", "BP4D-training", ".", "disk/2D+3D"]
)
@pytest.mark.parametrize("labels", ["AUCoding/AU_OCC", "AU_OCC", "."])
def test_known_layouts(tmp_path, folder, labels):
    bp4d_tree.write_tree(tmp_path, subjects=("M018",), tasks=("T8",), folder=folder, labels=labels)
    intensity = tmp_path / "AUCoding" / "AU_INT" / "AU06" / "M018_T8_AU06.csv"
    intensity.parent.mkdir(parents=True)
    intensity.write_text("1,5\n")
    (video,) = raw.read_videos(tmp_path, report := FaultReport())
    assert (video.subject, video.task, video.offset) == ("M018", "T8", 0)
    assert [frame.number for frame in video.frames] == list(range(11, 17))
    assert [frame.labels is None for frame in video.frames] == [True] + 3 * [False] + 2 * [True]
    assert not report.counts


@pytest.mark.parametrize(("name", "digits"), [("{}.jpg", 0), ("{:04}.jpg", 4), ("{:03}.png", 3)])
def test_pictures_numbered_from_0_and_padded_names(tmp_path, name, digits):
    bp4d_tree.write_tree(tmp_path, subjects=("F001",), name=name, offset=-11)
    bp4d_tree.write_labels(tmp_path / "AUCoding" / "AU_OCC" / "F001_T1.csv", [1, 2, 3])
    bp4d_tree.write_labels(tmp_path / "AUCoding" / "AU_OCC" / "F001_T2.csv", [2, 3, 6])
    one, two = raw.read_videos(tmp_path, report := FaultReport())
    assert (one.offset, one.digits) == (two.offset, two.digits) == (-1, digits)
    assert [f.number for f in one.frames if f.labels] == [1, 2, 3]
    assert [f.path.rsplit("/", 1)[1] for f in two.frames if f.labels] == [
        name.format(number) for number in (1, 2, 5)
    ]
    assert not report.counts
    shifted = raw.read_videos(tmp_path, report, frame_offset=0)
    assert shifted[1].offset == 0 and report.counts == {"label row without its picture": 1}


@pytest.mark.parametrize("order", [range(41), [0, *reversed(range(1, 41))], [0, *BP4D_AUS]])
def test_columns_are_taken_by_the_header(tmp_path, order):
    bp4d_tree.write_labels(tmp_path / "F001_T1.csv", [3, 4], header=list(order))
    rows = raw.read_labels(tmp_path / "F001_T1.csv", FaultReport())
    assert rows == {
        frame: {au: -1 if v == 9 else v for au, v in bp4d_tree.label_row(frame).items()}
        for frame in (3, 4)
    }


HEADER = ",".join(map(str, range(41)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        (HEADER.replace(",17,", ",99,") + "\n", "line 1 has no column for AU 17"),
        ("1,0,0,1,0\n2,0,0,1,0\n", "line 1 has no column for AU 6|line 1 has no column for AU"),
        (HEADER[2:] + "\n", "line 1 has no column for the frame"),
        (f"{HEADER}\n12,0,x" + ",0" * 38 + "\n", "line 2, AU 2: 'x' is not a label"),
        (f"{HEADER}\n12,0,5" + ",0" * 38 + "\n", "line 2, AU 2: '5' is not a label"),
        (f"{HEADER}\n12,0,1\n", "line 2, AU 4: '' is not a label"),
        (f"{HEADER}\ntwelve" + ",0" * 40 + "\n", "line 2: 'twelve' is not a frame number"),
    ],
)
def test_label_files_that_cannot_be_read(tmp_path, text, said):
    bp4d_tree.write_tree(tmp_path, subjects=("F001",), tasks=("T1",))
    (tmp_path / "AUCoding" / "AU_OCC" / "F001_T1.csv").write_text(text)
    with pytest.raises(ValueError, match=f"F001_T1.csv.*({said})"):
        raw.read_videos(tmp_path, FaultReport())


def test_a_video_without_label_file_is_uncoded_and_counted(tmp_path):
    bp4d_tree.write_tree(tmp_path, subjects=("F001",))
    (tmp_path / "AUCoding" / "AU_OCC" / "F001_T2.csv").unlink()
    videos = raw.read_videos(tmp_path, report := FaultReport())
    assert all(frame.labels is None for frame in videos[1].frames)
    assert report.counts == {"video without a label file": 1}


def test_folders_without_the_data_set(tmp_path):
    with pytest.raises(FileNotFoundError, match="2D\\+3D/F001/T1"):
        raw.read_videos(tmp_path, FaultReport())
    bp4d_tree.write_picture(tmp_path / "2D+3D" / "F001" / "T1" / "1.jpg", 10)
    with pytest.raises(FileNotFoundError, match="F001_T1.csv"):
        raw.read_videos(tmp_path, FaultReport())


def test_a_build_that_fails_leaves_no_data_set(tmp_path):
    manual = bp4d_tree.write_tree(tmp_path / "manual", subjects=("F001",), tasks=("T1",))
    for path in (manual / "2D+3D" / "F001" / "T1").iterdir():
        bp4d_tree.write_picture(path, bp4d_tree.NO_FACE)
    with pytest.raises(ValueError, match="no face found"):
        build(manual, tmp_path / "data")
    assert not list((tmp_path / "data").glob("bp4d/*"))


def test_features_are_those_of_every_au_record(built):
    assert built[2].info.features.keys() == schema.au_features().keys()
    assert Builder.name == "bp4d"
    assert "2D+3D/F001/T1" in Builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    assert "BP4D-Spontaneous" in built[2].info.description and built[2].info.citation
