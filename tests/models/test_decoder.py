"""PI decoder: from any feature map to maps of any size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from piapdf_jax.models.decoder import PIDecoder
from piapdf_jax.models.parameters import initialize


@pytest.mark.parametrize(
    ("features", "output_size", "options"),
    [
        ((7, 7, 1280), 256, {}),
        ((8, 8, 1280), 256, {}),
        ((3, 3, 320), 128, {"widths": (48, 32), "stride": 4}),
        ((3, 5, 64), 100, {"widths": (16, 8), "stride": 3}),
        ((1, 1, 16), 17, {"widths": (8,)}),
    ],
)
def test_shapes(features, output_size, options):
    module = PIDecoder(num_maps=12, output_size=output_size, **options)
    x = jax.ShapeDtypeStruct((2, *features), jnp.float32)
    logits, variables = jax.eval_shape(
        lambda x: module.init_with_output(jax.random.key(0), x, mode="eval"), x
    )
    assert logits.shape == (2, output_size, output_size, 12)
    assert logits.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


def test_every_leaf_and_the_features_get_a_gradient():
    module = PIDecoder(num_maps=2, output_size=10, widths=(8, 4), stride=2)
    features = jax.random.normal(jax.random.key(0), (4, 2, 3, 6))
    variables = initialize(module, jax.random.key(1), features, mode="eval")

    @jax.jit
    def run(params, features):
        def loss(params, features):
            both = {**variables, "params": params}
            logits, _ = module.apply(both, features, mode="train", mutable=["batch_stats"])
            return jnp.mean(jnp.sin(logits) * jnp.arange(10.0)[None, :, None, None])

        return jax.grad(loss, (0, 1))(params, features)

    for path, leaf in jax.tree_util.tree_leaves_with_path(run(variables["params"], features)):
        assert float(jnp.max(jnp.abs(leaf))) > 1e-8, jax.tree_util.keystr(path)


def test_maps_follow_the_features_place():
    """A change in one corner of the features moves the maps there most, and far corners least."""
    module = PIDecoder(num_maps=1, output_size=32, widths=(8, 8))
    features = jax.random.normal(jax.random.key(0), (1, 8, 8, 4))
    variables = initialize(module, jax.random.key(1), features, mode="eval")
    run = jax.jit(lambda x: module.apply(variables, x, mode="eval"))
    change = np.abs(run(features) - run(features.at[0, 0, 7].add(1.0)))[0, ..., 0]
    assert change[:4, -4:].max() > 0
    np.testing.assert_array_equal(change[16:], 0)
    np.testing.assert_array_equal(change[:, :16], 0)
