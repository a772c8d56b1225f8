"""Shared layers: resizing, stochastic depth, batch statistics, laws of initial parameters."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from piapdf_jax.models import layers


@pytest.mark.parametrize("size", [(9, 7), (5, 11), (3, 2), (8, 6)])
def test_resize_is_bilinear(size):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 6, 3)), jnp.float32)
    peer = jax.image.resize(x, (2, *size, 3), "bilinear")
    np.testing.assert_allclose(layers.resize(x, *size), peer, rtol=1e-5, atol=1e-5)


def test_gradient_of_resize_is_its_transpose_and_no_scatter():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 7, 7, 2)), jnp.float32)
    y = jnp.asarray(np.random.default_rng(1).normal(size=(1, 16, 16, 2)), jnp.float32)
    out, pull = jax.vjp(lambda x: layers.resize(x, 16, 16), x)
    np.testing.assert_allclose(jnp.vdot(out, y), jnp.vdot(x, pull(y)[0]), rtol=1e-4)
    assert "scatter" not in str(jax.make_jaxpr(pull)(y))


def test_upsample_repeats_pixels_by_whole_factors_and_interpolates_else():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 2)), jnp.float32)
    np.testing.assert_array_equal(
        layers.upsample(x, 6, 12), np.repeat(np.repeat(x, 2, axis=1), 3, axis=2)
    )
    np.testing.assert_array_equal(layers.upsample(x, 7, 8), layers.resize(x, 7, 8))


def test_stochastic_depth_drops_whole_images_and_keeps_the_mean():
    x = jnp.ones((4, 2, 2, 1))
    y = layers.stochastic_depth(x, jnp.asarray([0.0, 0.19, 0.2, 0.9]), 0.2)
    np.testing.assert_allclose(y[:, 0, 0, 0], [0.0, 0.0, 1.25, 1.25])


def test_squeeze_excite_against_numpy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 3, 4))
    a, b, c, d = (rng.normal(size=shape) for shape in [(4, 2), (2,), (2, 4), (4,)])
    params = {
        "reduce": {"kernel": a[None, None], "bias": b},
        "expand": {"kernel": c[None, None], "bias": d},
    }
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    ours = layers.SqueezeExcite(2).apply({"params": params}, jnp.asarray(x, jnp.float32))

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    hidden = x.mean((1, 2)) @ a + b
    gate = sigmoid(hidden * sigmoid(hidden) @ c + d)
    np.testing.assert_allclose(ours, x * gate[:, None, None], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", layers.MODES)
def test_batch_norm_by_mode_against_numpy(mode):
    rng = np.random.default_rng(0)
    x = rng.normal(2.0, 3.0, (4, 3, 3, 2))
    old = {"mean": np.array([0.5, -1.0]), "var": np.array([2.0, 3.0])}
    variables = {
        "params": {"scale": np.array([1.5, 0.5]), "bias": np.array([0.1, 0.2])},
        "batch_stats": old,
    }
    module = layers.batch_norm("norm", mode=mode, momentum=0.7, epsilon=1e-3)
    single = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), variables)
    y, updated = module.apply(single, jnp.asarray(x, jnp.float32), mutable=["batch_stats"])
    batch = {"mean": x.mean((0, 1, 2)), "var": x.var((0, 1, 2))}
    used = old if mode == "eval" else batch
    expected = (x - used["mean"]) / np.sqrt(used["var"] + 1e-3) * [1.5, 0.5] + [0.1, 0.2]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    share = 1.0 if mode == "eval" else 0.7
    for name in ("mean", "var"):
        np.testing.assert_allclose(
            updated["batch_stats"][name],
            share * old[name] + (1 - share) * batch[name],
            rtol=1e-5,
        )


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
        variables = layers.initialize(_Many(), jax.random.key(3), x, mode="eval")
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
        layers.initialize(_Many(), jax.random.key(seed), x, mode="eval")["params"]
        for seed in (0, 0, 1)
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
        layers.initialize(_Many(), jax.random.key(0), x, mode="eval")
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
        layers.initialize(Odd(), jax.random.key(0), jnp.zeros((1,)))


def test_prior_logit():
    assert 1 / (1 + np.exp(-layers.prior_logit(0.05))) == pytest.approx(0.05)
