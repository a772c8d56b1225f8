"""Weights and activations of convolutions in 8 bits, for .onnx files; ``onnxruntime`` is imported inside."""

import logging
import pathlib
from collections.abc import Iterator

import numpy as np

from piapdf_jax.detector_runtimes import PREPARE, sealed
from piapdf_jax.types import JsonObject

_INPUT = "images"


def quantize_onnx(
    path: pathlib.Path, calibration: np.ndarray | None, input_type: str
) -> JsonObject:
    """Rounds the convolutions of an .onnx file to 8 bits, in its place.

    Weights by output channel, activations by the ranges that frames show, those inside gates too; resize,
    normalization, what joins convolutions and the head stay float32. Quantized as pairs of QuantizeLinear and
    DequantizeLinear, which runtimes fuse.

    Args:
        path: of a float32 file of ``write_onnx``.
        calibration: frames [N, S, S, 3] uint8.
        input_type: of the file's images.

    Returns:
        What must be known of the file: of how many frames the ranges are.

    Raises:
        ValueError: without frames.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    if calibration is None or not len(calibration):
        raise ValueError(
            "int8 needs frames to calibrate the ranges of activations: give --calibration_data"
        )

    class Frames(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = _feeds(calibration, input_type)

        def get_next(self) -> dict[str, np.ndarray] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
            return next(self._left, None)

    # It recommends a pass that looks up shapes, which stand in our files.
    logging.disable(logging.WARNING)
    try:
        quantize_static(
            *(str(path), str(path), Frames()),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            op_types_to_quantize=["Conv"],
        )
    finally:
        logging.disable(logging.NOTSET)
    _seal(path)
    return {"calibration_frames": len(calibration)}


def _seal(path: pathlib.Path) -> None:
    """Lets a file say that it is of 8 bits, and what its checksum is now."""
    import onnx

    model = onnx.load(str(path))
    metadata = {entry.key: entry.value for entry in model.metadata_props if entry.key != "sha256"}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata | {"dtype": "int8"})
    path.write_bytes(sealed(model.SerializeToString()))


def _feeds(frames: np.ndarray, input_type: str) -> Iterator[dict[str, np.ndarray]]:
    for frame in frames:
        yield {_INPUT: PREPARE[input_type](frame[None])}
