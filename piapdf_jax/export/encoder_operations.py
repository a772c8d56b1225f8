"""Operations of encoders by class. No encoder is imported here, so a plugin with its own operations needs none."""

import functools

from piapdf_jax.export.operations import Operation
from piapdf_jax.model_json import ModelError
from piapdf_jax.types import Part


@functools.singledispatch
def encoder_operations(encoder: object, part: Part, side: int) -> list[Operation]:
    """Lists the operations of an encoder; a function is registered for each class of encoders that exports.

    Args:
        encoder: what is exported.
        part: its (parameters, running statistics), for RGB.
        side: of its input, pixels.

    Returns:
        Operations from normalized RGB [B, side, side, 3] to features [B, h, w, F], of which the vector is the mean.

    Raises:
        ModelError: for a class without one.
    """
    raise ModelError(
        f"encoder {type(encoder).__name__} cannot be exported: no operations are registered for it"
        " (piapdf_jax.export.encoder_operations.encoder_operations.register)"
    )
