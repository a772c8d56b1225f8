"""Small EfficientNets of other sizes than those that have a name, registered under names of their own."""

import functools

from piapdf_jax.models import encoders
from piapdf_jax.models.efficientnet import EfficientNetConfig
from piapdf_jax.models.efficientnet_encoder import EfficientNetEncoder

#: As ``nano``.
_NANO = {"width": 0.25, "depth": 0.35, "rows": 3, "features": 32}


def variant(**sizes) -> str:
    """Returns the name of an encoder like ``nano`` but for some sizes."""
    name = "nano_" + "_".join(f"{k}{v}".replace(".", "_") for k, v in sorted(sizes.items()))
    if name not in encoders.encoder_names():
        encoders.register_encoder(name, functools.partial(_make, {**_NANO, **sizes}))
    return name


def _make(sizes, settings):
    return EfficientNetEncoder(
        EfficientNetConfig(
            **sizes,
            stochastic_depth=settings.stochastic_depth,
            convention=settings.convention or "tensorflow",
            bn_momentum=settings.bn_momentum,
        )
    )
