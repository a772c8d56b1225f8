"""Counts against closed forms and published tables."""

import jax
import jax.numpy as jnp
import pytest

from piapdf_jax.models.depthwise import depthwise
from piapdf_jax.models.encoders import EncoderSettings, FlaxEncoder, make_encoder
from piapdf_jax.models.flops import count_macs, count_params
from piapdf_jax.models.parameters import initialize


def zeros(*shape):
    return jnp.zeros(shape)


def conv(x, w, groups=1, stride=2):
    names = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, w, (stride, stride), "SAME", dimension_numbers=names, feature_group_count=groups
    )


@pytest.mark.parametrize(
    "function, args, count",
    [
        (jnp.matmul, (zeros(5, 7), zeros(7, 11)), 5 * 7 * 11),
        (jnp.matmul, (zeros(3, 5, 7), zeros(3, 7, 11)), 3 * 5 * 7 * 11),
        (lambda a, b: jnp.einsum("oh,bhwc->bowc", a, b), (zeros(8, 4), zeros(2, 4, 6, 3)), 1152),
        (conv, (zeros(2, 9, 8, 3), zeros(3, 3, 3, 4)), 2 * 5 * 4 * 4 * 9 * 3),
        (lambda x, w: conv(x, w, 2), (zeros(2, 8, 8, 4), zeros(3, 3, 2, 6)), 2 * 16 * 6 * 9 * 2),
        (depthwise, (zeros(2, 8, 6, 5), zeros(3, 5, 5)), 2 * 8 * 6 * 5 * 15),
        (lambda x, w: jnp.sin(x) @ w + 1.0, (zeros(2, 3), zeros(3, 4)), 24),
        (jax.jit(jnp.matmul), (zeros(2, 3), zeros(3, 4)), 24),
        (jnp.sin, (zeros(9),), 0),
    ],
)
def test_closed_forms(function, args, count):
    assert count_macs(function, *args) == count


def test_loops_and_branches():
    w = zeros(3, 3)

    def scanned(x):
        return jax.lax.scan(lambda c, _: (c @ w, None), x, None, length=7)[0]

    def branching(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ w @ w, lambda x: x @ w, x)

    assert count_macs(scanned, zeros(2, 3)) == 7 * 18
    assert count_macs(branching, zeros(2, 3)) == 2 * 18
    with pytest.raises(ValueError, match="while loop"):
        count_macs(lambda x: jax.lax.while_loop(jnp.any, lambda x: x @ w, x), zeros(3, 3))


def test_both_gradients_of_a_depthwise_convolution_cost_what_it_costs():
    x, w = zeros(2, 8, 6, 5), zeros(3, 3, 5)
    one = count_macs(depthwise, x, w)
    for argument in (0, 1):
        gradient = jax.grad(lambda x, w: jnp.sum(jnp.sin(depthwise(x, w))), argument)
        assert count_macs(gradient, x, w) == 2 * one


@pytest.mark.parametrize(
    "name, side, billions", [("b0", 224, 0.386), ("b1", 240, 0.687), ("resnet50", 224, 4.089)]
)
def test_networks_have_the_multiply_adds_that_torchvision_publishes(name, side, billions):
    """``*_Weights.IMAGENET1K_V1.meta["_ops"]``, classifier and all."""
    encoder = make_encoder(name, EncoderSettings())
    assert isinstance(encoder, FlaxEncoder)
    module, features = encoder.module, encoder.feature_shape(side)[-1]
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    variables = initialize(module, jax.random.key(0), image, mode="eval")
    count = count_macs(lambda v, x: module.apply(v, x, mode="eval"), variables, image)
    assert count + features * 1000 == pytest.approx(billions * 1e9, abs=0.0005e9)


def test_parameters_of_shapes_and_arrays():
    tree = {"a": zeros(2, 3), "b": [jax.ShapeDtypeStruct((4,), jnp.float32), zeros()]}
    assert count_params(tree) == 11
