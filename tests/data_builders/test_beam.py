"""Apache Beam makes the same data sets; for an environment that has it (make beam)."""

import importlib.util
import os
import pathlib

import bp4d_tree
import interrupted
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils import shard_utils

from data_builders import prepare, record_builder, work_units

pytestmark = [
    pytest.mark.beam,
    # Beam's own, in great number.
    pytest.mark.filterwarnings("ignore"),
]
#: Beam workers that are processes of their own, as on other machines.
PROCESSES = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]


class ProcessDetector(bp4d_tree.FrameDetector):
    """Leaves the number of its process in a folder that the environment names."""

    def __call__(self, image):
        pathlib.Path(os.environ["SEARCHED_BY"], str(os.getpid())).touch()
        return super().__call__(image)


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch, tmp_path):
    assert importlib.util.find_spec("apache_beam"), "make beam"
    assert importlib.util.find_spec("tensorflow") is None, "this is to work without it"
    here = pathlib.Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{here}{os.pathsep}{here.parent.parent}")
    monkeypatch.setenv("SEARCHED_BY", str(tmp_path / "searched"))
    (tmp_path / "searched").mkdir()
    monkeypatch.setattr(record_builder.RecordBuilder, "detector", ProcessDetector)


def build(name, manual, data, beam_options=None):
    return prepare.prepare(
        name, data_dir=data, manual_dir=manual, workers=1, beam_options=beam_options
    )


def bp4d(root):
    manual = bp4d_tree.write_tree(root)
    folder = manual / "2D+3D" / "F001" / "T1"
    (folder / "13.jpg").write_bytes(b"no picture")
    bp4d_tree.write_picture(folder / "15.jpg", bp4d_tree.NO_FACE)
    return manual


def people(root):
    manual = interrupted.write_people(root)
    bp4d_tree.write_picture(manual / "CASIA-WebFace" / "0000001" / "002.jpg", bp4d_tree.NO_FACE)
    (manual / "CASIA-WebFace" / "0000003" / "001.jpg").write_bytes(b"no picture")
    return manual


def clips(root):
    manual = interrupted.write_clips(root, copies=3)
    (manual / "003" / "00001.png").write_bytes(b"no picture")
    return manual


TREES = {"bp4d": bp4d, "casia_webface": people, "afew_va": clips}


@pytest.mark.parametrize(
    ("name", "flags"), [("bp4d", PROCESSES), *((name, []) for name in TREES)], ids=str
)
def test_the_same_files_either_way(name, flags, tmp_path, capfd):
    """Shards (so keys, their order and every feature), metadata and counts of what was left out."""
    manual = TREES[name](tmp_path / "manual")
    here = build(name, manual, tmp_path / "here")
    reported = [line for line in capfd.readouterr().err.splitlines() if "left out" in line]
    before = {path.name for path in (tmp_path / "searched").iterdir()}
    there = build(name, manual, tmp_path / "there", flags)
    workers = {path.name for path in (tmp_path / "searched").iterdir()} - before
    assert before <= {str(os.getpid())} and bool(workers) == bool(flags)
    assert interrupted.contents(there) == interrupted.contents(here)
    said = capfd.readouterr().err.splitlines()
    assert reported and [line for line in said if "left out" in line] == reported
    assert tfds.builder_from_directory(there).info.metadata["skipped"]
    assert not interrupted.leftovers(tmp_path / "there")
    counted = [line for line in said if line.startswith(f"{name} units of work: ")][-1]
    made, total = counted.removeprefix(f"{name} units of work: ").split(" of ")
    assert made == total != "0"


def records(folder):
    """The bytes of every record by split, in any order."""
    from array_record.python import array_record_module

    found = {}
    for split in tfds.builder_from_directory(folder).info.splits:
        paths = sorted(folder.glob(f"*-{split}.array_record*"))
        readers = [array_record_module.ArrayRecordReader(str(path)) for path in paths]
        found[split] = len(paths), sorted(data for r in readers for data in r.read_all())
    return found


def test_several_shards_hold_the_same_records(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_utils.ShardConfig, "get_number_shards", lambda *_, **__: 3)
    manual = bp4d_tree.write_tree(tmp_path / "manual", subjects=("F001", "F002"))
    here = records(build("bp4d", manual, tmp_path / "here"))
    there = records(build("bp4d", manual, tmp_path / "there", []))
    assert {split: found for split, (_, found) in here.items()} == {
        split: found for split, (_, found) in there.items()
    }
    assert all(count == 3 for count, _ in here.values()) and max(there.values())[0] > 1


def test_units_of_an_interrupted_build_serve_beam_and_the_other_way_round(tmp_path, capfd):
    manual = bp4d_tree.write_tree(tmp_path / "manual")
    straight = interrupted.contents(build("bp4d", manual, tmp_path / "straight"))
    for first, second in ((None, []), ([], None)):
        data = tmp_path / str(first)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(work_units.target_files, "write_arrays", stop_after(patch, 4))
            with pytest.raises(Exception, match="enough"):
                build("bp4d", manual, data, first)
        kept = len(interrupted.unit_files(data))
        assert 0 < kept < 12
        capfd.readouterr()
        folder = build("bp4d", manual, data, second)
        assert interrupted.contents(folder) == straight
        said = f"bp4d: {kept} units of work taken from an interrupted build"
        assert said in capfd.readouterr().err.splitlines()


def stop_after(patch, count):
    """Writes of units, of which the one after so many fails; landmarks are none."""
    write, written = work_units.target_files.write_arrays, []

    def stop(path, **arrays):
        if "faults" in arrays:
            if len(written) >= count:
                raise ValueError("enough")
            written.append(path)
        write(path, **arrays)

    return stop


def test_command_line(tmp_path):
    manual = interrupted.write_clips(tmp_path / "manual", copies=3)
    here = build("afew_va", manual, tmp_path / "here")
    flag = "--beam_options=--runner=DirectRunner --direct_num_workers=1"
    done = interrupted.run(interrupted.command("afew_va", manual, tmp_path / "there", flag))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("afew_va is in ")
    there = tmp_path / "there" / "afew_va" / "1.0.0"
    assert interrupted.contents(there) == interrupted.contents(here)
