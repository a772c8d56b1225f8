"""Counts of parameters, and of multiply-adds as papers count them."""

import math
from collections.abc import Callable

import jax
from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params

from piapdf_jax.models import depthwise
from piapdf_jax.types import Params, PyTree


def count_params(params: Params) -> int:
    """Counts the parameters of a pytree of arrays or shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def count_macs(function: Callable[..., PyTree], *args: PyTree) -> int:
    """Counts multiply-adds (MACs) of the convolutions and matrix products of a function, traced and not run.

    A product of [m, k] and [k, n] has m k n; a convolution as many as its output has values, times
    its taps and the input channels of a group. What works on single values (norms, activations,
    biases) counts nothing, as in the tables of papers.

    Args:
        function: of arrays.
        *args: its arguments, pytrees of arrays or ``jax.ShapeDtypeStruct``.

    Returns:
        The count. Of branches the dearest one counts.

    Raises:
        ValueError: for a loop whose length only running it would tell.
    """
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Jaxpr) -> int:
    return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation: JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    shapes: list[tuple[int, ...]] = [
        getattr(v.aval, "shape", ()) for v in (*equation.invars, *equation.outvars)
    ]
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return math.prod(shapes[-1]) * math.prod(shapes[0][axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel, features = shapes[1], params["dimension_numbers"].rhs_spec[0]
        return math.prod(shapes[-1]) * math.prod(kernel) // kernel[features]
    if name == depthwise.CONVOLVE:
        return math.prod(shapes[-1]) * math.prod(params["window"].kernel)
    if name == depthwise.CORRELATE:
        return math.prod(shapes[1]) * math.prod(params["window"].kernel)
    if name == "while":
        raise ValueError("the length of a while loop is not known before it runs.")
    inner = [_count(getattr(j, "jaxpr", j)) for j in jaxprs_in_params(params)]
    if name == "cond":
        return max(inner)
    return sum(inner) * params.get("length", 1)
