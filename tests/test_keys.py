"""Named random streams."""

import hashlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from piapdf_jax.keys import named_key


def data(key: jax.Array) -> tuple[int, ...]:
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_the_key_is_folded_in_from_the_hash_of_the_name_then_the_step() -> None:
    root = jax.random.key(3)
    word = int(hashlib.sha256(b"dropout").hexdigest()[:8], 16)
    # The hash is little endian in the key.
    word = int.from_bytes(word.to_bytes(4, "big"), "little")
    expected = jax.random.fold_in(jax.random.fold_in(root, word), 17)
    assert data(named_key(root, "dropout", 17)) == data(expected)


def test_keys_are_typed_and_the_same_in_and_out_of_jit() -> None:
    root = jax.random.key(0)
    key = named_key(root, "train", 5)
    assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ()
    traced = jax.jit(lambda root, step: named_key(root, "train", step))(root, jnp.int32(5))
    assert data(traced) == data(key)


def test_other_roots_names_and_steps_give_other_keys() -> None:
    names = ("init", "dropout", "augment", "a", "")
    draws = [
        data(named_key(jax.random.key(seed), name, step))
        for seed, name, step in itertools.product((0, 1), names, (0, 1, 2**31 - 1))
    ]
    assert len(set(draws)) == len(draws)


def test_the_step_is_zero_unless_given() -> None:
    root = jax.random.key(1)
    assert data(named_key(root, "init")) == data(named_key(root, "init", 0))


def test_streams_are_independent() -> None:
    root = jax.random.key(8)
    pair = [jax.random.normal(named_key(root, name), (4000,)) for name in ("one", "two")]
    # The correlation of 4000 independent pairs has a standard deviation of 0.016.
    assert abs(np.corrcoef(np.asarray(pair))[0, 1]) < 0.08
