"""Stage 3 of PI, AP and their ablations (sections 3.1 to 3.3): one encoder under L_PIAP with other weights and starts.

Baseline, PI-3, AP, PIAP and the fine-tuning to DISFA are this one file: ``LossWeights`` says which parts are
computed, ``init_from`` whose encoder (and decoder) it goes on from. So is LP, the regularizer of LP-Net (Niu et al.,
CVPR 2019) in the place of AP's: ``person`` says what the vectors are made orthogonal to.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from piapdf_jax.batch import Batch
from piapdf_jax.landmarks import landmark_vector, orthonormal_map
from piapdf_jax.losses import LossWeights, piap_loss
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.encoder import feature_shape
from piapdf_jax.models.piap import init_part, network_apply, predict_action_units
from piapdf_jax.stages.base import (
    RUNTIME_ONLY,
    OptimizerConfig,
    Scores,
    StageState,
    create_state,
    export_parts,
    update_if_finite,
)
from piapdf_jax.stages.targets import frozen_targets
from piapdf_jax.types import Params, Part, Parts, PyTree

#: Where P may come from, and the training whose frozen encoder says it; None where landmarks do.
PERSON_TRAININGS = {"identity": "identity", "landmark_network": "landmarks", "landmarks": None}


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
        binarize: cut the generator's soft maps at 0.5 before L_PI.
        positive_weight: of the maps' inside in the cross-entropy of L_PI.
        dice: weight of the Dice term of L_PI.
        init_from: training whose encoder and decoder this one goes on from; None for a fresh start.
        keep_head: go on from its head as well, which tells the same units.
        person: key of ``PERSON_TRAININGS``.
        map_seed: of the draw of the map from landmarks to P.
        landmarks: returns those of all training frames, [N, 68, 2], where P is made of landmarks. Called by
            ``init`` alone; no setting, for the data that a training reads decide what it returns.
    """

    model: ModelConfig
    optimizer: OptimizerConfig
    weights: LossWeights
    image_size: int
    num_aus: int
    num_maps: int
    binarize: bool = False
    positive_weight: float = 1.0
    dice: float = 0.0
    init_from: str | None = None
    keep_head: bool = False
    person: str = "identity"
    map_seed: int = 0
    landmarks: Callable[[], np.ndarray] | None = dataclasses.field(
        default=None, compare=False, metadata=RUNTIME_ONLY
    )

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts whose sizes decide it, keys of ``models.config.PART_FIELDS``."""
        return ("encoder", "head", *(("generator", "decoder") if self.weights.pi else ()))

    def init(self, key: jax.Array, inputs: dict[str, Parts]) -> tuple[StageState, Parts]:
        """Initializes encoder, head and decoder; freezes PI Generator 1 and the source of P where their loss counts."""
        keys = jax.random.split(key, 3)
        size = self.image_size
        given = inputs[self.init_from] if self.init_from else {}
        parts = {
            "encoder": given.get("encoder")
            or init_part(self.model, "encoder", keys[0], image_size=size),
            "head": (given.get("head") if self.keep_head else None)
            or init_part(self.model, "head", keys[1], image_size=size, num_aus=self.num_aus),
        }
        frozen: Parts = {}
        if self.weights.pi:
            parts["decoder"] = given.get("decoder") or init_part(
                self.model, "decoder", keys[2], image_size=size, num_maps=self.num_maps
            )
            frozen["generator"] = inputs["pi2"]["generator"]
        if self.weights.ap:
            frozen |= self._person(inputs)
        return create_state(parts, self.optimizer.build()), frozen

    def _person(self, inputs: dict[str, Parts]) -> Parts:
        """Returns the frozen part that P is made with, as ``stages.targets.person_vector`` takes it."""
        training = PERSON_TRAININGS[self.person]
        if training is not None:
            return {"identity": inputs[training]["encoder"]}
        if self.landmarks is None:
            raise ValueError("person='landmarks' needs the landmarks of the training frames")
        mean = landmark_vector(self.landmarks().astype(np.float64)).mean(axis=0)
        fixed = orthonormal_map(feature_shape(self.model)[-1], self.map_seed)
        part = Part({"map": jnp.asarray(fixed)}, {"mean": jnp.asarray(mean, jnp.float32)})
        return {"landmarks": part}

    @functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
    def train_step(
        self, state: StageState, frozen: Parts, batch: Batch, key: jax.Array
    ) -> tuple[StageState, dict[str, jax.Array]]:
        """Takes one step on labeled frames; also reports each part of the loss."""
        targets = frozen_targets(
            self.model,
            frozen,
            batch.image,
            batch.labels,
            landmarks=batch.landmarks,
            binarize=self.binarize,
        )

        def loss_fn(params: Params) -> tuple[jax.Array, PyTree]:
            parts = {name: Part(params[name], state.batch_stats[name]) for name in params}
            prediction, stats = network_apply(self.model, parts, batch.image, mode="train", key=key)
            loss, terms = piap_loss(
                prediction,
                targets,
                self.weights,
                positive_weight=self.positive_weight,
                dice=self.dice,
            )
            return loss, (stats, terms)

        (loss, (stats, terms)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        state, metrics = update_if_finite(self.optimizer.build(), state, loss, grads, stats)
        return state, {**metrics, **terms}

    def export(self, state: StageState) -> Parts:
        """Returns {encoder, head}, and the decoder where one was trained."""
        return export_parts(state, tuple(sorted(state.params)))

    def predict(self, exported: Parts, images: jax.Array) -> Scores:
        """Computes AU probabilities and the encoder's vector; the decoder takes no part."""
        kept = {name: exported[name] for name in ("encoder", "head")}
        prediction = predict_action_units(self.model, kept, images)
        return Scores(jax.nn.sigmoid(prediction.au_logits), prediction.vector, None)
