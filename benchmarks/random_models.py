"""Light detectors with random weights, which are as fast as trained ones."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from piapdf_jax import faces
from piapdf_jax.action_units import BP4D_AUS
from piapdf_jax.export.detector_file import Light, golden_frames
from piapdf_jax.export.light_detector import light_detector
from piapdf_jax.export.onnx_file import write_onnx
from piapdf_jax.model_json import FILE_NAME, Data, License, Model, to_json
from piapdf_jax.models.config import ModelConfig, part_settings
from piapdf_jax.models.encoder import encoder_apply
from piapdf_jax.models.piap import init_part
from piapdf_jax.models.presets import MODELS
from piapdf_jax.records import IMAGE_SIZE

#: Side of the images of each.
SIZES = {"tiny": 96, "b1": 256}
_DIGEST = "0" * 16
_PARTS = ("encoder", "head")


def write_random_models(folder: pathlib.Path) -> dict[str, str]:
    """Writes a folder of each name of ``SIZES``; returns those by name."""
    found = {}
    for name in SIZES:
        light = random_light(name)
        place = folder / name
        place.mkdir()
        metadata = {"digest": _DIGEST, "input": "uint8"}
        sizes = {"image_size": light.model.image_size, "units": len(BP4D_AUS)}
        write_onnx(place / "model.onnx", light.operations, metadata=metadata, **sizes)
        (place / FILE_NAME).write_text(to_json(light.model), encoding="utf-8")
        found[name] = str(place)
    return found


def random_light(name: str) -> Light:
    """Returns a detector whose probabilities differ from picture to picture, as trained ones do.

    Args:
        name: of ``SIZES``.
    """
    config, size = MODELS[name], SIZES[name]
    encoder = init_part(config, "encoder", jax.random.key(0))
    (dense, stats) = init_part(config, "head", jax.random.key(1), num_aus=len(BP4D_AUS))
    images = jnp.asarray(golden_frames(size), jnp.float32) / 255
    # With the statistics of a start, what a picture says fades from layer to layer; these are of the pictures.
    own = dataclasses.replace(config, bn_momentum=0.0)
    _, _, found = encoder_apply(own, encoder, images, mode="feedback")
    encoder = (encoder[0], found)
    _, vectors, _ = encoder_apply(config, encoder, images, mode="eval")
    # Logits of about one.
    spread = float(np.asarray(vectors).std(0).mean())
    head = (jax.tree.map(lambda leaf: leaf / spread, dense), stats)
    listed = light_detector(config, encoder, head, image_size=size)
    parts: dict[str, Any] = {"encoder": encoder, "head": head}
    return Light(_described(config, size), config, parts, listed)


def _described(config: ModelConfig, size: int) -> Model:
    """What ``model.json`` says of numbers that nobody has trained."""
    mean, std = config.normalization
    halves = dict.fromkeys(BP4D_AUS, 0.5)
    return Model(
        training="baseline",
        title="random numbers",
        digest=_DIGEST,
        units=BP4D_AUS,
        image_size=size,
        mean=mean,
        std=std,
        parts=_PARTS,
        model=part_settings(config, _PARTS),
        crop={"size": IMAGE_SIZE, "box_scale": faces.BOX_SCALE, "box_lift": faces.BOX_LIFT},
        base_rates=dict(halves),
        cuts=dict(halves),
        no_cut={},
        frames={"labeled": 0, "scored": 0},
        data=(Data("baseline", "none", "0.0.0", "none", 0, False),),
        stand_ins={},
        files={},
        licences=(License("random numbers", "none", ""),),
    )
