"""EfficientNet: published parameter counts, shapes, and the whole forward pass against NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nightly import nightly

from piapdf_jax.models.efficientnet import (
    COEFFICIENTS,
    EfficientNet,
    EfficientNetConfig,
    blocks,
    round_channels,
)
from piapdf_jax.models.flops import count_params
from piapdf_jax.models.parameters import initialize


def named(name, **kwargs):
    coefficients = COEFFICIENTS[name]
    return EfficientNetConfig(width=coefficients.width, depth=coefficients.depth, **kwargs)


def shapes(config, size, channels=3):
    """Variables and features, traced alone."""
    module = EfficientNet(config)
    images = jax.ShapeDtypeStruct((2, *size, channels), jnp.float32)
    variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, mode="eval"), images)
    features = jax.eval_shape(lambda v, x: module.apply(v, x, mode="eval"), variables, images)
    return variables, features


#: Parameters with a classifier of 1000 classes, as the published weights have them.
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("b0", 5_288_548),
        ("b1", 7_794_184),
        ("b4", 19_341_616),
        *nightly(
            ("b2", 9_109_994),
            ("b3", 12_233_232),
            ("b5", 30_389_784),
            ("b6", 43_040_704),
            ("b7", 66_347_960),
        ),
    ],
)
def test_published_parameter_counts(name, count):
    variables, features = shapes(named(name), (64, 64))
    classifier = (features.shape[-1] + 1) * 1000
    assert count_params(variables["params"]) + classifier == count


@pytest.mark.parametrize(
    ("size", "expected"),
    [((224, 224), (7, 7)), ((256, 256), (8, 8)), ((240, 240), (8, 8)), ((225, 160), (8, 5))],
)
def test_features_of_b1(size, expected):
    _, features = shapes(named("b1"), size)
    assert features.shape == (2, *expected, 1280)
    assert features.dtype == jnp.float32


def test_stem_takes_twelve_channels_and_nothing_else_changes():
    rgb, _ = shapes(named("b1"), (64, 64))
    maps, features = shapes(named("b1"), (64, 64), channels=12)
    assert maps["params"]["stem"]["kernel"].shape == (3, 3, 12, 32)
    assert rgb["params"]["stem"]["kernel"].shape == (3, 3, 3, 32)
    assert features.shape == (2, 2, 2, 1280)
    for variables in (rgb, maps):
        del variables["params"]["stem"]
    assert rgb == maps


def test_blocks_of_b1():
    """Tan and Le's table 1 with 1, 2, 2, 3, 3, 4, 1 repeats times 1.1, rounded up."""
    table = [row for _, row in blocks(named("b1"))]
    assert [row.channels for row in table] == sum(
        (
            [c] * n
            for c, n in zip((16, 24, 40, 80, 112, 192, 320), (2, 3, 3, 4, 4, 5, 2), strict=True)
        ),
        [],
    )
    assert [i for i, row in enumerate(table) if row.stride == 2] == [2, 5, 8, 16]


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [
        (32, 1.0, 32),
        (32, 1.1, 32),
        (16, 1.1, 16),
        (24, 1.4, 32),
        (40, 0.25, 16),
        (16, 0.25, 8),
        (1280, 1.1, 1408),
    ],
)
def test_round_channels(channels, width, expected):
    assert round_channels(channels, width) == expected


@pytest.mark.parametrize(
    ("name", "most"), [("small", 700_000), ("tiny", 250_000), ("nano", 100_000)]
)
def test_small_presets_are_small(name, most):
    rows = 3 if name == "nano" else 7
    variables, _ = shapes(named(name, rows=rows), (32, 32))
    assert count_params(variables["params"]) < most


# --- the same network in NumPy, float64, one pixel window at a time
# ---------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def swish(x):
    return x * sigmoid(x)


