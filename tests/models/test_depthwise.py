"""Depthwise and 1x1 convolution against lax.conv_general_dilated."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from piapdf_jax.models.depthwise import depthwise, pointwise

CASES = [
    # batch, height, width, channels, kernel rows, kernel columns, stride, padding
    (2, 8, 8, 3, 3, 3, 1, "SAME"),
    (2, 7, 10, 3, 3, 3, 2, "SAME"),
    (1, 10, 7, 2, 5, 5, 2, "SAME"),
    (1, 11, 8, 2, 3, 5, 3, "SAME"),
    (2, 3, 2, 4, 5, 5, 2, "SAME"),
    (1, 9, 8, 2, 3, 3, 2, "VALID"),
    (2, 6, 5, 2, 4, 2, 1, "VALID"),
    (1, 7, 6, 2, 3, 3, 2, 1),
    (2, 8, 5, 3, 5, 5, 1, 2),
    (1, 9, 9, 2, 3, 3, 2, 0),
    (1, 11, 10, 2, 2, 1, 4, "VALID"),
]


def grouped(x, w, stride, padding):
    """The peer: a convolution with as many groups as channels."""
    return jax.lax.conv_general_dilated(
        x,
        w[:, :, None],
        (stride, stride),
        2 * ((padding, padding),) if isinstance(padding, int) else padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def draw(case):
    b, h, w, c, k, m, _, _ = case
    rng = np.random.default_rng(sum(case[:7]))
    shapes = [(b, h, w, c), (k, m, c), (b, h, w, c), (k, m, c)]
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def all_passes(convolve):
    """Value, jvp, both gradients, and Hessian-vector products in both modes."""

    def run(x, w, dx, dw):
        def loss(x, w):
            return jnp.sum(jnp.sin(convolve(x, w)))

        value, tangent = jax.jvp(convolve, (x, w), (dx, dw))
        gradient = jax.grad(loss, (0, 1))
        forward_over_reverse = jax.jvp(gradient, (x, w), (dx, dw))

        def along(x, w):
            gx, gw = gradient(x, w)
            return jnp.vdot(gx, dx) + jnp.vdot(gw, dw)

        reverse_over_reverse = jax.grad(along, (0, 1))(x, w)
        return value, tangent, forward_over_reverse, reverse_over_reverse

    return jax.jit(run)


@pytest.mark.parametrize("case", CASES)
def test_all_passes_agree_with_the_grouped_convolution(case):
    stride, padding = case[-2:]
    arrays = draw(case)
    ours = all_passes(lambda x, w: depthwise(x, w, stride=stride, padding=padding))(*arrays)
    theirs = all_passes(lambda x, w: grouped(x, w, stride, padding))(*arrays)
    chex.assert_trees_all_equal_shapes_and_dtypes(ours, theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * float(jnp.max(jnp.abs(b))))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_sums_in_float32(dtype):
    x, w, ct, _ = (a.astype(dtype) for a in draw((2, 40, 40, 4, 5, 5, 1, "SAME")))
    convolve = jax.jit(lambda x, w, ct: jax.vjp(depthwise, x, w)[1](ct))
    wide = convolve(*(a.astype(jnp.float32) for a in (x, w, ct)))
    for narrow, exact in zip(convolve(x, w, ct), wide, strict=True):
        assert narrow.dtype == dtype
        np.testing.assert_array_equal(narrow, exact.astype(dtype))


@pytest.mark.parametrize("stride", [1, 2])
def test_second_derivatives_of_the_filter_gradient(stride):
    """The filter gradient is bilinear too: its own two gradients, and vmap of it."""
    rng = np.random.default_rng(3)
    x, y = (jnp.asarray(rng.normal(size=(2, n, n, 3)), jnp.float32) for n in (6, 6 // stride))
    c = jnp.asarray(rng.normal(size=(4, 3, 3, 3)), jnp.float32)

    def along(convolve, x, y, c):
        w = jnp.zeros((3, 3, 3))
        return jnp.vdot(jax.grad(lambda w: jnp.vdot(convolve(x, w), y))(w), c)

    def run(convolve):
        gradients = jax.grad(lambda x, y, c: along(convolve, x, y, c), (0, 1))
        return jax.jit(jax.vmap(gradients, (None, None, 0)))(x, y, c)

    ours = run(lambda x, w: depthwise(x, w, stride=stride))
    theirs = run(lambda x, w: grouped(x, w, stride, "SAME"))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("platform", "groups"), [("cuda", True), ("tpu", True), ("cpu", False)])
def test_the_form_is_that_of_the_platform_lowered_for(platform, groups):
    """Chosen when a function is lowered, not by the devices of the machine that lowers it."""
    x, w = jnp.zeros((2, 8, 8, 24)), jnp.zeros((3, 3, 24))
    passes = jax.jit(jax.value_and_grad(lambda x, w: jnp.sum(depthwise(x, w) ** 2), (0, 1)))
    module = jax.export.export(passes, platforms=[platform])(x, w).mlir_module()
    # forward, input gradient, filter gradient
    found = module.count("feature_group_count = 24") + module.count("batch_group_count = 24")
    assert found == (3 if groups else 0)
    assert ("stablehlo.while" in module) == (not groups)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_vmap_of_value_and_gradients(axes):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, 2, 6, 7, 2)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(3, 3, 3, 2)), jnp.float32)
    x = x if axes[0] == 0 else x[0]
    w = w if axes[1] == 0 else w[0]

    def run(x, w):
        gradients = jax.grad(lambda x, w: jnp.sum(jnp.cos(depthwise(x, w, stride=2))), (0, 1))(x, w)
        return depthwise(x, w, stride=2), *gradients

    mapped = jax.jit(jax.vmap(run, axes))(x, w)
    single = jax.jit(run)
    for i in range(3):
        parts = single(x[i] if axes[0] == 0 else x, w[i] if axes[1] == 0 else w)
        for a, b in zip(mapped, parts, strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-5)


def test_same_padding_is_tensorflows():
    """An even side at stride 2 is padded at its end alone, an odd one on both sides."""
    w = jnp.ones((3, 3, 1))
    even = jnp.arange(4.0).reshape(1, 1, 4, 1)
    odd = jnp.arange(5.0).reshape(1, 1, 5, 1)
    np.testing.assert_array_equal(depthwise(even, w, stride=2).ravel(), [0 + 1 + 2, 2 + 3])
    np.testing.assert_array_equal(depthwise(odd, w, stride=2).ravel(), [0 + 1, 1 + 2 + 3, 3 + 4])


def test_pointwise_is_a_convolution_of_size_one():
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(2, 5, 3, 4)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(4, 6)), jnp.float32)
    peer = jax.lax.conv_general_dilated(
        x, w[None, None], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(pointwise(x, w), peer, rtol=1e-5, atol=1e-5)


def test_shapes_that_do_not_fit_are_refused():
    x = jnp.zeros((1, 4, 4, 3))
    with pytest.raises(ValueError, match="depthwise takes"):
        depthwise(x, jnp.zeros((3, 3, 2)))
    with pytest.raises(ValueError, match="REFLECT"):
        depthwise(x, jnp.zeros((3, 3, 3)), padding="REFLECT")
    with pytest.raises(ValueError, match="kernel of 5"):
        depthwise(x, jnp.zeros((5, 5, 3)), padding="VALID")
