"""What a LiteRT file says of itself, what is refused, and the types and operations inside."""

import importlib
import io
import json
import zipfile

import light_model
import numpy as np
import pytest
from lively_parts import lively_parts, pictures
from numpy_operations import convolutions, run

from piapdf_jax.export import litert_file
from piapdf_jax.export.light_detector import light_detector
from piapdf_jax.export.litert_file import load_litert, read_metadata, write_litert
from piapdf_jax.model_json import ModelError
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.presets import MODELS

pytestmark = pytest.mark.litert
UNITS = len(light_model.UNITS)
#: Networks, and the side of their images.
NETWORKS = {
    "nano": (MODELS["nano"], 48),
    "tiny": (MODELS["tiny"], 96),
    "resnet14": (ModelConfig(encoder="resnet14", encoder_size=64), 80),
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """The operations, frames, and what the definitions in NumPy say of them."""
    config, size = NETWORKS[request.param]
    listed = light_detector(config, *lively_parts(config, size, UNITS), image_size=size)
    frames = pictures(5, size)
    wanted = run(listed, frames / 255.0)
    assert np.ptp(wanted, axis=0).max() > 0.1
    return listed, frames, wanted


@pytest.fixture(scope="module")
def listed():
    config, size = NETWORKS["nano"]
    return light_detector(config, *lively_parts(config, size, UNITS), image_size=size)


@pytest.fixture(scope="module")
def written(listed, tmp_path_factory):
    path = tmp_path_factory.mktemp("litert") / "model.tflite"
    write_litert(path, listed, image_size=48, metadata={"digest": "0123", "units": "1 6 12"})
    return path


def tensors(path):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # As the file has them: a delegate would put operations of its own in their place.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=path.read_bytes(), experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    return interpreter.get_tensor_details(), interpreter._get_ops_details()


def test_a_convolution_is_one_operation(network, tmp_path):
    """The depthwise primitive of training would be hundreds of slices."""
    listed, frames, _ = network
    path = tmp_path / "model.tflite"
    write_litert(path, listed, image_size=frames.shape[1])
    names = [operation["op_name"] for operation in tensors(path)[1]]
    wanted = [o.groups > 1 for o in convolutions(listed)]
    # What a gate of one pixel is made of may be a product.
    assert names.count("DEPTHWISE_CONV_2D") == sum(wanted)
    assert names.count("CONV_2D") == len(wanted) - sum(wanted)
    assert "SLICE" not in names and "CUSTOM" not in names


@pytest.mark.parametrize(("dtype", "size"), [("float16", 2), ("int8", 1)])
def test_weights_of_convolutions_have_the_type_that_is_asked_for(network, tmp_path, dtype, size):
    listed, frames, wanted = network
    path, full = tmp_path / "model.tflite", tmp_path / "full.tflite"
    write_litert(path, listed, image_size=frames.shape[1], dtype=dtype)
    write_litert(full, listed, image_size=frames.shape[1])
    kernels = sum(o.kernel.size for o in convolutions(listed))
    found, _ = tensors(path)
    made = [t for t in found if np.dtype(t["dtype"]) == np.dtype(dtype) and len(t["shape"]) == 4]
    assert sum(int(np.prod(t["shape"])) for t in made) >= kernels
    # By channel, eight bits have a scale and a zero as well: in a small network much of what they save.
    saved = full.stat().st_size - path.stat().st_size
    assert saved > 0.65 * kernels * (4 - size)
    if dtype == "int8":
        correlation = np.corrcoef(load_litert(path)(frames).ravel(), wanted.ravel())[0, 1]
        assert correlation > 0.95


def test_an_export_is_the_same_file_every_time(listed, written, tmp_path):
    again = tmp_path / "again.tflite"
    told = write_litert(
        again, listed, image_size=48, metadata={"digest": "0123", "units": "1 6 12"}
    )
    assert again.read_bytes() == written.read_bytes()
    assert told["converter"].startswith(litert_file.WORKS)


def test_any_reader_of_archives_sees_what_the_file_says(written):
    import hashlib

    data = written.read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["detector.json"]
        told = json.loads(archive.read("detector.json"))
    start = data.rfind(b"PK\x03\x04")
    assert told == {
        "digest": "0123",
        "units": "1 6 12",
        "dtype": "float32",
        "input": "uint8",
        "bytes": start,
        "sha256": hashlib.sha256(data[:start]).hexdigest(),
    }
    assert read_metadata(written) == told
    assert data[4:8] == b"TFL3"


def test_plain_litert_takes_the_file_and_its_network_alone(written):
    from ai_edge_litert.interpreter import Interpreter

    data, frame, said = written.read_bytes(), pictures(1, 48), []
    for content in (data, data[: read_metadata(written)["bytes"]]):
        signature = Interpreter(model_content=content).get_signature_runner("serving_default")
        said.append(signature(images=frame)["probabilities"])
    np.testing.assert_array_equal(*said)
    np.testing.assert_array_equal(said[0], load_litert(written)(frame))


@pytest.mark.parametrize("place", [0, 100, 0.3, 0.6, 0.9, -400, -200, -60, -10, -1])
def test_a_changed_byte_is_one_line(written, tmp_path, place):
    data = bytearray(written.read_bytes())
    data[int(len(data) * place) if isinstance(place, float) else place] ^= 0x41
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"model.tflite .* is damaged or cut off") as error:
        load_litert(path)
    assert "\n" not in str(error.value)


