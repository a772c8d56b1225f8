"""Pretrained weights of encoders: published files of weights, a user's, and the detector that this package ships."""

import dataclasses
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from piapdf_jax import drawn_detector
from piapdf_jax.models import shipped
from piapdf_jax.models.config import IMAGENET_MEAN, IMAGENET_STD, ModelConfig, encoder_of
from piapdf_jax.models.encoders import Encoder, FlaxEncoder
from piapdf_jax.models.weight_converter import ConvertedEncoder, convert_weights, shapes_of
from piapdf_jax.models.weight_files import WeightsError, file_hash, locate, read_arrays
from piapdf_jax.models.weight_names import Weights, library_of
from piapdf_jax.models.weight_origin import Origin, complete, origin
from piapdf_jax.types import Part


def weights_of(encoder: Encoder) -> Weights | None:
    """Returns the files of weights that an encoder can start from; None if it takes no file."""
    return getattr(encoder, "weights", None)


class Loaded(NamedTuple):
    """A file of weights that was read.

    Attributes:
        converted: the encoder in it.
        library: name of the library it is of.
        origin: what is known of its network.
        sha256: the file's hash.
    """

    converted: ConvertedEncoder
    library: str
    origin: Origin
    sha256: str


def load(path: pathlib.Path, encoder: Encoder) -> Loaded:
    """Loads an encoder out of a file of any of the formats.

    Args:
        path: safetensors, a PyTorch state dict, or Keras's HDF5.
        encoder: the one it should fit.

    Returns:
        The encoder, and what is known of the file.

    Raises:
        WeightsError: naming the file and what is wrong with it, or for an encoder that takes no file.
    """
    arrays, digest, weights = read_arrays(path), file_hash(path), weights_of(encoder)
    if weights is None or not isinstance(encoder, FlaxEncoder):
        raise WeightsError(
            f"{type(encoder).__name__} defines no names of weights: it takes no file"
        )
    try:
        library = library_of(arrays, weights.libraries)
        known = origin(path, digest, library, arrays, weights)
        converted = convert_weights(arrays, weights.libraries[library], encoder)
        return Loaded(converted, library, known, digest)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def load_shipped(config: ModelConfig) -> Loaded:
    """Loads the encoder of the detector that this package ships.

    Args:
        config: whose encoder is to start from it.

    Raises:
        WeightsError: where none is shipped, or it does not fit.
    """
    description = shipped.read_description(config.encoder)
    encoder = encoder_of(dataclasses.replace(config, convention=description.convention))
    convention = getattr(encoder, "convention", description.convention)
    if config.convention not in (None, convention):
        raise WeightsError(
            f"the shipped detector is of convention {convention}, model.convention is"
            f" {config.convention}"
        )
    part = shipped.read_parts(description.sha256).get("encoder", Part({}, {}))
    params, stats = part
    shapes = shapes_of(encoder) if isinstance(encoder, FlaxEncoder) else {}
    found = {"params": params, "batch_stats": stats}
    if jax.tree.map(np.shape, found) != jax.tree.map(lambda leaf: leaf.shape, shapes):
        raise WeightsError(f"the shipped parts do not fit {config.encoder!r} of this version")
    origin = Origin(convention, description.mean, description.std)
    return Loaded(ConvertedEncoder(part, None), drawn_detector.NAME, origin, description.sha256)


def _looked_up(config: ModelConfig) -> tuple[str, Loaded]:
    """What ``pretrained`` names, and the encoder in it; what is known of that is completed."""
    weights = weights_of(encoder := encoder_of(config))
    if config.pretrained == drawn_detector.NAME:
        return drawn_detector.NAME, load_shipped(config)
    if weights is None:
        raise WeightsError(f"encoder {config.encoder!r} cannot start from a file of weights")
    path = locate(config.pretrained, weights.published)
    loaded = load(path, encoder)
    known = complete(config, loaded.origin, loaded.library, weights)
    return str(path), loaded._replace(origin=known)


def resolve(config: ModelConfig) -> ModelConfig:
    """Returns a configuration that names its file: found or downloaded, read and checked, before any training.

    Args:
        config: ``pretrained`` is ``none``, ``drawn``, a name that is published for the encoder, or a path.

    Returns:
        The same with the file's path and hash, and its padding, BatchNorm and input normalization
        where the configuration leaves them open. A warning says it where ImageNet's normalization
        is taken for a file that may be of a network of another.

    Raises:
        WeightsError: in one line, naming the file and the setting that does without.
    """
    encoder = encoder_of(config)
    known, path, digest = Origin(), "none", ""
    if config.pretrained != "none":
        try:
            path, loaded = _looked_up(config)
        except WeightsError as error:
            raise WeightsError(
                f"model.pretrained={config.pretrained}: {error}; to start from random values:"
                " --set model.pretrained=none"
            ) from error
        known, digest = loaded.origin, loaded.sha256
    return dataclasses.replace(
        config,
        pretrained=path,
        pretrained_sha256=digest,
        # The other networks of a run then have it as well; one from outside may have none that has a name.
        convention=config.convention or known.convention or getattr(encoder, "convention", None),
        mean=config.mean or known.mean or IMAGENET_MEAN,
        std=config.std or known.std or IMAGENET_STD,
    )


def _of_file(config: ModelConfig) -> tuple[Encoder, ConvertedEncoder]:
    """The encoder of a resolved configuration, and what its file holds."""
    if not config.pretrained_sha256:
        raise ValueError(
            f"model.pretrained={config.pretrained!r} has not been looked up: pass the configuration"
            " through models.pretrained.resolve first."
        )
    encoder, is_shipped = encoder_of(config), config.pretrained == drawn_detector.NAME
    path = pathlib.Path(config.pretrained)
    loaded = load_shipped(config) if is_shipped else load(path, encoder)
    if loaded.sha256 != config.pretrained_sha256:
        raise WeightsError(f"{path} changed while it was in use")
    return encoder, loaded.converted


def pretrained_encoder(config: ModelConfig, in_channels: int) -> Part:
    """Returns the encoder of a resolved configuration's file.

    Args:
        config: what ``resolve`` returned.
        in_channels: 3 for images; for another number the encoder's own rule makes a stem.

    Returns:
        (params, batch_stats), float32.

    Raises:
        WeightsError: when the file changed since.
        ValueError: for a configuration that was not resolved.
    """
    encoder, converted = _of_file(config)
    part, weights = converted.part, weights_of(encoder)
    if in_channels != 3 and weights is not None:
        part = weights.adapt_stem(part, in_channels, *config.normalization)
    return jax.tree.map(jnp.asarray, part)


def pretrained_classifier(config: ModelConfig) -> tuple[jax.Array, jax.Array] | None:
    """Returns the linear layer over ImageNet's classes of a resolved configuration's file.

    Returns:
        (kernel [F, N], bias [N]), float32; None where the file has none.

    Raises:
        WeightsError, ValueError: as ``pretrained_encoder``.
    """
    classifier = _of_file(config)[1].classifier
    return None if classifier is None else jax.tree.map(jnp.asarray, classifier)
