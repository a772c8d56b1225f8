"""Shared layers: resizing, stochastic depth, squeeze-excite, batch statistics."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from piapdf_jax.models import layers
from piapdf_jax.models.stochastic_depth import stochastic_depth


def test_stochastic_depth_drops_whole_images_and_keeps_the_mean():
    x = jnp.ones((4, 2, 2, 1))
    y = stochastic_depth(x, jnp.asarray([0.0, 0.19, 0.2, 0.9]), 0.2)
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


def test_running_variance_may_take_the_unbiased_one():
    """As NumPy's with ddof 1, while the batch is normalized with ddof 0."""
    x = np.random.default_rng(0).normal(2.0, 3.0, (2, 2, 1, 3))
    variables = {
        "params": {"scale": jnp.ones(3), "bias": jnp.zeros(3)},
        "batch_stats": {"mean": jnp.zeros(3), "var": jnp.full(3, 5.0)},
    }
    module = layers.batch_norm("norm", mode="train", momentum=0.6, epsilon=0.0, unbiased=True)
    y, updated = module.apply(variables, jnp.asarray(x, jnp.float32), mutable=["batch_stats"])
    expected = 0.6 * 5.0 + 0.4 * x.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(updated["batch_stats"]["var"], expected, rtol=1e-5)
    np.testing.assert_allclose(y.std((0, 1, 2)), 1.0, rtol=1e-4)


SHAPE = (4, 6, 6, 3)


class Normed(nn.Module):
    """BatchNorm and swish: as the networks have them, or written plainly."""

    plain: bool

    @nn.compact
    def __call__(self, x):
        norm = layers.batch_norm("norm", mode="train")
        return nn.swish(norm(x)) if self.plain else layers.norm_swish(norm, x)


def passed_through(module):
    """Value, running statistics and gradients; and how many numbers the backward pass was handed."""
    x = jax.random.normal(jax.random.key(0), SHAPE) * 3 + 1
    variables = module.init(jax.random.key(1), x)
    stats = variables["batch_stats"]

    def forward(params, x):
        both = {"params": params, "batch_stats": stats}
        return module.apply(both, x, mutable=["batch_stats"])

    y, back, new = jax.vjp(forward, variables["params"], x, has_aux=True)
    kept = sum(leaf.size for leaf in jax.tree.leaves(back))
    return (y, new, back(jnp.sin(y))), kept


def test_backward_of_norm_swish_keeps_its_input_and_statistics_alone():
    (anew, kept), (plain, more) = passed_through(Normed(False)), passed_through(Normed(True))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, anew, plain)
    size = int(np.prod(SHAPE))
    assert size < kept < 1.5 * size
    assert more > 3 * size


@pytest.mark.parametrize("size", [(6, 8), (7, 5), (6, 5)])
@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_symmetric_padding_pads_by_half_the_kernel(size, kernel_size, stride):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, *size, 2)), jnp.float32)
    half = [(kernel_size // 2, kernel_size // 2)] * 2

    def run(module, groups):
        y, variables = module.init_with_output(jax.random.key(0), x)
        kernel = variables["params"]["kernel"].reshape(kernel_size, kernel_size, 2 // groups, -1)
        peer = jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            half,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )
        np.testing.assert_allclose(y, peer, rtol=1e-5, atol=1e-5)

    run(layers.conv(4, kernel_size, stride, "SYMMETRIC"), 1)
    run(layers.Depthwise(kernel_size, stride, "SYMMETRIC"), 2)


def test_a_convolution_computes_in_its_inputs_dtype():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 4, 3)), jnp.float32)
    module = layers.conv(4)
    y, variables = module.init_with_output(jax.random.key(0), x)
    half = module.apply(variables, x.astype(jnp.bfloat16))
    assert jax.tree.map(jnp.shape, variables["params"]) == {"kernel": (3, 3, 3, 4)}, "no bias"
    assert variables["params"]["kernel"].dtype == y.dtype == jnp.float32
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), y, rtol=0.05, atol=0.05)


def test_another_padding_is_refused():
    with pytest.raises(ValueError, match="'REFLECT' is neither SAME nor SYMMETRIC"):
        layers.conv(4, padding="REFLECT")


def test_prior_logit():
    assert 1 / (1 + np.exp(-layers.prior_logit(0.05))) == pytest.approx(0.05)
