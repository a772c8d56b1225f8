"""Encoder P (section 3.2): an encoder trained by face recognition; later trainings read it frozen."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax

from piapdf_jax.batch import IdentityBatch
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.encoder import encoder_apply, feature_shape, init_encoder
from piapdf_jax.models.heads import identity_logits, init_identities
from piapdf_jax.stages.base import (
    OptimizerConfig,
    Scores,
    StageState,
    create_state,
    export_parts,
    update_if_finite,
)
from piapdf_jax.types import Params, Part, Parts, PyTree


@dataclasses.dataclass(frozen=True)
class IdentityStage:
    """Cross-entropy over people, with ArcFace's angular margin by default (Deng et al., CVPR 2019).

    Attributes:
        model: sizes of the networks.
        optimizer: how it steps.
        image_size: S, pixels.
        num_identities: people of the training set.
        arcface: angular margin; False for plain softmax.
        margin: ArcFace's, radians.
        scale: ArcFace's, of the cosines.
    """

    model: ModelConfig
    optimizer: OptimizerConfig
    image_size: int
    num_identities: int
    arcface: bool = True
    margin: float = 0.3
    scale: float = 16.0

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts whose sizes decide it, keys of ``models.config.PART_FIELDS``."""
        return ("encoder",)

    def init(self, key: jax.Array, inputs: dict[str, Parts]) -> tuple[StageState, Parts]:
        """Initializes encoder and identity head; nothing is frozen."""
        keys = jax.random.split(key, 2)
        encoder = init_encoder(self.model, keys[0])
        features = feature_shape(self.model)[-1]
        people = init_identities(keys[1], features=features, num_identities=self.num_identities)
        return create_state({"encoder": encoder, "people": people}, self.optimizer.build()), {}

    @functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
    def train_step(
        self, state: StageState, frozen: Parts, batch: IdentityBatch, key: jax.Array
    ) -> tuple[StageState, dict[str, jax.Array]]:
        """Takes one step; also reports the share of faces given to the right person."""
        old = state.batch_stats

        def loss_fn(params: Params) -> tuple[jax.Array, PyTree]:
            part = Part(params["encoder"], old["encoder"])
            _, vector, stats = encoder_apply(self.model, part, batch.image, mode="train", key=key)
            logits = identity_logits(
                Part(params["people"], old["people"]),
                vector,
                batch.identity,
                arcface=self.arcface,
                margin=self.margin,
                scale=self.scale,
                mode="train",
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.identity)
            right = (logits.argmax(-1) == batch.identity).astype(jnp.float32).mean()
            return losses.mean(), ({"encoder": stats, "people": old["people"]}, right)

        (loss, (stats, right)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        state, metrics = update_if_finite(self.optimizer.build(), state, loss, grads, stats)
        return state, {**metrics, "accuracy": right}

    def export(self, state: StageState) -> Parts:
        """Returns {encoder}: Encoder P."""
        return export_parts(state, ("encoder",))

    @functools.partial(jax.jit, static_argnums=0)
    def predict(self, exported: Parts, images: jax.Array) -> Scores:
        """Computes identity vectors."""
        part = exported["encoder"]
        _, vector, _ = encoder_apply(self.model, part, images, mode="eval", key=None)
        return Scores(None, vector, None)
