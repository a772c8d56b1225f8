import os
import subprocess
import sys

import bp4d_tree
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_builders import prepare as command
from data_builders.bp4d.bp4d_dataset_builder import Builder


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.setattr(Builder, "detector", bp4d_tree.FrameDetector)
    return bp4d_tree.write_tree(tmp_path / "manual", subjects=("F001", "F003"), tasks=("T1",))


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "data_builders.prepare", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_builds_once_and_returns_at_once_afterwards(tree, tmp_path, capsys):
    folder = command.prepare("bp4d", data_dir=tmp_path / "data", manual_dir=tree, workers=1)
    assert folder == tmp_path / "data" / "bp4d" / "1.0.0"
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert any(line.startswith("bp4d landmarks, videos: 2 of 2, ") for line in lines)
    assert any(line.startswith("bp4d part1_uncoded: 3 of 3, ") for line in lines)
    assert "bp4d: 12 pictures" in lines
    splits = tfds.builder_from_directory(folder).info.splits
    assert {split: info.num_examples for split, info in splits.items()} == {
        "part1": 3, "part1_uncoded": 3, "part2": 3, "part2_uncoded": 3,
    }  # fmt: skip
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"bp4d", ".cache"}
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert command.prepare("bp4d", data_dir=tmp_path / "data") == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_another_process_writes_the_same_bytes(tree, tmp_path):
    """Protobuf orders the features of a record differently in each process, if it is let."""
    folder = command.prepare("bp4d", data_dir=tmp_path / "one", manual_dir=tree, workers=1)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import bp4d_tree;"
        "from data_builders.bp4d.bp4d_dataset_builder import Builder;"
        "from data_builders.prepare import prepare;"
        "Builder.detector = bp4d_tree.FrameDetector;"
        "prepare('bp4d', data_dir=sys.argv[2], manual_dir=sys.argv[3], workers=1)"
    )
    for seed in range(2):
        other = tmp_path / str(seed)
        arguments = [os.path.dirname(__file__), str(other), str(tree)]
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)
        for path in folder.iterdir():
            assert (other / "bp4d" / "1.0.0" / path.name).read_bytes() == path.read_bytes()


def test_what_was_left_out_is_said(tree, tmp_path, capsys):
    (tree / "2D+3D" / "F003" / "T1" / "13.jpg").write_bytes(b"no picture")
    command.prepare("bp4d", data_dir=tmp_path / "data", manual_dir=tree, workers=1)
    said = "bp4d: left out: 1 x picture that cannot be read (F003/T1/13.jpg)"
    assert said in capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "bp4",
            f"unknown data set: 'bp4'; known: {', '.join(command.BUILDERS)}; did you mean 'bp4d'?",
        ),
        ("bp4d/small", "unknown config of bp4d: 'small'; known: none"),
        ("mnist", f"unknown data set: 'mnist'; known: {', '.join(command.BUILDERS)}"),
    ],
)
def test_unknown_names(tmp_path, name, said):
    with pytest.raises(command.UsageError) as error:
        command.prepare(name, data_dir=tmp_path)
    assert str(error.value) == said


def test_original_files_that_are_not_there(tmp_path):
    (tmp_path / "empty").mkdir()
    for manual, said in ((None, "needs --manual_dir"), (tmp_path / "no", "does not exist"),
                         (tmp_path / "empty", "is empty")):  # fmt: skip
        with pytest.raises(FileNotFoundError, match=f"{said}.*AUCoding/AU_OCC/F001_T1.csv"):
            command.prepare("bp4d", data_dir=tmp_path / "data", manual_dir=manual)


def test_a_build_that_stops_half_way_leaves_nothing_that_reads_as_whole(
    tree, tmp_path, monkeypatch
):
    examples = Builder._generate_examples

    def broken(self, *args):
        yield next(examples(self, *args))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Builder, "_generate_examples", broken)
    with pytest.raises(OSError, match="No space"):
        command.prepare("bp4d", data_dir=tmp_path / "data", manual_dir=tree, workers=1)
    assert not list((tmp_path / "data" / "bp4d").iterdir())
    monkeypatch.setattr(Builder, "_generate_examples", examples)
    monkeypatch.setattr(Builder, "detector", bp4d_tree.NoDetector)  # landmarks are cached
    folder = command.prepare("bp4d", data_dir=tmp_path / "data", manual_dir=tree, workers=1)
    assert (folder / "dataset_info.json").exists()


def test_command_line_errors_are_one_line(tmp_path):
    for arguments, code, said in (
        (["bp4x"], 2, "did you mean 'bp4d'"),
        ([], 2, "give one data set"),
        (["bp4d", "--data_dri=x"], 2, "data_dri"),
        (["bp4d", f"--data_dir={tmp_path}"], 2, "--manual_dir"),
        (["bp4d", f"--data_dir={tmp_path}", f"--manual_dir={os.path.dirname(__file__)}"], 2,
         "no folder F001"),
    ):  # fmt: skip
        done = run(*arguments)
        assert done.returncode == code
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("prepare: ") and said in lines[0]
        assert done.stdout == ""


def test_command_line_builds_and_prints_one_line(tree, tmp_path, monkeypatch):
    # Real pictures would need dlib: everything comes out of the cache that this build leaves.
    data = tmp_path / "data"
    command.prepare("bp4d", data_dir=data, manual_dir=tree, workers=1)
    done = run("bp4d", TFDS_DATA_DIR=str(data))
    assert (done.returncode, done.stderr) == (0, "")
    sizes = "part1 3, part2 3, part1_uncoded 3, part2_uncoded 3"
    assert done.stdout.startswith(f"bp4d is in {data / 'bp4d' / '1.0.0'}: {sizes} (")
    assert done.stdout.count("\n") == 1


def test_jax_and_tensorflow_stay_out():
    code = (
        "import sys, data_builders.prepare, data_builders.bp4d.bp4d_dataset_builder;"
        "print([name for name in ('jax', 'flax', 'tensorflow', 'dlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_progress_passes_items_on_and_ends_with_the_count(capsys, monkeypatch):
    now = iter(np.arange(0, 1000, 6.0))
    monkeypatch.setattr(command.time, "monotonic", lambda: float(next(now)))
    assert list(command.track("abcde", label="letters", total=5)) == list("abcde")
    assert capsys.readouterr().err.splitlines() == [
        "letters: 2 of 5, 0.2/s, 18 s left",
        "letters: 4 of 5, 0.2/s, 6 s left",
        "letters: 5 of 5, 0.1/s, 36 s",
    ]


def test_progress_on_a_terminal_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(command.track(range(4), label="frames", total=4)) == [0, 1, 2, 3]
    assert "4/4" in capsys.readouterr().err


def test_beam_that_is_missing_is_named(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        command.UsageError, match=r"pip install 'apache-beam>=2.*environment of its own"
    ):
        command.prepare("bp4d", data_dir=tmp_path / "data", manual_dir=tree, beam_options=[])
