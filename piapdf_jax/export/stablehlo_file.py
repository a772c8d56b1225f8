"""A list of operations as a StableHLO file, which plain JAX loads and runs on CPUs, NVIDIA GPUs and TPUs.

JAX lowers convolutions and matrix products per platform, so the program holds each of them three times, behind a switch
that is constant at compile time.
"""

import pathlib
from collections.abc import Sequence

import numpy as np

from piapdf_jax.detector_runtimes import PREPARE, Probabilities
from piapdf_jax.export.folded import folded_function
from piapdf_jax.export.operations import Operation
from piapdf_jax.model_json import ModelError
from piapdf_jax.types import JsonObject

PLATFORMS = ("cpu", "cuda", "tpu")
#: What JAX promises of files of ``jax.export`` (docs.jax.dev, Exporting and serializing: compatibility guarantees).
WINDOW = (
    "JAX of this version and of releases up to six months newer; of older ones those up to three weeks back."
    " After that, export the model again"
)


def write_stablehlo(
    path: pathlib.Path,
    operations: Sequence[Operation],
    *,
    image_size: int,
    dtype: str = "float32",
    input_type: str = "uint8",
) -> JsonObject:
    """Writes one file for all of ``PLATFORMS`` and batches of any size, the same bytes wherever it is called from.

    Args:
        path: of the file.
        operations: as ``light_detector`` lists them.
        image_size: side S of the images.
        dtype: of weights and arithmetic between normalization and logits.
        input_type: ``uint8`` for images [B, S, S, 3] of 0 to 255, ``float32`` for 0 to 1.

    Returns:
        What must be known of the file: who wrote it, and who reads it.
    """
    import jax
    from jax import export

    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, image_size, image_size, 3), np.dtype(input_type))
    function = jax.jit(folded_function(operations, dtype=dtype, input_type=input_type))
    # Else each operation names the files of this machine from which it was called.
    limit = jax.config.jax_traceback_in_locations_limit  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        exported = export.export(function, platforms=PLATFORMS)(images)
    finally:
        jax.config.update("jax_traceback_in_locations_limit", limit)
    path.write_bytes(exported.serialize())
    return {
        "jax": jax.__version__,
        "calling_convention": exported.calling_convention_version,
        "platforms": " ".join(exported.platforms),
        "read_by": WINDOW,
    }


def load_stablehlo(path: pathlib.Path) -> Probabilities:
    """Loads a file of ``write_stablehlo``.

    Args:
        path: of the file; it is a program, made by nobody whom you would not let run one.

    Raises:
        ModelError: for a file that this version of JAX cannot read.
    """
    import jax
    from jax import export

    try:
        exported = export.deserialize(bytearray(path.read_bytes()))
        (images,) = exported.in_avals
        prepare = PREPARE[images.dtype.name]
    except Exception as error:  # of flatbuffers, MLIR and JAX
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path} cannot be read by JAX {jax.__version__}: {reason}") from error
    call = jax.jit(exported.call)
    return lambda crops: np.asarray(call(prepare(crops)))
