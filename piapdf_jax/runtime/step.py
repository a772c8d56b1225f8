"""One update of a training: which batch, which random key, which update; what decides the numbers of a loop."""

from typing import Any

import jax
from jax.sharding import Mesh

from piapdf_jax.batch import images_to_float
from piapdf_jax.keys import named_key
from piapdf_jax.runtime.mesh import keep_replicated, replicate, shard_batch
from piapdf_jax.stages.base import Exported, Stage


def start_state(
    stage: Stage, mesh: Mesh, key: jax.Array, inputs: dict[str, Exported]
) -> tuple[Any, Exported]:
    """Returns the state before the first update and the frozen parts, whole on every device.

    Args:
        stage: what trains.
        mesh: devices.
        key: typed key of the training.
        inputs: exported parts by training name. They are copied, so that donation never reaches them.
    """
    state, frozen = stage.init(named_key(key, "init"), inputs)
    return replicate(mesh, state), replicate(mesh, frozen)


def load_step(mesh: Mesh, key: jax.Array, batch: Any, step: int) -> tuple[Any, jax.Array]:
    """Returns a step's batch on the devices, images as numbers, and the step's key.

    Args:
        mesh: devices.
        key: typed key of the training.
        batch: this host's share of the batch, NumPy arrays.
        step: updates done before.
    """
    return images_to_float(shard_batch(mesh, batch)), named_key(key, "train_step", step)


def update(
    stage: Stage, mesh: Mesh, state: Any, frozen: Exported, batch: Any, key: jax.Array
) -> tuple[Any, dict[str, jax.Array]]:
    """Returns the state after one update, whole on every device, and its metrics."""
    state, metrics = stage.train_step(state, frozen, batch, key)
    return keep_replicated(mesh, state), metrics
