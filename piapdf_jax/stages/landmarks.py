"""Landmark regression (section 3.2): a network learns where 68 landmarks are, and its vectors are tested for identity.

The paper's case against landmarks as a person-specific vector: an encoder, its 1000-way layer, and a last layer of 136
coordinates. What the 1000 numbers tell of a person is measured by LFW's protocol.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from piapdf_jax.batch import Batch
from piapdf_jax.losses import landmark_loss
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.encoder import encoder_apply, feature_shape, init_encoder
from piapdf_jax.models.landmark_head import init_landmark_head, landmark_head_apply
from piapdf_jax.stages.base import (
    OptimizerConfig,
    Scores,
    StageState,
    create_state,
    export_parts,
    update_if_finite,
)
from piapdf_jax.types import BatchStats, Params, Part, Parts, PyTree

#: ImageNet's classes, and so the length of the paper's vector.
CLASSES = 1000


class LandmarkVectors(NamedTuple):
    """Outputs of the landmark network.

    Attributes:
        classes: [B, N], the numbers before the last layer.
        pooled: [B, F], the encoder's vector.
        coordinates: [B, 136], of the landmarks: 0 in the middle of the image and in units of its side.
    """

    classes: jax.Array
    pooled: jax.Array
    coordinates: jax.Array


@dataclasses.dataclass(frozen=True)
class LandmarkStage:
    """Mean squared error of landmarks, normalized by the distance of the outer eye corners.

    Attributes:
        model: sizes of the networks.
        optimizer: how it steps.
        image_size: S, pixels.
        classes: N, numbers before the last layer.
    """

    model: ModelConfig
    optimizer: OptimizerConfig
    image_size: int
    classes: int = CLASSES

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts whose sizes decide it, keys of ``models.config.PART_FIELDS``."""
        return ("encoder",)

    def init(self, key: jax.Array, inputs: dict[str, Parts]) -> tuple[StageState, Parts]:
        """Initializes encoder and landmark head; nothing is frozen."""
        return create_state(self.fresh(key), self.optimizer.build()), {}

    def fresh(self, key: jax.Array) -> Parts:
        """Returns start values by part."""
        keys, features = jax.random.split(key, 2), feature_shape(self.model)[-1]
        head = init_landmark_head(self.model, keys[1], features=features, classes=self.classes)
        return {"encoder": init_encoder(self.model, keys[0]), "landmarks": head}

    @functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
    def train_step(
        self, state: StageState, frozen: Parts, batch: Batch, key: jax.Array
    ) -> tuple[StageState, dict[str, jax.Array]]:
        """Takes one step on images and the landmarks that were moved with them."""
        old = state.batch_stats

        def loss_fn(params: Params) -> tuple[jax.Array, PyTree]:
            part = Part(params["encoder"], old["encoder"])
            _, vector, stats = encoder_apply(self.model, part, batch.image, mode="train", key=key)
            head = Part(params["landmarks"], old["landmarks"])
            _, coordinates = landmark_head_apply(head, vector)
            assert batch.landmarks is not None, "landmark regression reads landmarks"
            loss = landmark_loss(coordinates, batch.landmarks, self.image_size)
            return loss, {"encoder": stats, "landmarks": old["landmarks"]}

        (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        return update_if_finite(self.optimizer.build(), state, loss, grads, stats)

    def export(self, state: StageState) -> Parts:
        """Returns {encoder, landmarks}: the network, its two linear layers as one part."""
        return export_parts(state, ("encoder", "landmarks"))

    @functools.partial(jax.jit, static_argnums=0)
    def vectors(self, exported: Parts, images: jax.Array) -> LandmarkVectors:
        """Applies the network to images [B, S, S, 3] float32 in [0, 1]."""
        _, pooled, _ = encoder_apply(self.model, exported["encoder"], images, mode="eval")
        classes, coordinates = landmark_head_apply(exported["landmarks"], pooled)
        return LandmarkVectors(classes, pooled, coordinates)

    def predict(self, exported: Parts, images: jax.Array) -> Scores:
        """Computes the encoder's vectors."""
        return Scores(None, self.vectors(exported, images).pooled, None)

    def untrained(self, key: jax.Array, batches: list[jax.Array]) -> Parts:
        """Returns random weights with the BatchNorm statistics that they have on images: a floor for any vector.

        Running statistics of 0 and 1 would say nothing of a network's scale. They are those of the batches, each
        passed once, and averaged.

        Args:
            key: typed key.
            batches: images [B, S, S, 3] float32 in [0, 1], one batch or more.
        """
        # A momentum of 0 keeps nothing of the start.
        model = dataclasses.replace(
            self.model,
            pretrained="none",
            pretrained_sha256="",
            bn_momentum=0.0,
            stochastic_depth=0.0,
        )
        plain = dataclasses.replace(self, model=model)
        parts = plain.fresh(key)
        params, stats = parts["encoder"]
        found = [plain._statistics(Part(params, stats), images) for images in batches]
        mean = jax.tree.map(lambda *each: jnp.asarray(np.mean(each, axis=0)), *found)
        return {**parts, "encoder": Part(params, mean)}

    @functools.partial(jax.jit, static_argnums=0)
    def _statistics(self, part: Part, images: jax.Array) -> BatchStats:
        key = jax.random.key(0)
        return encoder_apply(self.model, part, images, mode="train", key=key)[2]
