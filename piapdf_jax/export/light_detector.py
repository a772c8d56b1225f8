"""Encoder and AU head as a list of operations on NumPy arrays, whatever the encoder."""

import numpy as np

from piapdf_jax.export.efficientnet import efficientnet_operations
from piapdf_jax.export.encoder_operations import encoder_operations
from piapdf_jax.export.operations import Dense, Mean, Normalize, Operation, Resize, Sigmoid
from piapdf_jax.export.resnet import resnet_operations
from piapdf_jax.models.config import ModelConfig, encoder_of
from piapdf_jax.models.efficientnet_encoder import EfficientNetEncoder
from piapdf_jax.models.resizing import interpolation
from piapdf_jax.models.resnet_encoder import ResNetEncoder
from piapdf_jax.types import Part


@encoder_operations.register
def _(encoder: EfficientNetEncoder, part: Part, side: int) -> list[Operation]:
    return efficientnet_operations(encoder.config, part, side)


@encoder_operations.register
def _(encoder: ResNetEncoder, part: Part, side: int) -> list[Operation]:
    del side  # its padding is the same whatever the side
    return resnet_operations(encoder.config, part)


def light_detector(
    config: ModelConfig, encoder: Part, head: Part, *, image_size: int
) -> list[Operation]:
    """Lists the operations of encoder and AU head.

    Args:
        config: sizes of the networks; the list computes in float32 whatever ``compute_dtype`` says.
        encoder: (parameters, running statistics) for RGB.
        head: of the action units.
        image_size: side S of the images.

    Returns:
        Operations from RGB images [B, S, S, 3] float32 in [0, 1] to probabilities [B, C], arrays float32.

    Raises:
        ModelError: for an encoder that does not export.
    """
    side = config.encoder_size
    found: list[Operation] = []
    if side != image_size:
        matrix = interpolation(image_size, side).astype(np.float32)
        found.append(Resize(matrix, matrix))
    mean, std = (np.array(v, np.float64) for v in config.normalization)
    found.append(Normalize((1 / std).astype(np.float32), (-mean / std).astype(np.float32)))
    found += encoder_operations(encoder_of(config), encoder, side)
    kernel, bias = (np.asarray(head[0]["dense"][name], np.float32) for name in ("kernel", "bias"))
    return [*found, Mean(), Dense(kernel, bias), Sigmoid()]
