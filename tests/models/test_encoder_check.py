"""What an encoder from outside does wrong is told in one line, whatever it is, before it trains."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from piapdf_jax.models import encoders
from piapdf_jax.models.encoder_check import check_encoder
from piapdf_jax.models.encoders import FlaxEncoder
from piapdf_jax.models.presets import MODELS

SIZE = 16


class Patches(nn.Module):
    """[B, 16, 16, k] -> [B, 2, 2, 4]."""

    @nn.compact
    def __call__(self, x, *, mode):
        return nn.Conv(4, (8, 8), 8, dtype=x.dtype)(x)


class NoMode(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Conv(4, (8, 8), 8)(x)


class Counting(Patches):
    @nn.compact
    def __call__(self, x, *, mode):
        if mode != "eval":
            self.variable("counts", "n", lambda: jnp.zeros(())).value += 1
        return nn.Conv(4, (8, 8), 8, dtype=x.dtype)(x)


class RGBAlone(Patches):
    @nn.compact
    def __call__(self, x, *, mode):
        return nn.Conv(4, (8, 8), 8, dtype=x.dtype)(x * jnp.ones(3, x.dtype))


@dataclasses.dataclass(frozen=True)
class Sound(FlaxEncoder):
    module = Patches()

    def changed(self, features, vector, stats):
        return features, vector, stats

    def apply(self, part, images, *, mode, key):
        return self.changed(*FlaxEncoder.apply(self, part, images, mode=mode, key=key))


class HalfStart(Sound):
    def init(self, key, size, channels):
        return jax.tree.map(lambda x: x.astype(jnp.bfloat16), super().init(key, size, channels))


class NaNStart(Sound):
    def init(self, key, size, channels):
        return jax.tree.map(lambda x: x * np.float32("nan"), super().init(key, size, channels))


def made(**functions):
    return type("Made", (Sound,), functions)


PASSES = {
    "two": (
        made(changed=lambda self, f, v, s: (f, v)),
        "not return (features, vector, batch_stats)",
    ),
    "half": (
        made(changed=lambda self, f, v, s: (f.astype(jnp.float16), v, s)),
        "features [2, 2, 2, 4] of float16, not [2, 2, 2, 4] of float32",
    ),
    "short": (
        made(changed=lambda self, f, v, s: (f, v[:, :3], s)),
        "a vector [2, 3] of float32, not [2, 4] of float32",
    ),
    "stats": (
        made(changed=lambda self, f, v, s: (f, v, None)),
        "batch statistics with names, shapes or dtypes other",
    ),
    "sides": (made(feature_shape=lambda self, size: (3, 3, 4)), "not [2, 3, 3, 4]"),
    "rank": (made(feature_shape=lambda self, size: (4,)), "feature_shape returns (4,)"),
    "nothing": (
        made(feature_shape=lambda self, size: (0, 0, 4)),
        "feature_shape returns (0, 0, 4)",
    ),
    "no_mode": (made(module=NoMode()), "feature_shape fails: TypeError: NoMode.__call__()"),
    "counts": (made(module=Counting()), "apply in mode 'train' fails: ScopeCollection"),
    "half_start": (HalfStart, "of bfloat16, not float32"),
    "nan_start": (NaNStart, "init returns non-finite values in Conv_0/bias"),
}


def config_of(make, monkeypatch, **sizes):
    monkeypatch.setitem(encoders._REGISTERED, "made", make)
    return dataclasses.replace(MODELS["nano"], encoder="made", encoder_size=SIZE, **sizes)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_sound_encoder_passes(monkeypatch, dtype):
    config = config_of(lambda settings: Sound(), monkeypatch, compute_dtype=dtype)
    check_encoder(config, 3)


@pytest.mark.parametrize("name", PASSES)
def test_what_a_pass_or_a_start_does_wrong_is_one_line(monkeypatch, name):
    kind, words = PASSES[name]
    with pytest.raises(ValueError) as caught:
        check_encoder(config_of(lambda settings: kind(), monkeypatch), 3)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_line_of_the_encoders_own_file_is_named(monkeypatch):
    config = config_of(lambda settings: made(module=RGBAlone())(), monkeypatch)
    check_encoder(config, 3)
    with pytest.raises(
        ValueError, match=r"init fails: .*12.*\(.*test_encoder_check.py, line \d+\)"
    ):
        check_encoder(config, 12)


@pytest.mark.parametrize("value", [[1, 2], np.ones(2), float("nan"), np.float32(1), b"a", jnp.int8])
def test_a_field_that_no_digest_holds_is_refused(monkeypatch, value):
    kind = dataclasses.make_dataclass("Held", [("held", object)], bases=(Sound,), frozen=True)
    config = config_of(lambda settings: kind(value), monkeypatch)
    with pytest.raises(TypeError, match="fields of Held must be finite numbers, text"):
        check_encoder(config, 3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda settings: 1 / 0, r"ZeroDivisionError: .*test_encoder_check.py, line"),
        (lambda settings: None, "must be a frozen dataclass, not NoneType"),
        (dataclasses.make_dataclass("Empty", ["settings"], frozen=True), "no function 'feature_sh"),
    ],
)
def test_a_maker_that_makes_no_encoder_is_refused(monkeypatch, make, words):
    with pytest.raises(TypeError, match=words):
        check_encoder(config_of(make, monkeypatch), 3)
