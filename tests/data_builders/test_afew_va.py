"""AFEW-VA: clips to records, actors apart, and what is wrong with a file counted or named."""

import json
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_builders.afew_va import raw
from data_builders.afew_va.afew_va_dataset_builder import Builder, split_by_actor
from data_builders.synthetic_faces.raw_layouts import write_raw
from piapdf_jax import faces
from piapdf_jax.action_units import RECORD_AUS
from piapdf_jax.pi_maps import predefined_pi_maps
from piapdf_jax.records import unpack_planes


def build(manual, data, *, workers=1):
    builder = Builder(data_dir=data)
    builder.workers = workers
    config = tfds.download.DownloadConfig(manual_dir=manual, try_download_gcs=False)
    builder.download_and_prepare(download_config=config, file_format="array_record")
    return tfds.builder_from_directory(builder.data_dir)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_raw("afew_va", tmp_path_factory.mktemp("afew") / "manual", people=3, size=300)


@pytest.fixture
def manual(tree, tmp_path):
    return shutil.copytree(tree, tmp_path / "manual")


def content(tree, clip):
    return json.loads((tree / clip / f"{clip}.json").read_text())


def rewrite(tree, clip, change):
    loaded = content(tree, clip)
    change(loaded)
    (tree / clip / f"{clip}.json").write_text(json.dumps(loaded))


def skipped(built):
    return {reason: case["examples"] for reason, case in built.info.metadata["skipped"].items()}


def test_every_frame_becomes_a_record(tree, tmp_path):
    built = build(tree, tmp_path)
    seen, actors = set(), {}
    for split in built.info.splits:
        for record in built.as_data_source(split):
            clip, frame = record["task"].decode(), int(record["frame"])
            told = content(tree, clip)
            assert record["subject"].decode() == told["actor"]
            assert (record["labels"] == -1).all() and record["coded"] == 0
            source = faces.read_image(tree / clip / f"{frame:05d}.png")
            points = np.array(told["frames"][f"{frame:05d}"]["landmarks"], np.float32)
            image, moved = faces.crop(source, points)
            np.testing.assert_array_equal(record["landmarks"], moved)
            assert np.abs(record["image"].astype(int) - image.astype(int)).mean() < 3
            maps = unpack_planes(record["pi_maps"][..., 0], list(range(len(RECORD_AUS))))
            np.testing.assert_array_equal(maps, predefined_pi_maps(moved))
            seen.add((clip, frame))
            actors.setdefault(told["actor"], set()).add(split)
    clips = [path.stem for path in tree.glob("*/*.json")]
    assert seen == {(clip, int(name)) for clip in clips for name in content(tree, clip)["frames"]}
    assert set(built.info.splits) == {"train", "test"}
    assert all(len(splits) == 1 for splits in actors.values())
    assert built.info.metadata["read"]["actors"] == len(actors) == 3
    assert not skipped(built)


def test_bad_frames_are_left_out_and_counted(manual, tmp_path):
    rewrite(manual, "001", lambda c: c["frames"]["00001"]["landmarks"].pop())
    rewrite(manual, "001", lambda c: c["frames"]["00002"]["landmarks"][5].append(3.0))
    rewrite(manual, "002", lambda c: c["frames"]["00000"].update(landmarks=[[9.0, 9.0]] * 68))
    rewrite(manual, "003", lambda c: c["frames"].pop("00003"))
    (manual / "003" / "00004.png").unlink()
    cut = manual / "003" / "00005.png"
    cut.write_bytes(cut.read_bytes()[:500])
    before = sum(len(content(manual, clip)["frames"]) for clip in ("001", "002", "003"))
    built = build(manual, tmp_path / "data", workers=2)
    assert skipped(built) == {
        "landmark list that is not 68 points": ["001/00001", "001/00002"],
        "landmarks that are no face": ["002/00000.png"],
        "landmarks without their picture": ["003/00004"],
        "picture that cannot be read": ["003/00005.png"],
        "picture without landmarks": ["003/00003"],
    }
    assert sum(split.num_examples for split in built.info.splits.values()) == before - 5


def test_archives_unpacked_side_by_side(manual, tmp_path):
    (manual / "02").mkdir()
    shutil.move(manual / "003", manual / "02" / "003")
    assert build(manual, tmp_path / "data").info.metadata["read"]["clips"] == 3


def no_actor(tree):
    rewrite(tree, "002", lambda c: c.pop("actor"))


def no_json(tree):
    (tree / "002" / "002.json").write_text('{"actor": ')


def no_number(tree):
    rewrite(tree, "002", lambda c: c["frames"].update(first=c["frames"].pop("00001")))


def twice(tree):
    shutil.copytree(tree / "002", tree / "copy" / "002")


def one_actor(tree):
    shutil.rmtree(tree / "001")
    shutil.rmtree(tree / "003")


def nothing(tree):
    for clip in ("001", "002", "003"):
        shutil.rmtree(tree / clip)
    (tree / "readme.txt").write_text("")


@pytest.mark.parametrize(
    "fault, told",
    [
        (no_actor, r"002\.json names no actor"),
        (no_json, r"002\.json cannot be read as JSON"),
        (no_number, r"002\.json: 'frames' must map frame numbers"),
        (twice, "clip 002 appears twice"),
        (one_actor, r"1 actor\(s\) cannot be split"),
        (nothing, "no clip below .*; expected 001/001.json"),
    ],
)
def test_files_that_are_not_as_distributed_end_the_build(manual, tmp_path, fault, told):
    fault(manual)
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        build(manual, tmp_path / "data")
    assert not list((tmp_path / "data").glob("afew_va/*.*.*/dataset_info.json"))


def test_two_clips_of_an_actor_stay_together():
    empty = np.zeros((0, 68, 2), np.float32)
    clips = [raw.Clip(f"{k:03d}", f"actor{k // 2}", (), (), empty) for k in range(24)]
    found = split_by_actor(clips)
    train, test = ({clip.actor for clip in found[name]} for name in ("train", "test"))
    assert train and test and not train & test
    assert sum(map(len, found.values())) == 24
