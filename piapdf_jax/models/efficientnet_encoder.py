"""EfficientNet as an encoder: B0 to B7, and three small ones."""

import dataclasses
import functools

from piapdf_jax.models.efficientnet import (
    COEFFICIENTS,
    EfficientNet,
    EfficientNetConfig,
    feature_side,
)
from piapdf_jax.models.efficientnet_weights import weights
from piapdf_jax.models.encoders import EncoderSettings, FlaxEncoder
from piapdf_jax.models.weight_names import Weights


@dataclasses.dataclass(frozen=True)
class EfficientNetEncoder(FlaxEncoder):
    """EfficientNet without its classifier.

    Attributes:
        config: its numbers.
    """

    config: EfficientNetConfig

    @property
    def module(self) -> EfficientNet:
        """The Flax module."""
        return EfficientNet(self.config)

    @property
    def convention(self) -> str:
        """Its padding and BatchNorm, a key of ``layers.CONVENTIONS``."""
        return self.config.convention

    @property
    def weights(self) -> Weights:
        """Files of weights that can start it."""
        return weights(self.config)

    def feature_shape(self, size: int) -> tuple[int, int, int]:
        """Returns [h, w, F] of an image of a side in px."""
        side = feature_side(self.config, size)
        return side, side, self.config.out_features


def make(
    name: str, settings: EncoderSettings, *, rows: int = 7, features: int | None = None
) -> EfficientNetEncoder:
    """Returns the EfficientNet of a name of ``COEFFICIENTS``, or its first rows with a vector of another length."""
    return EfficientNetEncoder(
        EfficientNetConfig(
            width=COEFFICIENTS[name].width,
            depth=COEFFICIENTS[name].depth,
            rows=rows,
            features=features,
            stochastic_depth=settings.stochastic_depth,
            convention=settings.convention or "tensorflow",
            bn_momentum=settings.bn_momentum,
        )
    )


#: ``nano`` is for tests.
ENCODERS = {
    **{name: functools.partial(make, name) for name in COEFFICIENTS},
    "nano": functools.partial(make, "nano", rows=3, features=32),
}
