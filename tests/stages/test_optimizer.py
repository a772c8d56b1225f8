"""The optimizer of every training: its schedule, decay and clipping by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from piapdf_jax.stages.base import OptimizerConfig


def test_an_optimizer_decays_kernels_alone_clips_and_warms_up():
    config = OptimizerConfig(
        steps=100, learning_rate=1.0, warmup=0.1, weight_decay=0.01, kind="sgd", momentum=0.0
    )
    params = {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.full(2, 3.0)}
    optimizer, zero = config.build(), jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zero, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.01 * 3 / 11, rtol=1e-5)
    np.testing.assert_array_equal(updates["bias"], 0)
    steep = {"kernel": jnp.zeros((2, 2)), "bias": jnp.asarray([30.0, 40.0])}
    updates, _ = optimizer.update(steep, optimizer.init(params), params)
    np.testing.assert_allclose(updates["bias"], [-0.6 / 11, -0.8 / 11], rtol=1e-5)
    rate = config.schedule()
    found = [float(rate(k)) for k in (0, 5, 10, 55, 99)]
    expected = [1 / 11, 6 / 11, 1.0, 0.5, 0.5 * (1 + np.cos(np.pi * 89 / 90))]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert isinstance(optimizer, optax.GradientTransformation)
