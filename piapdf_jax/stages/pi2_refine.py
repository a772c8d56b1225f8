"""Stage 2 of PI (section 3.1): gray image x 12 soft maps, an encoder on 12 channels, and the AU loss.

The gradient of L_AU runs through the maps into the generator, so the generator moves its maps to where the action
units show; its export is PI Generator 1.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax

from piapdf_jax.batch import Batch
from piapdf_jax.losses import au_loss
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.encoder import encoder_apply, feature_shape, init_encoder
from piapdf_jax.models.generator import generator_apply, gray_times_maps
from piapdf_jax.models.heads import head_apply, init_head
from piapdf_jax.stages.base import (
    OptimizerConfig,
    Scores,
    StageState,
    create_state,
    export_parts,
    update_if_finite,
)
from piapdf_jax.types import BatchStats, Params, Part, Parts, PyTree


@dataclasses.dataclass(frozen=True)
class PI2Stage:
    """L_AU (2) through encoder and generator.

    Attributes:
        model: sizes of the networks.
        optimizer: how it steps.
        image_size: S, pixels.
        num_aus: C.
        num_maps: K, also the encoder's input channels.
    """

    model: ModelConfig
    optimizer: OptimizerConfig
    image_size: int
    num_aus: int
    num_maps: int

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts whose sizes decide it, keys of ``models.config.PART_FIELDS``."""
        return ("generator", "encoder", "head")

    def init(self, key: jax.Array, inputs: dict[str, Parts]) -> tuple[StageState, Parts]:
        """Takes PI Generator 0 of ``pi1``, and initializes encoder and head."""
        keys = jax.random.split(key, 2)
        encoder = init_encoder(self.model, keys[0], in_channels=self.num_maps)
        features = feature_shape(self.model)[-1]
        head = init_head(self.model, keys[1], features=features, num_aus=self.num_aus)
        parts = {"generator": inputs["pi1"]["generator"], "encoder": encoder, "head": head}
        return create_state(parts, self.optimizer.build()), {}

    def _forward(
        self, parts: Parts, images: jax.Array, mode: str, key: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, jax.Array, dict[str, BatchStats]]:
        # Of three keys the generator needs none; fewer would change the numbers of a training.
        keys = [None] * 3 if key is None else list(jax.random.split(key, 3))
        pi_logits, generator = generator_apply(self.model, parts["generator"], images, mode=mode)
        pi_probs = jax.nn.sigmoid(pi_logits)
        _, vector, encoder = encoder_apply(
            self.model,
            parts["encoder"],
            gray_times_maps(images, pi_probs),
            mode=mode,
            key=keys[1],
        )
        au_logits = head_apply(self.model, parts["head"], vector, mode=mode, key=keys[2])
        stats = {"generator": generator, "encoder": encoder, "head": parts["head"][1]}
        return au_logits, vector, pi_probs, stats

    @functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
    def train_step(
        self, state: StageState, frozen: Parts, batch: Batch, key: jax.Array
    ) -> tuple[StageState, dict[str, jax.Array]]:
        """Takes one step on labeled frames; reports the norm of the gradient that reaches the generator."""

        def loss_fn(params: Params) -> tuple[jax.Array, PyTree]:
            parts = {name: Part(params[name], state.batch_stats[name]) for name in params}
            au_logits, _, _, stats = self._forward(parts, batch.image, "train", key)
            return au_loss(au_logits, batch.labels), stats

        (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        reached = optax.tree.norm(grads["generator"])
        state, metrics = update_if_finite(self.optimizer.build(), state, loss, grads, stats)
        return state, {**metrics, "generator_gradient_norm": jnp.asarray(reached)}

    def export(self, state: StageState) -> Parts:
        """Returns {generator, encoder, head}: PI Generator 1, and the row PI-2 of table 3."""
        return export_parts(state, ("generator", "encoder", "head"))

    @functools.partial(jax.jit, static_argnums=0)
    def predict(self, exported: Parts, images: jax.Array) -> Scores:
        """Computes AU probabilities, the encoder's vector and the refined soft maps."""
        au_logits, vector, pi_probs, _ = self._forward(exported, images, "eval", None)
        return Scores(jax.nn.sigmoid(au_logits), vector, pi_probs)
