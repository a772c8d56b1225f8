"""JAX side of the benchmarks: the package's own stages, as a training runs them."""

import dataclasses
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import AUS, Case, arrays
from benchmarks.feedback_side import TargetsStage, baseline, feedback_stage
from piapdf_jax.batch import Batch, FeedbackBatch, unpack_maps
from piapdf_jax.keys import named_key
from piapdf_jax.losses import LossWeights, pi_loss
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.decoder import decoder_apply
from piapdf_jax.models.piap import init_part
from piapdf_jax.records import pack_planes
from piapdf_jax.stages.base import OptimizerConfig, StageState, create_state, update_if_finite
from piapdf_jax.stages.pi1_generator import PI1Stage
from piapdf_jax.stages.piap import PIAPStage

OPTIMIZER = OptimizerConfig(steps=10_000, learning_rate=1e-3)
WEIGHTS = {"b1": LossWeights(), "piap": LossWeights(au=0.5, pi=0.45, ap=0.05)}


def model_of(sizes: dict[str, Any]) -> ModelConfig:
    """``cases.sizes`` back as a configuration."""
    names = {field.name for field in dataclasses.fields(ModelConfig)}
    kept = {name: value for name, value in sizes.items() if name in names}
    return ModelConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()})


@dataclasses.dataclass(frozen=True)
class DecoderStage:
    """The decoder alone, which no stage trains: L_PI, with the gradient that goes on to the encoder."""

    model: ModelConfig
    image_size: int

    def init(self, key: jax.Array, inputs: dict[str, Any]) -> tuple[StageState, Any]:
        """A fresh decoder; ``frozen`` are the features it draws from."""
        part = init_part(self.model, "decoder", key, image_size=self.image_size, num_maps=AUS)
        return create_state({"decoder": part}, OPTIMIZER.build()), inputs["features"]

    @functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
    def train_step(
        self, state: StageState, frozen: jax.Array, batch: Batch, key: jax.Array
    ) -> tuple[StageState, dict[str, jax.Array]]:
        """One step; the features' gradient is among the results, so that it is computed."""
        del key

        def loss_fn(params: Any, features: jax.Array) -> tuple[jax.Array, Any]:
            part = (params["decoder"], state.batch_stats["decoder"])
            logits, stats = self._draw(part, features, "train")
            return pi_loss(logits, unpack_maps(batch.pi_maps, AUS)), {"decoder": stats}

        (loss, stats), (gradients, reached) = jax.value_and_grad(loss_fn, (0, 1), has_aux=True)(
            state.params, frozen
        )
        state, metrics = update_if_finite(OPTIMIZER.build(), state, loss, gradients, stats)
        return state, {**metrics, "features": reached}

    def _draw(self, part: Any, features: jax.Array, mode: str) -> Any:
        return decoder_apply(self.model, part, features, image_size=self.image_size, mode=mode)

    def export(self, state: StageState) -> Any:
        """The decoder."""
        return (state.params["decoder"], state.batch_stats["decoder"])

    @functools.partial(jax.jit, static_argnums=0)
    def predict(self, exported: Any, features: jax.Array) -> jax.Array:
        """Logits of the maps."""
        return self._draw(exported, features, "eval")[0]


def stage_of(case: Case, model: ModelConfig) -> Any:
    """What trains a case's networks."""
    if case.network == "unet":
        return PI1Stage(model, OPTIMIZER, image_size=case.side, num_maps=AUS)
    if case.network == "decoder":
        return DecoderStage(model, case.side)
    if case.network == "feedback":
        return feedback_stage(case, model, OPTIMIZER)
    if case.network == "targets":
        return TargetsStage(model)
    weights = WEIGHTS[case.network]
    return PIAPStage(model, OPTIMIZER, weights, image_size=case.side, num_aus=AUS, num_maps=AUS)


def batch_of(found: dict[str, Any]) -> Batch:
    """``cases.arrays`` as the streams yield them."""
    image, count = jnp.asarray(found["image"]), len(found["image"])
    labels, planes = jnp.asarray(found["labels"]), found["maps"].astype(np.uint8)
    maps = jnp.asarray(np.stack([pack_planes(each) for each in planes]))
    return Batch(image, labels, maps, jnp.ones(count), jnp.zeros(count, jnp.int32))


def given(case: Case, model: ModelConfig, key: jax.Array, features: Any = None) -> dict[str, Any]:
    """What the trainings before hand on."""
    if case.network == "feedback":
        return baseline(model, key)
    if case.network not in ("piap", "targets"):
        return {"features": features}
    generator = init_part(model, "generator", key, image_size=case.side, num_maps=AUS)
    return {
        "pi2": {"generator": generator},
        "identity": {"encoder": init_part(model, "encoder", key)},
    }


class JaxSide:
    """Runs one case.

    Args:
        case: what to run.
        sizes: as ``cases.sizes`` tells them.
        more: other fields of ``ModelConfig``.
    """

    def __init__(self, case: Case, sizes: dict[str, Any], **more: Any) -> None:
        model, found = dataclasses.replace(model_of(sizes), **more), arrays(case, sizes)
        self.stage, self.key = stage_of(case, model), jax.random.key(0)
        batch, features = batch_of(found), jnp.asarray(found["features"])
        pair = case.network in ("feedback", "targets")
        self.batch = FeedbackBatch(batch, batch) if pair else batch
        inputs = given(case, model, self.key, features)
        self.state, self.frozen = self.stage.init(self.key, inputs)
        self.inputs = features if case.network == "decoder" else batch.image
        self.step = 0
        jax.block_until_ready((self.state, self.frozen, self.batch, self.inputs))

    def forward(self) -> float:
        """Seconds of one forward pass in eval mode."""
        exported = self.stage.export(self.state)
        began = time.perf_counter()
        jax.block_until_ready(self.stage.predict(exported, self.inputs))
        return time.perf_counter() - began

    def train(self) -> float:
        """Seconds of one training step, with the draw of its key."""
        began = time.perf_counter()
        key = named_key(self.key, "train_step", self.step)
        self.state, metrics = self.stage.train_step(self.state, self.frozen, self.batch, key)
        jax.block_until_ready((self.state, metrics))
        self.step += 1
        return time.perf_counter() - began

    def profile(self) -> list[str]:
        """A table of the training step by operation; the side is used up."""
        from benchmarks.operations import profile

        return profile(self)

    def device_peak(self) -> int:
        """Bytes that the device held at most; 0 where it is the host."""
        told = jax.devices()[0].memory_stats() or {}
        return int(told.get("peak_bytes_in_use", 0))
