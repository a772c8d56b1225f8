"""A build that was stopped goes on where it was: same bytes, nothing made twice, nothing left behind."""

import hashlib
import io
import pathlib
import subprocess
import time

import bp4d_tree
import interrupted
import numpy as np
import own_tree
import psutil
import pytest
import tensorflow_datasets as tfds
from nightly import nightly

from data_builders import prepare, record_builder, target_files, videos, work_units
from data_builders.bp4d import bp4d_dataset_builder as bp4d
from data_builders.casia_webface import casia_webface_dataset_builder as webface
from data_builders.synthetic_faces import synthetic_faces_dataset_builder as synthetic_faces
from data_builders.synthetic_faces.raw_layouts import write_raw

CLIPS = 24


@pytest.fixture(autouse=True)
def _detector(monkeypatch):
    monkeypatch.setattr(record_builder.RecordBuilder, "detector", bp4d_tree.FrameDetector)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A tree, and its files as a build without interruption writes them."""
    manual = interrupted.write_clips(tmp_path_factory.mktemp("afew") / "manual", copies=CLIPS - 2)
    (manual / "005" / "00001.png").write_bytes(b"no picture")
    folder = prepare.prepare("afew_va", data_dir=manual.parent / "data", manual_dir=manual)
    return manual, interrupted.contents(folder)


TREES = {
    "bp4d": lambda root: bp4d_tree.write_tree(root),
    "casia_webface": lambda root: interrupted.write_people(root),
    "afew_va": lambda root: interrupted.write_clips(root, copies=3),
    "synthetic_faces/few": lambda root: root,
    "own": lambda root: own_tree.write_pictures(root, "ABCDE", frames=2),
}


class Stop(Exception):
    """What ends a build half-way."""


def counted(monkeypatch, *, stop_after=None):
    """Makes of units, in this process; the build ends at the make after so many."""
    made = []
    make = work_units.Kept.__call__

    def call(self, unit):
        def count(unit):
            if len(made) == stop_after:
                raise Stop
            made.append(unit)
            return self.make(unit)

        count.__module__, count.__qualname__ = self.make.__module__, self.make.__qualname__
        return make(work_units.Kept(count, self.folder), unit)

    monkeypatch.setattr(work_units.Kept, "__call__", call)
    return made


@pytest.mark.parametrize("name", TREES)
def test_a_stopped_build_goes_on_where_it_was(name, tmp_path, monkeypatch, capsys):
    few = synthetic_faces.SyntheticFacesConfig(name="few", kind="webface", people=5)
    make = prepare._builder

    def builder(name, data_dir):
        # By hand: TFDS keeps the list of configs of a builder that was made before.
        if name == "synthetic_faces/few":
            return synthetic_faces.Builder(data_dir=data_dir, config=few)
        return make(name, data_dir)

    monkeypatch.setattr(prepare, "_builder", builder)
    manual, data = TREES[name](tmp_path / "manual"), tmp_path / "data"
    with monkeypatch.context() as patch:
        made = counted(patch)
        straight = prepare.prepare(name, data_dir=tmp_path / "s", manual_dir=manual, workers=1)
        total = len(made)
    with monkeypatch.context() as patch:
        counted(patch, stop_after=3)
        with pytest.raises(Stop):
            prepare.prepare(name, data_dir=data, manual_dir=manual, workers=1)
    assert not list(data.glob(f"{name}/*")) and len(interrupted.unit_files(data)) == 3
    made = counted(monkeypatch)
    capsys.readouterr()
    resumed = prepare.prepare(name, data_dir=data, manual_dir=manual, workers=1)
    assert len(made) == total - 3 > 0
    assert interrupted.contents(resumed) == interrupted.contents(straight)
    assert not interrupted.leftovers(data)
    said = capsys.readouterr().err
    short = name.partition("/")[0]
    assert f"{short}: 3 units of work taken from an interrupted build\n" in said
    # The count of records is that of the whole data set, whoever made them.
    sizes = tfds.builder_from_directory(resumed)
    for split, info in sizes.info.splits.items():
        assert f"{short} {split}: {info.num_examples} of {info.num_examples}, " in said


def stopped(tmp_path, monkeypatch):
    """A BP4D build that has ended after four of its six blocks."""
    manual = bp4d_tree.write_tree(tmp_path / "manual", subjects=("F001", "F003", "F004"))
    with monkeypatch.context() as patch:
        counted(patch, stop_after=4)
        with pytest.raises(Stop):
            prepare.prepare("bp4d", data_dir=tmp_path / "data", manual_dir=manual, workers=1)
    return manual, tmp_path / "data"


def finish(manual, tmp_path):
    """Files of the build that goes on, and of one from nothing."""
    resumed = prepare.prepare("bp4d", data_dir=tmp_path / "data", manual_dir=manual, workers=1)
    new = prepare.prepare("bp4d", data_dir=tmp_path / "new", manual_dir=manual, workers=1)
    return interrupted.contents(resumed), interrupted.contents(new)


def test_what_is_on_disk_is_what_is_taken(tmp_path, monkeypatch):
    manual, data = stopped(tmp_path, monkeypatch)
    for path in interrupted.unit_files(data):
        arrays = target_files.read_arrays(path)
        arrays["plain/task"] = np.full_like(arrays["plain/task"], "T9")
        target_files.write_arrays(path, **arrays)
    folder = prepare.prepare("bp4d", data_dir=data, manual_dir=manual, workers=1)
    read = tfds.builder_from_directory(folder)
    tasks = [r["task"] for split in read.info.splits for r in read.as_data_source(split)]
    assert tasks.count(b"T9") == 4 * 3


def test_a_changed_picture_is_made_again_with_its_block_alone(tmp_path, monkeypatch):
    manual, data = stopped(tmp_path, monkeypatch)
    assert len(interrupted.unit_files(data)) == 4
    bp4d_tree.write_picture(manual / "2D+3D" / "F001" / "T1" / "13.jpg", 200)
    made = counted(monkeypatch)
    resumed = prepare.prepare("bp4d", data_dir=data, manual_dir=manual, workers=1)
    assert len(made) == 12 - 3
    new = prepare.prepare("bp4d", data_dir=tmp_path / "new", manual_dir=manual, workers=1)
    assert interrupted.contents(resumed) == interrupted.contents(new)


def test_a_changed_label_is_made_again_with_its_block_alone(tmp_path, monkeypatch):
    manual, data = stopped(tmp_path, monkeypatch)
    labels = manual / "AUCoding" / "AU_OCC" / "F001_T1.csv"
    rows = labels.read_text().splitlines()
    rows[1] = ",".join(["12"] + ["1"] * 40)
    labels.write_text("\n".join(rows))
    made = counted(monkeypatch)
    prepare.prepare("bp4d", data_dir=data, manual_dir=manual, workers=1)
    assert len(made) == 12 - 3


def test_other_sources_take_nothing_and_sweep(tmp_path, monkeypatch):
    manual, data = stopped(tmp_path, monkeypatch)
    monkeypatch.setattr(work_units, "recipe", lambda: "another")
    made = counted(monkeypatch)
    folder = prepare.prepare("bp4d", data_dir=data, manual_dir=manual, workers=1)
    assert len(made) == 12 and folder.exists() and not interrupted.leftovers(data)


def test_torn_units_and_leftovers_of_a_dead_build(tmp_path, monkeypatch):
    manual, data = stopped(tmp_path, monkeypatch)
    torn, empty, *_ = interrupted.unit_files(data)
    torn.write_bytes(torn.read_bytes()[:-100])
    empty.write_bytes(b"")
    torn.with_name("x.npz.0a1b2c3d.part").write_bytes(b"half")
    cache = data / ".cache" / "landmarks" / "bp4d" / "frame-1"
    (cache / "F001_T1.npz.0a1b2c3d.part").write_bytes(b"half")
    (data / "bp4d" / "incomplete.ABC123_1.0.0").mkdir(parents=True)
    (data / "bp4d" / "incomplete.ABC123_1.0.0" / "bucket_0.tmp").write_bytes(b"half")
    made = counted(monkeypatch)
    resumed, new = finish(manual, tmp_path)
    assert resumed == new and len(made) == (12 - 2) + 12
    assert not interrupted.leftovers(data)


def test_a_finished_data_set_sweeps_what_a_kill_after_it_left(tmp_path):
    manual, data = bp4d_tree.write_tree(tmp_path / "manual"), tmp_path / "data"
    folder = prepare.prepare("bp4d", data_dir=data, manual_dir=manual, workers=1)
    records = data / ".cache" / "records" / "bp4d" / "1.0.0"
    target_files.write_arrays(records / work_units.recipe() / "x.npz", keys=np.zeros(1))
    assert prepare.prepare("bp4d", data_dir=data) == folder
    assert not interrupted.leftovers(data)


def unit(tmp_path):
    path = tmp_path / "1.jpg"
    bp4d_tree.write_picture(path, 50)
    frames = (
        videos.VideoFrame(7, str(path), {1: 0, 2: 1, 4: -1}),
        videos.VideoFrame(8, str(path), None),
    )
    return videos.Block("F001", "T1", frames, np.stack([bp4d_tree.face_points(50)] * 2))


def same(one, other):
    assert [key for key, _ in one] == [key for key, _ in other]
    for (_, a), (_, b) in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name, value in a.items():
            assert type(b[name]) is type(value), name
            np.testing.assert_array_equal(b[name], value)
            assert getattr(b[name], "dtype", None) == getattr(value, "dtype", None)


def test_no_damage_goes_unnoticed(tmp_path):
    kept = work_units.Kept(videos.make, str(tmp_path / "kept"))
    block = unit(tmp_path)
    first, second = kept(block), kept(block)
    assert (first.reused, second.reused) == (False, True)
    same(first.examples, second.examples)
    (path,) = (tmp_path / "kept").iterdir()
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    places = [*range(0, 200, 5), *range(len(whole) - 200, len(whole), 5)]
    for place in [*places, *rng.integers(0, len(whole), 20).tolist()]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        made = kept(block)
        assert not made.reused
        same(first.examples, made.examples)
    for length in rng.integers(0, len(whole), 10).tolist():
        path.write_bytes(whole[:length])
        assert not kept(block).reused


class Bomb:
    """Fails the test that unpickles it."""

    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path("unpickled"),)


def test_nothing_read_from_disk_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = work_units.Kept(videos.make, str(tmp_path / "kept"))
    block = unit(tmp_path)
    expected = kept(block)
    (path,) = (tmp_path / "kept").iterdir()
    bomb = np.array([Bomb()], object)
    for save in (
        lambda file: np.savez(file, keys=bomb, faults=bomb),
        lambda file: np.save(file, bomb),
    ):
        save(file := io.BytesIO())
        data = file.getvalue()
        path.write_bytes(data + hashlib.sha256(data).digest())
        made = kept(block)
        assert not made.reused
        same(expected.examples, made.examples)
    assert not (tmp_path / "unpickled").exists()


def test_units_differ_by_what_they_hold(tmp_path):
    block = unit(tmp_path)
    others = [
        block,
        block._replace(subject="F002"),
        block._replace(frames=block.frames[:1]),
        block._replace(landmarks=block.landmarks + 1),
        block._replace(landmarks=block.landmarks.astype(np.float64)),
    ]
    digests = [work_units.digest(videos.make, other) for other in others]
    digests.append(work_units.digest(webface.portraits.make, block))
    assert len(set(digests)) == len(digests)
    assert (
        work_units.digest(videos.make, unit(tmp_path)) != digests[0]
    )  # written again: another time
    assert work_units.digest(bp4d.shared.make, block) != digests[0]
    with pytest.raises(TypeError, match="may not hold"):
        work_units.digest(videos.make, block._replace(subject=object()))


def wait_for(there, process, *, seconds=120.0):
    """Returns as soon as something is there; fails when the process ends before that."""
    end = time.monotonic() + seconds
    while not there():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.002)


MOMENTS = {
    "first unit": lambda data: bool(interrupted.unit_files(data)),
    "some units": lambda data: len(interrupted.unit_files(data)) >= CLIPS // 3,
    "first shard": lambda data: any(data.glob("afew_va/incomplete.*/*.array_record*")),
}


@pytest.mark.parametrize("moment", ["first unit", *nightly("some units", "first shard")])
def test_kill_9_and_the_same_command_again(clips, tmp_path, moment):
    manual, expected = clips
    data = tmp_path / "data"
    arguments = interrupted.command("afew_va", manual, data)
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: MOMENTS[moment](data), process)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=30)
    assert workers and not alive
    finished = len(interrupted.unit_files(data))
    assert 0 < finished < CLIPS
    assert not (data / "afew_va" / "1.0.0").exists()
    assert list((data / "afew_va").glob("incomplete.*"))
    done = interrupted.run(arguments)
    assert done.returncode == 0, done.stderr
    assert interrupted.contents(data / "afew_va" / "1.0.0") == expected
    said = f"afew_va: {finished} units of work taken from an interrupted build"
    assert said in done.stderr.splitlines()
    assert not interrupted.leftovers(data)


def test_a_second_process_waits_for_the_first(clips, tmp_path):
    manual, expected = clips
    data = tmp_path / "data"
    arguments = interrupted.command("afew_va", manual, data)
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: interrupted.unit_files(data), process)
        second = interrupted.run(arguments)
        process.communicate()
        assert process.returncode == 0
    waiting = f"afew_va: another process builds it in {data}; waiting for that"
    assert (second.returncode, second.stderr.splitlines()) == (0, [waiting])
    assert interrupted.contents(data / "afew_va" / "1.0.0") == expected


def test_kill_9_while_landmarks_are_searched(tmp_path, monkeypatch):
    """With dlib, as it is used; who has been searched is not searched again."""
    monkeypatch.undo()
    manual, data = write_raw("webface", tmp_path / "manual", people=4, size=250), tmp_path / "data"
    arguments = interrupted.command("casia_webface", manual, data)
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        cached = data / ".cache" / "landmarks" / "casia_webface"
        wait_for(lambda: any(cached.glob("*/*.npz")), process)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        assert not psutil.wait_procs(workers, timeout=30)[1]
    written = {path: path.stat().st_mtime_ns for path in cached.glob("*/*.npz")}
    assert 0 < len(written) < 4 and not interrupted.unit_files(data)
    done = interrupted.run(arguments)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert len(list(cached.glob("*/*.npz"))) == 4 and not interrupted.leftovers(data)
    straight = prepare.prepare(
        "casia_webface", data_dir=tmp_path / "new", manual_dir=manual, workers=1
    )
    assert interrupted.contents(data / "casia_webface" / "1.1.0") == interrupted.contents(straight)
