"""Resizing against its definition and JAX's own; gradients without a scatter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from piapdf_jax.models.resizing import resize, upsample


@pytest.mark.parametrize("size", [(9, 7), (5, 11), (3, 2), (8, 6)])
def test_resize_is_bilinear(size):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 6, 3)), jnp.float32)
    peer = jax.image.resize(x, (2, *size, 3), "bilinear")
    np.testing.assert_allclose(resize(x, *size), peer, rtol=1e-5, atol=1e-5)


def test_gradient_of_resize_is_its_transpose_and_no_scatter():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 7, 7, 2)), jnp.float32)
    y = jnp.asarray(np.random.default_rng(1).normal(size=(1, 16, 16, 2)), jnp.float32)
    out, pull = jax.vjp(lambda x: resize(x, 16, 16), x)
    np.testing.assert_allclose(jnp.vdot(out, y), jnp.vdot(x, pull(y)[0]), rtol=1e-4)
    assert "scatter" not in str(jax.make_jaxpr(pull)(y))


def test_upsample_repeats_pixels_by_whole_factors_and_interpolates_else():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 2)), jnp.float32)
    np.testing.assert_array_equal(upsample(x, 6, 12), np.repeat(np.repeat(x, 2, axis=1), 3, axis=2))
    np.testing.assert_array_equal(upsample(x, 7, 8), resize(x, 7, 8))
