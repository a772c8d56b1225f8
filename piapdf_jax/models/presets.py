"""The named sizes of all networks of an experiment."""

import dataclasses

from piapdf_jax.models.config import ModelConfig

#: Named sizes: ``b1`` is the paper's; ``small`` still fits a package; ``tiny`` trains on a laptop's CPU; ``nano`` is
#: for tests.
MODELS = {
    "b1": ModelConfig(),
    "tiny": ModelConfig(
        encoder="tiny",
        encoder_size=96,
        dropout=0.1,
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
        encoder="nano",
        encoder_size=32,
        dropout=0.1,
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
MODELS["small"] = dataclasses.replace(
    MODELS["tiny"],
    encoder="small",
    encoder_size=112,
    unet_widths=(32, 48, 64, 96),
    decoder_widths=(64, 48, 32),
)
