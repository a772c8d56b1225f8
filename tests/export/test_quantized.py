"""8 bits in an .onnx file: what is stored, what it says, and what the command tells of it."""

import json
import subprocess
import sys

import cv2
import light_model
import numpy as np
import pytest

from piapdf_jax.action_units import record_columns
from piapdf_jax.data import source
from piapdf_jax.detector_runtimes import is_whole, property_of
from piapdf_jax.export import detector_file, quantized
from piapdf_jax.load import load_export
from piapdf_jax.model_json import Data, read_model, to_json

pytestmark = pytest.mark.export
DATASET = "synthetic_faces/small_bp4d"
#: What the command calls the rows of its table.
ROWS = {"f1_before": "float32", "f1_after": "model.onnx"}


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    return detector_file.read_light(light_model.write(tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="module", params=["uint8", "float32"])
def files(request, light, tmp_path_factory):
    """Files of float32 and int8, and the frames that calibrated."""
    folder = tmp_path_factory.mktemp("int8")
    frames = detector_file.golden_frames(light_model.SIZE)
    for name in ("wide.onnx", "int8.onnx"):
        detector_file.write_file(folder / name, light, dtype="float32", input_type=request.param)
    told = quantized.quantize_onnx(folder / "int8.onnx", frames, request.param)
    assert told == {"calibration_frames": len(frames)}
    return folder, frames, request.param


def said(path, frames, kind):
    import onnxruntime

    images = frames if kind == "uint8" else frames.astype(np.float32) / np.float32(255)
    return onnxruntime.InferenceSession(str(path)).run(None, {"images": images})[0]


def graph(path):
    """Nodes of a file, arrays by name, and by name the node that gives it."""
    import onnx
    from onnx import numpy_helper

    found = onnx.load(str(path)).graph
    stored = {array.name: numpy_helper.to_array(array) for array in found.initializer}
    return found.node, stored, {node.output[0]: node for node in found.node}


def test_kernels_are_8_bits_with_a_scale_a_channel(files):
    folder, _, _ = files
    nodes, stored, made_by = graph(folder / "int8.onnx")
    before, originals, _ = graph(folder / "wide.onnx")
    wide = [originals[node.input[1]] for node in before if node.op_type == "Conv"]
    found = [made_by[node.input[1]] for node in nodes if node.op_type == "Conv"]
    assert len(found) == len(wide) > 10
    for pair, kernel in zip(found, wide, strict=True):
        assert pair.op_type == "DequantizeLinear"
        integers, scale, zero = (stored[name] for name in pair.input)
        assert integers.dtype == np.int8 and integers.shape == kernel.shape and not zero.any()
        axis = {a.name: a.i for a in pair.attribute}["axis"]
        assert axis == 0 and scale.shape == (len(kernel),)
        # The largest weight of a channel takes the whole range, and none is further than half a step from its own.
        steps = scale.reshape(-1, 1, 1, 1)
        assert np.abs(integers.reshape(len(kernel), -1)).max(1).min() >= 126
        assert (np.abs(integers * steps - kernel) <= 0.501 * steps).all()


def test_resize_normalization_and_head_are_float32(files):
    nodes, stored, made_by = graph(files[0] / "int8.onnx")
    kept = [node for node in nodes if node.op_type in ("MatMul", "Gemm")]
    assert [node.op_type for node in kept] == ["MatMul", "MatMul", "Gemm"]
    for node in kept:
        weights = [stored[name] for name in node.input if name in stored]
        assert weights and {array.dtype for array in weights} == {np.dtype("float32")}
        assert "DequantizeLinear" not in [
            made_by[name].op_type for name in node.input if name in made_by
        ]


def test_it_says_nearly_the_same_of_frames_that_it_never_saw(files):
    folder, frames, kind = files
    others = np.ascontiguousarray(frames[:, ::-1, ::-1])
    before, after = (said(folder / name, others, kind) for name in ("wide.onnx", "int8.onnx"))
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.99
    # 8 bits show: it is not the other file by mistake.
    assert 1e-3 < np.abs(before - after).max() < 0.1


def test_ranges_are_those_of_the_frames_that_calibrate(files, light, tmp_path):
    """Black frames show none of what others need."""
    folder, frames, kind = files
    path = tmp_path / "dark.onnx"
    detector_file.write_file(path, light, dtype="float32", input_type=kind)
    quantized.quantize_onnx(path, np.zeros_like(frames), kind)
    wanted = said(folder / "wide.onnx", frames, kind)
    wrong = [np.abs(said(p, frames, kind) - wanted).max() for p in (path, folder / "int8.onnx")]
    assert wrong[0] > 2 * wrong[1]


def test_the_file_says_what_it_is_of(files):
    data = (files[0] / "int8.onnx").read_bytes()
    assert is_whole(data)
    found = [property_of(data, key) for key in ("digest", "dtype", "input", "units")]
    assert found == [light_model.DIGEST, "int8", files[2], "1 6 12"]


@pytest.mark.parametrize("frames", [None, np.zeros((0, 64, 64, 3), np.uint8)])
def test_nothing_calibrates_by_itself(files, frames):
    with pytest.raises(ValueError, match="int8 needs frames .*: give --calibration_data"):
        quantized.quantize_onnx(files[0] / "wide.onnx", frames, files[2])


def test_the_command_says_what_8_bits_cost(small_data, tmp_path):
    """F1 by unit of people that the export was not trained on, counted here from the file's own answers."""
    export, out = light_model.write(tmp_path), tmp_path / "out"
    data = (Data("piap", DATASET, "1.0.0", "part1", 2, True),)
    (export / "model.json").write_text(to_json(read_model(export)._replace(data=data)))
    command = [sys.executable, "-m", "experiments.export", export, f"--out={out}", "--dtype=int8"]
    command += [f"--calibration_data={DATASET}", f"--data_dir={small_data}", "--check"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    where = source.dataset_folder(small_data, DATASET)
    records = [record for split in ("part2", "part3") for record in source.Records(where, split)]
    labels = np.stack([record["labels"][record_columns(light_model.UNITS)] for record in records])
    frames = np.stack([decoded(record["image"]) for record in records])
    facts = read_model(out).files["model.onnx"]
    assert tuple(facts["f1_units"]) == light_model.UNITS and facts["calibration_frames"] > 100
    answers = {"f1_before": load_export(export)[1](frames)}
    answers["f1_after"] = said(out / "model.onnx", frames, "uint8")
    for name, probabilities in answers.items():
        wanted = [counted(p, y) for p, y in zip(probabilities.T, labels.T, strict=True)]
        assert facts[name] == pytest.approx(
            wanted, abs=0.5
        )  # frames whose probability is about 0.5
        line = next(line for line in done.stdout.splitlines() if line.split()[:1] == [ROWS[name]])
        assert line.split()[1:] == [f"{v:.1f}" for v in (*facts[name], np.mean(facts[name]))]
    told = json.loads((out / "check.json").read_text())
    entry = told["files"]["model.onnx"]
    assert (told["tolerance"], told["passed"], told["dtype"]) == (None, True, "int8")
    assert [entry[name] for name in answers] == [facts[name] for name in answers]
    assert entry["runtimes"]["onnx"]["max_difference"] > 1e-5
    assert "nonsense" in entry["runtimes"]["opencv"]["unsupported"]
    assert f"{len(records)} frames of" in done.stdout


def decoded(data):
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    side = light_model.SIZE
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


def counted(probabilities, labels):
    """F1 in %, one frame after another."""
    hits = misses = 0
    for p, y in zip(probabilities, labels, strict=True):
        if y >= 0:
            hits += p >= 0.5 and y == 1
            misses += (p >= 0.5) != (y == 1)
    return 200 * hits / (2 * hits + misses) if hits or misses else 0.0
