"""A list of operations as a LiteRT (.tflite) file, for phones and small devices; without TensorFlow and without torch.

The converter is a library without a public Python interface of its own: which versions have the modules that are used
here is written down once, in ``WORKS``.
"""

import contextlib
import importlib
import importlib.metadata
import io
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from piapdf_jax import commands
from piapdf_jax.detector_runtimes import PREPARE, Probabilities
from piapdf_jax.export.folded import folded_function
from piapdf_jax.export.formats import CONVERTER
from piapdf_jax.model_json import ModelError

#: Versions whose private modules are those that this file calls.
WORKS = "litert-converter 0.5"
INPUT, OUTPUT = "images", "probabilities"
_CONVERTER = "litert_converter.mlir"
#: What has weights. The resize is a FULLY_CONNECTED as well, and so is the head: both stay as they are.
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
#: Types of weights beside float32, as recipes of ai-edge-quantizer.
_RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
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
    operations: Sequence[Any],
    *,
    image_size: int,
    dtype: str = "float32",
    input_type: str = "uint8",
) -> dict[str, Any]:
    """Writes the file. Its batch is 1, and may be resized before tensors are allocated.

    Args:
        path: of the file.
        operations: as ``light_detector`` lists them.
        image_size: side S of the images.
        dtype: of the weights of convolutions: float32, float16, or int8, whose activations are rounded as well.
        input_type: ``uint8`` for images [1, S, S, 3] of 0 to 255, ``float32`` for 0 to 1.

    Returns:
        What must be known of the file: what wrote it.

    Raises:
        ModelError: for a version of the converter that has other modules.
    """
    import jax

    images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), np.dtype(input_type))
    function = jax.jit(folded_function(operations, input_type=input_type))
    lowered = function.trace(images).lower(lowering_platforms=("cpu",)).compiler_ir("stablehlo")
    text = lowered.operation.get_asm(enable_debug_info=False, large_elements_limit=None)
    data = _converted(text)
    path.write_bytes(data if dtype == "float32" else _quantized(data, dtype))
    return {"converter": f"litert-converter {importlib.metadata.version('litert-converter')}"}


def load_litert(path: pathlib.Path, *, threads: int | None = None) -> Probabilities:
    """Loads a file of ``write_litert`` in ai-edge-litert.

    Args:
        path: of the file.
        threads: of the runtime; None leaves it to the runtime.

    Raises:
        ModelError: for a file that it cannot read.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=path.read_bytes(), num_threads=threads)
        (entry,), (last,) = interpreter.get_input_details(), interpreter.get_output_details()
        prepare = PREPARE[np.dtype(entry["dtype"]).name]
    except (ValueError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path} cannot be read by LiteRT: {reason}") from error

    def probabilities(crops: np.ndarray) -> np.ndarray:
        if tuple(interpreter.get_input_details()[0]["shape"]) != crops.shape:
            interpreter.resize_tensor_input(entry["index"], crops.shape, strict=False)
        interpreter.allocate_tensors()
        interpreter.set_tensor(entry["index"], prepare(crops))
        interpreter.invoke()
        return np.array(interpreter.get_tensor(last["index"]), np.float32)

    return probabilities


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


def _converter() -> tuple[Any, Any, Any]:
    """The converter's modules of MLIR, and its functions.

    Raises:
        ModelError: naming the versions that work.
    """
    names = ("ir", "passmanager", "_mlir_libs.converter_api_ext")
    try:
        found = tuple(importlib.import_module(f"{_CONVERTER}.{name}") for name in names)
        _ = found[2].prepare_mlir_context, found[2].run_convert_to_tfl_passes
    except (ImportError, AttributeError) as error:
        version = importlib.metadata.version("litert-converter")
        raise ModelError(
            f"litert-converter {version} has other modules than {WORKS}, which works here"
            f" ({' '.join(str(error).split())[:100]}): {commands.python('pip', 'install', '--no-deps', CONVERTER)}"
        ) from error
    return found[0], found[1], found[2]


def _quantized(data: bytes, dtype: str) -> bytes:
    from ai_edge_quantizer.quantizer import Quantizer

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
