"""Stochastic depth: whole residual branches, dropped by image."""

import flax.linen as nn
import jax
import jax.numpy as jnp


def stochastic_depth(x: jax.Array, noise: jax.Array, rate: float) -> jax.Array:
    """Drops whole residual branches (drop path): ``x / (1 - rate)`` for images that keep it, 0 for the others.

    Args:
        x: [B, H, W, C], the branch.
        noise: [B], one draw an image from [0, 1).
        rate: chance to drop, in [0, 1).

    Returns:
        [B, H, W, C].

    Reference: Huang et al., Deep Networks with Stochastic Depth, 2016.
    """
    keep = (noise >= rate).astype(x.dtype) / (1.0 - rate)
    return x * keep[:, None, None, None]


def stochastic_depth_draws(
    module: nn.Module, blocks: int, batch: int, *, rate: float, mode: str
) -> list[jax.Array] | list[None]:
    """Returns the draws of ``stochastic_depth`` of each block, [B]; None where nothing is dropped.

    Args:
        module: whose random stream ``dropout`` they are of.
        blocks: how many blocks there are.
        batch: number of images, B.
        rate: chance to drop the last block's branch.
        mode: see ``layers.Mode``; only ``train`` drops.
    """
    if mode != "train" or rate == 0:
        return [None] * blocks
    # One draw for all blocks: each draw is a hash of its own to compile.
    key = module.make_rng("dropout")
    return list(jax.random.uniform(key, (blocks, batch), jnp.float32))
