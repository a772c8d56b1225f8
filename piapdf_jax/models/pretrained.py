"""Published weights into Flax: every name and shape checked against the library's."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from piapdf_jax.models.config import IMAGENET_MEAN, IMAGENET_STD, ModelConfig, encoder_of
from piapdf_jax.models.encoders import Encoder, FlaxEncoder
from piapdf_jax.models.weight_files import WeightsError, file_hash, locate, read_arrays
from piapdf_jax.models.weight_names import Library, Weights, library_of
from piapdf_jax.models.weight_origin import Origin, complete, origin


class ConvertedEncoder(NamedTuple):
    """An encoder out of a file.

    Attributes:
        part: its (params, batch_stats), NumPy arrays.
        classifier: (kernel [F, N], bias [N]) over ImageNet's classes; None where the file has none.
    """

    part: tuple[Any, Any]
    classifier: tuple[np.ndarray, np.ndarray] | None


def weights_of(encoder: Encoder) -> Weights | None:
    """Returns of what files an encoder starts; None for one that takes no file."""
    return getattr(encoder, "weights", None)


def convert_weights(
    arrays: Mapping[str, np.ndarray],
    library: Library,
    encoder: FlaxEncoder,
    dtype: Any = np.float32,
) -> ConvertedEncoder:
    """Converts arrays of a library into ours.

    Args:
        arrays: by the library's names.
        library: its names.
        encoder: the one they should fit, with 3 input channels.
        dtype: of the result.

    Returns:
        The encoder and the classifier beside it.

    Raises:
        WeightsError: naming what is missing, unexpected, of another shape, or no sound number.
    """
    converter, shapes = _WeightConverter(arrays, library, dtype), _shapes(encoder)
    variables = jax.tree_util.tree_map_with_path(converter.leaf_at, shapes)
    classifier = None
    if converter.has("classifier"):
        features = encoder.feature_shape(_SIDE)[-1]
        kernel = converter.leaf("classifier", "kernel", (features, None))
        bias = converter.leaf("classifier", "bias", kernel.shape[1:] or (None,))
        classifier = (kernel, bias)
    converter.check()
    return ConvertedEncoder((variables["params"], variables["batch_stats"]), classifier)


class _WeightConverter:
    """Takes arrays one by one, and remembers what is wrong with them and what is left."""

    def __init__(self, arrays: Mapping[str, np.ndarray], library: Library, dtype: Any) -> None:
        self.left, self.library, self.dtype = dict(arrays), library, dtype
        self.missing: list[str] = []
        self.wrong: list[str] = []

    def has(self, module: str) -> bool:
        """Whether any leaf of a module is left."""
        start = self.library.modules[module] + self.library.separator
        return any(name.startswith(start) for name in self.left)

    def leaf_at(self, path: Any, leaf: Any) -> np.ndarray:
        """The leaf at a path of our variables, whose first key is the collection."""
        _, *module, name = (entry.key for entry in path)
        return self.leaf("/".join(module), name, leaf.shape)

    def leaf(self, module: str, leaf: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """A leaf of a module, in our layout; None in its shape fits any size."""
        library = self.library
        theirs = library.norm_leaves if module.endswith("norm") else library.leaves
        name = library.modules[module] + library.separator + theirs[leaf]
        expected = _their_shape(shape, library.layout)
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
            return _our_layout(np.asarray(array, self.dtype), len(shape), library.layout)
        return np.zeros(())

    def check(self) -> None:
        """Raise WeightsError unless everything was there and sound, and nothing is left."""
        library = self.library
        norms = [name for module, name in library.modules.items() if module.endswith("norm")]
        known = {f"{norm}{library.separator}{leaf}" for norm in norms for leaf in library.unused}
        known.update(library.beside)
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


#: Of an image that shapes are asked for; no shape of a parameter depends on it.
_SIDE = 64


def _shapes(encoder: FlaxEncoder) -> Any:
    images = jax.ShapeDtypeStruct((1, _SIDE, _SIDE, 3), jnp.float32)
    key = jax.random.key(0)
    return jax.eval_shape(lambda x: encoder.module.init(key, x, mode="eval"), images)


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
        raise WeightsError(f"{type(encoder).__name__} says no names of weights: it takes no file")
    try:
        library = library_of(arrays, weights.libraries)
        known = origin(path, digest, library, arrays, weights)
        converted = convert_weights(arrays, weights.libraries[library], encoder)
        return Loaded(converted, library, known, digest)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def resolve(config: ModelConfig) -> ModelConfig:
    """Returns a configuration that names its file: found or downloaded, read and checked, before any training.

    Args:
        config: ``pretrained`` is ``none``, a name that is published for the encoder, or a path.

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
        weights = weights_of(encoder)
        try:
            if weights is None:
                raise WeightsError(f"encoder {config.encoder!r} takes no file of weights")
            found = locate(config.pretrained, weights.published)
            loaded = load(found, encoder)
            known = complete(config, loaded.origin, loaded.library, weights)
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
    path, encoder = pathlib.Path(config.pretrained), encoder_of(config)
    loaded = load(path, encoder)
    if loaded.sha256 != config.pretrained_sha256:
        raise WeightsError(f"{path} changed while it was in use")
    return encoder, loaded.converted


def pretrained_encoder(config: ModelConfig, in_channels: int) -> tuple[Any, Any]:
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
