"""ResNet as an encoder: ResNet-50, and a small one."""

import dataclasses
import functools

from piapdf_jax.models.encoders import EncoderSettings, FlaxEncoder
from piapdf_jax.models.resnet import ResNet, ResNetConfig, feature_side
from piapdf_jax.models.resnet_weights import weights
from piapdf_jax.models.weight_names import Weights


@dataclasses.dataclass(frozen=True)
class ResNetEncoder(FlaxEncoder):
    """ResNet without its classifier.

    Attributes:
        config: its numbers.
    """

    config: ResNetConfig

    @property
    def module(self) -> ResNet:
        """The Flax module."""
        return ResNet(self.config)

    @property
    def convention(self) -> str:
        """Its padding and BatchNorm, a key of ``layers.CONVENTIONS``."""
        return "pytorch"

    @property
    def weights(self) -> Weights:
        """Files of weights that can start it."""
        return weights(self.config)

    def feature_shape(self, size: int) -> tuple[int, int, int]:
        """Returns [h, w, F] of an image of a side in px."""
        side = feature_side(self.config, size)
        return side, side, self.config.out_features


def make(
    settings: EncoderSettings, *, blocks: tuple[int, ...] = (3, 4, 6, 3), width: int = 64
) -> ResNetEncoder:
    """Returns the ResNet of some bottleneck blocks a stage; ResNet-50 if nothing is said.

    Raises:
        ValueError: for a convention that is not PyTorch's, which no ResNet of these names has.
    """
    if settings.convention not in (None, "pytorch"):
        raise ValueError(
            f"model.convention={settings.convention}: a ResNet has PyTorch's padding and BatchNorm; remove it, or"
            " use pytorch"
        )
    return ResNetEncoder(
        ResNetConfig(
            blocks=blocks,
            width=width,
            stochastic_depth=settings.stochastic_depth,
            bn_momentum=settings.bn_momentum,
        )
    )


#: ``resnet14``, one block a stage of half the channels, trains on a laptop's CPU.
ENCODERS = {
    "resnet50": make,
    "resnet14": functools.partial(make, blocks=(1, 1, 1, 1), width=32),
}
