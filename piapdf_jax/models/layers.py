"""Layers that the networks share."""

import math
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import Primitive

from piapdf_jax.models.depthwise import depthwise, pointwise
from piapdf_jax.models.initializers import conv_init, dense_init, depthwise_init

#: Modes of a forward pass.
#: ``train``: batch statistics, running statistics updated, dropout and stochastic depth on.
#: ``feedback``: as ``train`` without dropout and stochastic depth; the caller throws the updated
#: statistics away.
#: ``eval``: running statistics, nothing random.
Mode = Literal["train", "feedback", "eval"]
MODES = ("train", "feedback", "eval")


class PaddingAndBatchNorm(NamedTuple):
    """Padding of convolutions and running statistics of BatchNorm as a library has them.

    Attributes:
        padding: ``"SAME"`` pads as TensorFlow (an even side at stride 2 at its end alone),
            ``"SYMMETRIC"`` by k // 2 on every side; both give ceil(side / stride) rows.
        epsilon: added to the variance.
        momentum: share of the old running statistics that a step keeps.
        unbiased: the running variance takes the batch's variance times n / (n - 1); normalizing
            takes it without.
    """

    padding: str
    epsilon: float
    momentum: float
    unbiased: bool


#: ``tensorflow``: the published TensorFlow networks, also in Keras. ``pytorch``: torchvision's own up
#: to B4, and timm's; ``torchvision_large``: torchvision's B5 to B7, whose BatchNorm is TensorFlow's.
#: ``tensorflow_ported``: the former as PyTorch libraries run them (efficientnet-pytorch, timm's
#: ``tf_`` networks, these with a momentum of 0.9), which differs by PyTorch's running variance.
CONVENTIONS = {
    "tensorflow": PaddingAndBatchNorm("SAME", 1e-3, 0.99, unbiased=False),
    "pytorch": PaddingAndBatchNorm("SYMMETRIC", 1e-5, 0.9, unbiased=True),
    "torchvision_large": PaddingAndBatchNorm("SYMMETRIC", 1e-3, 0.99, unbiased=True),
    "tensorflow_ported": PaddingAndBatchNorm("SAME", 1e-3, 0.99, unbiased=True),
}


def upcast(x: jax.Array) -> jax.Array:
    """Converts to float32 at least, where half precision is too coarse."""
    return x if jnp.finfo(x.dtype).bits >= 32 else x.astype(jnp.float32)


def check_mode(mode: str) -> None:
    """Raises ValueError for a mode that is none of ``MODES``."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is not one of {', '.join(MODES)}.")


def conv(
    features: int,
    kernel_size: int = 3,
    stride: int = 1,
    padding: str = "SAME",
    *,
    name: str | None = None,
) -> nn.Conv:
    """Returns a full convolution without bias: [B, H, W, C] -> [B, H / s, W / s, features].

    It computes in the input's dtype.

    Args:
        features: channels of the result.
        kernel_size: side of the filter.
        stride: s.
        padding: see ``PaddingAndBatchNorm``.
        name: the module's name.

    Raises:
        ValueError: for another padding than those of ``PaddingAndBatchNorm``.
    """
    return nn.Conv(
        features,
        (kernel_size, kernel_size),
        stride,
        padding=_sides(padding, kernel_size),
        use_bias=False,
        kernel_init=conv_init,
        promote_dtype=_to_input_dtype,
        name=name,
    )


def _to_input_dtype(*arrays: jax.Array | None, **_: object) -> list[jax.Array | None]:
    dtype = next(a.dtype for a in arrays if a is not None)
    return [None if a is None else a.astype(dtype) for a in arrays]


def dense(features: int, *, name: str | None = None) -> nn.Dense:
    """Returns a linear layer with bias: [..., F] -> [..., features]."""
    return nn.Dense(features, kernel_init=dense_init, name=name)


class Pointwise(nn.Module):
    """1x1 convolution: [..., C] -> [..., features]."""

    features: int
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolves [..., C]."""
        shape = (1, 1, x.shape[-1], self.features)
        kernel = self.param("kernel", conv_init, shape)
        y = pointwise(x, kernel[0, 0].astype(x.dtype))
        if not self.use_bias:
            return y
        # Where doubles are on, zeros would be doubles, and no other parameter is.
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        return y + jnp.broadcast_to(bias.astype(x.dtype), y.shape)


class Depthwise(nn.Module):
    """Depthwise convolution, no bias: [B, H, W, C] -> [B, H / s, W / s, C]."""

    kernel_size: int = 3
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolves [B, H, W, C]."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1])
        kernel = self.param("kernel", depthwise_init, shape)
        padding = _sides(self.padding, self.kernel_size)
        return depthwise(x, kernel.astype(x.dtype), stride=self.stride, padding=padding)


def _sides(padding: str, kernel_size: int) -> str | int:
    """Returns the padding of a ``PaddingAndBatchNorm`` as ``depthwise`` takes it.

    Raises:
        ValueError: for another padding than those of ``PaddingAndBatchNorm``.
    """
    if padding not in ("SAME", "SYMMETRIC"):
        raise ValueError(f"padding {padding!r} is neither SAME nor SYMMETRIC.")
    return padding if padding == "SAME" else kernel_size // 2


