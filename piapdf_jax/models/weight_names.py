"""Files of weights that an encoder can start from: libraries, their names of its modules, published files."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from piapdf_jax.models.weight_files import Published, WeightsError
from piapdf_jax.types import Part


class Library(NamedTuple):
    """Names and layout of the arrays of one encoder in one library.

    Attributes:
        modules: our module -> theirs, such as ``block2_1/expand`` -> ``blocks.1.0.conv_pw``; the whole map, with
            ``stem`` and ``classifier`` among them. A module whose name ends in ``norm`` is a normalization.
        convention: of its networks, a key of ``layers.CONVENTIONS``; None where it has networks of
            several under the same names.
        leaves: its names of the leaves of a convolution or dense layer.
        norm_leaves: its names of the leaves of a normalization.
        separator: between module and leaf.
        layout: of kernels: ``torch`` has output channels first, ``keras`` last.
        ignored_leaves: leaves of a normalization that decide no number of the network.
        extra_arrays: other arrays that are none of its parameters.
        open_convention: what to do where ``convention`` is None and nothing says it.
        several_normalizations: whether it has networks that were trained on images in [-1, 1] under the same names.
    """

    modules: Mapping[str, str]
    convention: str | None
    leaves: Mapping[str, str]
    norm_leaves: Mapping[str, str]
    separator: str = "."
    layout: str = "torch"
    ignored_leaves: tuple[str, ...] = ()
    extra_arrays: tuple[str, ...] = ()
    open_convention: str = ""
    several_normalizations: bool = False


class Weights(NamedTuple):
    """Files of weights that can start an encoder.

    Attributes:
        title: the network's usual name.
        published: files that their publishers offer, by the names that ``model.pretrained`` has for them.
        libraries: by name.
        convention_of: the ``architecture`` of a ``config.json`` as timm writes it -> a key of
            ``layers.CONVENTIONS``; None for another network's.
        adapt_stem: part, number of channels, mean and std of RGB -> the part for that many channels, see
            ``pretrained.adapt_stem``.
    """

    title: str
    published: Mapping[str, Published]
    libraries: Mapping[str, Library]
    convention_of: Callable[[str], str | None]
    adapt_stem: Callable[[Part, int, tuple[float, ...], tuple[float, ...]], Part]


#: Of a PyTorch state dict.
TORCH: dict[str, Any] = {
    "leaves": {"kernel": "weight", "bias": "bias"},
    "norm_leaves": {
        "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var",
    },
    "ignored_leaves": ("num_batches_tracked",),
}  # fmt: skip


def library_of(names: Iterable[str], libraries: Mapping[str, Library]) -> str:
    """Returns the library whose names a file has, by that of its stem.

    Raises:
        WeightsError: when it is none of them.
    """
    there = set(names)
    for name, library in libraries.items():
        if f"{library.modules['stem']}{library.separator}{library.leaves['kernel']}" in there:
            return name
    raise WeightsError(
        f"its names match none of {', '.join(libraries)}: it holds no stem of theirs"
    )


def adapt_stem(part: Part, channels: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Part:
    """Computes a stem for gray images seen through maps out of one for RGB.

    Every channel gets the filter that the RGB stem is for a gray picture, ``sum_c w_c / std_c``,
    divided by the number of channels, and the running mean moves by what RGB's mean took away. So
    maps that are all open show the network the gray picture as it knows it, but for the image's
    edge, where it sees black instead of the mean color.

    Args:
        part: (params, batch_stats) of an encoder for normalized RGB, whose first modules are a convolution ``stem``
            without bias and its BatchNorm ``stem_norm``.
        channels: of the new input, in [0, 1] and not normalized.
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
    return Part({**params, "stem": {"kernel": wide}}, {**stats, "stem_norm": norm})