def windows(x, kernel, stride):
    """TensorFlow's SAME windows: [B, H', W', k, k, C]."""
    out = [-(-size // stride) for size in x.shape[1:3]]
    total = [max((o - 1) * stride + kernel - n, 0) for o, n in zip(out, x.shape[1:3], strict=True)]
    pads = [(t // 2, t - t // 2) for t in total]
    x = np.pad(x, [(0, 0), *pads, (0, 0)])
    rows = [
        [
            x[:, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
            for j in range(out[1])
        ]
        for i in range(out[0])
    ]
    return np.stack([np.stack(row, 1) for row in rows], 1)


def norm(params, stats, x):
    centered = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-3)
    return centered * params["scale"] + params["bias"]


def block(row, p, s, x):
    skip = x
    if row.expand > 1:
        x = swish(norm(p["expand_norm"], s["expand_norm"], x @ p["expand"]["kernel"][0, 0]))
    x = np.einsum(
        "bijuvc,uvc->bijc", windows(x, row.kernel_size, row.stride), p["depthwise"]["kernel"]
    )
    x = swish(norm(p["depthwise_norm"], s["depthwise_norm"], x))
    squeeze = p["squeeze_excite"]
    gate = swish(x.mean((1, 2)) @ squeeze["reduce"]["kernel"][0, 0] + squeeze["reduce"]["bias"])
    gate = sigmoid(gate @ squeeze["expand"]["kernel"][0, 0] + squeeze["expand"]["bias"])
    x = norm(
        p["project_norm"],
        s["project_norm"],
        (x * gate[:, None, None]) @ p["project"]["kernel"][0, 0],
    )
    return x + skip if x.shape == skip.shape else x


def forward(config, variables, x):
    p, s = variables["params"], variables["batch_stats"]
    x = np.einsum("bijuvc,uvcd->bijd", windows(x, 3, 2), p["stem"]["kernel"])
    x = swish(norm(p["stem_norm"], s["stem_norm"], x))
    for name, row in blocks(config):
        x = block(row, p[name], s[name], x)
    return swish(norm(p["head_norm"], s["head_norm"], x @ p["head"]["kernel"][0, 0]))


@pytest.fixture(scope="module")
def nano():
    """Nano with two blocks in row 2, for a residual that adds, and with random statistics."""
    config = EfficientNetConfig(width=0.25, depth=0.7, rows=3, features=24, stochastic_depth=0.3)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(4, 19, 16, 3)), jnp.float32)
    variables = initialize(EfficientNet(config), jax.random.key(0), images, mode="eval")
    rng = np.random.default_rng(1)

    def spread(path, leaf):
        low, high = (-0.5, 0.5) if path[-1].key in ("mean", "bias") else (0.5, 2.0)
        noise = rng.uniform(low, high, leaf.shape)
        return leaf if path[-1].key == "kernel" else jnp.asarray(noise, jnp.float32)

    return config, jax.tree_util.tree_map_with_path(spread, variables), images


def test_forward_pass_against_numpy(nano):
    config, variables, images = nano
    ours = jax.jit(lambda v, x: EfficientNet(config).apply(v, x, mode="eval"))(variables, images)
    double = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (variables, images))
    theirs = forward(config, *double)
    assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 1e-5


def test_modes(nano):
    """Train draws; feedback takes the batch's statistics and draws nothing; eval moves nothing."""
    config, variables, images = nano

    @jax.jit
    def run(key):
        def apply(mode, **kwargs):
            module = EfficientNet(config)
            return module.apply(variables, images, mode=mode, mutable=["batch_stats"], **kwargs)

        return apply("train", rngs={"dropout": key}), apply("feedback"), apply("eval")

    (train, stats), (feedback, feedback_stats), (evaluated, kept) = run(jax.random.key(0))
    (other, _), (same, _), _ = run(jax.random.key(1))
    assert not np.allclose(train, other)
    np.testing.assert_array_equal(feedback, same)
    assert not np.allclose(train, feedback) and not np.allclose(feedback, evaluated)
    chex.assert_trees_all_equal(kept["batch_stats"], variables["batch_stats"])
    for updated in (stats, feedback_stats):
        moved = jax.tree.map(
            lambda a, b: bool(jnp.any(a != b)), updated["batch_stats"], variables["batch_stats"]
        )
        assert all(jax.tree.leaves(moved))


def test_stochastic_depth_of_rate_zero_is_the_feedback_pass(nano):
    config, variables, images = nano
    config = EfficientNetConfig(
        width=config.width, depth=config.depth, rows=3, features=24, stochastic_depth=0.0
    )

    @jax.jit
    def run(variables):
        def apply(mode):
            return EfficientNet(config).apply(
                variables, images, mode=mode, mutable=["batch_stats"]
            )[0]

        return apply("train"), apply("feedback")

    np.testing.assert_array_equal(*run(variables))


def test_an_unknown_convention_is_refused():
    with pytest.raises(ValueError, match="'caffe' is not one of tensorflow, pytorch"):
        shapes(EfficientNetConfig(convention="caffe"), (32, 32))
