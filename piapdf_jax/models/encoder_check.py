"""Checks of encoders that plugins register, made before anything trains."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from piapdf_jax.models.config import ModelConfig, encoder_of
from piapdf_jax.models.encoders import describe_error
from piapdf_jax.models.layers import MODES
from piapdf_jax.types import BatchStats, Part, PyTree

#: Images of a pass that is traced.
_BATCH = 2


def check_encoder(config: ModelConfig, channels: int) -> None:
    """Checks an encoder against ``encoders.Encoder``: draws start values, and only traces the passes.

    Args:
        config: names the encoder; its size and compute dtype are those of the images.
        channels: of the images.

    Raises:
        ValueError: in one line, naming the function and what it gives.
    """
    encoder, size = encoder_of(config), config.encoder_size
    shape = _called("feature_shape", encoder.feature_shape, size)
    if not (isinstance(shape, tuple) and len(shape) == 3 and all(side >= 1 for side in shape)):
        raise ValueError(
            f"feature_shape returns {shape} for images of {size} px, not positive (h, w, F)"
        )
    part = _called("init", encoder.init, jax.random.key(0), size, channels)
    _check_start(part)
    dtype = jnp.dtype(config.compute_dtype)
    for mode in MODES:

        def traced(part: Part, images: jax.Array, key: jax.Array, mode: str = mode) -> PyTree:
            return encoder.apply(part, images, mode=mode, key=None if mode == "eval" else key)

        images = jax.ShapeDtypeStruct((_BATCH, size, size, channels), dtype)
        found = _called(
            f"apply in mode {mode!r}", jax.eval_shape, traced, part, images, jax.random.key(0)
        )
        _check_pass(found, mode, features=(_BATCH, *shape), dtype=dtype, stats=part[1])


def _check_start(part: PyTree) -> None:
    if not (isinstance(part, tuple) and len(part) == 2):
        raise ValueError(
            f"init returns a {type(part).__name__}, not the pair (params, batch_stats)"
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(part):
        name = jax.tree_util.keystr(path[1:], simple=True, separator="/")
        if getattr(leaf, "dtype", None) != jnp.float32:
            kind = getattr(leaf, "dtype", type(leaf).__name__)
            raise ValueError(f"init returns {name} of {kind}, not float32")
        if not np.isfinite(np.asarray(leaf)).all():
            raise ValueError(f"init returns non-finite values in {name}")


def _check_pass(
    found: PyTree, mode: str, *, features: tuple[int, ...], dtype: DTypeLike, stats: BatchStats
) -> None:
    if not (isinstance(found, tuple) and len(found) == 3):
        raise ValueError(f"apply in mode {mode!r} does not return (features, vector, batch_stats)")
    vector = (features[0], features[-1])
    for name, value, wanted in (
        ("features", found[0], (features, dtype)),
        ("a vector", found[1], (vector, jnp.dtype(jnp.float32))),
    ):
        if (given := _shape(value)) != wanted:
            raise ValueError(
                f"apply in mode {mode!r} returns {name} {_text(given)}, not {_text(wanted)}, for"
                f" {features[0]} images"
            )
    if jax.tree.map(_shape, found[2]) != jax.tree.map(_shape, stats):
        raise ValueError(
            f"apply in mode {mode!r} returns batch statistics with names, shapes or dtypes other than init"
        )


def _shape(value: object) -> tuple[object, object]:
    return getattr(value, "shape", None), getattr(value, "dtype", type(value).__name__)


def _text(given: tuple[PyTree, object]) -> str:
    shape, dtype = given
    return str(dtype) if shape is None else f"{list(shape)} of {dtype}"


def _called(what: str, function: Callable[..., PyTree], *args: PyTree) -> PyTree:
    """Calls a function of the encoder; whatever it raises becomes a ValueError of one line, with its place."""
    try:
        return function(*args)
    except Exception as error:
        raise ValueError(f"{what} fails: {describe_error(error)}") from error
