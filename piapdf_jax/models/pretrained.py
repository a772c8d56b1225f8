"""Published EfficientNet weights into Flax: every name and shape checked against the source."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from piapdf_jax.models.config import IMAGENET_MEAN, IMAGENET_STD, ModelConfig
from piapdf_jax.models.efficientnet import EfficientNet, EfficientNetConfig
from piapdf_jax.models.weight_files import WeightsError, file_hash, locate, read_arrays
from piapdf_jax.models.weight_names import SOURCES, Source, module_names, source_of
from piapdf_jax.models.weight_origin import Origin, complete, origin


class Carried(NamedTuple):
    """An encoder out of a file.

    Attributes:
        part: its (params, batch_stats), NumPy arrays.
        classifier: (kernel [F, N], bias [N]) over ImageNet's classes; None where the file has none.
    """

    part: tuple[Any, Any]
    classifier: tuple[np.ndarray, np.ndarray] | None


def carry(
    arrays: Mapping[str, np.ndarray],
    source_name: str,
    config: EfficientNetConfig,
    dtype: Any = np.float32,
) -> Carried:
    """Arrays of a library into ours.

    Args:
        arrays: by the library's names.
        source_name: a key of ``weight_names.SOURCES``.
        config: the network they should fit, with 3 input channels.
        dtype: of the result.

    Returns:
        The encoder and the classifier beside it.

    Raises:
        WeightsError: naming what is missing, unexpected, of another shape, or no sound number.
    """
    taking = _Taking(arrays, SOURCES[source_name], config, dtype)
    variables = jax.tree_util.tree_map_with_path(taking.leaf_at, _shapes(config))
    classifier = None
    if taking.has("classifier"):
        kernel = taking.leaf("classifier", "kernel", (config.out_features, None))
        bias = taking.leaf("classifier", "bias", kernel.shape[1:] or (None,))
        classifier = (kernel, bias)
    taking.check()
    return Carried((variables["params"], variables["batch_stats"]), classifier)


class _Taking:
    """Takes arrays one by one, and remembers what is wrong with them and what is left."""

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        source: Source,
        config: EfficientNetConfig,
        dtype: Any,
    ) -> None:
        self.left, self.source, self.dtype = dict(arrays), source, dtype
        self.names = module_names(source, config)
        self.missing: list[str] = []
        self.wrong: list[str] = []

    def has(self, module: str) -> bool:
        """Whether any leaf of a module is left."""
        return any(
            name.startswith(self.names[module] + self.source.separator) for name in self.left
        )

    def leaf_at(self, path: Any, leaf: Any) -> np.ndarray:
        """The leaf at a path of our variables, whose first key is the collection."""
        _, *module, name = (entry.key for entry in path)
        return self.leaf("/".join(module), name, leaf.shape)

    def leaf(self, module: str, leaf: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """A leaf of a module, in our layout; None in its shape fits any size."""
        source = self.source
        theirs = source.norm_leaves if module.endswith("norm") else source.leaves
        name = self.names[module] + source.separator + theirs[leaf]
        expected = _their_shape(shape, source.layout)
        if name not in self.left:
            self.missing.append(name)
            return np.zeros(())
        array = self.left.pop(name)
        if len(array.shape) != len(expected) or any(
            size is not None and size != found
            for size, found in zip(expected, array.shape, strict=True)
        ):
            self.wrong.append(f"{name} has shape {tuple(array.shape)}, not {expected}")
        elif not np.isfinite(array).all() or (leaf == "var" and (array < 0).any()):
            self.wrong.append(f"{name} holds values that are not finite, or a negative variance")
        else:
            return _our_layout(np.asarray(array, self.dtype), len(shape), source.layout)
        return np.zeros(())

    def check(self) -> None:
        """Raise WeightsError unless everything was there and sound, and nothing is left."""
        norms = [name for module, name in self.names.items() if module.endswith("norm")]
        known = {
            f"{norm}{self.source.separator}{leaf}" for norm in norms for leaf in self.source.unused
        }
        known.update(self.source.beside)
        unexpected = [name for name in self.left if name not in known]
        told = [
            f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for what, names in (
                ("missing", self.missing),
                ("unexpected", unexpected),
                ("not as they should be", self.wrong),
            )
            if names
        ]
        if told:
            raise WeightsError("its arrays do not fit the network: " + ", ".join(told))


def _shapes(config: EfficientNetConfig) -> Any:
    module, images = EfficientNet(config), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    return jax.eval_shape(lambda x: module.init(jax.random.key(0), x, mode="eval"), images)


def _their_shape(shape: tuple[int | None, ...], layout: str) -> tuple[int | None, ...]:
    """[k, l, C, D], [k, l, C], [C, D] or [C] as a library lays it out."""
    if len(shape) == 3:
        return (*shape, 1) if layout == "keras" else (shape[2], 1, *shape[:2])
    if layout == "keras" or len(shape) == 1:
        return shape
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]


def _our_layout(array: np.ndarray, rank: int, layout: str) -> np.ndarray:
    """The inverse of ``_their_shape``."""
    if layout == "keras":
        return array[..., 0] if rank == 3 else array
    if array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)
    return array[:, :, 0] if rank == 3 else array.T if rank == 2 else array


class Loaded(NamedTuple):
    """A file of weights that was read.

    Attributes:
        carried: the encoder in it.
        source: name of the library it is of.
        origin: what is known of its network.
        sha256: the file's hash.
    """

    carried: Carried
    source: str
    origin: Origin
    sha256: str


def load(path: pathlib.Path, config: EfficientNetConfig) -> Loaded:
    """An encoder out of a file of any of the formats.

    Args:
        path: safetensors, a PyTorch state dict, or Keras's HDF5.
        config: the network it should fit.

    Returns:
        The encoder, and what is known of the file.

    Raises:
        WeightsError: naming the file and what is wrong with it.
    """
    arrays, digest = read_arrays(path), file_hash(path)
    try:
        source = source_of(arrays)
        known = origin(path, digest, source, arrays, config)
        return Loaded(carry(arrays, source, config), source, known, digest)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def encoder_config(config: ModelConfig) -> EfficientNetConfig:
    """Returns the encoder's own numbers."""
    return EfficientNetConfig(
        width=config.width,
        depth=config.depth,
        rows=config.rows,
        features=config.features,
        stochastic_depth=config.stochastic_depth,
        convention=config.convention or "tensorflow",
        bn_momentum=config.bn_momentum,
    )


