"""Names of EfficientNet's modules in other libraries, and the published weights of B1."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from piapdf_jax.models.efficientnet import COEFFICIENTS, BlockArgs, EfficientNetConfig, blocks
from piapdf_jax.models.weight_files import Published
from piapdf_jax.models.weight_names import TORCH, Library, Weights, adapt_stem

#: ImageNet weights of EfficientNet-B1, the paper's encoder. The first one, Keras's, is published
#: with its whole hash and read without PyTorch; the others carry 8 digits in their names.
PUBLISHED = {
    "imagenet": Published(
        "https://storage.googleapis.com/keras-applications/efficientnetb1_notop.h5",
        "md5:74c4e6b3e1f6a1eea24c589628592432",
        "tensorflow",
        ("Apache-2.0 (Keras Applications)", "https://github.com/keras-team/keras"),
    ),
    "imagenet-timm": Published(
        "https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-weights/"
        "tf_efficientnet_b1-5c1377c4.pth",
        "sha256:5c1377c4",
        "tensorflow_ported",
        ("Apache-2.0 (timm)", "https://github.com/huggingface/pytorch-image-models"),
    ),
    "imagenet-torchvision": Published(
        "https://download.pytorch.org/models/efficientnet_b1-c27df63c.pth",
        "sha256:c27df63c",
        "pytorch",
        ("BSD-3-Clause (torchvision)", "https://github.com/pytorch/vision"),
    ),
}
#: What a description calls an EfficientNet; timm's with and without tf_ have the same names of arrays.
_ARCHITECTURE = re.compile(r"(tf_)?efficientnet[_-](b\d)(?(1)(?:_\w+)?)")
#: torchvision makes these with TensorFlow's BatchNorm, and the smaller ones with PyTorch's.
_TORCHVISION_LARGE = ("b5", "b6", "b7")


class Source(NamedTuple):
    """Names of the modules of an EfficientNet in one library.

    Attributes:
        top_level: its names of ``TOP_LEVEL``; ``{last}`` is the number of the block table's rows, plus 1.
        prefix: of a block's modules; ``{row}`` counts rows and ``{repeat}`` the blocks of one from
            0, ``{row_from_1}`` rows from 1, ``{number}`` all blocks, ``{letter}`` is the repeat as a letter.
        block: its names of ``BLOCK`` in a block that expands.
        no_expand_block: the same in a block that does not; None for the same names.
        stored: the other fields of its ``Library``.
    """

    top_level: tuple[str, ...]
    prefix: str
    block: tuple[str, ...]
    no_expand_block: tuple[str, ...] | None
    stored: dict[str, Any]


TOP_LEVEL: tuple[str, ...] = ("stem", "stem_norm", "head", "head_norm", "classifier")
BLOCK: tuple[str, ...] = (
    "expand", "expand_norm",
    "depthwise", "depthwise_norm",
    "squeeze_excite/reduce", "squeeze_excite/expand",
    "project", "project_norm",
)  # fmt: skip
SOURCES = {
    "timm": Source(
        ("conv_stem", "bn1", "conv_head", "bn2", "classifier"),
        "blocks.{row}.{repeat}.",
        ("conv_pw", "bn1", "conv_dw", "bn2", "se.conv_reduce", "se.conv_expand", "conv_pwl", "bn3"),
        ("", "", "conv_dw", "bn1", "se.conv_reduce", "se.conv_expand", "conv_pw", "bn2"),
        {
            **TORCH,
            "convention": None,
            "open_convention": "its names are those of timm's efficientnet_b* and tf_efficientnet_b* alike, whose"
            " padding and BatchNorm differ: --set model.convention=pytorch for the first,"
            " model.convention=tensorflow_ported for the second, or put beside it the config.json that names its"
            " architecture",
            "several_normalizations": True,
        },
    ),
    "efficientnet_pytorch": Source(
        ("_conv_stem", "_bn0", "_conv_head", "_bn1", "_fc"),
        "_blocks.{number}.",
        (
            "_expand_conv", "_bn0", "_depthwise_conv", "_bn1",
            "_se_reduce", "_se_expand", "_project_conv", "_bn2",
        ),
        None,
        {**TORCH, "convention": "tensorflow_ported", "several_normalizations": True},
    ),
    "torchvision": Source(
        ("features.0.0", "features.0.1", "features.{last}.0", "features.{last}.1", "classifier.1"),
        "features.{row_from_1}.{repeat}.block.",
        ("0.0", "0.1", "1.0", "1.1", "2.fc1", "2.fc2", "3.0", "3.1"),
        ("", "", "0.0", "0.1", "1.fc1", "1.fc2", "2.0", "2.1"),
        {**TORCH, "convention": "pytorch"},
    ),
    "keras": Source(
        ("stem_conv", "stem_bn", "top_conv", "top_bn", "predictions"),
        "block{row_from_1}{letter}_",
        (
            "expand_conv", "expand_bn", "dwconv", "bn",
            "se_reduce", "se_expand", "project_conv", "project_bn",
        ),
        None,
        {
            "convention": "tensorflow",
            "leaves": {"kernel": "kernel", "bias": "bias"},
            "norm_leaves": {
                "scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance",
            },
            "separator": "/",
            "layout": "keras",
            "extra_arrays": ("normalization/mean", "normalization/variance", "normalization/count"),
        },
    ),
}  # fmt: skip


def module_names(source: Source, config: EfficientNetConfig) -> dict[str, str]:
    """Returns the library's name of each of our modules, such as ``block2_1/expand`` -> ``blocks.1.0.conv_pw``."""
    top_level = (name.format(last=config.rows + 1) for name in source.top_level)
    names: dict[str, str] = dict(zip(TOP_LEVEL, top_level, strict=True))
    for name, row, prefix in _prefixes(source, config):
        theirs = (
            source.block
            if row.expand > 1 or source.no_expand_block is None
            else source.no_expand_block
        )
        for ours, their in zip(BLOCK, theirs, strict=True):
            if row.expand > 1 or not ours.startswith("expand"):
                names[f"{name}/{ours}"] = prefix + their
    return names


def _prefixes(source: Source, config: EfficientNetConfig) -> Iterator[tuple[str, BlockArgs, str]]:
    for number, (name, row) in enumerate(blocks(config)):
        place, repeat = (int(digits) - 1 for digits in name.removeprefix("block").split("_"))
        yield (
            name,
            row,
            source.prefix.format(
                row=place, row_from_1=place + 1, repeat=repeat, number=number,
                letter=chr(ord("a") + repeat),
            ),
        )  # fmt: skip


def weights(config: EfficientNetConfig) -> Weights:
    """Returns the files of weights that an EfficientNet can start from."""
    coefficients = (config.width, config.depth)
    sizes = [
        k for k, v in COEFFICIENTS.items() if k[0] == "b" and (v.width, v.depth) == coefficients
    ]
    libraries = {
        name: Library(module_names(source, config), **source.stored)
        for name, source in SOURCES.items()
    }
    if sizes and sizes[0] in _TORCHVISION_LARGE:
        large = libraries["torchvision"]._replace(convention="torchvision_large")
        libraries["torchvision"] = large

    def convention_of(architecture: str) -> str | None:
        found = _ARCHITECTURE.fullmatch(architecture)
        if not found or (sizes and found[2] not in sizes):
            return None
        return "tensorflow_ported" if found[1] else "pytorch"

    title = f"EfficientNet-{sizes[0].upper()}" if sizes else "EfficientNet"
    published = PUBLISHED if sizes == ["b1"] and config.rows == 7 else {}
    return Weights(title, published, libraries, convention_of, adapt_stem)
