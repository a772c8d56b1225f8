"""CASIA-WebFace and LFW: people to contiguous ids, pairs as distributed, faults counted or named."""

import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_builders.casia_webface import casia_webface_dataset_builder as webface
from data_builders.lfw_pairs import lfw_pairs_dataset_builder as lfw
from data_builders.lfw_pairs import raw
from data_builders.synthetic_faces import population
from data_builders.synthetic_faces.raw_layouts import write_raw
from piapdf_jax import faces


def build(module, manual, data, *, workers=1, detector=faces.DlibDetector):
    builder = module.Builder(data_dir=data)
    builder.workers, builder.detector = workers, detector
    config = tfds.download.DownloadConfig(manual_dir=manual, try_download_gcs=False)
    builder.download_and_prepare(download_config=config, file_format="array_record")
    return tfds.builder_from_directory(builder.data_dir)


def records(built, split):
    return {(r["name"].decode(), int(r["number"])): r for r in built.as_data_source(split)}


def blank(path):
    """A picture without a face."""
    import cv2

    path.write_bytes(cv2.imencode(".jpg", np.full((250, 250, 3), 128, np.uint8))[1].tobytes())


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return write_raw("webface", tmp_path_factory.mktemp("webface") / "w", people=3, size=250)


@pytest.fixture(scope="module")
def pairs_tree(tmp_path_factory):
    return write_raw("lfw", tmp_path_factory.mktemp("lfw") / "l", people=6, size=250)


def test_people_become_contiguous_ids_and_the_rest_is_counted(people, tmp_path):
    manual = tmp_path / "manual"
    shutil.copytree(people, manual / "CASIA-WebFace")
    names = sorted(path.name for path in people.iterdir())
    root = manual / "CASIA-WebFace"
    (manual / "exclude.txt").write_text(f"{names[1]}\nnobody\n\n")
    (root / "empty").mkdir()
    (root / "faceless").mkdir()
    blank(root / "faceless" / "001.jpg")
    blank(root / names[0] / "003.jpg")
    cut = root / names[2] / "002.jpg"
    cut.write_bytes(cut.read_bytes()[:2000])
    built = build(webface, manual, tmp_path / "data", workers=2)
    found = records(built, "train")
    assert {name: int(found[name, 1]["identity"]) for name in (names[0], names[2])} == {
        names[0]: 0,
        names[2]: 1,
    }
    expected = {(name, k) for name in (names[0], names[2]) for k in range(1, 13)}
    assert found.keys() == expected - {(names[0], 3), (names[2], 2)}
    skipped = {why: row["examples"] for why, row in built.info.metadata["skipped"].items()}
    assert skipped == {
        "folder without pictures": ["empty"],
        "name in exclude.txt that nobody has": ["nobody"],
        "no face found": [f"{names[0]}/003.jpg", "faceless/001.jpg"],
        "person without a picture that can be used": ["faceless"],
        "picture that cannot be read": [f"{names[2]}/002.jpg"],
    }
    source = faces.read_image(root / names[0] / "001.jpg")
    image, _ = faces.crop(source, faces.DlibDetector()(source))
    seen = found[names[0], 1]["image"].astype(int)
    assert np.abs(seen - image.astype(int)).mean() < 3


def test_folder_without_people_is_named(tmp_path):
    (tmp_path / "manual").mkdir()
    (tmp_path / "manual" / "001.jpg").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="holds no folder of a person"):
        build(webface, tmp_path / "manual", tmp_path / "data")


def test_pairs_are_those_of_the_file_and_every_picture_is_there(pairs_tree, tmp_path):
    built = build(lfw, pairs_tree, tmp_path)
    names = population.subjects("lfw")[:6]
    assert [tuple(row) for row in built.info.metadata["pairs"]] == population.pairs(names)
    assert records(built, "test").keys() == {(name, k) for name in names for k in range(1, 7)}


def test_a_picture_without_a_face_stays_in_its_pairs(pairs_tree, tmp_path):
    manual = shutil.copytree(pairs_tree, tmp_path / "manual")
    name = population.subjects("lfw")[2]
    blank(manual / "lfw" / name / f"{name}_0004.jpg")
    built = build(lfw, manual, tmp_path / "data")
    gray = records(built, "test")[name, 4]["image"].astype(int)
    assert np.abs(gray - 128).max() < 4
    assert [count for what, count in built.info.metadata["read"].items() if "median" in what] == [1]


def test_a_picture_that_a_pair_lacks_ends_the_build(pairs_tree, tmp_path):
    manual = shutil.copytree(pairs_tree, tmp_path / "manual")
    name = population.pairs(population.subjects("lfw")[:6])[0][0]
    number = population.pairs(population.subjects("lfw")[:6])[0][1]
    (manual / "lfw" / name / f"{name}_{number:04d}.jpg").unlink()
    with pytest.raises(ValueError, match=f"names picture {number} of {name}"):
        build(lfw, manual, tmp_path / "data")


GOOD = ["2\t1", "A_B\t1\t2", "A_B\t1\tC\t4", "D\t10\t2", "D\t1\tC\t1"]


def test_pairs_by_hand(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join(GOOD) + "\n\n")
    assert raw.read_pairs(path) == [
        ("A_B", 1, "A_B", 2, 1, 0),
        ("A_B", 1, "C", 4, 0, 0),
        ("D", 10, "D", 2, 1, 1),
        ("D", 1, "C", 1, 0, 1),
    ]


@pytest.mark.parametrize(
    "row, line, told",
    [
        (0, "300", "line 1: expected BLOCKS SIZE"),
        (0, "ten\t300", "line 1: expected BLOCKS SIZE"),
        (0, "2\t2", "has 4 pairs; its first line announces 8"),
        (1, "A_B\t1", "line 2: expected NAME NUMBER NUMBER"),
        (2, "A_B\tone\tC\t4", "line 3: expected NAME NUMBER"),
        (4, "D\t1\tC\t1\tE", "line 5: expected NAME NUMBER"),
    ],
)
def test_a_malformed_list_of_pairs_is_named_by_line(tmp_path, row, line, told):
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join([*GOOD[:row], line, *GOOD[row + 1 :]]))
    with pytest.raises(ValueError, match=told):
        raw.read_pairs(path)


def test_missing_list_of_pairs_is_named(pairs_tree, tmp_path):
    manual = shutil.copytree(pairs_tree, tmp_path / "manual")
    (manual / "pairs.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"pairs\.txt does not exist"):
        build(lfw, manual, tmp_path / "data")
