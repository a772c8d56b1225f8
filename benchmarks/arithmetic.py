"""Operations of a function as XLA's cost analysis counts them, from its trace.

A multiply-add is two operations, and whatever computes single values is one a value: sums, BatchNorm, swish, losses.
XLA leaves out exponentials, logarithms and roots.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend.core import Var, jaxpr_as_fun, jaxprs_in_params

from piapdf_jax.models import depthwise
from piapdf_jax.models.flops import count_macs

#: What moves values, or makes them without arithmetic.
_FREE = (
    *("broadcast_in_dim", "reshape", "transpose", "slice", "pad", "concatenate", "stack"),
    *("squeeze", "expand_dims", "dynamic_slice", "dynamic_update_slice", "iota", "gather", "rev"),
    *("copy", "copy_p", "stop_gradient", "random_wrap", "random_unwrap", "optimization_barrier"),
)
_TRANSCENDENTAL = (
    *("exp", "log", "tanh", "rsqrt", "sqrt", "log1p", "expm1", "pow", "sin", "cos", "erf", "cbrt"),
)
#: Counted by ``count_macs``.
_PRODUCTS = ("dot_general", "conv_general_dilated", depthwise.CONVOLVE, depthwise.CORRELATE)
#: 1 / (1 + exp(-x)), of which the exponential does not count.
_LOGISTIC = 3


class Operations(NamedTuple):
    """Counts; those of different programs add up member by member.

    Attributes:
        multiply_adds: see ``models.flops``.
        values: operations on single values.
        zeros: multiply-adds among the above with the zeros between the pixels of a dilated window,
            which no form of the depthwise convolution computes.
        looped: multiply-adds among the above in all turns but one of a loop. The depthwise filter
            gradient on CPU is one, and XLA counts a loop's body once.
    """

    multiply_adds: float
    values: float
    zeros: float
    looped: float

    @property
    def counted(self) -> float:
        """What XLA says of the program on a CPU."""
        return 2 * (self.multiply_adds - self.zeros - self.looped) + self.values

    def scaled(self, factor: float) -> "Operations":
        """All counts times a factor."""
        return Operations(*(factor * count for count in self))

    def plus(self, other: "Operations") -> "Operations":
        """Member by member."""
        return Operations(*(a + b for a, b in zip(self, other, strict=True)))


def operations(function: Callable[..., Any], *args: Any) -> Operations:
    """Counts a function, traced and not run.

    Args:
        function: of arrays.
        *args: its arguments, pytrees of arrays or ``jax.ShapeDtypeStruct``.

    Returns:
        The counts.
    """
    jaxpr = jax.make_jaxpr(function)(*args)
    equations, _ = _live(jaxpr.jaxpr, _variables(jaxpr.jaxpr.outvars))
    return Operations(
        count_macs(jaxpr_as_fun(jaxpr), *jax.tree.leaves(args)),
        sum(map(_values, equations)),
        sum(map(_zeros, equations)),
        sum(map(_looped, equations)),
    )


def _live(jaxpr: Any, results: list[Any]) -> tuple[list[Any], set[Any]]:
    """What results depend on, XLA dropping the rest: equations that contain no others, and variables."""
    found, used = [], set(results)
    for equation in reversed(jaxpr.eqns):
        if used.isdisjoint(equation.outvars):
            continue
        inner = [getattr(j, "jaxpr", j) for j in jaxprs_in_params(equation.params)]
        if not inner:
            found.append(equation)
            used.update(_variables(equation.invars))
        for other in inner:
            pairs = zip(equation.outvars, other.outvars, strict=True)
            more, needed = _live(other, _variables(inside for v, inside in pairs if v in used))
            found += more
            pairs = zip(equation.invars, other.invars, strict=True)
            used.update(_variables(v for v, inside in pairs if inside in needed))
    return found, used


def _variables(atoms: Any) -> list[Any]:
    """Without the literals among them."""
    return [atom for atom in atoms if isinstance(atom, Var)]


def _size(variable: Any) -> int:
    return math.prod(getattr(variable.aval, "shape", ()))


def _values(equation: Any) -> int:
    name = equation.primitive.name
    if name in (*_FREE, *_TRANSCENDENTAL, *_PRODUCTS):
        return 0
    size = _size(equation.outvars[0])
    if name.startswith("reduce_"):
        return _size(equation.invars[0]) - size
    return size * (_LOGISTIC if name == "logistic" else 1)


def _zeros(equation: Any) -> float:
    if equation.primitive.name != depthwise.CONVOLVE:
        return 0
    window = equation.params["window"]
    taps = _size(equation.outvars[0]) * math.prod(window.kernel)
    return taps * (1 - 1 / window.dilation**2)


def _looped(equation: Any) -> float:
    if equation.primitive.name != depthwise.CORRELATE:
        return 0
    y = equation.invars[1]
    height = y.aval.shape[1]
    rows = 2 if height % 2 == 0 else 1  # of one turn
    return _size(y) * math.prod(equation.params["window"].kernel) * (1 - rows / height)
