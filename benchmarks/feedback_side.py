"""JAX side of ``benchmarks.feedback``: the feedback stage, and the targets computed by its frozen parts."""

import dataclasses
import functools
from typing import Any

import jax

from benchmarks.cases import AUS, Case
from piapdf_jax.batch import FeedbackBatch, Targets
from piapdf_jax.losses import LossWeights
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.piap import init_part
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.discrete_feedback import FeedbackStage
from piapdf_jax.stages.feedback_options import FeedbackOptions
from piapdf_jax.stages.targets import frozen_targets


def feedback_stage(case: Case, model: ModelConfig, optimizer: OptimizerConfig) -> FeedbackStage:
    """Feedback on the baseline, which freezes nothing; the case's way is an estimator or ``exact``.

    ``whole``: the default estimator, compiled as one function.
    """
    way = {"exact": {"variant": "exact"}, "whole": {}}.get(case.way, {"estimator": case.way})
    return FeedbackStage(
        model,
        optimizer,
        optimizer,
        LossWeights(),
        image_size=case.side,
        num_aus=AUS,
        num_maps=AUS,
        init_from="baseline",
        options=FeedbackOptions(drop_rate=0.0, **way),
        compile="whole" if case.way == "whole" else "parts",
    )


@dataclasses.dataclass(frozen=True)
class TargetsStage:
    """No training: what PI Generator 1 and Encoder P say of both batches of a feedback step."""

    model: ModelConfig

    def init(self, key: jax.Array, inputs: dict[str, Any]) -> tuple[jax.Array, Any]:
        """Nothing trains; ``frozen`` are the two networks."""
        generator, encoder = inputs["pi2"]["generator"], inputs["identity"]["encoder"]
        return jax.numpy.zeros(()), {"generator": generator, "identity": encoder}

    @functools.partial(jax.jit, static_argnums=0)
    def train_step(
        self, state: jax.Array, frozen: Any, batch: FeedbackBatch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Targets, Targets]]:
        """Targets of both batches."""
        del key
        labeled, unlabeled = (
            frozen_targets(self.model, frozen, each.image, each.labels)
            for each in (batch.labeled, batch.unlabeled)
        )
        return state, (labeled, unlabeled)


def baseline(model: ModelConfig, key: jax.Array) -> dict[str, Any]:
    """What feedback on the baseline starts from."""
    head = init_part(model, "head", key, num_aus=AUS)
    return {"baseline": {"encoder": init_part(model, "encoder", key), "head": head}}
