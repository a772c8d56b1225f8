"""Original files and caches made to trouble: nothing in them is run, no name in them leads out of their folder."""

import hashlib
import io
import json
import shutil
import zipfile

import cv2
import numpy as np
import pytest
from hostile import Mark
from test_faults import PICTURE, dummy, fails

from data_builders import film_frames, prepare, target_files
from piapdf_jax.data import source


def everything(root):
    """All files below a folder, with their content."""
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", PICTURE)
@pytest.mark.parametrize("what", ["picture", "folder"])
def test_links_out_of_a_tree_are_not_followed(name, what, tmp_path):
    manual, outside = dummy(name, tmp_path / "manual"), tmp_path / "outside"
    link = manual / PICTURE[name]
    link = link if what == "picture" else link.parent
    shutil.move(link, outside)
    link.symlink_to(outside)
    fails(name, manual, tmp_path / "data", str(link), str(outside), "--follow_links")
    built = prepare.prepare(
        name, data_dir=tmp_path / "data", manual_dir=manual, workers=1, follow_links=True
    )
    assert (built / "dataset_info.json").exists()


def test_links_within_a_tree_and_of_the_whole_tree_are_followed(tmp_path):
    dummy("afew_va", tmp_path / "real")
    (tmp_path / "real" / "001").rename(tmp_path / "real" / ".store")
    (tmp_path / "real" / "001").symlink_to(".store")
    (tmp_path / "manual").symlink_to(tmp_path / "real")
    folder = prepare.prepare("afew_va", data_dir=tmp_path / "d", manual_dir=tmp_path / "manual")
    assert sum(source.split_sizes(folder).values()) == 6


def test_a_tree_beside_one_of_nearly_its_name_is_outside(tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree2").mkdir()
    (tmp_path / "tree" / "a").symlink_to(tmp_path / "tree2")
    with pytest.raises(ValueError, match="tree/a is a link to .*tree2"):
        target_files.check_links(tmp_path / "tree")


def test_an_actor_whose_name_is_a_path_is_only_a_name(tmp_path):
    manual = dummy("afew_va", tmp_path / "manual")
    actors = ["../../../outside/actor", "/outside/actor"]
    for path, actor in zip(sorted(manual.glob("*/*.json")), actors, strict=True):
        path.write_text(json.dumps({**json.loads(path.read_text()), "actor": actor}))
    before = everything(tmp_path)
    folder = prepare.prepare("afew_va", data_dir=tmp_path / "data", manual_dir=manual)
    table = source.Records(folder, "+".join(source.split_sizes(folder))).table()
    assert set(table["subject"]) == set(actors)
    made = everything(tmp_path).keys() - before.keys()
    assert made and all(path.is_relative_to(tmp_path / "data") for path in made)


@pytest.mark.parametrize("number", ["../00000", "00000/../00001", "/etc/hostname", "-1"])
def test_frames_that_are_paths_end_the_build(number, tmp_path):
    manual = dummy("afew_va", tmp_path / "manual")
    path = manual / "001" / "001.json"
    told = json.loads(path.read_text())
    told["frames"][number] = told["frames"]["00000"]
    path.write_text(json.dumps(told))
    fails("afew_va", manual, tmp_path / "data", str(path), "must map frame numbers")


def test_a_json_file_too_deep_to_be_read_is_named(tmp_path):
    manual = dummy("afew_va", tmp_path / "manual")
    (manual / "001" / "001.json").write_text("[" * 200_000)
    fails("afew_va", manual, tmp_path / "data", "001.json cannot be read as JSON")


@pytest.mark.parametrize("name", ["../outside", "/outside", "Sareda_Selvatin/../../outside"])
def test_pairs_whose_names_are_paths_find_no_picture(name, tmp_path):
    manual = dummy("lfw_pairs", tmp_path / "manual")
    person = next(path for path in (manual / "lfw").iterdir() if path.is_dir())
    picture = next(person.iterdir())
    (manual / "outside").mkdir()
    for number in (1, 2):
        shutil.copy(picture, manual / "outside" / f"outside_{number:04d}.jpg")
    (manual / "pairs.txt").write_text(f"1 1\n{name}\t1\t2\n{person.name}\t1\t{name}\t2\n")
    fails("lfw_pairs", manual, tmp_path / "data", "pairs.txt names picture 1 of", name)


def test_a_play_list_called_a_film_opens_no_other_film(tmp_path):
    writer = cv2.VideoWriter(
        str(tmp_path / "other.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64)
    )
    for shade in range(5):
        writer.write(np.full((64, 64, 3), 40 * shade, np.uint8))
    writer.release()
    film = tmp_path / "LeftVideoSN001_comp.avi"
    film.write_text("ffconcat version 1.0\nfile other.avi\n")
    # OpenCV by itself shows the film that the list names.
    assert cv2.VideoCapture(str(film)).read()[0]
    assert film_frames.extract(film, tmp_path / "frames") is None
    assert film_frames.extract(tmp_path / "other.avi", tmp_path / "frames") == 5


def stored(path, content):
    """A cache file with the checksum that is expected of it."""
    path.write_bytes(content + hashlib.sha256(content).digest())
    return path


def test_objects_in_a_cache_are_not_unpickled(tmp_path):
    packed, mark = io.BytesIO(), tmp_path / "mark"
    np.savez(packed, keys=np.array([Mark(mark)], object))
    assert target_files.read_arrays(stored(tmp_path / "c.npz", packed.getvalue())) is None
    assert not mark.exists()
    np.load(io.BytesIO(packed.getvalue()), allow_pickle=True)["keys"]
    assert mark.exists()


def encrypted(content):
    return content.replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01").replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
    )


def other_method(content):
    where = content.index(b"PK\x01\x02")
    return content[: where + 10] + b"\x63" + content[where + 11 :]


@pytest.mark.parametrize("change", [encrypted, other_method])
def test_archives_of_another_kind_count_as_missing(tmp_path, change):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive, archive.open("keys.npy", "w") as file:
        np.lib.format.write_array(file, np.arange(3))
    content = packed.getvalue()
    assert target_files.read_arrays(stored(tmp_path / "c.npz", content))
    assert change(content) != content
    assert target_files.read_arrays(stored(tmp_path / "c.npz", change(content))) is None


def test_names_in_an_archive_lead_nowhere(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive, archive.open("../../out.npy", "w") as file:
        np.lib.format.write_array(file, np.arange(3))
    (tmp_path / "a" / "b").mkdir(parents=True)
    path = stored(tmp_path / "a" / "b" / "c.npz", packed.getvalue())
    before = everything(tmp_path)
    found = target_files.read_arrays(path)
    assert found and list(found) == ["../../out"]
    assert everything(tmp_path) == before
