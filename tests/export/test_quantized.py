"""8 bits in an .onnx file: by either kind of input, by the frames that calibrate, and what the command tells of F1."""

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
