"""Protocol and registry of encoders.

An encoder is a frozen dataclass. Its fields and the sources of its module are part of the digest of every training that
uses it; a configuration holds only its name. Plugins register further encoders.
"""

import dataclasses
import functools
import importlib
import json
import pathlib
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from piapdf_jax.models.layers import upcast
from piapdf_jax.models.parts import apply_module, init_module
from piapdf_jax.types import BatchStats, Part, PyTree


class EncoderSettings(NamedTuple):
    """Settings that a configuration passes to the encoder it names.

    Attributes:
        stochastic_depth: chance to drop the branch of the last block.
        convention: padding and BatchNorm, a key of ``layers.CONVENTIONS``; None for the encoder's own.
        bn_momentum: share of the old running statistics that a step keeps; None for the convention's.
    """

    stochastic_depth: float = 0.0
    convention: str | None = None
    bn_momentum: float | None = None


class Encoder(Protocol):
    """Images to a feature map and its vector; a frozen dataclass, hashable."""

    def feature_shape(self, size: int) -> tuple[int, int, int]:
        """Returns [h, w, F], the shape of the feature map of an image of a side in px; F is the vector's length."""
        ...

    def init(self, key: jax.Array, size: int, channels: int) -> Part:
        """Returns start values for images of a side in px and of k channels, float32.

        Args:
            key: typed key, a concrete one.
            size: side of the images.
            channels: 3 for RGB; the encoder of PI stage 2 sees one channel a PI map.
        """
        ...

    def apply(
        self, part: Part, images: jax.Array, *, mode: str, key: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, BatchStats]:
        """Encodes images.

        Args:
            part: (params, batch_stats) of ``init``.
            images: [B, S, S, k] of the compute dtype; RGB is normalized.
            mode: see ``layers.Mode``; ``feedback`` draws nothing at random.
            key: typed key of what is random in ``train``.

        Returns:
            (features [B, h, w, F] of the compute dtype, vector [B, F] float32, batch statistics after the pass, in
            ``eval`` those of the part).
        """
        ...


@dataclasses.dataclass(frozen=True)
class FlaxEncoder:
    """An encoder whose features are the outputs of a Flax module; its vector is their mean over pixels.

    A subclass gives ``module``, whose call takes images [B, H, W, k] and ``mode`` and returns [B, h, w, F].
    """

    @property
    def module(self) -> nn.Module:
        """The Flax module."""
        raise NotImplementedError

    def feature_shape(self, size: int) -> tuple[int, int, int]:
        """Returns [h, w, F] of an image of a side in px, from tracing the module."""
        return _traced_shape(self, size)

    def init(self, key: jax.Array, size: int, channels: int) -> Part:
        """Returns start values by the module's own laws."""
        return init_module(self.module, key, size, size, channels)

    def apply(
        self, part: Part, images: jax.Array, *, mode: str, key: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, BatchStats]:
        """Encodes images; see ``Encoder.apply``."""
        features, stats = apply_module(self.module, part, images, mode, key)
        return features, jnp.mean(upcast(features), (1, 2)), stats


@functools.lru_cache(maxsize=64)
def _traced_shape(encoder: FlaxEncoder, size: int) -> tuple[int, int, int]:
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    key = jax.random.key(0)
    found: PyTree = jax.eval_shape(
        lambda x: encoder.module.init_with_output(key, x, mode="eval")[0], images
    )
    shape = getattr(found, "shape", None)
    if shape is None or len(shape) != 4:
        given = type(found).__name__ if shape is None else list(shape)
        raise ValueError(
            f"{type(encoder).__name__} gives {given} for images {list(images.shape)}, not a feature map"
            " [B, h, w, F]"
        )
    return shape[1], shape[2], shape[3]


EncoderFactory = Callable[[EncoderSettings], Encoder]

#: Where the makers of our own encoders stand. Not imported here: a training rests on the sources of the encoder that
#: it names, and on no other's.
_HOMES = {
    **dict.fromkeys(
        ("b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "small", "tiny", "nano"),
        "piapdf_jax.models.efficientnet_encoder",
    ),
    **dict.fromkeys(("resnet50", "resnet14"), "piapdf_jax.models.resnet_encoder"),
}
_REGISTERED: dict[str, EncoderFactory] = {}
_FUNCTIONS = ("feature_shape", "init", "apply")


def encoder_names() -> tuple[str, ...]:
    """Returns the names of all encoders, those of plugins last."""
    return (*_HOMES, *_REGISTERED)


def is_plugin_encoder(name: str) -> bool:
    """Returns whether a plugin has registered the encoder of a name."""
    return name in _REGISTERED


def register_encoder(name: str, make: EncoderFactory) -> None:
    """Adds a plugin's encoder under a name for ``model.encoder``.

    Args:
        name: a word that no other encoder has.
        make: takes ``EncoderSettings`` and returns the encoder; it may refuse them by ValueError.

    Raises:
        ValueError: for a name that is taken, or is no identifier.
    """
    if not name.isidentifier():
        raise ValueError(f"an encoder's name must be letters, digits and _, not {name!r}")
    if name in encoder_names():
        raise ValueError(f"encoder {name!r} is already registered")
    _REGISTERED[name] = make


def encoder_factory(name: str) -> EncoderFactory:
    """Returns the factory of a named encoder.

    Raises:
        ValueError: for an unknown name, listing those that there are.
    """
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name not in _HOMES:
        raise ValueError(f"encoder {name!r} is not one of {', '.join(encoder_names())}.")
    return importlib.import_module(_HOMES[name]).ENCODERS[name]


def make_encoder(name: str, settings: EncoderSettings) -> Encoder:
    """Returns the encoder of a name.

    Raises:
        ValueError: for an unknown name, and for settings that the encoder does not follow.
        TypeError: for one that is no frozen dataclass of fields that a digest holds, as nothing could tell it from
            another; for one without the functions of ``Encoder``, and where its factory fails.
    """
    make = encoder_factory(name)
    try:
        made = make(settings)
    except ValueError:
        raise
    except Exception as error:
        raise TypeError(f"its factory fails: {describe_error(error)}") from error
    fields: Any = getattr(type(made), "__dataclass_params__", None)
    if fields is None or not fields.frozen:
        raise TypeError(f"encoder {name!r} must be a frozen dataclass, not {type(made).__name__}")
    missing = [part for part in _FUNCTIONS if not callable(getattr(made, part, None))]
    if missing:
        raise TypeError(f"{type(made).__name__} has no function {missing[0]!r}")
    try:
        hash(made)
        json.dumps(encoder_fields(made), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"fields of {type(made).__name__} must be finite numbers, text, truth values, None and tuples of them:"
            f" {error}"
        ) from error
    return made


def encoder_fields(encoder: Any) -> dict[str, object]:
    """Returns the class and the fields of an encoder, as they stand in a digest."""
    return {"class": type(encoder).__name__, **dataclasses.asdict(encoder)}


def describe_error(error: Exception) -> str:
    """Returns an error of a plugin's code in one line: its type, its message, and the line of code."""
    ours = pathlib.Path(__file__).parents[1]
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if (path := pathlib.Path(frame.filename)).is_file()
        and "site-packages" not in path.parts
        and not path.is_relative_to(ours)
    ]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{place}"
