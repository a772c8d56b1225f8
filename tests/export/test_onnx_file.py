"""Files in every runtime; in an environment of its own, for onnx and onnxruntime are no part of the product's tests."""

import hashlib
import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys
from typing import Any

import jax
import light_model
import numpy as np
import pytest
from lively_parts import lively_parts, pictures

from piapdf_jax.detector import Detector
from piapdf_jax.export import check
from piapdf_jax.export.light_detector import light_detector
from piapdf_jax.export.onnx_file import write_onnx
from piapdf_jax.export.operations import count_parameters
from piapdf_jax.model_json import ModelError, read_model
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.presets import MODELS

pytestmark = pytest.mark.export
UNITS = 5
DTYPES, INPUTS = ("float32", "float16"), ("uint8", "float32")
#: What runs what: each runtime takes every type of weights and of input, batches of any size.
RUNS = {
    (runtime, dtype, kind) for runtime in ("onnx", "opencv") for dtype in DTYPES for kind in INPUTS
}


def program(*arguments):
    """Runs experiments.export; its exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "experiments.export", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return light_model.write(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def written(export, tmp_path_factory):
    out = tmp_path_factory.mktemp("detector")
    code, said, error = program(export, f"--out={out}", "--check")
    assert code == 0, error
    assert "within 1e-05" in said
    assert not re.search("^I[0-9]{4} ", error, re.MULTILINE), error  # no library's log
    return out


def test_both_runtimes_are_here():
    assert importlib.metadata.version("onnxruntime") and importlib.metadata.version("onnx")


def test_a_folder_holds_all_that_a_user_needs(export, written):
    assert sorted(path.name for path in written.iterdir()) == [
        "check.json",
        "golden.npz",
        "model.json",
        "model.onnx",
    ]
    model, data = read_model(written), (written / "model.onnx").read_bytes()
    facts = {"dtype": "float32", "input_type": "uint8", "bytes": len(data)}
    facts |= {"format": "onnx", "sha256": hashlib.sha256(data).hexdigest()}
    (told,) = model.files.values()
    assert {key: told[key] for key in facts} == facts
    assert model._replace(files={}) == read_model(export)
    told = json.loads((written / "check.json").read_text())
    runtimes = told["files"]["model.onnx"]["runtimes"]
    assert told["passed"] and set(runtimes) == {"onnx", "opencv"}
    assert all(0 < entry["max_difference"] < 1e-5 for entry in runtimes.values())
    golden = check.read_golden(written / "golden.npz")
    assert golden.frames.shape == (4, 64, 64, 3)
    np.testing.assert_allclose(
        Detector.load(export)(golden.frames), golden.probabilities, atol=1e-6
    )


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_matrix_of_runtimes(export, tmp_path, dtype, kind):
    code, _, error = program(
        export, f"--out={tmp_path}", f"--dtype={dtype}", f"--input={kind}", "--check"
    )
    told = json.loads((tmp_path / "check.json").read_text())
    ran = {
        (runtime, dtype, kind)
        for runtime, entry in told["files"]["model.onnx"]["runtimes"].items()
        if "unsupported" not in entry
    }
    assert ran == {found for found in RUNS if found[1:] == (dtype, kind)}
    assert code == 0, error
    # Half precision shows: it is not the other file by mistake.
    entries = told["files"]["model.onnx"]["runtimes"].values()
    differences = [entry["max_difference"] for entry in entries]
    assert (min(differences) > 1e-6) == (dtype == "float16")


@pytest.mark.parametrize("runtime", ["onnx", "opencv"])
def test_detectors_of_all_runtimes_agree(export, written, runtime):
    crops = np.random.default_rng(0).integers(0, 255, (3, 256, 256, 3), dtype=np.uint8)
    wanted = Detector.load(export)(crops)
    detector = Detector.load(written / "model.onnx", runtime=runtime)
    assert detector.runtime == runtime and Detector.load(written).runtime == "onnx"
    for count in (3, 1, 2, 0):
        np.testing.assert_allclose(detector(crops[:count]), wanted[:count], atol=1e-5)


@pytest.mark.parametrize("runtime", ["onnx", "opencv"])
def test_a_detector_works_where_jax_cannot_be_imported(written, runtime):
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('jax', 'jaxlib', 'flax', 'optax', 'orbax', 'chex'):
            raise ModuleNotFoundError('No module named ' + repr(name), name=name)
sys.meta_path.insert(0, Absent())
import numpy as np
from piapdf_jax.detector import Detector
golden = np.load({str(written / "golden.npz")!r})
found = Detector.load({str(written / "model.onnx")!r}, runtime={runtime!r})(golden["frames"])
print(float(np.abs(found - golden["probabilities"]).max()) < 1e-5)
try:
    import jax
except ModuleNotFoundError:
    print("absent")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["True", "absent"], done.stderr


#: Sizes of networks, and the side of their images.
DEEP = {
    "tiny": (MODELS["tiny"], 128),
    "b1": (MODELS["b1"], 256),
    "resnet14": (ModelConfig(encoder="resnet14", encoder_size=97), 128),
    "resnet50": (ModelConfig(encoder="resnet50"), 256),
}


@pytest.mark.parametrize("name", DEEP)
def test_networks_of_full_depth(tmp_path, name):
    import jax.numpy as jnp

    from piapdf_jax.models.piap import predict_action_units

    config, size = DEEP[name]
    encoder, head = lively_parts(config, size, UNITS)
    frames = pictures(2, size)
    images = jnp.asarray(frames.astype(np.float32) / 255)
    said = predict_action_units(config, {"encoder": encoder, "head": head}, images)
    wanted = np.asarray(jax.nn.sigmoid(said.au_logits))
    assert np.ptp(wanted, axis=0).max() > 0.1
    listed = light_detector(config, encoder, head, image_size=size)
    for dtype, tolerance in (("float32", 1e-5), ("float16", 1e-2)):
        path = tmp_path / f"{dtype}.onnx"
        write_onnx(path, listed, image_size=size, units=UNITS, dtype=dtype)
        import cv2
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        found = np.asarray(session.run(None, {"images": frames})[0])
        np.testing.assert_allclose(found, wanted, atol=tolerance)
        net = cv2.dnn.readNetFromONNX(str(path))
        net.setInput(frames, "images")
        np.testing.assert_allclose(net.forward("probabilities"), wanted, atol=tolerance)
    wanted_count = sum(leaf.size for leaf in jax.tree.leaves((encoder[0], head[0])))
    scales = sum(
        leaf.size
        for path, leaf in jax.tree_util.tree_flatten_with_path(encoder[0])[0]
        if path[-1].key == "scale"
    )
    assert count_parameters(listed) == wanted_count - scales
    # Nothing else lies in it: 1/255, normalization, and the resize of two matrices.
    constants = 1 + 3 + 3 + (2 * size * config.encoder_size if size != config.encoder_size else 0)
    assert (
        sum(constant.size for constant in constants_of(path)) == wanted_count - scales + constants
    )


def constants_of(path):
    import onnx

    return [onnx.numpy_helper.to_array(i) for i in onnx.load(str(path)).graph.initializer]


def test_a_file_that_differs_is_told(written, tmp_path):
    for path in written.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    golden = check.read_golden(written / "golden.npz")
    shifted = golden.probabilities + np.float32(1.1e-5)
    np.savez(tmp_path / "golden.npz", frames=golden.frames, probabilities=shifted, dtype="float32")
    code, said, _ = program(tmp_path, "--check")
    assert code == 1 and "not within 1e-05" in said
    assert not json.loads((tmp_path / "check.json").read_text())["passed"]
    np.savez(
        tmp_path / "golden.npz",
        frames=golden.frames,
        probabilities=shifted * np.nan,
        dtype="float32",
    )
    assert program(tmp_path, "--check")[0] == 1


def test_golden_frames_of_another_type_or_size(written, tmp_path):
    for path in written.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    frames, probabilities, _ = check.read_golden(written / "golden.npz")
    golden: dict[str, Any] = {"frames": frames, "probabilities": probabilities, "dtype": "float32"}
    for changes, said in (
        ({"dtype": "float16"}, "expects float16 in model.onnx"),
        ({"dtype": "int8"}, "expects int8 in model.onnx"),
        ({"dtype": "bfloat16"}, "holds no golden frames"),
        ({"frames": frames[:, 1:]}, "of another model"),
        ({"frames": frames[1:]}, "holds no golden frames"),
        ({"frames": frames[:0], "probabilities": probabilities[:0]}, "holds no golden frames"),
        ({"probabilities": probabilities.astype(str)}, "holds no golden frames"),
        ({"probabilities": probabilities.astype(object)}, "holds no golden frames"),
    ):
        np.savez(tmp_path / "golden.npz", **(golden | changes))
        with pytest.raises(ModelError, match=said):
            check.check(tmp_path)


def test_nothing_in_golden_frames_is_unpickled(written, tmp_path):
    class Evil:
        def __reduce__(self):
            return pathlib.Path.touch, (tmp_path / "ran",)

    for path in written.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    frames = np.array([Evil()], object)
    np.savez(tmp_path / "golden.npz", frames=frames, probabilities=frames, dtype="float32")
    with pytest.raises(ModelError, match="holds no golden frames"):
        check.check(tmp_path)
    assert not (tmp_path / "ran").exists()
    with np.load(tmp_path / "golden.npz", allow_pickle=True) as stored:
        _ = stored["frames"]
    assert (tmp_path / "ran").exists()


def test_sides_of_kernels_are_written_out(written):
    # OpenCV 4.12 demands what the standard leaves to the shape of the weights.
    import onnx

    convolutions = [
        node for node in onnx.load(str(written / "model.onnx")).graph.node if node.op_type == "Conv"
    ]
    named = [[a.name for a in node.attribute] for node in convolutions]
    assert named and all("kernel_shape" in names for names in named)


FAULTS = {
    "model.onnx": {
        "empty": (b"", "is damaged or belongs to another export than model.json"),
        "text": (b"hello\n" * 99, "is damaged or belongs to another export"),
        "cut": (0.5, "is damaged or belongs to another export"),
    },
    "model.json": {
        "empty": (b"", "cannot be read as JSON"),
        "other": (b'{"schema": 99}', "schema 99"),
    },
    "golden.npz": {
        "empty": (b"", "holds no golden frames"),
        "cut": (0.5, "holds no golden frames"),
    },
}


@pytest.mark.parametrize(("name", "fault"), [(n, f) for n, found in FAULTS.items() for f in found])
def test_a_corrupt_file_is_one_line(written, tmp_path, name, fault):
    for path in written.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    new, said = FAULTS[name][fault]
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * new)] if isinstance(new, float) else new)
    code, _, error = program(tmp_path, "--check")
    assert code == 2 and len(error.splitlines()) == 1 and error.startswith("error: ")
    assert re.search(said, error) and name in error


def test_damage_inside_a_file_is_found(written, tmp_path):
    for path in written.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    data = bytearray((tmp_path / "model.onnx").read_bytes())
    place = len(data) // 2
    data[place : place + 400] = bytes(400)
    (tmp_path / "model.onnx").write_bytes(data)
    code, _, error = program(tmp_path, "--check")
    assert code == 2 and len(error.splitlines()) == 1 and "model.onnx" in error
    # A detector, which has no golden frames, does not take other numbers for it either.
    with pytest.raises(ModelError, match=r"model.onnx .* is damaged or cut off"):
        Detector.load(tmp_path / "model.onnx")


def test_the_checksum_is_a_property_that_every_reader_sees(written):
    import onnx

    data = (written / "model.onnx").read_bytes()
    told = {p.key: p.value for p in onnx.load_from_string(data).metadata_props}
    assert list(told)[-1] == "sha256"
    assert told["sha256"] == hashlib.sha256(data[: data.rfind(b"\x72\x4a")]).hexdigest()


def test_a_model_json_of_another_export(written, tmp_path):
    other = light_model.write(tmp_path / "runs", digest="fedcba9876543210")
    for path in written.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.json").write_bytes((other / "model.json").read_bytes())
    with pytest.raises(ModelError, match="belongs to export 0123456789abcdef, the model.json"):
        Detector.load(tmp_path / "model.onnx")


def test_what_is_no_light_detector(tmp_path):
    code, _, error = program(tmp_path / "absent", f"--out={tmp_path / 'o'}")
    assert code == 2 and error.startswith("error: ") and len(error.splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_an_export_is_the_same_file_every_time(export, written, tmp_path):
    assert program(export, f"--out={tmp_path}")[0] == 0
    for name in ("model.onnx", "model.json"):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()
    assert not pathlib.Path(tmp_path, "check.json").exists()
