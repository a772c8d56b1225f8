"""The benchmark cases: networks, sizes and passes. Imports neither JAX nor PyTorch."""

import dataclasses
import os
from typing import Any

import numpy as np

#: Action units, and as many maps.
AUS = 12


@dataclasses.dataclass(frozen=True)
class Case:
    """One network at one size.

    Attributes:
        network: ``b1`` (encoder with AU head), ``unet``, ``decoder`` (from the features of an image
            of this side), or ``piap`` (the whole step of that stage); ``feedback`` (teacher and
            student, each a ``b1``) or ``targets`` (of the frozen networks) of ``benchmarks.feedback``.
        side: of the image, px; the encoder of ``piap`` gets it at the size of its configuration.
        batch: images a step.
        model: sizes, a key of ``models.presets.MODELS``.
        passes: of ``forward`` and ``train``.
        way: of ``feedback``, see ``benchmarks.feedback``.
    """

    network: str
    side: int
    batch: int
    model: str = "b1"
    passes: tuple[str, ...] = ("forward", "train")
    way: str = ""

    @property
    def name(self) -> str:
        """Such as ``b1_128_8``."""
        return f"{self.network}_{self.side}_{self.batch}"


CASES = (
    Case("b1", 128, 8),
    Case("b1", 128, 32),
    Case("b1", 224, 8),
    Case("b1", 224, 32),
    Case("unet", 128, 8),
    Case("unet", 256, 8),
    Case("decoder", 256, 8),
    Case("piap", 256, 8, passes=("train",)),
)
#: Batches on which outputs and gradients of both sides are compared: one a network, all widths full.
COMPARED = {
    "b1": Case("b1", 128, 4),
    "unet": Case("unet", 128, 2),
    "decoder": Case("decoder", 256, 2),
    "piap": Case("piap", 128, 2),
}


def threads() -> int:
    """Cores that this process may use, as both sides get them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def sizes(case: Case) -> dict[str, Any]:
    """Sizes of a case's networks as both sides read them: the fields of ``ModelConfig`` and two more.

    ``vector`` is the length of the encoder's vector, ``grid`` the side of its features.
    """
    from piapdf_jax.models.config import encoder_of
    from piapdf_jax.models.encoder import feature_shape
    from piapdf_jax.models.presets import MODELS

    # As PyTorch ports keep their running statistics.
    model = dataclasses.replace(MODELS[case.model], convention="tensorflow_ported")
    if case.network in ("b1", "feedback"):
        model = dataclasses.replace(model, encoder_size=case.side)
    told = dataclasses.asdict(model)
    (told["mean"], told["std"]) = model.normalization
    told["grid"], _, told["vector"] = feature_shape(model)
    network: Any = encoder_of(model)
    told["width"], told["depth"] = network.config.width, network.config.depth
    return told


def arrays(case: Case, told: dict[str, Any]) -> dict[str, np.ndarray]:
    """One batch, the same on both sides: images, labels, maps and features, float32, channels last."""
    rng = np.random.default_rng(0)
    square = (case.batch, case.side, case.side)
    grid = (case.batch, told["grid"], told["grid"], told["vector"])
    drawn = {
        "image": rng.uniform(0, 1, (*square, 3)),
        "labels": rng.integers(0, 2, (case.batch, AUS)),
        "maps": rng.uniform(0, 1, (*square, AUS)) < 0.1,
        # As large as swish leaves them.
        "features": np.abs(rng.normal(0, 0.5, grid)),
    }
    return {name: array.astype(np.float32) for name, array in drawn.items()}
