"""Sizes of all networks of an experiment, and the named ones."""

import dataclasses

from piapdf_jax.models.efficientnet import BLOCK_TABLE, COEFFICIENTS, EfficientNetConfig

COMPUTE_DTYPES = ("float32", "bfloat16")
#: Of red, green and blue in [0, 1], over ImageNet.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes of all networks of one experiment.

    Attributes:
        pretrained: start of every encoder: ``none`` for random values, ``imagenet`` or another name
            of ``weight_files.PUBLISHED``, or a file of weights.
        pretrained_sha256: hash of that file, filled in by ``pretrained.resolve``.
        width: the encoder's width coefficient.
        depth: the encoder's depth coefficient.
        rows: rows of EfficientNet's block table that the encoder has; 7 is all.
        features: length of the encoder's vector, F; None scales 1280 by the width.
        encoder_size: side in px to which the encoder resizes what it gets.
        dropout: chance to drop an entry of the vector before the AU head.
        stochastic_depth: chance to drop the branch of the encoder's last block.
        convention: the encoder's padding and BatchNorm, a key of ``layers.CONVENTIONS``; None is
            that of the pretrained file, without one ``tensorflow``.
        bn_momentum: share of the old running statistics that a step keeps, in all networks; None
            is the convention's.
        unet_widths: the generator's channels by level.
        unet_blocks: the generator's separable blocks a level.
        unet_stem_stride: the generator works at 1 / this of the resolution.
        decoder_widths: the decoder's channels, coarse to fine.
        decoder_stride: the decoder works at 1 / this of the resolution, at the finest.
        pi_prior: share of positive pixels that generator and decoder say at their start.
        mean: of the RGB input, for an image in [0, 1]; None is that of the pretrained file,
            without one ImageNet's.
        std: of the RGB input; None as above.
        compute_dtype: ``float32``, or ``bfloat16`` for the arithmetic of encoder, generator and
            decoder. Parameters, BatchNorm statistics, the encoder's vector, the heads and all
            logits are float32 either way.
    """

    pretrained: str = "none"
    pretrained_sha256: str = ""
    width: float = COEFFICIENTS["b1"].width
    depth: float = COEFFICIENTS["b1"].depth
    rows: int = len(BLOCK_TABLE)
    features: int | None = None
    encoder_size: int = 224
    dropout: float = COEFFICIENTS["b1"].dropout
    stochastic_depth: float = 0.2
    convention: str | None = None
    bn_momentum: float | None = None
    unet_widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    unet_blocks: int = 2
    unet_stem_stride: int = 1
    decoder_widths: tuple[int, ...] = (256, 128, 64, 32, 16)
    decoder_stride: int = 1
    pi_prior: float = 0.05
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    compute_dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.compute_dtype not in COMPUTE_DTYPES:
            known = ", ".join(COMPUTE_DTYPES)
            raise ValueError(f"compute_dtype {self.compute_dtype!r} is none of {known}.")

    @property
    def encoder(self) -> EfficientNetConfig:
        """The encoder's own numbers."""
        return EfficientNetConfig(
            width=self.width,
            depth=self.depth,
            rows=self.rows,
            features=self.features,
            stochastic_depth=self.stochastic_depth,
            convention=self.convention or "tensorflow",
            bn_momentum=self.bn_momentum,
        )

    @property
    def momentum(self) -> float:
        """Share of the old running statistics that a step keeps, in all networks."""
        return self.encoder.conventions.momentum

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of the RGB input."""
        return self.mean or IMAGENET_MEAN, self.std or IMAGENET_STD


#: Named sizes: ``b1`` is the paper's; ``tiny`` trains on a laptop's CPU; ``nano`` is for tests.
MODELS = {
    "b1": ModelConfig(),
    "tiny": ModelConfig(
        width=COEFFICIENTS["tiny"].width,
        depth=COEFFICIENTS["tiny"].depth,
        encoder_size=COEFFICIENTS["tiny"].resolution,
        dropout=COEFFICIENTS["tiny"].dropout,
        stochastic_depth=0.05,
        bn_momentum=0.9,
        # A quarter of the resolution trains faster than a half, and draws better in as many steps:
        # a filter then sees more of the face.
        unet_widths=(24, 32, 48, 64),
        unet_blocks=1,
        unet_stem_stride=4,
        decoder_widths=(48, 32, 24),
        decoder_stride=4,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    ),
    "nano": ModelConfig(
        width=COEFFICIENTS["nano"].width,
        depth=COEFFICIENTS["nano"].depth,
        rows=3,
        features=32,
        encoder_size=COEFFICIENTS["nano"].resolution,
        dropout=COEFFICIENTS["nano"].dropout,
        # Three blocks, of which only the first, whose rate is 0, has a branch to drop.
        stochastic_depth=0.0,
        bn_momentum=0.9,
        unet_widths=(8, 8),
        unet_blocks=1,
        unet_stem_stride=2,
        decoder_widths=(8, 8),
        decoder_stride=2,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    ),
}
