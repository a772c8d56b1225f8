"""A list of operations as a LiteRT (.tflite) file, for phones and small devices; without TensorFlow and without torch.

The metadata follow the network as a ZIP archive, as TensorFlow Lite's metadata store associated files: readers of
.tflite files skip it, and readers of ZIP archives open it.
"""

import contextlib
import hashlib
import importlib
import importlib.metadata
import io
import json
import pathlib
import types
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from piapdf_jax import commands
from piapdf_jax.detector_runtimes import PREPARE, Probabilities
from piapdf_jax.export.formats import CONVERTER
from piapdf_jax.export.operations import Operation
from piapdf_jax.model_json import ModelError
from piapdf_jax.types import JsonObject

#: Versions whose private modules are those that this file calls: the converter has no public ones.
WORKS = "litert-converter 0.5"
INPUT, OUTPUT = "images", "probabilities"
#: The file of the archive: the metadata, ``bytes`` of the network before the archive, and their ``sha256``.
METADATA_FILE = "detector.json"
_CONVERTER = "litert_converter.mlir"
#: What has most weights. The resize is a product as the head is, and stays exact.
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
#: Types of weights beside float32, as recipes of ai-edge-quantizer.
_RECIPES: dict[str, tuple[str, JsonObject]] = {
    # Weights are widened when they are read; arithmetic is that of the device.
    "float16": (
        "float_casting",
        {
            "weight_tensor_config": {"num_bits": 16, "symmetric": True, "dtype": "FLOAT"},
            "compute_precision": "FLOAT",
            "explicit_dequantize": True,
        },
    ),
    # Weights by output channel; activations by their range in each call.
    "int8": (
        "min_max_uniform_quantize",
        {
            "weight_tensor_config": {
                **{"num_bits": 8, "symmetric": True, "dtype": "INT"},
                "granularity": "CHANNELWISE",
            },
            "compute_precision": "INTEGER",
            "explicit_dequantize": False,
        },
    ),
}


def write_litert(
    path: pathlib.Path,
    operations: Sequence[Operation],
    *,
    image_size: int,
    dtype: str = "float32",
    input_type: str = "uint8",
    metadata: dict[str, str] | None = None,
) -> JsonObject:
    """Writes the file. Its batch is 1, and may be resized before tensors are allocated.

    Args:
        path: of the file.
        operations: as ``light_detector`` lists them.
        image_size: side S of the images.
        dtype: of the weights of convolutions: float32, float16, or int8, whose activations are rounded as well.
        input_type: ``uint8`` for images [1, S, S, 3] of 0 to 255, ``float32`` for 0 to 1.
        metadata: properties to store in the file, by name; type, input, length and checksum are added.

    Returns:
        What must be known of the file: what wrote it.

    Raises:
        ModelError: where the converter is not installed, or a version of it has other modules.
    """
    data = _converted(_program(operations, image_size, input_type))
    if dtype != "float32":
        data = _quantized(data, dtype)
    path.write_bytes(_sealed(data, {**(metadata or {}), "dtype": dtype, "input": input_type}))
    return {"converter": f"litert-converter {importlib.metadata.version('litert-converter')}"}


def load_litert(path: pathlib.Path, threads: int | None = None) -> Probabilities:
    """Loads a file of ``write_litert`` in ai-edge-litert.

    Args:
        path: of the file.
        threads: of the runtime; None leaves it to the runtime.

    Raises:
        FileNotFoundError: where there is none, or the runtime is not installed.
        ModelError: for a file that is not ours, is damaged or cannot be read.
    """
    read_metadata(path)
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise FileNotFoundError(
            f"the package ai-edge-litert is not installed: {commands.install('litert')}"
        ) from error
    try:
        interpreter = Interpreter(model_content=path.read_bytes(), num_threads=threads)
        (entry,), (last,) = interpreter.get_input_details(), interpreter.get_output_details()
        prepare = PREPARE[np.dtype(entry["dtype"]).name]
    except (ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"{path} cannot be read by LiteRT: {_one_line(error)}") from error

    def probabilities(crops: np.ndarray) -> np.ndarray:
        if not len(crops):  # no runtime has room for nothing
            return np.zeros((0, last["shape"][-1]), np.float32)
        if tuple(interpreter.get_input_details()[0]["shape"]) != crops.shape:
            interpreter.resize_tensor_input(entry["index"], crops.shape, strict=False)
        interpreter.allocate_tensors()
        interpreter.set_tensor(entry["index"], prepare(crops))
        interpreter.invoke()
        return np.array(interpreter.get_tensor(last["index"]), np.float32)

    return probabilities


