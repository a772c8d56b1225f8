"""A StableHLO file in plain JAX, in a process that knows nothing of this package."""

import pathlib
import re
import subprocess
import sys

import light_model
import numpy as np
import pytest
from lively_parts import lively_parts, pictures
from numpy_operations import convolutions, run

from piapdf_jax.export.light_detector import light_detector
from piapdf_jax.export.stablehlo_file import load_stablehlo, write_stablehlo
from piapdf_jax.model_json import ModelError
from piapdf_jax.models.presets import MODELS

UNITS, SIZE = len(light_model.UNITS), 48
PLAIN = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("piapdf_jax", "experiments", "data_builders", "flax", "optax"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
import numpy as np
from jax import export

with open(sys.argv[1], "rb") as file:
    exported = export.deserialize(bytearray(file.read()))
frames = np.load(sys.argv[2])
np.savez(sys.argv[3], *(exported.call(frames[:count]) for count in (1, 3, 5)))
print(exported.platforms, exported.in_avals[0].shape)
"""


@pytest.fixture(scope="module")
def listed():
    config = MODELS["nano"]
    return light_detector(config, *lively_parts(config, SIZE, UNITS), image_size=SIZE)


@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 5e-6), ("float16", 1e-2)])
def test_plain_jax_runs_it_in_batches_of_any_size(listed, tmp_path, dtype, tolerance, kind):
    path, frames = tmp_path / "model.stablehlo", pictures(5, SIZE)
    write_stablehlo(path, listed, image_size=SIZE, dtype=dtype, input_type=kind)
    taken = frames if kind == "uint8" else frames.astype(np.float32) / np.float32(255)
    np.save(tmp_path / "frames.npy", taken)
    code = [sys.executable, "-c", PLAIN, path, tmp_path / "frames.npy", tmp_path / "found.npz"]
    done = subprocess.run([*map(str, code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"('cpu', 'cuda', 'tpu') (batch, {SIZE}, {SIZE}, 3)\n"
    wanted = run(listed, frames / 255.0)
    with np.load(tmp_path / "found.npz") as found:
        for part in found.values():
            assert part.dtype == np.float32
            np.testing.assert_allclose(part, wanted[: len(part)], rtol=0, atol=tolerance)
        assert [len(part) for part in found.values()] == [1, 3, 5]
    # Frames of bytes, whatever the file takes.
    np.testing.assert_allclose(load_stablehlo(path)(frames), wanted, rtol=0, atol=tolerance)


def test_a_convolution_is_one_operation_on_each_platform(listed, tmp_path):
    """The depthwise primitive of training would be hundreds of slices."""
    from jax import export

    path = tmp_path / "model.stablehlo"
    write_stablehlo(path, listed, image_size=SIZE)
    text = export.deserialize(bytearray(path.read_bytes())).mlir_module()
    groups = re.findall(r"stablehlo\.convolution.*?feature_group_count = (\d+)", text)
    wanted = [str(o.groups) for o in convolutions(listed) for _ in range(3)]
    assert groups == wanted and max(map(int, groups)) > 1
    assert "slice" not in text and "pad(" not in text


def test_a_file_says_nothing_of_where_it_was_written(listed, tmp_path):
    import jax

    limit = jax.config.jax_traceback_in_locations_limit  # pyright: ignore[reportAttributeAccessIssue]
    write_stablehlo(tmp_path / "one.stablehlo", listed, image_size=SIZE)
    jax.clear_caches()
    (lambda: write_stablehlo(tmp_path / "two.stablehlo", listed, image_size=SIZE))()
    one, two = ((tmp_path / f"{name}.stablehlo").read_bytes() for name in ("one", "two"))
    assert one == two
    assert b".py" not in one and str(pathlib.Path(__file__).parent).encode() not in one
    assert jax.config.jax_traceback_in_locations_limit == limit  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("fault", [b"", b"hello", 0.5])
def test_a_file_that_cannot_be_read_is_one_line(listed, tmp_path, fault):
    path = tmp_path / "model.stablehlo"
    write_stablehlo(path, listed, image_size=SIZE)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fault)] if isinstance(fault, float) else fault)
    with pytest.raises(ModelError, match=r"model.stablehlo cannot be read by JAX \d") as error:
        load_stablehlo(path)
    assert "\n" not in str(error.value)


def test_another_program_of_jax_is_refused(tmp_path):
    import jax
    from jax import export

    other = export.export(jax.jit(lambda a, b: a + b))(np.zeros(2), np.zeros(2))
    (tmp_path / "other.stablehlo").write_bytes(other.serialize())
    with pytest.raises(ModelError, match="cannot be read"):
        load_stablehlo(tmp_path / "other.stablehlo")


def test_who_wrote_it_and_who_reads_it(listed, tmp_path):
    import jax
    from jax import export

    told = write_stablehlo(tmp_path / "model.stablehlo", listed, image_size=SIZE)
    assert told["jax"] == jax.__version__ and told["platforms"] == "cpu cuda tpu"
    low, high = (
        export.minimum_supported_calling_convention_version,
        export.maximum_supported_calling_convention_version,
    )
    assert low <= told["calling_convention"] <= high
    assert "six months" in told["read_by"]
