"""Laws of initial parameters, as Flax draws them and as the host does."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from piapdf_jax.models import layers
from piapdf_jax.models.parameters import initialize


class _Many(nn.Module):
    """One large leaf of each kind."""

    @nn.compact
    def __call__(self, x, *, mode):
        x = layers.Conv(64, name="conv")(x)
        x = layers.Depthwise(7, name="depthwise")(x)
        x = layers.batch_norm("norm", mode=mode)(x)
        x = layers.Pointwise(64, use_bias=True, name="pointwise")(x)
        return layers.Dense(128, name="dense")(jnp.mean(x, (1, 2)))


@pytest.mark.parametrize("own", [True, False], ids=["module.init", "initialize"])
def test_laws_of_initial_parameters(own):
    """Convolutions: variance 2 / fan_out. Dense: uniform in +-1 / sqrt(fan_in). Else constants."""
    x = jnp.zeros((1, 4, 4, 32))
    if own:
        variables = jax.jit(lambda key: _Many().init(key, x, mode="eval"))(jax.random.key(3))
    else:
        variables = initialize(_Many(), jax.random.key(3), x, mode="eval")
    params = jax.tree.map(np.asarray, variables["params"])
    expected = {
        ("conv", "kernel"): ((3, 3, 32, 64), np.sqrt(2 / (9 * 64))),
        ("depthwise", "kernel"): ((7, 7, 64), np.sqrt(2 / 49)),
        ("pointwise", "kernel"): ((1, 1, 64, 64), np.sqrt(2 / 64)),
        ("dense", "kernel"): ((64, 128), np.sqrt(1 / (3 * 64))),
    }
    for (module, leaf), (shape, std) in expected.items():
        value = params[module][leaf]
        assert value.shape == shape and value.dtype == np.float32
        # Standard errors: of the mean std / sqrt(n), of the deviation at most std / sqrt(2 n).
        assert abs(value.mean()) < 5 * std / np.sqrt(value.size)
        assert abs(value.std() / std - 1) < 5 / np.sqrt(2 * value.size)
    assert np.abs(params["dense"]["kernel"]).max() <= 1 / 8
    assert np.abs(params["conv"]["kernel"]).max() > 3 * np.sqrt(2 / (9 * 64)), "not a normal law"
    for value in (params["dense"]["bias"], params["pointwise"]["bias"], params["norm"]["bias"]):
        np.testing.assert_array_equal(value, 0)
    np.testing.assert_array_equal(params["norm"]["scale"], 1)
    np.testing.assert_array_equal(variables["batch_stats"]["norm"]["mean"], 0)
    np.testing.assert_array_equal(variables["batch_stats"]["norm"]["var"], 1)


def test_initialize_is_a_function_of_key_and_path():
    x = jnp.zeros((1, 4, 4, 32))
    first, again, other = (
        initialize(_Many(), jax.random.key(seed), x, mode="eval")["params"] for seed in (0, 0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first["conv"]["kernel"], other["conv"]["kernel"])
    kernels = [np.asarray(leaf).ravel()[:8] for leaf in jax.tree.leaves(first) if leaf.ndim > 1]
    for i, one in enumerate(kernels):
        for two in kernels[:i]:
            assert abs(np.corrcoef(one, two)[0, 1]) < 0.999, "two leaves share a stream"


def test_initialize_compiles_nothing():
    compiled = []

    def listen(event, duration, **kwargs):
        if "backend_compile" in event:
            compiled.append(event)

    x = jax.ShapeDtypeStruct((1, 6, 5, 32), jnp.float32)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        initialize(_Many(), jax.random.key(0), x, mode="eval")
        ours = list(compiled)
        jax.jit(lambda x: x + 17.25)(jnp.zeros((3, 1, 2)))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert compiled and not ours


def test_a_leaf_without_a_law_is_an_error():
    class Odd(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x * self.param("temperature", nn.initializers.ones, (1,))

    with pytest.raises(ValueError, match="temperature"):
        initialize(Odd(), jax.random.key(0), jnp.zeros((1,)))
