"""Protocol of a stage: the functions that training loop, evaluation and exports call."""

import dataclasses
from typing import Annotated, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from piapdf_jax.ranges import Chance, Choice, Count, Range, Share
from piapdf_jax.types import BatchStats, OptState, Params, Part, Parts, PyTree

#: Metadata of a field that does not affect results: no digest holds it.
RUNTIME_ONLY = {"runtime_only": True}
OPTIMIZERS = ("adamw", "sgd")
#: A smaller one moves no weight of float32, which then is not trained; float32 holds no larger one.
Rate = Annotated[float, Range(1e-12, 1e38)]
Decay = Annotated[float, Range(0, 100)]
Norm = Annotated[float, Range(0, 1e6)]


class StageState(NamedTuple):
    """State of one training.

    Attributes:
        step: [] int32, updates attempted so far; also the position in the data.
        params: parameters by part.
        batch_stats: running batch statistics by part.
        opt_state: the optimizer's state.
        skipped: [] int32, steps whose loss or gradient was not finite and changed nothing.
    """

    step: jax.Array
    params: dict[str, Params]
    batch_stats: dict[str, BatchStats]
    opt_state: OptState
    skipped: jax.Array


class Scores(NamedTuple):
    """Outputs of a trained export for some images; None where the export has no such part.

    Attributes:
        au_probs: [B, C] in [0, 1].
        vector: [B, F], the encoder's pooled vector.
        pi_probs: [B, S, S, K] in [0, 1].
    """

    au_probs: jax.Array | None
    vector: jax.Array | None
    pi_probs: jax.Array | None


class Stage(Protocol):
    """One kind of training, made from its own small dataclass and the facts of its data."""

    def init(self, key: jax.Array, inputs: dict[str, Parts]) -> tuple[PyTree, Parts]:
        """Returns the start state, and the frozen parts that every step only reads ({} if none).

        Args:
            key: typed key.
            inputs: exported parts by training name.
        """
        ...

    def train_step(
        self, state: PyTree, frozen: Parts, batch: PyTree, key: jax.Array
    ) -> tuple[PyTree, dict[str, jax.Array]]:
        """Makes one update, jitted by the stage with ``state`` donated.

        A loss or gradient that is not finite changes nothing and is counted.

        Args:
            state: what ``init`` or the last step returned; its ``step`` field counts.
            frozen: the second value of ``init``.
            batch: what the stage's stream yields.
            key: typed key of this step.

        Returns:
            The new state, and scalar metrics, among them ``loss``.
        """
        ...

    def export(self, state: PyTree) -> Parts:
        """Returns the parts that go on to later trainings and to evaluation.

        A stage may have a second method like it, ``export_for_scoring``, of parts that scores alone read: a teacher's.
        """
        ...

    def predict(self, exported: Parts, images: jax.Array) -> Scores:
        """Scores images [B, S, S, 3] float32 in [0, 1]; jitted, sees an export and nothing else."""
        ...


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How one training steps; AdamW or SGD with momentum, linear warm-up, cosine decay to zero.

    Attributes:
        steps: length of the training, and of the decay.
        learning_rate: peak.
        warmup: fraction of the steps with a rising rate.
        weight_decay: decoupled, on kernels only.
        clip_norm: bound of the global gradient norm; 0 for none.
        kind: ``adamw`` or ``sgd``.
        momentum: of ``sgd``.
        eps_root: of ``adamw``, added under the root of the second moment; above 0 where the step
            itself is differentiated.
        accumulate: steps whose mean gradient makes one update, for batches that the devices cannot
            hold or divide at once; batch statistics stay those of each step.
    """

    steps: Count
    learning_rate: Rate
    warmup: Share = 0.05
    weight_decay: Decay = 1e-4
    clip_norm: Norm = 1.0
    kind: Annotated[str, Choice(*OPTIMIZERS)] = "adamw"
    momentum: Chance = 0.9
    eps_root: Annotated[float, Range(0, 1)] = 0.0
    accumulate: Count = 1

    def schedule(self) -> optax.Schedule:
        """Returns the learning rate by update; never 0, so that no step is wasted."""
        updates = max(1, self.steps // self.accumulate)
        warmup = max(1, round(self.warmup * updates))
        rate = optax.warmup_cosine_decay_schedule(
            self.learning_rate / (warmup + 1),
            self.learning_rate,
            warmup,
            max(warmup + 1, updates),
        )

        def schedule(count: ArrayLike) -> ArrayLike:
            with jax.numpy_dtype_promotion("standard"):
                return rate(count)

        return schedule

    def build(self) -> optax.GradientTransformation:
        """Builds the optimizer.

        Raises:
            ValueError: for an unknown kind, or steps that do not fill the last update.
        """
        if self.accumulate < 1 or self.steps % self.accumulate:
            raise ValueError(
                f"{self.steps} steps are not a multiple of accumulate={self.accumulate}"
            )
        if self.kind not in OPTIMIZERS:
            raise ValueError(f"optimizer kind must be 'adamw' or 'sgd', not {self.kind!r}")
        clip = [optax.clip_by_global_norm(self.clip_norm)] if self.clip_norm else []
        adam = optax.scale_by_adam(eps_root=self.eps_root)
        scale = adam if self.kind == "adamw" else optax.trace(self.momentum)
        # One flat vector instead of hundreds of leaves: the update compiles in a fraction of the time.
        direction = optax.flatten(optax.chain(*clip, scale))
        decay = optax.add_decayed_weights(self.weight_decay, mask=_kernels)
        scaled = optax.scale_by_learning_rate(self.schedule())
        optimizer = optax.chain(direction, decay, scaled)
        if self.accumulate > 1:
            optimizer = optax.MultiSteps(optimizer, self.accumulate).gradient_transformation()
        return _with_promotion(optimizer)


def _with_promotion(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Lets optax mix float and int counters, which strict dtype promotion would refuse."""

    def update(
        updates: Params, state: OptState, params: Params | None = None
    ) -> tuple[Params, OptState]:
        with jax.numpy_dtype_promotion("standard"):
            return optimizer.update(updates, state, params)

    return optax.GradientTransformation(optimizer.init, update)


