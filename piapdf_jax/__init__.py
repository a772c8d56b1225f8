"""PIAP-DF: facial action units by pixel-interested, anti person-specific learning and discrete feedback.

Public names load on first use, so that a process which only reads or writes records never imports JAX.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from piapdf_jax.feedback import Learner as Learner
    from piapdf_jax.feedback import discrete_feedback as discrete_feedback
    from piapdf_jax.losses import LossWeights as LossWeights
    from piapdf_jax.losses import ap_loss as ap_loss
    from piapdf_jax.losses import au_loss as au_loss
    from piapdf_jax.losses import pi_loss as pi_loss
    from piapdf_jax.losses import piap_loss as piap_loss
    from piapdf_jax.models.decoder import PIDecoder as PIDecoder
    from piapdf_jax.models.dw_unet import DWUNet as DWUNet
    from piapdf_jax.models.efficientnet import EfficientNet as EfficientNet
    from piapdf_jax.pi_maps import predefined_pi_maps as predefined_pi_maps

_HOMES = {
    "discrete_feedback": "piapdf_jax.feedback",
    "Learner": "piapdf_jax.feedback",
    "au_loss": "piapdf_jax.losses",
    "pi_loss": "piapdf_jax.losses",
    "ap_loss": "piapdf_jax.losses",
    "piap_loss": "piapdf_jax.losses",
    "LossWeights": "piapdf_jax.losses",
    "EfficientNet": "piapdf_jax.models.efficientnet",
    "DWUNet": "piapdf_jax.models.dw_unet",
    "PIDecoder": "piapdf_jax.models.decoder",
    "predefined_pi_maps": "piapdf_jax.pi_maps",
}

__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'piapdf_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
