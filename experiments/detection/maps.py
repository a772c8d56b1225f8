"""Draws the maps of PI Generator 1 of a detector's run over faces.

This network is not the detector, but the one whose maps the detector's encoder had to reproduce in training
(section 3.1): it shows where units are expected, and does not explain any score.
"""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from experiments.detection.rows import Row
from piapdf_jax import faces

#: Maps [B, S, S, K] float32 in [0, 1] of crops [B, 256, 256, 3] uint8 RGB.
Maps = Callable[[np.ndarray], np.ndarray]

_TRAINING = "pi2"
_COLORS = (
    (255, 64, 64),
    (64, 224, 255),
    (255, 224, 64),
    (160, 255, 96),
    (255, 96, 255),
    (255, 160, 64),
)
_STRENGTH = 0.65
_SIZE = 256


class MapsError(ValueError):
    """There are no maps of a unit, or of a model."""


def load_maps(export: pathlib.Path, units: Sequence[int]) -> Maps:
    """Loads PI Generator 1 of the run of an export.

    Args:
        export: folder of the export, in ``RUNS/exports/<training>/<digest>``.
        units: FACS numbers whose maps are wanted, in order.

    Raises:
        MapsError: for an .onnx file or its folder, a run without the generator, and a unit that it has no map for.
        ExportError: for an export that cannot be read.
    """
    if not export.is_dir() or (export / "model.onnx").is_file():
        raise MapsError(
            f"--maps: {export} holds the detector alone; PI Generator 1 is an export of its run: give"
            " --model=RUNS/exports/TRAINING/DIGEST"
        )
    import jax
    import jax.numpy as jnp

    from piapdf_jax.load import networks
    from piapdf_jax.model_json import read_model
    from piapdf_jax.models.generator import generator_apply
    from piapdf_jax.runtime.exports import read_export

    folder = _generator_folder(export)
    model = read_model(folder)
    parts, info = read_export(folder)
    columns = _columns(info["fingerprint"]["settings"]["maps"], units)
    config = networks(folder, model)

    @jax.jit
    def probabilities(images: jax.Array) -> jax.Array:
        logits, _ = generator_apply(config, parts["generator"], images, mode="eval")
        return jax.nn.sigmoid(logits)[..., columns]

    def maps(crops: np.ndarray) -> np.ndarray:
        images = faces.shrink_crops(crops, model.image_size).astype(np.float32) / np.float32(255)
        return np.asarray(probabilities(jnp.asarray(images)))

    return maps


def _columns(known: Sequence[int], units: Sequence[int]) -> np.ndarray:
    """Where the maps of units are among those of a generator."""
    missing = [au for au in units if au not in known]
    if missing:
        raise MapsError(
            f"--maps: PI Generator 1 has no map of AU{missing[0]:02d}; it has those of"
            f" {', '.join(f'AU{au:02d}' for au in known)}"
        )
    return np.array([list(known).index(au) for au in units])


def _generator_folder(export: pathlib.Path) -> pathlib.Path:
    """The export of PI stage 2 that an export rests on, by itself or through those that it took."""
    from piapdf_jax.runtime.exports import read_info

    consumed = read_info(export).get("consumed", {})
    exports = export.absolute().parents[1]
    if _TRAINING in consumed:
        folder = exports / _TRAINING / consumed[_TRAINING]
        if not folder.is_dir():
            raise MapsError(f"--maps: {folder}, which {export} was trained with, does not exist")
        return folder
    for training, digest in consumed.items():
        if (exports / training / digest).is_dir():
            return _generator_folder(exports / training / digest)
    raise MapsError(f"--maps: {export} was trained without PI Generator 1")


def painted(picture: np.ndarray, rows: Sequence[Row], maps: Maps) -> np.ndarray:
    """Colors a frame where the generator looks, each unit in a color of its own.

    Args:
        picture: [H, W, 3] uint8 RGB.
        rows: of the frame.
        maps: as ``load_maps`` made it.

    Returns:
        [H, W, 3] uint8 RGB.
    """
    import cv2

    for row in rows:
        if row.crop is None:
            continue
        a, b, x, y = row.crop
        matrix = np.array([[a, -b, x], [b, a, y]])
        crop = cv2.warpAffine(
            picture, matrix, (_SIZE, _SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        for k, found in enumerate(np.moveaxis(maps(crop[None])[0], -1, 0)):
            whole = cv2.resize(found, (_SIZE, _SIZE), interpolation=cv2.INTER_LINEAR)
            back = cv2.warpAffine(
                whole,
                matrix,
                picture.shape[1::-1],
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            )
            share = _STRENGTH * back[..., None]
            color = np.array(_COLORS[k % len(_COLORS)], np.float32)
            picture = np.rint(picture * (1 - share) + color * share).astype(np.uint8)
    return picture


def legend(units: Sequence[int]) -> list[tuple[str, tuple[int, int, int]]]:
    """Returns the words to write on a frame, each in its color."""
    words = [("PI Generator 1 looks here for", (245, 245, 245))]
    words += [(f"AU{au:02d}", _COLORS[k % len(_COLORS)]) for k, au in enumerate(units)]
    return [*words, ("(no explanation of the scores)", (245, 245, 245))]
