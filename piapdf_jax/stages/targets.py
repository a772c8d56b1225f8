"""Targets of a step from frozen parts: PI maps M and the person-specific vector P (sections 3.1, 3.2)."""

import jax

from piapdf_jax.batch import Targets
from piapdf_jax.landmarks import landmark_vector
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.encoder import encoder_apply
from piapdf_jax.models.generator import generator_apply
from piapdf_jax.types import Parts


def frozen_targets(
    model: ModelConfig,
    frozen: Parts,
    images: jax.Array,
    labels: jax.Array,
    *,
    landmarks: jax.Array | None = None,
    binarize: bool = False,
) -> Targets:
    """Computes M from PI Generator 1 and P (sections 3.1, 3.2), with the labels of the images.

    The frozen parts run once an image, on the augmented view, with their running statistics; what they say serves
    every network of a step.

    Args:
        model: sizes of the networks.
        frozen: ``generator``, and what P is made with, see ``person_vector``; each optional.
        images: [B, S, S, 3] float32 in [0, 1].
        labels: [B, C], 0, 1 or -1.
        landmarks: [B, 68, 2], (x, y) in pixels of the images, where P is made of them.
        binarize: cut the soft maps at 0.5.

    Returns:
        Targets without gradient; that of a part that is not in ``frozen`` stays None.
    """
    maps = None
    if "generator" in frozen:
        logits, _ = generator_apply(model, frozen["generator"], images, mode="eval")
        maps = jax.nn.sigmoid(logits)
        if binarize:
            maps = (maps >= 0.5).astype(logits.dtype)
    vector = person_vector(model, frozen, images, landmarks)
    return jax.lax.stop_gradient(Targets(maps, vector, labels))


def person_vector(
    model: ModelConfig, frozen: Parts, images: jax.Array, landmarks: jax.Array | None
) -> jax.Array | None:
    """Computes P, the person-specific vector that AU vectors are made orthogonal to.

    Args:
        model: sizes of the networks.
        frozen: ``identity``, an encoder whose pooled vector is P; or ``landmarks``, a linear ``map``
            [136, F] and the ``mean`` [136] of the training frames, with which
            P = (landmark_vector(landmarks) - mean) map.
        images: [B, S, S, 3] float32 in [0, 1].
        landmarks: [B, 68, 2], (x, y) in pixels of the images; an encoder reads none.

    Returns:
        P, [B, F]; None where ``frozen`` has neither.

    Raises:
        ValueError: where P is made of landmarks, and there are none.
    """
    if "identity" in frozen:
        return encoder_apply(model, frozen["identity"], images, mode="eval")[1]
    if "landmarks" not in frozen:
        return None
    if landmarks is None:
        raise ValueError("P is computed from landmarks, but the batch has none")
    fixed, statistics = frozen["landmarks"]
    shape = landmark_vector(landmarks.astype(statistics["mean"].dtype))
    return (shape - statistics["mean"]) @ fixed["map"]
