"""What several stages ask of the parts alike: targets from frozen parts, and action units from trained ones."""

import functools
from typing import Any

import jax

from piapdf_jax.batch import Prediction, Targets
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.encoder import encoder_apply
from piapdf_jax.models.generator import generator_apply
from piapdf_jax.models.parts import Part
from piapdf_jax.models.piap import network_apply


def frozen_targets(
    model: ModelConfig,
    frozen: dict[str, Part],
    images: jax.Array,
    labels: jax.Array,
    *,
    binarise: bool = False,
) -> Targets:
    """M from PI Generator 1 and P from Encoder P (sections 3.1, 3.2), with the labels of the images.

    The frozen parts run once an image, on the augmented view, with their running statistics; what they say serves
    every network of a step.

    Args:
        model: sizes of the networks.
        frozen: ``generator`` and ``identity``, each optional.
        images: [B, S, S, 3] float32 in [0, 1].
        labels: [B, C], 0, 1 or -1.
        binarise: cut the soft maps at 0.5.

    Returns:
        Targets without gradient; that of a part that is not in ``frozen`` stays None.
    """
    maps = vector = None
    if "generator" in frozen:
        logits, _ = generator_apply(model, frozen["generator"], images, mode="eval")
        maps = jax.nn.sigmoid(logits)
        if binarise:
            maps = (maps >= 0.5).astype(logits.dtype)
    if "identity" in frozen:
        _, vector, _ = encoder_apply(model, frozen["identity"], images, mode="eval")
    return jax.lax.stop_gradient(Targets(maps, vector, labels))


@functools.partial(jax.jit, static_argnums=0)
def predict_action_units(
    model: ModelConfig, parts: dict[str, Part], images: jax.Array
) -> Prediction:
    """What encoder and AU head alone say of images; one compiled function for every training that has them.

    Args:
        model: sizes of the networks.
        parts: ``encoder`` and ``head``.
        images: [B, S, S, 3] float32 in [0, 1].

    Returns:
        The prediction without PI maps.
    """
    kept: dict[str, Any] = {name: parts[name] for name in ("encoder", "head")}
    return network_apply(model, kept, images, mode="eval")[0]
