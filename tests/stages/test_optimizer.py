"""The optimizer of every training: its schedule, decay and clipping by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from piapdf_jax.stages.base import OptimizerConfig, create_state, update_if_finite


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


@pytest.mark.parametrize("size", [1, 1e-3])
def test_a_first_step_of_adamw_is_as_long_as_the_network_is_large_and_of_sgd_as_its_gradient(size):
    """Adam divides each gradient by itself: lr sqrt(n), however small it is; SGD moves by lr min(1, norm)."""
    n, rate = 10_000, 0.1 / 6  # of the first of five steps of warm-up
    grads = {"bias": size * jax.random.normal(jax.random.key(0), (n,))}
    params = jax.tree.map(jnp.zeros_like, grads)
    norm = np.linalg.norm(np.asarray(grads["bias"], np.float64))
    expected = {"adamw": rate * np.sqrt(n), "sgd": rate * min(1.0, norm)}
    for kind, length in expected.items():
        optimizer = OptimizerConfig(steps=100, learning_rate=0.1, kind=kind).build()
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        np.testing.assert_allclose(np.linalg.norm(updates["bias"]), length, rtol=1e-2)


@pytest.mark.parametrize(
    ("loss", "gradient", "moves"),
    [(1.0, 2.0, True), (1.0, np.nan, False), (1.0, np.inf, False), (np.nan, 2.0, False)],
)
def test_a_step_without_a_finite_loss_and_gradient_changes_nothing(loss, gradient, moves):
    optimizer = optax.sgd(0.5)
    parts = {"head": ({"kernel": jnp.asarray([3.0, 4.0])}, {"mean": jnp.asarray(7.0)})}
    state = create_state(parts, optimizer)
    grads = {"head": {"kernel": jnp.asarray([1.0, gradient])}}
    stats = {"head": {"mean": jnp.asarray(8.0)}}
    new, metrics = update_if_finite(optimizer, state, jnp.asarray(loss), grads, stats)
    # 3 - 0.5 x 1 and 4 - 0.5 x 2.
    kernel = [2.5, 3.0] if moves else [3.0, 4.0]
    np.testing.assert_array_equal(new.params["head"]["kernel"], kernel)
    assert float(new.batch_stats["head"]["mean"]) == (8.0 if moves else 7.0)
    skipped = int(not moves)
    assert (int(new.step), int(new.skipped), int(metrics["count_skipped"])) == (1, skipped, skipped)


@pytest.mark.parametrize("place", range(5))
def test_one_number_anywhere_that_is_not_finite_stops_the_step_and_the_norm_is_of_all(place):
    optimizer, numbers = optax.sgd(0.5), np.asarray([1.0, 2.0, 4.0, 8.0, 16.0], np.float32)
    parts = {"head": ({"bias": jnp.zeros(1), "kernel": jnp.zeros((2, 2))}, {})}
    state = create_state(parts, optimizer)

    def after(numbers):
        grads = {"head": {"bias": jnp.asarray(numbers[:1]), "kernel": numbers[1:].reshape(2, 2)}}
        return update_if_finite(optimizer, state, jnp.asarray(1.0), grads, {"head": {}})

    stepped, metrics = after(numbers)
    # 1 + 4 + 16 + 64 + 256
    np.testing.assert_allclose(metrics["gradient_norm"], np.sqrt(341.0), rtol=1e-6)
    assert int(stepped.skipped) == 0
    broken = numbers.copy()
    broken[place] = np.nan
    assert int(after(broken)[0].skipped) == 1
