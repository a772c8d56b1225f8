"""Landmark head on the encoder's vector: a layer of N numbers, then one of 136 (section 3.2)."""

import flax.linen as nn
import jax

from piapdf_jax.landmarks import COORDINATES
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.layers import dense
from piapdf_jax.models.parts import apply_module, init_module
from piapdf_jax.models.pretrained import pretrained_classifier
from piapdf_jax.types import Part


class LandmarkHead(nn.Module):
    """Two linear layers: vector [B, F] -> (its N numbers [B, N], coordinates [B, 136])."""

    classes: int

    @nn.compact
    def __call__(self, vector: jax.Array, *, mode: str) -> tuple[jax.Array, jax.Array]:
        """Computes both of [B, F]; the same in every mode."""
        del mode
        numbers = dense(self.classes, name="classes")(vector)
        return numbers, dense(COORDINATES, name="regression")(numbers)


def init_landmark_head(config: ModelConfig, key: jax.Array, *, features: int, classes: int) -> Part:
    """Returns start values; the first layer is ImageNet's classifier where a file of weights has one of N classes.

    Args:
        config: sizes, and the file that encoders start from.
        key: typed key, a concrete one.
        features: F.
        classes: N.
    """
    params, stats = init_module(LandmarkHead(classes), key, features)
    found = pretrained_classifier(config) if config.pretrained != "none" else None
    if found is not None and found[1].shape == (classes,):
        params = {**params, "classes": dict(zip(("kernel", "bias"), found, strict=True))}
    return Part(params, stats)


def landmark_head_apply(part: Part, vector: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes where landmarks are.

    Args:
        part: a landmark head.
        vector: [B, F] float32.

    Returns:
        (the N numbers of the first layer [B, N], coordinates [B, 136]: x and y of each landmark in turn, 0 in the
        middle of the image and in units of its side).
    """
    classes = part[0]["classes"]["bias"].shape[0]
    found, _ = apply_module(LandmarkHead(classes), part, vector, "eval", None)
    return found  # pyright: ignore[reportReturnType]
