"""The networks of the method as parts: pure functions over (parameters, running statistics).

A part is a ``types.Part(params, batch_stats)`` of nested dicts. After training ``encoder`` and
``head`` stay: they alone predict the action units of an image. ``generator`` (PI maps of an image,
stages 1 and 2 of PI), ``decoder`` (PI maps of the encoder's features) and ``identity`` (the classes
Encoder P learns from) are discarded. Encoder P and the 12-channel encoder of PI stage 2 are encoders
too.
"""

import functools

import jax

from piapdf_jax.batch import Prediction
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.decoder import decoder_apply, init_decoder
from piapdf_jax.models.encoder import encoder_apply, feature_shape, init_encoder
from piapdf_jax.models.generator import init_generator
from piapdf_jax.models.heads import head_apply, init_head, init_identities
from piapdf_jax.types import BatchStats, Part, Parts

PARTS = ("generator", "encoder", "head", "decoder", "identity")


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
    """Returns start values of one part, drawn on the host or read from a file; nothing is compiled.

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
        raise ValueError(f"part {part!r} is not one of {', '.join(PARTS)}.")
    if None in sizes[part]:
        raise ValueError(
            f"part {part!r} needs a size that was not given: see the docstring of init_part."
        )
    shape = feature_shape(config)
    sized = {"image_size": image_size or 0, "num_maps": num_maps or 0}
    make = {
        "generator": lambda: init_generator(config, key, **sized),
        "encoder": lambda: init_encoder(config, key, in_channels=in_channels),
        "head": lambda: init_head(config, key, features=shape[-1], num_aus=num_aus or 0),
        "decoder": lambda: init_decoder(config, key, feature_shape=shape, **sized),
        "identity": lambda: init_identities(
            key, features=shape[-1], num_identities=num_identities or 0
        ),
    }
    return make[part]()


def network_apply(
    config: ModelConfig,
    parts: Parts,
    images: jax.Array,
    *,
    mode: str,
    key: jax.Array | None = None,
) -> tuple[Prediction, dict[str, BatchStats]]:
    """Applies encoder, head and, where there is one, decoder to images.

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


@functools.partial(jax.jit, static_argnums=0)
def predict_action_units(model: ModelConfig, parts: Parts, images: jax.Array) -> Prediction:
    """Applies encoder and AU head to images, in one compiled function for every training that has them.

    Args:
        model: sizes of the networks.
        parts: ``encoder`` and ``head``.
        images: [B, S, S, 3] float32 in [0, 1].

    Returns:
        The prediction without PI maps.
    """
    kept = {name: parts[name] for name in ("encoder", "head")}
    return network_apply(model, kept, images, mode="eval")[0]
