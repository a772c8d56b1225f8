"""The networks of the method as parts: pure functions over (parameters, running statistics).

A *part* is a pair ``(params, batch_stats)`` of nested dicts. After training ``encoder`` and
``head`` stay: they alone say the action units of an image. ``generator`` (PI maps of an image,
stages 1 and 2 of PI), ``decoder`` (PI maps of the encoder's features) and ``identity`` (the classes
Encoder P learns from) come off. Encoder P and the 12-channel encoder of PI stage 2 are encoders
too.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from piapdf_jax.batch import Prediction
from piapdf_jax.models.config import MODELS as MODELS
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.costs import parameter_count
from piapdf_jax.models.decoder import PIDecoder
from piapdf_jax.models.dw_unet import DWUNet
from piapdf_jax.models.efficientnet import EfficientNet, feature_side
from piapdf_jax.models.heads import Head, IdentityClasses, arcface_logits
from piapdf_jax.models.layers import check_mode, wide
from piapdf_jax.models.parameters import initialize
from piapdf_jax.models.pretrained import pretrained_encoder
from piapdf_jax.models.resizing import resize

#: (parameters, running statistics) of one network.
Part = tuple[Any, Any]
PARTS = ("generator", "encoder", "head", "decoder", "identity")
#: Weights of red, green and blue in a gray image (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)


def init_part(
    config: ModelConfig,
    part: str,
    key: jax.Array,
    *,
    image_size: int | None = None,
    in_channels: int = 3,
    num_aus: int | None = None,
    num_maps: int | None = None,
    num_identities: int | None = None,
) -> Part:
    """Start values of one part, drawn on the host or read from a file; nothing is compiled.

    Args:
        config: sizes, and the file that encoders start from.
        part: ``generator`` (needs image_size, num_maps), ``encoder`` (in_channels), ``head``
            (num_aus), ``decoder`` (image_size, num_maps) or ``identity`` (num_identities).
        key: typed key, a concrete one.
        image_size: S, side of images and PI maps in px.
        in_channels: 3 for images, 12 for the encoder of PI stage 2.
        num_aus: outputs of the AU head.
        num_maps: K.
        num_identities: classes of the identity head.

    Returns:
        (params, batch_stats), float32; batch_stats is {} for a part without BatchNorm.

    Raises:
        ValueError: for an unknown part or a number that it needs and did not get, or for a
            configuration whose pretrained file has not been looked up.
    """
    sizes = {
        "generator": (image_size, num_maps),
        "encoder": (in_channels,),
        "head": (num_aus,),
        "decoder": (image_size, num_maps),
        "identity": (num_identities,),
    }
    if part not in sizes:
        raise ValueError(f"part {part!r} is none of {', '.join(PARTS)}.")
    if None in sizes[part]:
        raise ValueError(
            f"the part {part!r} needs a number that is None: see the docstring of init_part."
        )
    size, channels = feature_side(config.encoder, config.encoder_size), config.encoder.out_features
    made: dict[str, Any] = {
        "generator": lambda: (_generator(config, num_maps), (image_size, image_size, 3)),
        "encoder": lambda: (
            EfficientNet(config.encoder),
            (*2 * (config.encoder_size,), in_channels),
        ),
        "head": lambda: (Head(num_aus or 0, config.dropout), (channels,)),
        "decoder": lambda: (_decoder(config, num_maps, image_size), (size, size, channels)),
        "identity": lambda: (IdentityClasses(num_identities or 0), (channels,)),
    }
    if part == "encoder" and config.pretrained != "none":
        return pretrained_encoder(config, in_channels)
    module, shape = made[part]()
    inputs = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    variables = initialize(module, key, inputs, mode="eval")
    return variables["params"], variables.get("batch_stats", {})


def generator_apply(
    config: ModelConfig, part: Part, images: jax.Array, *, mode: str, key: jax.Array | None = None
) -> tuple[jax.Array, Any]:
    """PI maps that the generator draws.

    Args:
        config: sizes.
        part: the generator.
        images: [B, S, S, 3] float32 in [0, 1].
        mode: ``train``, ``feedback`` or ``eval``, see ``layers.Mode``.
        key: unused, for the likeness of all parts: nothing in the generator is random.

    Returns:
        (PI logits [B, S, S, K] float32, batch statistics after the pass; in ``eval`` those of the
        part).
    """
    module = _generator(config, part[0]["maps"]["kernel"].shape[-1])
    return _apply(module, part, _narrow(config, _normalize(config, images)), mode, key)


def encoder_apply(
    config: ModelConfig, part: Part, inputs: jax.Array, *, mode: str, key: jax.Array | None = None
) -> tuple[jax.Array, jax.Array, Any]:
    """Feature map and vector of images.

    Args:
        config: sizes; the input is resized to ``encoder_size``, RGB is normalised.
        part: an encoder for as many channels as the inputs have.
        inputs: [B, S, S, 3] float32 RGB in [0, 1], or [B, S, S, 12] float32, see
            ``gray_times_maps``.
        mode: ``train``, ``feedback`` or ``eval``, see ``layers.Mode``.
        key: typed key of stochastic depth, needed in ``train``.

    Returns:
        (features [B, h, w, F] of the compute dtype, vector [B, F] float32, their mean over pixels,
        batch statistics after the pass).
    """
    inputs = resize(inputs, config.encoder_size, config.encoder_size)
    if inputs.shape[-1] == 3:
        inputs = _normalize(config, inputs)
    _check_key(mode, key, config.stochastic_depth)
    inputs = _narrow(config, inputs)
    features, stats = _apply(EfficientNet(config.encoder), part, inputs, mode, key)
    return features, jnp.mean(wide(features), (1, 2)), stats


def head_apply(
    config: ModelConfig, part: Part, vector: jax.Array, *, mode: str, key: jax.Array | None = None
) -> jax.Array:
    """AU logits of the encoder's vector.

    Args:
        config: sizes.
        part: a head.
        vector: [B, F] float32.
        mode: ``train``, ``feedback`` or ``eval``, see ``layers.Mode``.
        key: typed key of dropout, needed in ``train``.

    Returns:
        [B, C] float32.
    """
    _check_key(mode, key, config.dropout)
    module = Head(part[0]["dense"]["kernel"].shape[-1], config.dropout)
    return _apply(module, part, vector, mode, key)[0]


def decoder_apply(
    config: ModelConfig,
    part: Part,
    features: jax.Array,
    *,
    image_size: int,
    num_maps: int | None = None,
    mode: str,
    key: jax.Array | None = None,
) -> tuple[jax.Array, Any]:
    """PI maps that the decoder draws from the encoder's features.

    Args:
        config: sizes.
        part: a decoder.
        features: [B, h, w, F] float32.
        image_size: S, side of the maps.
        num_maps: K; None takes it from the part.
        mode: ``train``, ``feedback`` or ``eval``, see ``layers.Mode``.
        key: unused, for the likeness of all parts: nothing in the decoder is random.

    Returns:
        (PI logits [B, S, S, K] float32, batch statistics after the pass).
    """
    num_maps = num_maps or part[0]["maps"]["kernel"].shape[-1]
    return _apply(_decoder(config, num_maps, image_size), part, features, mode, key)


def network_apply(
    config: ModelConfig,
    parts: dict[str, Part],
    images: jax.Array,
    *,
    mode: str,
    key: jax.Array | None = None,
) -> tuple[Prediction, dict[str, Any]]:
    """Encoder, head and, where there is one, decoder: all that the network says of images.

    Args:
        config: sizes.
        parts: ``encoder``, ``head`` and, while training on PI maps, ``decoder``.
        images: [B, S, S, 3] float32 in [0, 1].
        mode: ``train``, ``feedback`` or ``eval``, see ``layers.Mode``.
        key: typed key of dropout and stochastic depth, needed in ``train``.

    Returns:
        (prediction, batch statistics after the pass by part).
    """
    keys = (None, None) if key is None else tuple(jax.random.split(key))
    features, vector, stats = encoder_apply(
        config, parts["encoder"], images, mode=mode, key=keys[0]
    )
    au_logits = head_apply(config, parts["head"], vector, mode=mode, key=keys[1])
    new_stats, pi_logits = {"encoder": stats, "head": parts["head"][1]}, None
    if "decoder" in parts:
        pi_logits, new_stats["decoder"] = decoder_apply(
            config, parts["decoder"], features, image_size=images.shape[1], mode=mode
        )
    return Prediction(pi_logits, vector, au_logits), new_stats


def identity_logits(
    config: ModelConfig,
    part: Part,
    vector: jax.Array,
    identity: jax.Array,
    *,
    arcface: bool = True,
    margin: float = 0.5,
    scale: float = 64.0,
    mode: str,
) -> jax.Array:
    """Logits of identities, for a softmax cross-entropy.

    Args:
        config: sizes.
        part: an identity head.
        vector: [B, F] float32.
        identity: [B] int32, the true classes.
        arcface: True for ``heads.arcface_logits``, False for plain products of vector and class.
        margin: radians added to the angle of the true class; not in ``eval``.
        scale: factor of the cosines.
        mode: ``train``, ``feedback`` or ``eval``.

    Returns:
        [B, N] float32.
    """
    check_mode(mode)
    if not arcface:
        return vector @ part[0]["kernel"]
    margin = 0.0 if mode == "eval" else margin
    return arcface_logits(vector, part[0]["kernel"], identity, margin=margin, scale=scale)


def gray_times_maps(images: jax.Array, pi_probs: jax.Array) -> jax.Array:
    """Input of PI stage 2: the gray image seen through each PI map (section 3.1, stage 2).

    Args:
        images: [B, S, S, 3] float32 in [0, 1].
        pi_probs: [B, S, S, K] float32 in [0, 1], soft maps.

    Returns:
        [B, S, S, K] float32 in [0, 1].
    """
    return (images @ jnp.asarray(LUMA, images.dtype))[..., None] * pi_probs


def part_parameters(part: Part) -> int:
    """Number of parameters of a part; running statistics do not count."""
    return parameter_count(part[0])


def _check_key(mode: str, key: jax.Array | None, rate: float) -> None:
    if mode == "train" and rate > 0 and key is None:
        raise ValueError("mode 'train' needs a key for dropout and stochastic depth.")


def _apply(
    module: nn.Module, part: Part, inputs: jax.Array, mode: str, key: jax.Array | None
) -> tuple[jax.Array, Any]:
    """Run a module; returns its output and the batch statistics after the pass."""
    check_mode(mode)
    params, stats = part
    variables = {"params": params, "batch_stats": stats}
    rngs = {} if key is None else {"dropout": key}
    output: Any
    if mode == "eval":
        output = module.apply(variables, inputs, mode=mode)
        return output, stats
    output, updated = module.apply(variables, inputs, mode=mode, rngs=rngs, mutable=["batch_stats"])
    return output, updated.get("batch_stats", stats)


def _generator(config: ModelConfig, num_maps: Any) -> DWUNet:
    return DWUNet(
        num_maps,
        config.unet_widths,
        config.unet_blocks,
        config.unet_stem_stride,
        config.pi_prior,
        config.momentum,
    )


def _decoder(config: ModelConfig, num_maps: Any, image_size: Any) -> PIDecoder:
    return PIDecoder(
        num_maps,
        image_size,
        config.decoder_widths,
        config.decoder_stride,
        config.pi_prior,
        config.momentum,
    )


def _narrow(config: ModelConfig, x: jax.Array) -> jax.Array:
    """The compute dtype, unless it is float32: then the input's own, which may be wider."""
    return x if config.compute_dtype == "float32" else x.astype(config.compute_dtype)


def _normalize(config: ModelConfig, images: jax.Array) -> jax.Array:
    mean, std = (
        jnp.asarray(value, images.dtype)[None, None, None] for value in config.normalization
    )
    return (images - mean) / std