class BatchNorm(nn.BatchNorm):
    """Flax's, in float32 at least whatever its input; by choice with PyTorch's running variance."""

    unbiased: bool = False

    def __call__(self, x: jax.Array, **kwargs: Any) -> jax.Array:
        """Normalizes [..., C]."""
        old: jax.Array = self.get_variable("batch_stats", "var")
        y = super().__call__(upcast(x), **kwargs).astype(x.dtype)
        if not self.unbiased or self.use_running_average or self.is_initializing():
            return y
        new: jax.Array = self.get_variable("batch_stats", "var")
        others = max(x.size // x.shape[-1] - 1, 1)
        # What is missing of n / (n - 1) is the batch's share once more over n - 1.
        self.put_variable("batch_stats", "var", new + (new - self.momentum * old) / others)
        return y


def batch_norm(
    name: str,
    *,
    mode: str,
    momentum: float = 0.99,
    epsilon: float = 1e-3,
    unbiased: bool = False,
) -> BatchNorm:
    """Returns batch normalization of each channel: ``(x - mean) / sqrt(var + epsilon) * scale + bias``.

    In the modes ``train`` and ``feedback`` mean and variance are those of the batch, over all its
    images and pixels: under ``jit`` with a sharded batch that is the global batch. Running
    statistics move by ``new = momentum * old + (1 - momentum) * batch``. Statistics are float32.

    Args:
        name: the module's name.
        mode: see ``Mode``.
        momentum: share of the old running statistics that stays; 0.99 needs a few hundred steps to
            forget the start.
        epsilon: added to the variance.
        unbiased: see ``PaddingAndBatchNorm``.

    Returns:
        A module over [..., C].
    """
    return BatchNorm(
        mode == "eval", momentum=momentum, epsilon=epsilon, unbiased=unbiased, name=name
    )


def convention_norm(name: str, convention: PaddingAndBatchNorm, mode: str) -> BatchNorm:
    """Returns the batch normalization of a library's networks; see ``batch_norm``."""
    return batch_norm(
        name,
        mode=mode,
        momentum=convention.momentum,
        epsilon=convention.epsilon,
        unbiased=convention.unbiased,
    )


def norm_swish(norm: BatchNorm, x: jax.Array) -> jax.Array:
    """Normalizes and applies swish: ``swish(norm(x))``, [..., C] -> [..., C].

    The backward pass computes both anew from x and the batch statistics: x is there anyway, and to
    keep what lies between would take more memory than it saves time.
    """

    def call(norm: BatchNorm, x: jax.Array) -> jax.Array:
        return nn.swish(norm(x))

    return nn.remat(call, policy=_is_statistic)(norm, x)


def _is_statistic(primitive: Primitive, *_: object, **__: object) -> bool:
    """Returns True for what ``norm_swish`` keeps: sums over the batch, which devices would have to add up again."""
    return primitive is jax.lax.reduce_sum_p


class SqueezeExcite(nn.Module):
    """Gate of each channel from the mean over all pixels: [B, H, W, C] -> [B, H, W, C]."""

    reduced_channels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Gates [B, H, W, C]."""
        gate = jnp.mean(x, (1, 2), keepdims=True)
        gate = nn.swish(Pointwise(self.reduced_channels, use_bias=True, name="reduce")(gate))
        return x * nn.sigmoid(Pointwise(x.shape[-1], use_bias=True, name="expand")(gate))


class _Block(nn.Module):
    """Fields of a block of one filter."""

    features: int
    kernel_size: int = 3
    stride: int = 1
    momentum: float = 0.99


class FullBlock(_Block):
    """Full convolution with BatchNorm and swish: [..., C] -> [..., features]."""

    @nn.compact
    def __call__(self, x: jax.Array, *, mode: str) -> jax.Array:
        """Filters [B, H, W, C]."""
        x = conv(self.features, self.kernel_size, self.stride, name="conv")(x)
        return norm_swish(batch_norm("conv_norm", mode=mode, momentum=self.momentum), x)


class SeparableBlock(_Block):
    """Depthwise and 1x1 convolution, each with BatchNorm and swish: [..., C] -> [..., features]."""

    @nn.compact
    def __call__(self, x: jax.Array, *, mode: str) -> jax.Array:
        """Filters [B, H, W, C]."""
        x = Depthwise(self.kernel_size, self.stride, name="depthwise")(x)
        x = norm_swish(batch_norm("depthwise_norm", mode=mode, momentum=self.momentum), x)
        x = Pointwise(self.features, name="pointwise")(x)
        return norm_swish(batch_norm("pointwise_norm", mode=mode, momentum=self.momentum), x)


def prior_logit(prior: float) -> float:
    """Computes ``log(p / (1 - p))``, the bias of logits whose prior probability is p."""
    return math.log(prior / (1.0 - prior))
