"""What each library calls the modules of an EfficientNet: the map from our names to theirs."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from piapdf_jax.models.efficientnet import EfficientNetConfig, Row, blocks
from piapdf_jax.models.weight_files import WeightsError


class Source(NamedTuple):
    """How one library names the modules of an EfficientNet.

    Attributes:
        convention: of its networks, a key of ``layers.CONVENTIONS``; None where it has networks of
            several under the same names.
        outside: its names of ``stem, stem_norm, head, head_norm, classifier``; ``{last}`` is the
            number of the block table's rows, plus 1.
        prefix: of a block's modules; ``{row}`` counts rows and ``{repeat}`` the blocks of one from
            0, ``{row_from_1}`` rows from 1, ``{number}`` all blocks, ``{letter}`` is the repeat as a letter.
        block: its names of ``BLOCK`` in a block that expands.
        plain: the same in a block that does not; None for the same names.
        leaves: its names of the leaves of a convolution or dense layer.
        norm_leaves: its names of the leaves of a normalisation.
        separator: between module and leaf.
        layout: of kernels: ``torch`` has output channels first, ``keras`` last.
        unused: leaves of a normalisation that decide no number of the network.
        beside: other arrays that are none of its parameters.
    """

    convention: str | None
    outside: tuple[str, ...]
    prefix: str
    block: tuple[str, ...]
    plain: tuple[str, ...] | None
    leaves: Mapping[str, str]
    norm_leaves: Mapping[str, str]
    separator: str = "."
    layout: str = "torch"
    unused: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


OUTSIDE: tuple[str, ...] = ("stem", "stem_norm", "head", "head_norm", "classifier")
BLOCK: tuple[str, ...] = (
    "expand", "expand_norm",
    "depthwise", "depthwise_norm",
    "squeeze_excite/reduce", "squeeze_excite/expand",
    "project", "project_norm",
)  # fmt: skip
_TORCH: dict[str, Any] = {
    "leaves": {"kernel": "weight", "bias": "bias"},
    "norm_leaves": {
        "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var",
    },
    "unused": ("num_batches_tracked",),
}  # fmt: skip
SOURCES = {
    "timm": Source(
        None,
        ("conv_stem", "bn1", "conv_head", "bn2", "classifier"),
        "blocks.{row}.{repeat}.",
        ("conv_pw", "bn1", "conv_dw", "bn2", "se.conv_reduce", "se.conv_expand", "conv_pwl", "bn3"),
        ("", "", "conv_dw", "bn1", "se.conv_reduce", "se.conv_expand", "conv_pw", "bn2"),
        **_TORCH,
    ),
    "efficientnet_pytorch": Source(
        "tensorflow_ported",
        ("_conv_stem", "_bn0", "_conv_head", "_bn1", "_fc"),
        "_blocks.{number}.",
        (
            "_expand_conv", "_bn0", "_depthwise_conv", "_bn1",
            "_se_reduce", "_se_expand", "_project_conv", "_bn2",
        ),
        None,
        **_TORCH,
    ),
    "torchvision": Source(
        "pytorch",
        ("features.0.0", "features.0.1", "features.{last}.0", "features.{last}.1", "classifier.1"),
        "features.{row_from_1}.{repeat}.block.",
        ("0.0", "0.1", "1.0", "1.1", "2.fc1", "2.fc2", "3.0", "3.1"),
        ("", "", "0.0", "0.1", "1.fc1", "1.fc2", "2.0", "2.1"),
        **_TORCH,
    ),
    "keras": Source(
        "tensorflow",
        ("stem_conv", "stem_bn", "top_conv", "top_bn", "predictions"),
        "block{row_from_1}{letter}_",
        (
            "expand_conv", "expand_bn", "dwconv", "bn",
            "se_reduce", "se_expand", "project_conv", "project_bn",
        ),
        None,
        leaves={"kernel": "kernel", "bias": "bias"},
        norm_leaves={
            "scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance",
        },
        separator="/",
        layout="keras",
        beside=("normalization/mean", "normalization/variance", "normalization/count"),
    ),
}  # fmt: skip


def module_names(source: Source, config: EfficientNetConfig) -> dict[str, str]:
    """Our module -> the library's: the whole map, such as ``block2_1/expand`` -> ``blocks.1.0.conv_pw``."""
    outside = (name.format(last=config.rows + 1) for name in source.outside)
    names: dict[str, str] = dict(zip(OUTSIDE, outside, strict=True))
    for name, row, prefix in _prefixes(source, config):
        theirs = source.block if row.expand > 1 or source.plain is None else source.plain
        for ours, their in zip(BLOCK, theirs, strict=True):
            if row.expand > 1 or not ours.startswith("expand"):
                names[f"{name}/{ours}"] = prefix + their
    return names


def _prefixes(source: Source, config: EfficientNetConfig) -> Iterator[tuple[str, Row, str]]:
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


def source_of(names: Any) -> str:
    """The library whose names a file has, by that of its stem.

    Raises:
        WeightsError: when it is none of ``SOURCES``.
    """
    for name, source in SOURCES.items():
        if f"{source.outside[0]}{source.separator}{source.leaves['kernel']}" in names:
            return name
    raise WeightsError(f"its names are of none of {', '.join(SOURCES)}: no stem is among them")