def read_metadata(path: pathlib.Path) -> JsonObject:
    """Reads the metadata of a file of ``write_litert``; needs no package.

    Raises:
        FileNotFoundError: where there is none.
        ModelError: for a file that is not ours, or is damaged or cut off.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: export the model again")
    data = path.read_bytes()
    refused = f"{path} is not a .tflite file of experiments.export, or is damaged or cut off: export it again"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # As it was written: nothing is unpacked.
            if archive.getinfo(METADATA_FILE).compress_type != zipfile.ZIP_STORED:
                raise ModelError(refused)
            metadata = json.loads(archive.read(METADATA_FILE))
        network = data[: metadata["bytes"]]
        # Written again, for a byte that nothing reads is no less damaged.
        whole = _sealed(network, metadata) == data
    except Exception as error:  # of ZIP archives, compression and JSON
        raise ModelError(refused) from error
    if not whole:
        raise ModelError(refused)
    return metadata


def _sealed(data: bytes, metadata: JsonObject) -> bytes:
    facts = {**metadata, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as archive:
        # Of a fixed date, so that an export is the same file every time.
        archive.writestr(
            zipfile.ZipInfo(METADATA_FILE, (1980, 1, 1, 0, 0, 0)), json.dumps(facts, indent=1)
        )
    return file.getvalue()


def _program(operations: Sequence[Operation], image_size: int, input_type: str) -> str:
    """The text of a module of StableHLO for a batch of 1."""
    import jax

    from piapdf_jax.export.folded import folded_function

    images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), np.dtype(input_type))
    function = jax.jit(folded_function(operations, input_type=input_type))
    lowered = function.trace(images).lower(lowering_platforms=("cpu",))
    module: Any = lowered.compiler_ir("stablehlo")
    return module.operation.get_asm(enable_debug_info=False, large_elements_limit=None)


def _converted(text: str) -> bytes:
    """A module of StableHLO as a .tflite file."""
    ir, passes, api = _converter()
    context = ir.Context()
    api.prepare_mlir_context(context)
    with context, ir.Location.unknown():
        module = ir.Module.parse(text)
        passes.PassManager.parse("builtin.module(inline)").run(module.operation)
        api.set_signature(
            module.operation,
            signature_name="serving_default",
            input_names=[INPUT],
            output_names=[OUTPUT],
        )
        merged = api.merge_modules([module])
        settings = api.ConvertToTFLConfig()
        settings.model_origin_framework = "JAX"
        api.run_convert_to_tfl_passes(merged, passes.PassManager(), settings)
        return bytes(api.export_flatbuffer_to_bytes(merged.operation))


def _converter() -> tuple[types.ModuleType, ...]:
    """The converter's modules of MLIR, and its functions.

    Raises:
        ModelError: naming the versions that work.
    """
    try:
        version = importlib.metadata.version("litert-converter")
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelError(
            f"the package litert-converter is not installed: {_how_to_install()}"
        ) from error
    names = ("ir", "passmanager", "_mlir_libs.converter_api_ext")
    try:
        ir, passes, api = (importlib.import_module(f"{_CONVERTER}.{name}") for name in names)
        for name in _CALLED:
            getattr(api, name)
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"litert-converter {version} has other modules than {WORKS}, which works here"
            f" ({_one_line(error)}): {_how_to_install()}"
        ) from error
    return ir, passes, api


_CALLED = (
    "prepare_mlir_context",
    "set_signature",
    "merge_modules",
    "ConvertToTFLConfig",
    "run_convert_to_tfl_passes",
    "export_flatbuffer_to_bytes",
)


def _quantized(data: bytes, dtype: str) -> bytes:
    try:
        from ai_edge_quantizer.quantizer import Quantizer
    except ImportError as error:
        raise ModelError(
            f"the package ai-edge-quantizer is not installed: {commands.install('litert')}"
        ) from error
    key, settings = _RECIPES[dtype]
    quantizer = Quantizer(bytearray(data))
    quantizer.load_quantization_recipe(
        [
            {"regex": ".*", "operation": kind, "algorithm_key": key, "op_config": settings}
            for kind in _CONVOLUTIONS
        ]
    )
    # It prints sizes, and how far it is.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return bytes(quantizer.quantize().quantized_model)


def _how_to_install() -> str:
    return commands.python("pip", "install", "--no-deps", CONVERTER)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
