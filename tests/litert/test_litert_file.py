"""LiteRT files, made without TensorFlow and torch and run by ai-edge-litert; an environment of their own has both."""

import collections
import importlib.util
import json
import subprocess
import sys

import light_model
import numpy as np
import pytest
from encoder_variants import resnet_variant, variant
from lively_parts import lively_parts, pictures
from numpy_operations import run

from piapdf_jax.export import litert_file
from piapdf_jax.export.light_detector import light_detector
from piapdf_jax.export.litert_file import load_litert, write_litert
from piapdf_jax.model_json import ModelError, read_model
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.presets import MODELS

pytestmark = pytest.mark.litert
UNITS = 3
#: Encoders, their sides, and that of the images.
NETWORKS = {
    "nano": (MODELS["nano"], 48),
    "odd sides": (ModelConfig(encoder=variant(rows=4), encoder_size=37), 48),
    "torchvision": (
        ModelConfig(encoder="nano", encoder_size=27, convention="torchvision_large"),
        27,
    ),
    "resnet": (ModelConfig(encoder=resnet_variant(2, 1, 1), encoder_size=32), 32),
    "tiny": (MODELS["tiny"], 96),
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """A list of operations, frames, and what a NumPy program says of them."""
    config, side = NETWORKS[request.param]
    listed = light_detector(config, *lively_parts(config, side, UNITS), image_size=side)
    frames = pictures(5, side)
    wanted = run(listed, frames / 255.0)
    assert np.ptp(wanted, axis=0).max() > 0.2
    return listed, frames, wanted


def written(path, listed, frames, **kinds):
    write_litert(path, listed, image_size=frames.shape[1], **kinds)
    return path


def operations(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=path.read_bytes())
    return collections.Counter(o["op_name"] for o in interpreter._get_ops_details())


def test_the_environment_is_what_it_should_be():
    assert not any(map(importlib.util.find_spec, ("tensorflow", "torch")))


@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 5e-6), ("float16", 5e-3)])
def test_batches_of_any_size(network, tmp_path, dtype, tolerance, kind):
    listed, frames, wanted = network
    path = written(tmp_path / "model.tflite", listed, frames, dtype=dtype, input_type=kind)
    probabilities = load_litert(path, threads=1)
    for count in (5, 1, 3):
        found = probabilities(frames[:count])
        assert found.dtype == np.float32 and found.shape == (count, UNITS)
        np.testing.assert_allclose(found, wanted[:count], rtol=0, atol=tolerance)
    # Half the numbers of weights shows: it is not the other file by mistake.
    assert (np.abs(probabilities(frames) - wanted).max() > 1e-5) == (dtype == "float16")


def test_a_convolution_is_one_operation(network, tmp_path):
    """The depthwise primitive of training would be hundreds of slices."""
    listed, frames, _ = network
    found = operations(written(tmp_path / "model.tflite", listed, frames))
    assert not {"SLICE", "STRIDED_SLICE", "CONCATENATION", "BATCH_MATMUL"} & set(found)
    assert sum(found.values()) < 6 * sum(n for k, n in found.items() if "CONV" in k) + 20


def test_half_of_the_weights_is_half_of_the_file(tmp_path):
    config, side = ModelConfig(encoder="resnet14", encoder_size=64), 64
    listed = light_detector(config, *lively_parts(config, side, UNITS), image_size=side)
    sizes = {}
    for dtype in ("float32", "float16", "int8"):
        path = tmp_path / f"{dtype}.tflite"
        write_litert(path, listed, image_size=side, dtype=dtype)
        sizes[dtype] = path.stat().st_size
    assert sizes["float16"] < 0.52 * sizes["float32"] and sizes["int8"] < 0.28 * sizes["float32"]


def test_eight_bits_are_near(network, tmp_path, capsys):
    listed, frames, wanted = network
    found = load_litert(written(tmp_path / "model.tflite", listed, frames, dtype="int8"))(frames)
    difference = np.abs(found - wanted).max()
    assert 1e-4 < difference < 0.25
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.9
    assert not capsys.readouterr().out


@pytest.mark.parametrize("fault", [b"", b"hello" * 99, 0.5])
def test_a_file_that_cannot_be_read_is_one_line(network, tmp_path, fault):
    listed, frames, _ = network
    path = written(tmp_path / "model.tflite", listed, frames)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fault)] if isinstance(fault, float) else fault)
    with pytest.raises(ModelError, match="model.tflite .* is damaged or cut off") as error:
        load_litert(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["litert_converter.moved", "json"])
def test_another_version_of_the_converter_is_one_line(tmp_path, monkeypatch, name):
    monkeypatch.setattr(litert_file, "_CONVERTER", name)
    config = MODELS["nano"]
    listed = light_detector(config, *lively_parts(config, 32, UNITS), image_size=32)
    with pytest.raises(
        ModelError, match=r"litert-converter 0\.5\.\d has other modules than"
    ) as error:
        write_litert(tmp_path / "model.tflite", listed, image_size=32)
    assert "litert-converter 0.5, which works here" in str(error.value)
    assert "--no-deps litert-converter==0.5.0" in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "model.tflite").exists()


def program(*arguments):
    command = [sys.executable, "-m", "experiments.export", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_all_formats_of_one_export(tmp_path, dtype):
    export = light_model.write(tmp_path / "runs")
    done = program(
        *(export, f"--out={tmp_path / 'all'}", "--formats=onnx,stablehlo,litert,web"),
        *(f"--dtype={dtype}", "--check"),
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "all" / "check.json").read_text())
    ran = {(f, r) for f, entry in told["files"].items() for r in entry["runtimes"]}
    assert ran == {
        *(("model.onnx", "onnx"), ("model.onnx", "opencv"), ("model.stablehlo", "jax")),
        *(("model.tflite", "litert"), ("model.html", "chromium")),
    }
    limit = {"float32": 1e-5, "float16": 2e-3}[dtype]
    for entry in told["files"].values():
        assert all(0 <= r["max_difference"] < limit for r in entry["runtimes"].values())
    assert "0.5" in read_model(tmp_path / "all").files["model.tflite"]["converter"]


def test_damage_is_found_before_anything_runs(tmp_path):
    export = light_model.write(tmp_path / "runs")
    assert program(export, f"--out={tmp_path / 'o'}", "--formats=litert").returncode == 0
    path = tmp_path / "o" / "model.tflite"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = program(tmp_path / "o", "--check")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "model.tflite is damaged or belongs to another export" in done.stderr