def resolve(config: ModelConfig) -> ModelConfig:
    """A configuration that names its file: found or downloaded, read and checked, before any training.

    Args:
        config: ``pretrained`` is ``none``, a name of ``weight_files.PUBLISHED`` or a path.

    Returns:
        The same with the file's path and hash, and its padding, BatchNorm and input normalisation
        where the configuration leaves them open. A warning says it where ImageNet's normalisation
        is taken for a file that may be of a network of another.

    Raises:
        WeightsError: in one line, naming the file and the setting that does without.
    """
    known, path, digest = Origin(), "none", ""
    if config.pretrained != "none":
        try:
            found = locate(config.pretrained)
            loaded = load(found, encoder_config(config))
            known = complete(config, loaded.origin, loaded.source)
        except WeightsError as error:
            raise WeightsError(
                f"model.pretrained={config.pretrained}: {error}; to start from random values:"
                " --set model.pretrained=none"
            ) from error
        path, digest = str(found), loaded.sha256
    return dataclasses.replace(
        config,
        pretrained=path,
        pretrained_sha256=digest,
        convention=config.convention or known.convention or "tensorflow",
        mean=config.mean or known.mean or IMAGENET_MEAN,
        std=config.std or known.std or IMAGENET_STD,
    )


def pretrained_encoder(config: ModelConfig, in_channels: int) -> tuple[Any, Any]:
    """The encoder of a resolved configuration's file.

    Args:
        config: what ``resolve`` returned.
        in_channels: 3 for images; for another number see ``adapt_stem``.

    Returns:
        (params, batch_stats), float32.

    Raises:
        WeightsError: when the file changed since.
        ValueError: for a configuration that was not resolved.
    """
    if not config.pretrained_sha256:
        raise ValueError(
            f"model.pretrained={config.pretrained!r} has not been looked up: pass the configuration"
            " through models.pretrained.resolve first."
        )
    path = pathlib.Path(config.pretrained)
    loaded = load(path, encoder_config(config))
    if loaded.sha256 != config.pretrained_sha256:
        raise WeightsError(f"{path} changed while it was in use")
    part = loaded.carried.part
    if in_channels != 3:
        part = adapt_stem(part, in_channels, *config.normalization)
    return jax.tree.map(jnp.asarray, part)


def adapt_stem(
    part: tuple[Any, Any], channels: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[Any, Any]:
    """A stem for gray images seen through maps out of one for RGB.

    Every channel gets the filter that the RGB stem is for a gray picture, ``sum_c w_c / std_c``,
    divided by the number of channels, and the running mean moves by what RGB's mean took away. So
    maps that are all open show the network the gray picture as it knows it, but for the image's
    edge, where it sees black instead of the mean colour.

    Args:
        part: (params, batch_stats) of an encoder for normalised RGB.
        channels: of the new input, in [0, 1] and not normalised.
        mean: of RGB.
        std: of RGB.

    Returns:
        The same with another ``stem`` and ``stem_norm``.
    """
    params, stats = part
    kernel = np.asarray(params["stem"]["kernel"])
    gray = np.einsum("uvcd,c->uvd", kernel, 1 / np.asarray(std, kernel.dtype))
    shift = np.einsum(
        "uvcd,c->d", kernel, np.asarray(mean, kernel.dtype) / np.asarray(std, kernel.dtype)
    )
    wide = np.repeat(gray[:, :, None] / channels, channels, axis=2)
    norm = {**stats["stem_norm"], "mean": stats["stem_norm"]["mean"] + shift}
    return {**params, "stem": {"kernel": wide}}, {**stats, "stem_norm": norm}
