"""Named random streams: the key of a draw is a function of root, stream name and step, and of nothing else."""

import hashlib

import jax


def named_key(root: jax.Array, name: str, step: int | jax.Array = 0) -> jax.Array:
    """Returns the key of one named stream at one step.

    Args:
        root: typed key of the run, ``jax.random.key(seed)``.
        name: stream name, such as ``"dropout"``; another name is an independent stream.
        step: global step, a Python int or a traced integer.

    Returns:
        A typed key; the same for the same three arguments on every platform.
    """
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    return jax.random.fold_in(jax.random.fold_in(root, word), step)
