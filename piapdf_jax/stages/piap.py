"""Stage 3 of PI, AP and their ablations (sections 3.1 to 3.3): one encoder under L_PIAP with other weights and starts.

Baseline, PI-3, AP, PIAP and the fine-tuning to DISFA are this one file: ``LossWeights`` says which parts are
computed, ``start`` whose encoder (and decoder) it goes on from.
"""

import dataclasses
import functools
from typing import Any

import jax

from piapdf_jax.batch import Batch
from piapdf_jax.losses import LossWeights, piap_loss
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.piap import init_part, network_apply
from piapdf_jax.models.prediction import frozen_targets, predict_action_units
from piapdf_jax.stages.base import (
    Exported,
    OptimizerConfig,
    Scores,
    StageState,
    export_parts,
    guarded_update,
    start,
)


@dataclasses.dataclass(frozen=True)
class PIAPStage:
    """L_PIAP = au L_AU + pi L_PI + ap L_AP (3), (5), (6).

    Attributes:
        model: sizes of the networks.
        optimizer: how it steps.
        weights: of the three losses; a part of weight 0 is not computed.
        image_size: S, pixels.
        num_aus: C.
        num_maps: K.
        binarise: cut the generator's soft maps at 0.5 before L_PI.
        positive_weight: of the maps' inside in the cross-entropy of L_PI.
        dice: weight of the Dice term of L_PI.
        begin: training whose encoder and decoder this one goes on from; None for a fresh start.
    """

    model: ModelConfig
    optimizer: OptimizerConfig
    weights: LossWeights
    image_size: int
    num_aus: int
    num_maps: int
    binarise: bool = False
    positive_weight: float = 1.0
    dice: float = 0.0
    begin: str | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts whose sizes decide it, keys of ``models.config.PART_FIELDS``."""
        return ("encoder", "head", *(("generator", "decoder") if self.weights.pi else ()))

    def init(self, key: jax.Array, inputs: dict[str, Exported]) -> tuple[StageState, Exported]:
        """Encoder, head and decoder to train; PI Generator 1 and Encoder P frozen where their loss counts."""
        keys = jax.random.split(key, 3)
        size = self.image_size
        given = inputs[self.begin] if self.begin else {}
        parts = {
            "encoder": given.get("encoder")
            or init_part(self.model, "encoder", keys[0], image_size=size),
            "head": init_part(self.model, "head", keys[1], image_size=size, num_aus=self.num_aus),
        }
        frozen: Exported = {}
        if self.weights.pi:
            parts["decoder"] = given.get("decoder") or init_part(
                self.model, "decoder", keys[2], image_size=size, num_maps=self.num_maps
            )
            frozen["generator"] = inputs["pi2"]["generator"]
        if self.weights.ap:
            frozen["identity"] = inputs["identity"]["encoder"]
        return start(parts, self.optimizer.build()), frozen

    @functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
    def train_step(
        self, state: StageState, frozen: Exported, batch: Batch, key: jax.Array
    ) -> tuple[StageState, dict[str, jax.Array]]:
        """One step on labeled frames; also reports each part of the loss."""
        targets = frozen_targets(
            self.model, frozen, batch.image, batch.labels, binarise=self.binarise
        )

        def loss_of(params: Any) -> tuple[jax.Array, Any]:
            parts = {name: (params[name], state.batch_stats[name]) for name in params}
            prediction, stats = network_apply(self.model, parts, batch.image, mode="train", key=key)
            loss, terms = piap_loss(
                prediction,
                targets,
                self.weights,
                positive_weight=self.positive_weight,
                dice=self.dice,
            )
            return loss, (stats, terms)

        (loss, (stats, terms)), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        state, metrics = guarded_update(self.optimizer.build(), state, loss, gradients, stats)
        return state, {**metrics, **terms}

    def export(self, state: StageState) -> Exported:
        """{encoder, head}, and the decoder where one was trained."""
        return export_parts(state, tuple(sorted(state.params)))

    def predict(self, exported: Exported, images: jax.Array) -> Scores:
        """AU probabilities and the encoder's vector; the decoder takes no part."""
        kept = {name: exported[name] for name in ("encoder", "head")}
        prediction = predict_action_units(self.model, kept, images)
        return Scores(jax.nn.sigmoid(prediction.au_logits), prediction.vector, None)
