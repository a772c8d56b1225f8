"""Initializers of kernels: those of Flax, in a form that NumPy can draw as well."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import DTypeLike


@dataclasses.dataclass(frozen=True)
class VarianceScaling:
    """``flax.linen.initializers.variance_scaling``, which ``parameters.initialize`` draws on the host.

    The variance is ``scale / fan``. The fan is the product of the sizes of all axes but the batch
    axes and, of ``fan_in``, the output axes or, of ``fan_out``, the input axes.

    Attributes:
        scale: variance times fan.
        mode: which fan.
        distribution: ``normal``, not truncated, or ``uniform``.
        in_axis: of the inputs; () for none.
        out_axis: of the outputs; () for none.
        batch_axis: of filters that are independent of each other.
    """

    scale: float
    mode: Literal["fan_in", "fan_out"]
    distribution: Literal["normal", "uniform"]
    in_axis: int | tuple[int, ...] = -2
    out_axis: int | tuple[int, ...] = -1
    batch_axis: int | tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError for a mode or a distribution that is none of the above."""
        if self.mode not in ("fan_in", "fan_out"):
            raise ValueError(f"mode {self.mode!r} is neither fan_in nor fan_out.")
        if self.distribution not in ("normal", "uniform"):
            raise ValueError(f"distribution {self.distribution!r} is neither normal nor uniform.")

    def __call__(
        self,
        key: jax.Array,
        shape: Sequence[int],
        dtype: DTypeLike = jnp.float32,
        out_sharding: NamedSharding | PartitionSpec | None = None,
    ) -> jax.Array:
        """Draws with JAX: the numbers of Flax's initializer.

        Raises:
            ValueError: for a shape that lacks an axis.
        """
        if out_sharding is not None:
            return self.flax()(key, shape, dtype, out_sharding)
        self.standard_deviation(tuple(shape))
        dtype = jax.dtypes.canonicalize_dtype(dtype)
        return initializer_p.bind(key, law=self, shape=tuple(shape), dtype=dtype)

    def flax(self) -> nn.initializers.Initializer:
        """Returns Flax's initializer."""
        return nn.initializers.variance_scaling(
            self.scale,
            self.mode,
            self.distribution,
            in_axis=self.in_axis,
            out_axis=self.out_axis,
            batch_axis=self.batch_axis,
        )

    def on_host(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Draws with NumPy, in float64: the same law, other numbers."""
        deviation = self.standard_deviation(shape)
        if self.distribution == "normal":
            return generator.normal(0.0, deviation, shape)
        bound = math.sqrt(3.0) * deviation
        return generator.uniform(-bound, bound, shape)

    def standard_deviation(self, shape: tuple[int, ...]) -> float:
        """Computes ``sqrt(scale / fan)``.

        Raises:
            ValueError: for a shape that lacks an axis.
        """
        inputs, outputs, batch = (
            (axes,) if isinstance(axes, int) else axes
            for axes in (self.in_axis, self.out_axis, self.batch_axis)
        )
        if any(not -len(shape) <= axis < len(shape) for axis in (*inputs, *outputs, *batch)):
            raise ValueError(f"{self} does not fit a parameter of shape {shape}.")
        omitted = (*batch, *(outputs if self.mode == "fan_in" else inputs))
        left_out = {axis % len(shape) for axis in omitted}
        fan = math.prod(size for axis, size in enumerate(shape) if axis not in left_out)
        return math.sqrt(self.scale / fan)


def _draw(
    key: jax.Array, *, law: VarianceScaling, shape: tuple[int, ...], dtype: DTypeLike
) -> jax.Array:
    return law.flax()(key, shape, dtype)


#: Keeps a law in sight of ``parameters.initialize`` until its module's ``init`` is lowered.
initializer_p = Primitive("initializer")
initializer_p.def_impl(_draw)
initializer_p.def_abstract_eval(lambda _, *, shape, dtype, **__: ShapedArray(shape, dtype))
mlir.register_lowering(initializer_p, mlir.lower_fun(_draw, multiple_results=False))
batching.primitive_batchers[initializer_p] = lambda keys, axes, **params: (
    jax.vmap(lambda key: _draw(key, **params), axes)(*keys),
    0,
)

#: Full and 1x1 convolutions, kernel [k, l, C, D]: normal, variance 2 / (k l D), as in EfficientNet.
conv_init = VarianceScaling(2.0, "fan_out", "normal")
#: Depthwise convolutions, kernel [k, l, C]: normal, variance 2 / (k l).
depthwise_init = VarianceScaling(2.0, "fan_out", "normal", (), (), batch_axis=-1)
#: Dense layers, kernel [C, D]: uniform in +-1 / sqrt(C), variance 1 / (3 C).
dense_init = VarianceScaling(1 / 3, "fan_in", "uniform")
