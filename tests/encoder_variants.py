"""Small encoders of other sizes than those that have a name, registered under names of their own."""

import functools

from piapdf_jax.models import encoders
from piapdf_jax.models.efficientnet import EfficientNetConfig
from piapdf_jax.models.efficientnet_encoder import EfficientNetEncoder
from piapdf_jax.models.resnet_encoder import make as make_resnet

#: As ``nano``.
_NANO = {"width": 0.25, "depth": 0.35, "rows": 3, "features": 32}


def variant(**sizes) -> str:
    """Returns the name of an encoder like ``nano`` but for some sizes."""
    name = "nano_" + "_".join(f"{k}{v}".replace(".", "_") for k, v in sorted(sizes.items()))
    return _registered(name, functools.partial(_make, {**_NANO, **sizes}))


def resnet_variant(*blocks: int, width: int = 4) -> str:
    """Returns the name of a ResNet of some bottleneck blocks a stage."""
    name = f"resnet_{'_'.join(map(str, blocks))}_width{width}"
    return _registered(name, functools.partial(make_resnet, blocks=blocks, width=width))


def _registered(name, make):
    if name not in encoders.encoder_names():
        encoders.register_encoder(name, make)
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
