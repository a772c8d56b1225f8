"""8 bits: what is stored, what it says, who calibrates and who is scored, and what it costs."""

import json
import subprocess
import sys

import light_model
import numpy as np
import pytest

from experiments import export_int8
from piapdf_jax.action_units import record_columns
from piapdf_jax.data.source import Records, dataset_folder
from piapdf_jax.detector_runtimes import is_whole, property_of
from piapdf_jax.export.detector_file import golden_frames, read_light, write_file
from piapdf_jax.export.quantized import quantize_onnx
from piapdf_jax.model_json import Data, read_model, to_json

pytestmark = pytest.mark.export
DATASET = "synthetic_faces/small_bp4d"


def trained_on(split, dataset=DATASET):
    return (Data("piap", dataset, "1.0.0", split, 4, True),)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The folder of a file in 32 bits and one in 8, made of it."""
    folder = tmp_path_factory.mktemp("int8")
    light = read_light(light_model.write(folder / "runs"))
    for name in ("wide", "int8"):
        write_file(folder / f"{name}.onnx", light, dtype="float32", input_type="uint8")
    (folder / "model.json").write_text(to_json(light.model))
    told = quantize_onnx(folder / "int8.onnx", golden_frames(light_model.SIZE), "uint8")
    assert told == {"calibration_frames": 4}
    return folder


def graph(path):
    import onnx
    from onnx import numpy_helper

    found = onnx.load(str(path)).graph
    return found, {i.name: numpy_helper.to_array(i) for i in found.initializer}


def test_kernels_are_bytes_with_a_scale_a_channel_and_nothing_else_is(files):
    (wide, kernels), (quantized, stored) = graph(files / "wide.onnx"), graph(files / "int8.onnx")
    made_by = {node.output[0]: node for node in quantized.node}
    before = [node for node in wide.node if node.op_type == "Conv"]
    after = [node for node in quantized.node if node.op_type == "Conv"]
    assert len(before) == len(after) > 10
    for old, new in zip(before, after, strict=True):
        pair = made_by[new.input[1]]
        values, scale = (stored[name] for name in pair.input[:2])
        assert pair.op_type == "DequantizeLinear" and values.dtype == np.int8
        assert scale.shape == (len(values),)  # output channels come first
        error = values * scale.reshape(-1, 1, 1, 1) - kernels[old.input[1]]
        assert (np.abs(error) <= 0.51 * scale.reshape(-1, 1, 1, 1)).all()
        assert made_by[new.input[0]].op_type == "DequantizeLinear"  # activations as well
    for kind in ("Gemm", "MatMul", "Sigmoid"):
        inputs = {name for node in quantized.node if node.op_type == kind for name in node.input}
        types = {stored[name].dtype for name in inputs if name in stored}
        assert types <= {np.dtype(np.float32)}


def test_it_is_one_of_our_files(files):
    data = (files / "int8.onnx").read_bytes()
    assert is_whole(data)
    told = {key: property_of(data, key) for key in ("digest", "input", "dtype")}
    assert told == {"digest": light_model.DIGEST, "input": "uint8", "dtype": "int8"}


def test_it_says_nearly_what_32_bits_say(files):
    from piapdf_jax.detector import Detector

    frames = golden_frames(light_model.SIZE)
    wide, narrow = (
        Detector.load(files / f"{n}.onnx", runtime="onnx")(frames) for n in ("wide", "int8")
    )
    # A step of 8 bits is 1/256 of a range; some ten layers of them, and not the other file.
    assert 1e-4 < np.abs(wide - narrow).max() < 0.1


def test_without_frames_there_are_no_ranges(files):
    for frames in (None, np.zeros((0, 64, 64, 3), np.uint8)):
        with pytest.raises(ValueError, match="need frames that show the ranges"):
            quantize_onnx(files / "int8.onnx", frames, "uint8")


@pytest.fixture(scope="module")
def model(files):
    return read_model(files)


def test_people_of_the_training_calibrate_and_others_are_scored(small_data, model, monkeypatch):
    order, read_batch = [], export_int8.read_batch

    def watched(places, reading, *, step):
        order.extend(records[row]["subject"].decode() for records, row, _ in places)
        return read_batch(places, reading, step=step)

    monkeypatch.setattr(export_int8, "read_batch", watched)
    found = export_int8.sample(model._replace(data=trained_on("part1+part2")), DATASET, small_data)
    where = dataset_folder(small_data, DATASET)
    tables = {split: Records(where, split).table() for split in ("part1", "part2", "part3")}
    ours = {
        str(np.asarray(s).astype(str)) for t in ("part1", "part2") for s in tables[t]["subject"]
    }
    # First those that calibrate, then those that are scored; nobody is in both.
    assert set(order[: len(found.calibration)]) == ours
    assert not set(order[len(found.calibration) :]) & ours
    labels = np.asarray(tables["part3"]["labels"])[:, record_columns(found.aus)]
    assert found.aus == model.units and len(found.frames) == (labels >= 0).any(1).sum()
    np.testing.assert_array_equal(np.sort(found.labels, 0), np.sort(labels, 0))
    assert found.calibration.dtype == np.uint8 and found.calibration.shape[1:] == (64, 64, 3)
    assert "that the export was trained on calibrate" in found.told


def test_strangers_are_halved(small_data, model):
    found = export_int8.sample(
        model._replace(data=trained_on("train", "other")), DATASET, small_data
    )
    people = sorted(
        set(Records(dataset_folder(small_data, DATASET), "part1+part2+part3").table()["subject"])
    )
    assert f"of {len(people) // 2} people" in found.told and "trained" not in found.told


def test_nobody_is_left(small_data, model):
    everybody = model._replace(data=trained_on("part1+part2+part3"))
    with pytest.raises(export_int8.CalibrationError, match="nobody .* is left to score 8 bits on"):
        export_int8.sample(everybody, DATASET, small_data)
    with pytest.raises(export_int8.CalibrationError, match="has labels of no unit"):
        export_int8.sample(model, "synthetic_faces/small_lfw", small_data)


def test_f1_is_that_of_counts():
    labels = np.array([[1, 0], [1, -1], [0, 1], [1, 1]], np.int8)
    said = np.array(
        [[0.9, 0.2, 0.6], [0.1, 0.3, 0.9], [0.7, 0.4, 0.5], [0.5, 0.1, 0.1]], np.float32
    )
    frames = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1) * np.ones((1, 2, 2, 3), np.uint8)
    found = export_int8.Sample(frames, frames, labels, (12, 1), "")
    # Units 1, 6, 12 of the export. AU12: yes yes yes no against 1 1 0 1: 2 TP, 1 FP, 1 FN. AU1, without the unknown
    # cell: yes yes yes against 0 1 1: 2 TP, 1 FP.
    told = export_int8.f1_by_unit(lambda crops: said[crops[:, 0, 0, 0]], found, (1, 6, 12))
    assert told == pytest.approx([200 / 3, 80.0])


def program(*arguments):
    command = [sys.executable, "-m", "experiments.export", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_prints_f1_before_and_after_and_keeps_it(small_data, tmp_path):
    export = light_model.write(tmp_path / "runs")
    model = read_model(export)._replace(data=trained_on("part1+part2"))
    (export / "model.json").write_text(to_json(model))
    words = (export, f"--out={tmp_path / 'o'}", "--dtype=int8", f"--data_dir={small_data}")
    done = program(*words, f"--calibration_data={DATASET}", "--check")
    assert done.returncode == 0, done.stderr
    assert "F1 at 0.5, %" in done.stdout and "8 bits are held to no difference" in done.stdout
    assert "says nonsense" in done.stdout  # of OpenCV
    told = json.loads((tmp_path / "o" / "check.json").read_text())
    (facts,) = told["files"].values()
    assert facts["f1_units"] == [1, 6, 12] and told["tolerance"] is None
    assert len(facts["f1_before"]) == len(facts["f1_after"]) == 3
    for line, values in (("float32", facts["f1_before"]), ("model.onnx", facts["f1_after"])):
        cells = " ".join(f"{value:.1f}" for value in (*values, np.mean(values)))
        assert f"{line} {cells}" in " ".join(done.stdout.split())
    assert read_model(tmp_path / "o").files["model.onnx"]["f1_after"] == facts["f1_after"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dtype=int8"], "--dtype=int8 and --calibration_data=SET go together"),
        ([f"--calibration_data={DATASET}"], "--dtype=int8 and --calibration_data=SET go together"),
        (
            ["--dtype=int8", f"--calibration_data={DATASET}", "--formats=onnx,stablehlo,web"],
            "--dtype=int8 is for onnx, litert, not for stablehlo, web",
        ),
        (["--dtype=int8", "--calibration_data=nothing"], "nothing"),
    ],
)
def test_what_does_not_go_together(small_data, tmp_path, words, said):
    export = light_model.write(tmp_path / "runs")
    done = program(export, f"--out={tmp_path / 'o'}", f"--data_dir={small_data}", *words)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "o").exists()
