"""What flows through a training: batches, targets and predictions, as NamedTuples of arrays.

B is the batch, S the side of the image, C the number of action units, K the number of PI maps, F the length of
the encoder's vector.
"""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

#: A pytree of arrays.
Tree = TypeVar("Tree")


class Batch(NamedTuple):
    """Frames with action unit labels.

    Attributes:
        image: [B, S, S, 3] RGB: uint8 as a stream reads it, float32 in [0, 1] for a stage (``images_to_float``).
        labels: [B, C] float32: 0 absent, 1 present, -1 unknown.
        pi_maps: [B, S, S] uint16, the predefined maps, bit k being map k; ``unpack_maps`` makes numbers
            of them. None where the stream reads none.
        mask: [B] float32, 0 for padding of the last batch of an evaluation.
        record_index: [B] int32, position of the record in its split.
        landmarks: [B, 68, 2] float32, (x, y) in pixels of the image; None where the stream reads none.
    """

    image: jax.Array
    labels: jax.Array
    pi_maps: jax.Array | None
    mask: jax.Array
    record_index: jax.Array
    landmarks: jax.Array | None = None


@jax.jit
def images_to_float(batch: Tree) -> Tree:
    """Converts uint8 images, alone or in a batch, to float32 in [0, 1] on the device.

    Args:
        batch: pytree of arrays; the uint8 ones are images.

    Returns:
        The same, images float32 in [0, 1], whatever else untouched.
    """
    scale = jnp.float32(255)
    return jax.tree.map(
        lambda x: x.astype(jnp.float32) / scale if x.dtype == jnp.uint8 else x, batch
    )


def unpack_maps(packed: jax.Array, count: int) -> jax.Array:
    """Unpacks predefined maps inside a compiled function: packed, they are 24 times smaller to transfer.

    Args:
        packed: [B, S, S] uint16, ``Batch.pi_maps``.
        count: K, at most 16.

    Returns:
        [B, S, S, K] float32 of 0 and 1.

    Raises:
        ValueError: for an array of another shape or dtype, such as records' own [B, S, S, 1].
    """
    if packed.ndim != 3 or packed.dtype != jnp.uint16 or not 1 <= count <= 16:
        raise ValueError(
            f"expected uint16 [B, S, S] and 1 to 16 maps, got {packed.dtype} {packed.shape}, {count}"
        )
    bits = jnp.right_shift(packed[..., None], jnp.arange(count, dtype=packed.dtype))
    return (bits & 1).astype(jnp.float32)


class IdentityBatch(NamedTuple):
    """Faces of known people: image as in ``Batch``, identity [B] int32 from 0."""

    image: jax.Array
    identity: jax.Array


class FeedbackBatch(NamedTuple):
    """One draw for discrete feedback: labeled frames x_l and unlabeled frames x_u (section 3.3).

    Attributes:
        labeled: x_l with labels.
        unlabeled: x_u, no label known.
        judge: labeled frames that stand for x_l where the student's step is judged, (9); None for x_l.
        clean: images of x_u without augmentation, as in ``Batch``; None where one view labels and learns.
    """

    labeled: Batch
    unlabeled: Batch
    judge: Batch | None = None
    clean: jax.Array | None = None


class Targets(NamedTuple):
    """Targets of a prediction: the paper's (M, P, Y).

    Attributes:
        pi_maps: M, [B, S, S, K] float32 in [0, 1]; None where L_PI is not computed.
        identity: P, [B, F] float32, vector of the frozen Encoder P or what stands for it; None where L_AP is not
            computed.
        labels: Y, [B, C] float32, 0, 1 or -1.
    """

    pi_maps: jax.Array | None
    identity: jax.Array | None
    labels: jax.Array


class Prediction(NamedTuple):
    """Outputs of a network: the paper's (m, p, y), before the sigmoid.

    Attributes:
        pi_logits: m, [B, S, S, K]; None without a decoder.
        vector: p, [B, F], the encoder's pooled vector.
        au_logits: y, [B, C].
    """

    pi_logits: jax.Array | None
    vector: jax.Array
    au_logits: jax.Array
