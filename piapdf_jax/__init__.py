"""PIAP-DF: facial action units by pixel-interested, anti person-specific learning and discrete feedback.

Public names load on first use, so that a process which only reads or writes records never imports JAX.
"""

import importlib
from typing import Any

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'piapdf_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
