"""Start values: our modules' laws, on the host and by Flax, and the own laws of foreign modules."""

import contextlib
import dataclasses

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from piapdf_jax.models import layers
from piapdf_jax.models.decoder import PIDecoder
from piapdf_jax.models.dw_unet import DWUNet, UNet
from piapdf_jax.models.efficientnet import COEFFICIENTS, EfficientNet, EfficientNetConfig
from piapdf_jax.models.heads import Head, IdentityHead
from piapdf_jax.models.initializers import VarianceScaling, conv_init, dense_init, depthwise_init
from piapdf_jax.models.parameters import initialize
from piapdf_jax.models.piap import init_part
from piapdf_jax.models.presets import MODELS


def _small(name, rows):
    width, depth = COEFFICIENTS[name][:2]
    return EfficientNet(EfficientNetConfig(width=width, depth=depth, rows=rows))


NETWORKS = {
    "nano": (_small("nano", 3), (32, 32, 3)),
    "tiny of 12 channels": (_small("tiny", 7), (32, 32, 12)),
    "dw_unet": (DWUNet(12, widths=(16, 24), blocks=1), (8, 8, 3)),
    "unet": (UNet(12, widths=(16, 24), blocks=1), (8, 8, 3)),
    "decoder": (PIDecoder(12, 16, widths=(48, 24)), (2, 2, 320)),
    "head": (Head(12, 0.1), (320,)),
    "identities": (IdentityHead(40), (320,)),
}


def _by_law(leaves):
    """Kernels over their standard deviation, and uniform ones over their bound; checks constants.

    The numbers are written out here: normal with variance 2 / (k l D) for a convolution [k, l, C,
    D], 2 / (k l) for a depthwise one [k, l, C]; uniform in +-1 / sqrt(C) for a dense layer [C, D].
    """
    normal, uniform = {}, {}
    for path, leaf in leaves:
        name, value = path[-1].key, np.asarray(leaf)
        assert value.dtype == np.float32
        if name != "kernel":
            expected = {"bias": 0, "mean": 0, "scale": 1, "var": 1}[name]
            np.testing.assert_array_equal(value, expected, str(path))
        elif value.ndim == 2:
            uniform[str(path)] = value.ravel() * np.sqrt(value.shape[0])
        else:
            taps = value.shape[0] * value.shape[1]
            fan_out = taps * value.shape[3] if value.ndim == 4 else taps
            assert value.ndim == (3 if "depthwise" in str(path) else 4)
            normal[str(path)] = value.ravel() / np.sqrt(2 / fan_out)
    return normal, uniform


@pytest.fixture(scope="module")
def compiled_values():
    """What ``module.init`` gives, compiled as one function."""
    inputs = {name: np.zeros((1, *shape), np.float32) for name, (_, shape) in NETWORKS.items()}

    @jax.jit
    def init(key, inputs):
        return {n: NETWORKS[n][0].init(key, x, mode="eval") for n, x in inputs.items()}

    return init(jax.random.key(3), inputs)


@pytest.mark.parametrize("way", ["host", "module.init"])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_leaf_has_its_law(network, way, request):
    """Mean and variance of each leaf, and its distribution by Kolmogorov and Smirnov's test."""
    module, shape = NETWORKS[network]
    if way == "host":
        abstract = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
        variables = initialize(module, jax.random.key(3), abstract, mode="eval")
    else:
        variables = request.getfixturevalue("compiled_values")[network]
    normal, uniform = _by_law(jax.tree_util.tree_leaves_with_path(variables))
    assert normal or uniform
    for path, values in (normal | uniform).items():
        n, variance = values.size, 1.0 if path in normal else 1 / 3
        assert abs(values.mean()) < 4.5 * np.sqrt(variance / n), path
        # A variance has the relative standard error sqrt((kurtosis - 1) / n): 3 - 1 and 1.8 - 1.
        error = np.sqrt((2.0 if path in normal else 0.8) / n)
        assert abs((values**2).mean() / variance - 1) < 6 * error, path
        law = stats.norm() if path in normal else stats.uniform(-1, 2)
        assert stats.kstest(values, law.cdf).pvalue > 1e-4, path
    for values in uniform.values():
        assert 0.99 < np.abs(values).max() <= 1
    if normal:
        together = np.concatenate(list(normal.values()))
        assert abs(stats.kurtosis(together)) < 5 * np.sqrt(24 / together.size)
        assert np.abs(together).max() > 3, "truncated"


