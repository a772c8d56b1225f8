import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_stage import toy_batch

from piapdf_jax.batch import FeedbackBatch
from piapdf_jax.runtime import mesh


@pytest.fixture
def pair():
    assert len(jax.devices()) >= 2, "tests run with jax_num_cpu_devices=2"
    return mesh.data_mesh(jax.devices()[:2])


def test_mesh_has_one_auto_axis_over_all_devices():
    made = mesh.data_mesh()
    assert made.axis_names == (mesh.DATA_AXIS,)
    assert made.size == len(jax.devices())
    assert made.axis_types == (jax.sharding.AxisType.Auto,)


def test_batch_is_split_in_order_and_none_passes(pair):
    host = FeedbackBatch(toy_batch(0), toy_batch(1))
    placed = mesh.shard_batch(pair, host)
    assert placed.labeled.pi_maps is None
    chex.assert_trees_all_equal(placed, host)
    halves = {s.device: np.asarray(s.data) for s in placed.unlabeled.image.addressable_shards}
    for number, device in enumerate(pair.devices.flat):
        part = slice(4 * number, 4 * number + 4)
        np.testing.assert_array_equal(halves[device], host.unlabeled.image[part])


def test_batch_that_does_not_divide_names_the_nearest_sizes(pair):
    with pytest.raises(ValueError, match="batch size 7 is not divisible by 2 devices: use 6 or 8"):
        mesh.shard_batch(pair, toy_batch(0, size=7))
    with pytest.raises(ValueError, match="batch size 3 .* by 8 devices: use 8"):
        mesh.check_divides(3, 8)
    mesh.check_divides(16, 8)


def test_replicas_are_whole_and_their_own_memory(pair):
    given = {"a": jnp.arange(4.0), "b": np.float32(2)}
    placed = mesh.replicate(pair, given)
    assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves(placed))
    step = jax.jit(lambda tree: jax.tree.map(lambda x: x * 2, tree), donate_argnums=0)
    doubled = step(placed)
    for shard in doubled["a"].addressable_shards:
        np.testing.assert_array_equal(shard.data, [0, 2, 4, 6])
    np.testing.assert_array_equal(given["a"], [0, 1, 2, 3])
    again = mesh.replicate(pair, given)
    np.testing.assert_array_equal(again["a"], [0, 1, 2, 3])


def test_a_split_leaf_is_brought_back_to_every_device(pair):
    split = jax.device_put(
        np.arange(4.0, dtype=np.float32),
        jax.sharding.NamedSharding(pair, jax.sharding.PartitionSpec("data")),
    )
    whole = mesh.replicate(pair, np.float32(1))
    kept = mesh.keep_replicated(pair, [split, whole])
    assert kept[0].is_fully_replicated and not split.is_fully_replicated
    np.testing.assert_array_equal(kept[0], split)
    same = [whole]
    assert mesh.keep_replicated(pair, same) is same
