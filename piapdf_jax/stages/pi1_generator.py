"""Stage 1 of PI (section 3.1): a DW-UNet learns the predefined pixel maps; its export is PI Generator 0."""

import dataclasses
import functools

import jax

from piapdf_jax.batch import Batch, unpack_maps
from piapdf_jax.losses import pi_loss
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.generator import generator_apply, init_generator
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
class PI1Stage:
    """L_PI (1) of the generator against predefined maps.

    Attributes:
        model: sizes of the networks.
        optimizer: how it steps.
        image_size: S, pixels.
        num_maps: K.
        positive_weight: of the maps' inside in the cross-entropy.
        dice: weight of the Dice term.
    """

    model: ModelConfig
    optimizer: OptimizerConfig
    image_size: int
    num_maps: int
    positive_weight: float = 1.0
    dice: float = 0.0

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts whose sizes decide it, keys of ``models.config.PART_FIELDS``."""
        return ("generator",)

    def init(self, key: jax.Array, inputs: dict[str, Parts]) -> tuple[StageState, Parts]:
        """Initializes the generator; nothing is frozen."""
        sizes = {"image_size": self.image_size, "num_maps": self.num_maps}
        part = init_generator(self.model, key, **sizes)
        return create_state({"generator": part}, self.optimizer.build()), {}

    @functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
    def train_step(
        self, state: StageState, frozen: Parts, batch: Batch, key: jax.Array
    ) -> tuple[StageState, dict[str, jax.Array]]:
        """Takes one step on images and the predefined maps that were moved with them."""
        stats = state.batch_stats["generator"]

        def loss_fn(params: Params) -> tuple[jax.Array, PyTree]:
            part = Part(params["generator"], stats)
            logits, new = generator_apply(self.model, part, batch.image, mode="train")
            assert batch.pi_maps is not None, "PI stage 1 reads predefined maps"
            maps = unpack_maps(batch.pi_maps, self.num_maps)
            loss = pi_loss(logits, maps, positive_weight=self.positive_weight, dice=self.dice)
            return loss, {"generator": new}

        (loss, new), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        return update_if_finite(self.optimizer.build(), state, loss, grads, new)

    def export(self, state: StageState) -> Parts:
        """Returns {generator}: PI Generator 0."""
        return export_parts(state, ("generator",))

    @functools.partial(jax.jit, static_argnums=0)
    def predict(self, exported: Parts, images: jax.Array) -> Scores:
        """Computes soft PI maps."""
        logits, _ = generator_apply(self.model, exported["generator"], images, mode="eval")
        return Scores(None, None, jax.nn.sigmoid(logits))
