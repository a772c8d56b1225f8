"""Converts the export of a training to the .onnx file of its light detector."""

import dataclasses
import pathlib
from typing import NamedTuple

import numpy as np

from piapdf_jax.export.light_detector import light_detector
from piapdf_jax.export.onnx_file import write_onnx
from piapdf_jax.export.operations import Operation
from piapdf_jax.model_json import Model, ModelError, read_model
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.parts import Part

#: Golden frames: as many, drawn anew from this seed.
_FRAMES, _SEED = 4, 20
_COARSE = (3, 7, 17)


class Light(NamedTuple):
    """The parts that stay after training, what ``model.json`` says of them, and their operations."""

    model: Model
    config: ModelConfig
    parts: dict[str, Part]
    operations: list[Operation]


def read_light(export: pathlib.Path) -> Light:
    """Reads encoder and head of an export.

    Args:
        export: its folder, or one of ``experiments.ship``, whose parts are rounded to half precision.

    Raises:
        FileNotFoundError: where there is no export.
        ExportError, WeightsError: where its parts cannot be read.
        ModelError: for an export that is no light detector: with a generator before the encoder, networks of a
            plugin's own, or an encoder that does not export.
    """
    from piapdf_jax.load import networks

    model = read_model(export)
    if set(model.parts) != {"encoder", "head"}:
        raise ModelError(
            f"{export} needs {', '.join(model.parts)}: a light detector has encoder and head alone; use an export"
            " of baseline, pi3, ap, lp, piap, df, piapdf or disfa"
        )
    # What it computes is float32 everywhere.
    config = dataclasses.replace(networks(export, model), compute_dtype="float32")
    parts = _parts(export, model)
    kept = {name: parts[name] for name in model.parts}
    try:
        listed = light_detector(config, kept["encoder"], kept["head"], image_size=model.image_size)
    except ModelError as error:
        raise ModelError(f"{export}: {error}") from error
    return Light(model, config, kept, listed)


def _parts(export: pathlib.Path, model: Model) -> dict[str, Part]:
    from piapdf_jax.load import load_export
    from piapdf_jax.models import shipped
    from piapdf_jax.runtime.exports import read_export

    if shipped.PARTS_FILE in model.files:
        return shipped.read_parts(str(model.files[shipped.PARTS_FILE].get("sha256")), export)
    load_export(export)  # says what does not fit
    return read_export(export)[0]


def golden_frames(size: int) -> np.ndarray:
    """Draws pictures that are smooth and have edges and grain, as photographs: [N, size, size, 3] uint8."""
    import cv2

    rng = np.random.default_rng(_SEED)
    frames = []
    for _ in range(_FRAMES):
        picture = np.zeros((size, size, 3), np.float32)
        for coarse in _COARSE:
            spots = rng.uniform(0, 1, (coarse, coarse, 3)).astype(np.float32)
            picture += cv2.resize(spots, (size, size), interpolation=cv2.INTER_CUBIC) / len(_COARSE)
        picture[size // 3 :, : size // 2] *= 0.6
        picture += rng.normal(0, 0.02, picture.shape)
        frames.append(np.rint(255 * picture.clip(0, 1)).astype(np.uint8))
    return np.stack(frames)


def golden_probabilities(light: Light, frames: np.ndarray) -> np.ndarray:
    """Computes JAX's probabilities [N, C] of frames [N, S, S, 3] uint8, in float32."""
    import jax
    import jax.numpy as jnp

    from piapdf_jax.models.piap import predict_action_units

    images = jnp.asarray(frames.astype(np.float32) / np.float32(255))
    with jax.default_matmul_precision("highest"):
        said = predict_action_units(light.config, light.parts, images)
    return np.asarray(jax.nn.sigmoid(said.au_logits))


def write_file(path: pathlib.Path, light: Light, *, dtype: str, input_type: str) -> None:
    """Writes the .onnx file; it names the export and its units."""
    model = light.model
    metadata = {
        "digest": model.digest,
        "units": " ".join(map(str, model.units)),
        "dtype": dtype,
        "input": input_type,
    }
    write_onnx(
        path,
        light.operations,
        image_size=model.image_size,
        units=len(model.units),
        dtype=dtype,
        input_type=input_type,
        metadata=metadata,
    )
