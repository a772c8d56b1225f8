"""Devices: one mesh axis, ``data``; and one update over them: which batch, which random key, which step.

Parameters are replicated on every device, batches split along axis 0. Every training depends on this module, so its
source is part of every digest.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from piapdf_jax.batch import images_to_float
from piapdf_jax.keys import named_key
from piapdf_jax.stages.base import Stage
from piapdf_jax.types import Parts, PyTree

DATA_AXIS = "data"


def data_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Returns a mesh of one axis, ``data``.

    Args:
        devices: which; all devices of all hosts by default.

    Returns:
        The mesh. Its axis is of type Auto, so the compiler places the collectives.
    """
    devices = jax.devices() if devices is None else list(devices)
    return jax.make_mesh(
        (len(devices),), (DATA_AXIS,), axis_types=(AxisType.Auto,), devices=devices
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(mesh: Mesh, tree: PyTree) -> PyTree:
    """Copies arrays to every device of a mesh; donating the copies touches nothing else.

    Args:
        mesh: from ``data_mesh``.
        tree: arrays that this process can read, the same on every host.

    Returns:
        The tree with each leaf replicated over the mesh.
    """
    sharding = replicated(mesh)

    def place(leaf: PyTree) -> jax.Array:
        host = np.asarray(leaf)
        # A device of the CPU platform may take NumPy memory as its own: each gets a copy.
        return jax.make_array_from_callback(host.shape, sharding, lambda _: np.array(host))

    return jax.tree.map(place, tree)


def shard_batch(mesh: Mesh, batch: PyTree) -> PyTree:
    """Splits a batch along its first axis over the devices.

    Args:
        mesh: from ``data_mesh``.
        batch: pytree of NumPy arrays [b, ...], this host's share of the global batch; None passes.

    Returns:
        The batch as global device arrays [b * hosts, ...]; the copying may still be under way.

    Raises:
        ValueError: where the global batch is not divisible by the number of devices.
    """
    hosts = len({device.process_index for device in mesh.devices.flat})
    sharding = NamedSharding(mesh, PartitionSpec(DATA_AXIS))
    for leaf in jax.tree.leaves(batch):
        check_divides(leaf.shape[0] * hosts, mesh.size)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def check_divides(batch_size: int, devices: int) -> None:
    """Refuses a global batch that is not divisible by the number of devices.

    Raises:
        ValueError: naming the nearest sizes that do.
    """
    below = batch_size // devices * devices
    if below != batch_size:
        nearest = f"{below} or {below + devices}" if below else str(devices)
        raise ValueError(
            f"batch size {batch_size} is not divisible by {devices} devices: use {nearest}"
        )


def keep_replicated(mesh: Mesh, tree: PyTree) -> PyTree:
    """Returns a tree with any leaf that a compiled step left split brought back to every device.

    Args:
        mesh: from ``data_mesh``.
        tree: device arrays.

    Returns:
        The tree, every leaf whole on every device; untouched where it already was.
    """
    if all(leaf.is_fully_replicated for leaf in jax.tree.leaves(tree)):
        return tree
    return jax.device_put(tree, replicated(mesh))


def init_state(
    stage: Stage, mesh: Mesh, key: jax.Array, inputs: dict[str, Parts]
) -> tuple[PyTree, Parts]:
    """Returns the state before the first update and the frozen parts, whole on every device.

    Args:
        stage: what trains.
        mesh: devices.
        key: typed key of the training.
        inputs: exported parts by training name. They are copied, so that donation never reaches them.
    """
    state, frozen = stage.init(named_key(key, "init"), inputs)
    return replicate(mesh, state), replicate(mesh, frozen)


def load_step(mesh: Mesh, key: jax.Array, batch: PyTree, step: int) -> tuple[PyTree, jax.Array]:
    """Returns a step's batch on the devices, images as numbers, and the step's key.

    Args:
        mesh: devices.
        key: typed key of the training.
        batch: this host's share of the batch, NumPy arrays.
        step: updates done before.
    """
    return images_to_float(shard_batch(mesh, batch)), named_key(key, "train_step", step)


def update(
    stage: Stage, mesh: Mesh, state: PyTree, frozen: Parts, batch: PyTree, key: jax.Array
) -> tuple[PyTree, dict[str, jax.Array]]:
    """Returns the state after one update, whole on every device, and its metrics."""
    state, metrics = stage.train_step(state, frozen, batch, key)
    return keep_replicated(mesh, state), metrics
