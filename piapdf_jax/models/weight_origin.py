"""Origin of a file of weights: padding, BatchNorm and input normalization, where its names leave them open."""

import json
import logging
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from piapdf_jax.models.config import IMAGENET_STD, ModelConfig
from piapdf_jax.models.weight_files import WeightsError
from piapdf_jax.models.weight_names import Weights

log = logging.getLogger("piapdf.pretrained")

#: A description is a few kilobytes.
_LARGEST = 1 << 20


class Origin(NamedTuple):
    """Facts on the network that a file's weights come from; None where unknown.

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
    library: str,
    arrays: Mapping[str, np.ndarray],
    weights: Weights,
) -> Origin:
    """Finds out what network a file is of, from itself, its hash, and ``config.json`` beside it.

    Args:
        path: the file.
        digest: its SHA-256.
        library: whose names it has, a key of ``weights.libraries``.
        arrays: its arrays by name.
        weights: of the encoder that it should fit.

    Returns:
        What is known. Where a library's names leave the convention open, it comes from a published
        file's hash, or from the ``architecture`` of a ``config.json`` as timm writes it; one of another
        architecture or size is not used, and a warning says so.

    Raises:
        WeightsError: for a ``config.json`` that cannot be read or holds no sound normalization.
    """
    described = _described(path.with_name("config.json"), weights)
    convention = weights.libraries[library].convention
    published = [
        known
        for known in weights.published.values()
        if known.pin.startswith("sha256:") and digest.startswith(known.pin.removeprefix("sha256:"))
    ]
    if convention is None:
        convention = published[0].convention if published else described.convention
    mean, std = _keras_normalization(arrays) or (described.mean, described.std)
    return Origin(convention, mean, std)


def _described(path: pathlib.Path, weights: Weights) -> Origin:
    """What a ``config.json`` as timm writes it says; nothing where there is none, or one of another network."""
    if not path.is_file():
        return Origin()
    try:
        with path.open("rb") as file:
            fields = json.loads(file.read(_LARGEST))
        if not isinstance(fields, dict):
            raise ValueError("it does not hold a JSON object")
        inner = fields.get("pretrained_cfg")
        fields = {**fields, **(inner if isinstance(inner, dict) else {})}
        mean, std = (_three(fields, name) for name in ("mean", "std"))
    except (ValueError, OSError) as error:
        raise WeightsError(f"{path}, which lies beside it, cannot be used: {error}") from error
    # A tag, such as .ns_jft_in1k, says on what it was trained.
    name = str(fields.get("architecture")).partition(".")[0]
    convention = weights.convention_of(name)
    if convention is None:
        log.warning("%s is not used: its architecture %.80r is not %s", path, name, weights.title)
        return Origin()
    return Origin(convention, mean, std)


def _three(fields: Mapping[str, Any], name: str) -> tuple[float, ...] | None:
    """A mean or a standard deviation of three channels."""
    if fields.get(name) is None:
        return None
    values, least = fields[name], 0.0 if name == "mean" else 1e-6
    numbers = isinstance(values, list) and all(type(x) in (int, float) for x in values)
    if not numbers or len(values) != 3 or not all(
        math.isfinite(x) and least <= x <= 1 for x in values
    ):  # fmt: skip
        raise ValueError(f"{name}={values!r} is not three numbers for colors in [0, 1]")
    return tuple(float(x) for x in values)


def _keras_normalization(
    arrays: Mapping[str, np.ndarray],
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation that a Keras file says; None for another.

    Keras's published files call the standard deviation a variance, and their models divide by its
    root a second time; a model that fits its own normalization stores a true variance.
    """
    names = ("normalization/mean", "normalization/variance")
    if not all(name in arrays for name in names):
        return None
    mean, variance = (np.asarray(arrays[name], np.float64).ravel() for name in names)
    if np.allclose(variance, IMAGENET_STD, atol=1e-4):
        return tuple(mean.tolist()), IMAGENET_STD
    return tuple(mean.tolist()), tuple(np.sqrt(variance).tolist())


def complete(config: ModelConfig, known: Origin, library: str, weights: Weights) -> Origin:
    """Checks that a file and the configuration say together what the network is.

    Args:
        config: whose own settings come first.
        known: what the file says.
        library: as for ``origin``.
        weights: as for ``origin``.

    Returns:
        ``known``; a warning says it where the two contradict each other, and where ImageNet's normalization
        is assumed for a network that may have had another.

    Raises:
        WeightsError: where neither says the convention.
    """
    theirs = weights.libraries[library]
    if known.convention is None and config.convention is None:
        raise WeightsError(theirs.open_convention)
    if config.convention and known.convention not in (None, config.convention):
        log.warning(
            "model.convention=%s is used for model.pretrained=%s, whose network has convention %s",
            *(config.convention, config.pretrained, known.convention),
        )
    left = [
        f"model.{name}"
        for name in ("mean", "std")
        if getattr(config, name) is None and getattr(known, name) is None
    ]
    if left and theirs.several_normalizations and config.pretrained not in weights.published:
        log.warning(
            "model.pretrained=%s does not say how its images were normalized: ImageNet's mean and"
            " standard deviation are used; set others by %s",
            *(config.pretrained, " and ".join(left)),
        )
    return known