@contextlib.contextmanager
def _lowered():
    """Names the functions that are lowered meanwhile: whatever is compiled, or loaded from a cache."""
    names = []

    def listen(event, duration_secs, **kwargs):
        del duration_secs
        if event == "/jax/core/compile/jaxpr_to_mlir_module_duration":
            names.append(kwargs.get("fun_name", "?"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


class _Ours(nn.Module):
    """Of sizes that no other test has, so that nothing is there already."""

    @nn.compact
    def __call__(self, x, *, mode):
        x = layers.conv(61, name="conv")(x)
        x = layers.norm_swish(layers.batch_norm("norm", mode=mode), x)
        x = nn.jit(layers.Pointwise)(59, use_bias=True, name="jitted")(x)
        x = nn.remat(layers.Depthwise)(7, name="rematerialized")(x)
        return layers.dense(53, name="dense")(jnp.mean(x, (1, 2)))


def test_our_modules_compile_nothing():
    x = jax.ShapeDtypeStruct((1, 6, 5, 43), jnp.float32)
    with _lowered() as names:
        made = initialize(_Ours(), jax.random.key(0), x, mode="eval")
        ours = list(names)
        jax.jit(lambda x: x + 17.25)(np.zeros((3, 1, 2, 7), np.float32))
    assert names and not ours
    shapes = jax.eval_shape(
        lambda key: _Ours().init(key, jnp.zeros(x.shape), mode="eval"), jax.random.key(0)
    )
    assert jax.tree.map(lambda a: (a.shape, a.dtype), made) == jax.tree.map(
        lambda a: (a.shape, a.dtype), shapes
    )


def test_initialize_is_a_function_of_key_and_path():
    x = jnp.zeros((1, 4, 4, 32))
    first, again, other = (
        initialize(_Ours(), jax.random.key(seed), x, mode="eval")["params"] for seed in (0, 0, 1)
    )
    chex.assert_trees_all_equal(first, again)
    assert not np.array_equal(first["conv"]["kernel"], other["conv"]["kernel"])
    kernels = [np.asarray(leaf).ravel()[:8] for leaf in jax.tree.leaves(first) if leaf.ndim > 1]
    for i, one in enumerate(kernels):
        for two in kernels[:i]:
            assert abs(np.corrcoef(one, two)[0, 1]) < 0.999, "two leaves share a stream"


class _Foreign(nn.Module):
    """Leaves that look like ours and start otherwise, beside one of ours."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(31, (3, 3), name="conv")(x)
        x = layers.Pointwise(29, name="ours")(x)
        cubic = self.param("kernel", nn.initializers.normal(0.02), (5, 5, 29))
        x = x + jnp.sum(cubic, (0, 1))
        x = nn.Dense(23, kernel_init=nn.initializers.normal(0.5), name="dense")(x)
        scaled = self.param("scaled", lambda *args: 10 * conv_init(*args), (3, 3, 23, 64))
        x = x * self.param("temperature", nn.initializers.uniform(3.0), (1,)) + jnp.sum(scaled)
        return x + self.param("offset", nn.initializers.constant(0.25), (23,), jnp.float32)


def test_a_foreign_module_keeps_its_own_laws():
    """The numbers of ``module.init`` where the law is not ours, and one compilation for all."""
    x, key = jax.ShapeDtypeStruct((1, 6, 5, 41), jnp.float32), jax.random.key(4)
    with _lowered() as names:
        made = initialize(_Foreign(), key, x)["params"]
    assert len(names) == 1
    own = jax.jit(_Foreign().init)(key, np.zeros(x.shape, np.float32))["params"]
    ours = own.pop("ours")["kernel"], made.pop("ours")["kernel"]
    chex.assert_trees_all_equal(made, own)
    assert not np.array_equal(*ours)
    for kernel in ours:
        assert abs(np.std(kernel) / np.sqrt(2 / 29) - 1) < 5 / np.sqrt(2 * kernel.size)
    # By hand: lecun_normal is cut off at two standard deviations of the normal law, and has the
    # variance 1 / fan_in.
    conv = np.asarray(made["conv"]["kernel"]) * np.sqrt(9 * 41)
    assert abs(np.std(conv) - 1) < 0.03 and np.abs(conv).max() < 2.28
    assert abs(np.std(made["kernel"]) / 0.02 - 1) < 0.1
    assert abs(np.std(made["dense"]["kernel"]) / 0.5 - 1) < 0.1
    assert abs(np.std(made["scaled"]) / (10 * np.sqrt(2 / (9 * 64))) - 1) < 0.05
    assert 0 < made["temperature"] < 3 and np.all(made["offset"] == 0.25)


@pytest.mark.parametrize("lift", ["vmap", "scan"])
def test_stacked_layers_keep_their_fan(lift):
    """A stack of dense layers has a kernel of rank 3, which is no depthwise one."""

    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, *_):
            y = layers.dense(25, name="dense")(x)
            return (y, None) if lift == "scan" else y

    options = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
    lifted = nn.scan(Layer, length=4, **options) if lift == "scan" else nn.vmap(Layer, **options)
    module, key = lifted(), jax.random.key(2)
    x = np.zeros((4, 3, 25), np.float32)[0 if lift == "scan" else slice(None)]
    made = initialize(module, key, x)
    chex.assert_trees_all_equal(made, jax.jit(module.init)(key, x))
    kernel = next(leaf for leaf in jax.tree.leaves(made) if leaf.ndim == 3)
    assert kernel.shape == (4, 25, 25) and 0.19 < np.abs(kernel).max() <= 0.2
    assert np.unique(kernel).size > 0.9 * kernel.size, "layers of a stack share their numbers"


class _Unusual(nn.Module):
    """Boxes, other collections, a copy of a parameter, a stream of its own, a look at the input."""

    @nn.compact
    def __call__(self, x):
        boxed = nn.with_partitioning(dense_init, (None, "model"))
        kernel = self.param("kernel", boxed, (x.shape[-1], 7))
        self.variable("average", "kernel", lambda: kernel)
        self.variable("noise", "start", lambda: jax.random.normal(self.make_rng("noise"), (3,)))
        self.param("seen", lambda key: jnp.mean(x))
        return x @ kernel


def test_unusual_modules_start_as_flax_starts_them():
    x, key = np.arange(12, dtype=np.float32).reshape(2, 6), jax.random.key(1)
    made, own = initialize(_Unusual(), key, x), _Unusual().init(key, x)
    assert jax.tree.structure(made) == jax.tree.structure(own)
    assert made["params"]["kernel"].names == (None, "model")
    np.testing.assert_array_equal(made["average"]["kernel"], made["params"]["kernel"].value)
    np.testing.assert_array_equal(made["noise"]["start"], own["noise"]["start"])
    assert made["params"]["seen"] == 5.5
    assert (
        initialize(_Unusual(), key, jax.ShapeDtypeStruct((2, 6), jnp.float32))["params"]["seen"]
        == 0
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    ("law", "shape", "flax"),
    [
        (conv_init, (3, 5, 4, 6), nn.initializers.variance_scaling(2.0, "fan_out", "normal")),
        (depthwise_init, (3, 5, 6), nn.initializers.normal(np.sqrt(2 / 15))),
        (dense_init, (9, 6), nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")),
        (
            VarianceScaling(1.0, "fan_in", "normal", (0, 1), 2),
            (3, 5, 6, 2),
            nn.initializers.normal(np.sqrt(1 / 30)),
        ),
    ],
)
def test_jax_draws_the_numbers_of_flax(law, shape, flax, dtype):
    keys = jax.random.split(jax.random.key(7), 3)
    expected = jax.vmap(lambda key: flax(key, shape, dtype))(keys)
    for found in (
        [law(key, shape, dtype) for key in keys],
        jax.jit(jax.vmap(lambda key: law(key, shape, dtype)))(keys),
    ):
        found = jnp.stack(list(found))
        assert found.dtype == dtype
        tolerance = 0.02 if dtype == jnp.bfloat16 else 1e-6
        np.testing.assert_allclose(
            found.astype(jnp.float32), expected.astype(jnp.float32), tolerance, tolerance
        )


def test_a_law_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"does not fit a parameter of shape \(3,\)"):
        dense_init(jax.random.key(0), (3,))
    with pytest.raises(ValueError, match="'fan_avg' is neither"):
        VarianceScaling(1.0, "fan_avg", "normal")
    with pytest.raises(ValueError, match="'truncated_normal' is neither"):
        VarianceScaling(1.0, "fan_in", "truncated_normal")


@pytest.mark.x64
@pytest.mark.parametrize("model", ["nano", "resnet14"])
def test_parameters_are_single_where_doubles_are_on(model):
    """An optimizer joins all of them to one vector, which strict promotion lets nobody do with two widths."""
    config = MODELS["nano"]
    if model != "nano":
        config = dataclasses.replace(config, encoder=model)
    for part in ("encoder", "head", "decoder", "generator"):
        made = init_part(config, part, jax.random.key(0), num_aus=12, num_maps=12, image_size=64)
        assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {np.dtype(np.float32)}, part
