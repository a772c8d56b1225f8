"""Sizes of all networks of an experiment."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

from piapdf_jax.models.encoders import Encoder, EncoderSettings, encoder_names, make_encoder
from piapdf_jax.models.layers import CONVENTIONS
from piapdf_jax.ranges import Chance, Choice, Length, Range

COMPUTE_DTYPES = ("float32", "bfloat16")
#: Of red, green and blue in [0, 1], over ImageNet.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_Channels = Annotated[int, Range(1, 8192)]
#: By level; eight halve 256 px to one.
_Widths = Annotated[tuple[_Channels, ...], Length(1, 9)]
_Stride = Annotated[int, Range(1, 32)]
_Mean = Annotated[float, Range(0, 1)]
_Deviation = Annotated[float, Range(1e-3, 1)]


@dataclasses.dataclass(frozen=True)
class EncoderName:
    """A name of the registry of encoders, in which plugins add theirs."""

    def wrong(self, value: str) -> str:
        """Returns what is allowed for another text, "" for nothing wrong."""
        return "" if value in encoder_names() else f"must be one of {', '.join(encoder_names())}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes of all networks of one experiment.

    Attributes:
        encoder: name of what every encoder is, of ``encoders.encoder_names``: the AU network's, that of PI
            stage 2 and Encoder P.
        pretrained: start of every encoder: ``none`` for random values, ``drawn`` for the detector that this package
            ships, ``imagenet`` or another name that is published for the encoder, or a file of weights.
        pretrained_sha256: hash of that file, filled in by ``pretrained.resolve``.
        encoder_size: side in px to which the encoder resizes what it gets.
        dropout: chance to drop an entry of the vector before the AU head.
        stochastic_depth: chance to drop the branch of the encoder's last block.
        convention: the encoder's padding and BatchNorm, a key of ``layers.CONVENTIONS``; None is
            that of the pretrained file, without one the encoder's own.
        bn_momentum: share of the old running statistics that a step keeps, in all networks; None
            is the convention's.
        unet_widths: the generator's channels by level.
        unet_blocks: the generator's separable blocks a level.
        unet_stem_stride: the generator works at 1 / this of the resolution.
        decoder_widths: the decoder's channels, coarse to fine.
        decoder_stride: the decoder works at 1 / this of the resolution, at the finest.
        pi_prior: prior probability of a positive pixel at initialization, of generator and decoder.
        mean: of the RGB input, for an image in [0, 1]; None is that of the pretrained file,
            without one ImageNet's.
        std: of the RGB input; None as above.
        compute_dtype: ``float32``, or ``bfloat16`` for the arithmetic of encoder, generator and
            decoder. Parameters, BatchNorm statistics, the encoder's vector, the heads and all
            logits are float32 either way.
    """

    encoder: Annotated[str, EncoderName()] = "b1"
    pretrained: str = "none"
    pretrained_sha256: str = ""
    encoder_size: Annotated[int, Range(16, 1024)] = 224
    dropout: Chance = 0.2
    stochastic_depth: Chance = 0.2
    convention: Annotated[str, Choice(*CONVENTIONS)] | None = None
    bn_momentum: Chance | None = None
    unet_widths: _Widths = (32, 64, 128, 256, 512)
    unet_blocks: Annotated[int, Range(1, 16)] = 2
    unet_stem_stride: _Stride = 1
    decoder_widths: _Widths = (256, 128, 64, 32, 16)
    decoder_stride: _Stride = 1
    pi_prior: Annotated[float, Range(0, 1, low_open=True, high_open=True)] = 0.05
    mean: tuple[_Mean, _Mean, _Mean] | None = None
    std: tuple[_Deviation, _Deviation, _Deviation] | None = None
    compute_dtype: Annotated[str, Choice(*COMPUTE_DTYPES)] = "float32"

    def __post_init__(self) -> None:
        if self.compute_dtype not in COMPUTE_DTYPES:
            known = ", ".join(COMPUTE_DTYPES)
            raise ValueError(f"compute_dtype {self.compute_dtype!r} is not one of {known}.")

    @property
    def momentum(self) -> float:
        """Share of the old running statistics that a step keeps, in all networks."""
        kept = CONVENTIONS[self.convention or "tensorflow"].momentum
        return kept if self.bn_momentum is None else self.bn_momentum

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of the RGB input."""
        return self.mean or IMAGENET_MEAN, self.std or IMAGENET_STD


def encoder_of(config: ModelConfig) -> Encoder:
    """Returns the encoder that a configuration names.

    Raises:
        ValueError: for an unknown name, and for settings that the encoder does not follow.
    """
    settings = EncoderSettings(config.stochastic_depth, config.convention, config.bn_momentum)
    return make_encoder(config.encoder, settings)


_NORM = ("convention", "bn_momentum")
_INPUT = ("mean", "std", "compute_dtype")
#: Fields of ``ModelConfig`` that decide what a part is and does.
PART_FIELDS = {
    "generator": (*_NORM, *_INPUT, "unet_widths", "unet_blocks", "unet_stem_stride", "pi_prior"),
    "encoder": (
        *_NORM,
        *_INPUT,
        "encoder",
        "pretrained_sha256",
        "encoder_size",
        "stochastic_depth",
    ),
    "head": ("dropout",),
    "decoder": (*_NORM, "decoder_widths", "decoder_stride", "pi_prior"),
}


def part_settings(config: ModelConfig, parts: Sequence[str] | None) -> dict[str, Any]:
    """Returns the sizes that some parts depend on.

    Args:
        config: all sizes.
        parts: keys of ``PART_FIELDS``; None for all.

    Returns:
        {field: value}. Where a file of weights lies decides nothing, so its hash stands for it.
    """
    names = {
        name for part in (PART_FIELDS if parts is None else parts) for name in PART_FIELDS[part]
    }
    return {name: value for name, value in dataclasses.asdict(config).items() if name in names}
