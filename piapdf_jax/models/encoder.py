"""The encoder as a part: maps images, or gray images times PI maps, to a feature map and a vector."""

import jax

from piapdf_jax.models.config import ModelConfig, encoder_of
from piapdf_jax.models.inputs import cast_to_compute_dtype, normalize
from piapdf_jax.models.parts import check_key
from piapdf_jax.models.pretrained import pretrained_encoder
from piapdf_jax.models.resizing import resize
from piapdf_jax.types import BatchStats, Part


def init_encoder(config: ModelConfig, key: jax.Array, *, in_channels: int = 3) -> Part:
    """Returns start values of an encoder, drawn on the host or read from the configuration's file.

    Args:
        config: sizes, and the file that encoders start from.
        key: typed key, a concrete one.
        in_channels: 3 for images, 12 for the encoder of PI stage 2.

    Raises:
        ValueError: for a configuration whose pretrained file has not been looked up.
    """
    if config.pretrained != "none":
        return pretrained_encoder(config, in_channels)
    return encoder_of(config).init(key, config.encoder_size, in_channels)


def feature_shape(config: ModelConfig) -> tuple[int, int, int]:
    """Returns the shape [h, w, F] of the feature map of one image."""
    return encoder_of(config).feature_shape(config.encoder_size)


def encoder_apply(
    config: ModelConfig, part: Part, inputs: jax.Array, *, mode: str, key: jax.Array | None = None
) -> tuple[jax.Array, jax.Array, BatchStats]:
    """Computes the feature map and the vector of images.

    Args:
        config: sizes; the input is resized to ``encoder_size``, RGB is normalized.
        part: an encoder for as many channels as the inputs have.
        inputs: [B, S, S, 3] float32 RGB in [0, 1], or [B, S, S, 12] float32, see
            ``gray_times_maps``.
        mode: ``train``, ``feedback`` or ``eval``, see ``layers.Mode``.
        key: typed key of stochastic depth, needed in ``train``.

    Returns:
        (features [B, h, w, F] of the compute dtype, vector [B, F] float32, batch statistics after the
        pass).
    """
    inputs = resize(inputs, config.encoder_size, config.encoder_size)
    if inputs.shape[-1] == 3:
        inputs = normalize(config, inputs)
    check_key(mode, key, config.stochastic_depth)
    inputs = cast_to_compute_dtype(config, inputs)
    return encoder_of(config).apply(part, inputs, mode=mode, key=key)