def _kernels(params: Params) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def create_state(parts: Parts, optimizer: optax.GradientTransformation) -> StageState:
    """Creates the state of a training before its first step, from parts by name."""
    params = {name: part[0] for name, part in parts.items()}
    stats = {name: part[1] for name, part in parts.items()}
    return StageState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=stats,
        opt_state=optimizer.init(params),
        skipped=jnp.zeros((), jnp.int32),
    )


def export_parts(state: StageState, names: tuple[str, ...]) -> Parts:
    """Returns some parts of a state, as trainings hand them on."""
    return {name: Part(state.params[name], state.batch_stats[name]) for name in names}


def update_if_finite(
    optimizer: optax.GradientTransformation,
    state: StageState,
    loss: jax.Array,
    grads: Params,
    batch_stats: BatchStats,
) -> tuple[StageState, dict[str, jax.Array]]:
    """Takes one optimizer step, or none where loss or gradient is not finite.

    Args:
        optimizer: the training's optimizer.
        state: before the step.
        loss: [] float32.
        grads: like ``state.params``.
        batch_stats: running statistics after the forward pass.

    Returns:
        The state after the step, and ``loss``, ``gradient_norm`` and ``count_skipped``.
    """
    # Of one vector, as the optimizer has it: a sum for each leaf takes nearly as long to compile as the rest.
    norm = optax.tree.norm(ravel_pytree(grads)[0])
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    new = (optax.apply_updates(state.params, updates), batch_stats, opt_state)
    old = (state.params, state.batch_stats, state.opt_state)
    params, stats, opt_state = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
    skipped = jnp.where(finite, 0, 1).astype(jnp.int32)
    metrics = {"loss": loss, "gradient_norm": norm, "count_skipped": skipped}
    return StageState(state.step + 1, params, stats, opt_state, state.skipped + skipped), metrics
