"""Of what network a file of weights is: padding, BatchNorm and input normalisation, where its names leave them open."""

import json
import logging
import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from piapdf_jax.models.config import IMAGENET_STD, ModelConfig
from piapdf_jax.models.efficientnet import COEFFICIENTS, EfficientNetConfig
from piapdf_jax.models.weight_files import PUBLISHED, WeightsError
from piapdf_jax.models.weight_names import SOURCES

log = logging.getLogger("piapdf.pretrained")

#: What a description calls an EfficientNet; timm's with and without tf_ have the same names of arrays.
_ARCHITECTURE = re.compile(r"(tf_)?efficientnet[_-](b\d)(?(1)(?:_\w+)?)")
#: torchvision makes these with TensorFlow's BatchNorm, and the smaller ones with PyTorch's.
_TORCHVISION_LARGE = ("b5", "b6", "b7")
#: Libraries with networks that were trained on images in [-1, 1], under the same names.
_OTHER_NORMALIZATIONS = ("timm", "efficientnet_pytorch")
#: A description is a few kilobytes.
_LARGEST = 1 << 20


class Origin(NamedTuple):
    """What is known of the network that a file's weights are of; None where nothing is.

    Attributes:
        convention: a key of ``layers.CONVENTIONS``.
        mean: of red, green and blue in [0, 1].
        std: of the same.
    """

    convention: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def origin(
    path: pathlib.Path,
    digest: str,
    source_name: str,
    arrays: Mapping[str, np.ndarray],
    config: EfficientNetConfig,
) -> Origin:
    """Finds out what network a file is of, from itself, its hash, and ``config.json`` beside it.

    Args:
        path: the file.
        digest: its SHA-256.
        source_name: the library whose names it has, a key of ``weight_names.SOURCES``.
        arrays: its arrays by name.
        config: the network that it should fit.

    Returns:
        What is known. timm's names leave the convention open, which then comes from a published
        file's hash, or from the ``architecture`` of a ``config.json`` as timm writes it; one of another
        architecture or size is not used, and a warning says so.

    Raises:
        WeightsError: for a ``config.json`` that cannot be read or holds no sound normalisation.
    """
    coefficients = (config.width, config.depth)
    sizes = [
        k for k, v in COEFFICIENTS.items() if k[0] == "b" and (v.width, v.depth) == coefficients
    ]
    described = _described(path.with_name("config.json"), sizes)
    convention = SOURCES[source_name].convention
    if source_name == "torchvision" and sizes and sizes[0] in _TORCHVISION_LARGE:
        convention = "torchvision_large"
    published = [
        known
        for known in PUBLISHED.values()
        if known.pin.startswith("sha256:") and digest.startswith(known.pin.removeprefix("sha256:"))
    ]
    if convention is None:
        convention = published[0].convention if published else described.convention
    mean, std = _keras_normalization(arrays) or (described.mean, described.std)
    return Origin(convention, mean, std)


def _described(path: pathlib.Path, sizes: list[str]) -> Origin:
    """What a ``config.json`` as timm writes it says; nothing where there is none, or one of another network."""
    if not path.is_file():
        return Origin()
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(_LARGEST))
        if not isinstance(told, dict):
            raise ValueError("it holds no object")
        inner = told.get("pretrained_cfg")
        told = {**told, **(inner if isinstance(inner, dict) else {})}
        mean, std = (_three(told, name) for name in ("mean", "std"))
    except (ValueError, OSError) as error:
        raise WeightsError(f"{path}, which lies beside it, cannot be used: {error}") from error
    # A tag, such as .ns_jft_in1k, says on what it was trained.
    name = str(told.get("architecture")).partition(".")[0]
    found = _ARCHITECTURE.fullmatch(name)
    if not found or (sizes and found[2] not in sizes):
        network = f"EfficientNet-{sizes[0].upper()}" if sizes else "EfficientNet"
        log.warning("%s is not used: its architecture %.80r is no %s", path, name, network)
        return Origin()
    return Origin("tensorflow_ported" if found[1] else "pytorch", mean, std)


def _three(told: dict[str, Any], name: str) -> tuple[float, ...] | None:
    """A mean or a standard deviation of three channels."""
    if told.get(name) is None:
        return None
    values, least = told[name], 0.0 if name == "mean" else 1e-6
    numbers = isinstance(values, list) and all(type(x) in (int, float) for x in values)
    if not numbers or len(values) != 3 or not all(
        math.isfinite(x) and least <= x <= 1 for x in values
    ):  # fmt: skip
        raise ValueError(f"{name}={values!r} is not three numbers for colours in [0, 1]")
    return tuple(float(x) for x in values)


def _keras_normalization(
    arrays: Mapping[str, np.ndarray],
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation that a Keras file says; None for another.

    Keras's published files call the standard deviation a variance, and their models divide by its
    root a second time; a model that fits its own normalisation stores a true variance.
    """
    names = ("normalization/mean", "normalization/variance")
    if not all(name in arrays for name in names):
        return None
    mean, variance = (np.asarray(arrays[name], np.float64).ravel() for name in names)
    if np.allclose(variance, IMAGENET_STD, atol=1e-4):
        return tuple(mean.tolist()), IMAGENET_STD
    return tuple(mean.tolist()), tuple(np.sqrt(variance).tolist())


def complete(config: ModelConfig, known: Origin, source_name: str) -> Origin:
    """Checks that a file and the configuration say together what the network is.

    Args:
        config: whose own settings come first.
        known: what the file says.
        source_name: as for ``origin``.

    Returns:
        ``known``; a warning says it where the two contradict each other, and where ImageNet's normalisation
        is assumed for a network that may have had another.

    Raises:
        WeightsError: where neither says the convention.
    """
    if known.convention is None and config.convention is None:
        raise WeightsError(
            f"its names are those of {source_name}'s efficientnet_b* and tf_efficientnet_b* alike,"
            " whose padding and BatchNorm differ: --set model.convention=pytorch for the first,"
            " model.convention=tensorflow_ported for the second, or put beside it the config.json"
            " that names its architecture"
        )
    if config.convention and known.convention not in (None, config.convention):
        log.warning(
            "model.convention=%s is taken for model.pretrained=%s, which is of a network of %s",
            *(config.convention, config.pretrained, known.convention),
        )
    left = [
        f"model.{name}"
        for name in ("mean", "std")
        if getattr(config, name) is None and getattr(known, name) is None
    ]
    if left and source_name in _OTHER_NORMALIZATIONS and config.pretrained not in PUBLISHED:
        log.warning(
            "model.pretrained=%s does not say how its images were normalised: ImageNet's mean and"
            " standard deviation are taken; others are set as %s",
            *(config.pretrained, " and ".join(left)),
        )
    return known
