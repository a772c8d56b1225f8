"""Conversion of a library's arrays to an encoder of ours, every name and shape checked."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike

from piapdf_jax.models.encoders import FlaxEncoder
from piapdf_jax.models.weight_files import WeightsError
from piapdf_jax.models.weight_names import Library
from piapdf_jax.types import Part, PyTree


class ConvertedEncoder(NamedTuple):
    """An encoder out of a file.

    Attributes:
        part: its (params, batch_stats), NumPy arrays.
        classifier: (kernel [F, N], bias [N]) over ImageNet's classes; None where the file has none.
    """

    part: Part
    classifier: tuple[np.ndarray, np.ndarray] | None


def convert_weights(
    arrays: Mapping[str, np.ndarray],
    library: Library,
    encoder: FlaxEncoder,
    dtype: DTypeLike = np.float32,
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
    converter, shapes = _WeightConverter(arrays, library, dtype), shapes_of(encoder)
    variables = jax.tree_util.tree_map_with_path(converter.leaf_at, shapes)
    classifier = None
    if converter.has("classifier"):
        features = encoder.feature_shape(_SIDE)[-1]
        kernel = converter.leaf("classifier", "kernel", (features, None))
        bias = converter.leaf("classifier", "bias", kernel.shape[1:] or (None,))
        classifier = (kernel, bias)
    converter.check()
    return ConvertedEncoder(Part(variables["params"], variables["batch_stats"]), classifier)


class _WeightConverter:
    """Takes arrays one by one, and remembers what is wrong with them and what is left."""

    def __init__(
        self, arrays: Mapping[str, np.ndarray], library: Library, dtype: DTypeLike
    ) -> None:
        self.left, self.library, self.dtype = dict(arrays), library, dtype
        self.missing: list[str] = []
        self.wrong: list[str] = []

    def has(self, module: str) -> bool:
        """Returns True if any leaf of a module is left."""
        start = self.library.modules[module] + self.library.separator
        return any(name.startswith(start) for name in self.left)

    def leaf_at(self, path: jax.tree_util.KeyPath, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        """Takes the leaf at a path of our variables, whose first key is the collection."""
        _, *module, name = (entry.key for entry in path)
        return self.leaf("/".join(module), name, leaf.shape)

    def leaf(self, module: str, leaf: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """Takes a leaf of a module, in our layout; None in its shape fits any size."""
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
        """Raises WeightsError unless everything was there and sound, and nothing is left."""
        library = self.library
        norms = [name for module, name in library.modules.items() if module.endswith("norm")]
        leaves, separator = library.ignored_leaves, library.separator
        known = {f"{norm}{separator}{leaf}" for norm in norms for leaf in leaves}
        known.update(library.extra_arrays)
        unexpected = [name for name in self.left if name not in known]
        problems = [
            f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for what, names in (
                ("missing", self.missing),
                ("unexpected", unexpected),
                ("not as they should be", self.wrong),
            )
            if names
        ]
        if problems:
            raise WeightsError("its arrays do not fit the network: " + ", ".join(problems))


#: Of an image that shapes are asked for; no shape of a parameter depends on it.
_SIDE = 64


def shapes_of(encoder: FlaxEncoder) -> PyTree:
    """Returns shapes and types of an encoder's variables for 3 input channels, from tracing it."""
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
