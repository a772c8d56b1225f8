"""Several steps make one update: of their mean gradient, at the rate of that update."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from piapdf_jax.stages.base import OptimizerConfig


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_an_update_is_that_of_the_mean_gradient(kind):
    rng = np.random.default_rng(0)
    start = {"w": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32), "b": jnp.zeros(4)}
    # Multiples of 6: the mean of three is exact, in whatever order they are added.
    gradients = [
        jax.tree.map(lambda x: jnp.asarray(6 * rng.integers(-9, 10, x.shape), x.dtype), start)
        for _ in range(12)
    ]
    several = OptimizerConfig(steps=12, learning_rate=0.1, kind=kind, accumulate=3).build()
    one = OptimizerConfig(steps=4, learning_rate=0.1, kind=kind).build()
    a, b = start, start
    a_state, b_state = several.init(a), one.init(b)
    for step, gradient in enumerate(gradients, start=1):
        updates, a_state = several.update(gradient, a_state, a)
        moved = optax.apply_updates(a, updates)
        if step % 3:
            chex.assert_trees_all_equal(moved, a)
        else:
            mean = jax.tree.map(lambda *x: sum(x) / 3, *gradients[step - 3 : step])
            updates, b_state = one.update(mean, b_state, b)
            b = optax.apply_updates(b, updates)
            chex.assert_trees_all_close(moved, b, rtol=1e-5)
        a = moved


def test_steps_that_do_not_fill_the_last_update_are_refused():
    with pytest.raises(ValueError, match="10 steps are not a multiple of accumulate=3"):
        OptimizerConfig(steps=10, learning_rate=0.1, accumulate=3).build()