def test_other_files_are_refused(written, tmp_path):
    data, path = written.read_bytes(), tmp_path / "model.tflite"
    bare = data[: read_metadata(written)["bytes"]]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("detector.json", "[]")
    others = b"", b"hello\n" * 99, data[: len(data) // 2], bare, data + b"x", b"x" + data
    for other in (*others, bare + archive.getvalue()):
        path.write_bytes(other)
        with pytest.raises(ModelError, match=r"is not a .tflite file of experiments.export"):
            load_litert(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="is missing"):
        load_litert(path)


def test_a_sealed_file_that_is_no_network_is_one_line(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(litert_file._sealed(b"hello" * 9, {}))
    with pytest.raises(ModelError, match="cannot be read by LiteRT") as error:
        load_litert(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("gone", ["litert_converter.mlir.ir", "run_convert_to_tfl_passes"])
def test_a_converter_of_other_modules_is_one_line(listed, tmp_path, monkeypatch, gone):
    """The modules are private, and have moved before."""
    load, path = importlib.import_module, tmp_path / "model.tflite"

    class Changed:
        def __init__(self, module):
            self.module = module

        def __getattr__(self, name):
            if name == gone:
                raise AttributeError(f"no {name}")
            return getattr(self.module, name)

    def changed(name, *rest):
        if name == gone:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return Changed(load(name, *rest)) if name.endswith("converter_api_ext") else load(name)

    monkeypatch.setattr(importlib, "import_module", changed)
    with pytest.raises(ModelError, match=r"has other modules than litert-converter 0\.5") as error:
        write_litert(path, listed, image_size=48)
    assert "\n" not in str(error.value) and "--no-deps" in str(error.value)
    assert not path.exists()


def test_no_frames_are_no_probabilities(written):
    found = load_litert(written)(pictures(1, 48)[:0])
    assert found.shape == (0, UNITS) and found.dtype == np.float32


def test_an_archive_that_would_be_unpacked_is_refused(tmp_path):
    """A few bytes could become gigabytes."""
    path = tmp_path / "model.tflite"
    file = io.BytesIO(b"network")
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(litert_file.METADATA_FILE, '{"bytes": 7}' + " " * 10_000_000)
    path.write_bytes(file.getvalue())
    with pytest.raises(ModelError, match="is not a .tflite file of experiments.export"):
        read_metadata(path)
