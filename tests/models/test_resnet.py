"""ResNet: published parameter count, shapes, modes, and the whole forward pass against NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from piapdf_jax.models import resnet
from piapdf_jax.models.flops import count_params
from piapdf_jax.models.layers import convention_norm
from piapdf_jax.models.resnet import ResNet, ResNetConfig, bottlenecks, feature_side

RESNET50 = ResNetConfig()
#: Blocks with and without a convolution on the shortcut, at both strides.
SMALL = ResNetConfig(blocks=(2, 2), width=4)


def shapes(config, size, channels=3):
    """Variables and features, traced alone."""
    images = jax.ShapeDtypeStruct((2, *size, channels), jnp.float32)
    features, variables = jax.eval_shape(
        lambda x: ResNet(config).init_with_output(jax.random.key(0), x, mode="eval"), images
    )
    return variables, features


def drawn(config, images):
    """Variables that are all different, statistics such that the signal passes."""
    rng = np.random.default_rng(1)

    def draw(path, leaf):
        if path[-1].key == "kernel":
            return rng.normal(0, np.sqrt(2 / np.prod(leaf.shape[:3])), leaf.shape)
        low, high = (-0.5, 0.5) if path[-1].key in ("mean", "bias") else (0.5, 2.0)
        return rng.uniform(low, high, leaf.shape)

    variables, _ = shapes(config, images.shape[1:3], images.shape[-1])
    return jax.tree_util.tree_map_with_path(
        lambda *leaf: jnp.asarray(draw(*leaf), jnp.float32), variables
    )


def images(side=19, other=14, channels=3):
    drawn = np.random.default_rng(0).normal(size=(4, side, other, channels))
    return jnp.asarray(drawn, jnp.float32)


def test_parameters_are_as_many_as_torchvision_publishes():
    """25,557,032 with a classifier of 1000 classes."""
    variables, features = shapes(RESNET50, (224, 224))
    assert features.shape == (2, 7, 7, 2048)
    assert count_params(variables["params"]) + (2048 + 1) * 1000 == 25_557_032


@pytest.mark.parametrize(
    ("blocks", "size", "side"),
    [
        ((3, 4, 6, 3), 224, 7),
        # 113, 57, 29, 15, 8
        ((3, 4, 6, 3), 225, 8),
        # 49, 25, 13, 7, 4
        ((3, 4, 6, 3), 97, 4),
        # 17, 9, 5
        ((1, 1), 33, 5),
        ((1, 1, 1, 1), 1, 1),
    ],
)
def test_sides_of_odd_images_round_up(blocks, size, side):
    config = ResNetConfig(blocks=blocks, width=4)
    assert feature_side(config, size) == side
    features = shapes(config, (size, 40))[1]
    assert features.shape[1] == side
    assert features.shape[-1] == config.out_features == {4: 128, 2: 32}[len(blocks)]


def test_blocks_of_resnet50():
    """He et al.'s table 1: 3, 4, 6 and 3 blocks, 64 to 512 channels inside; stages 2 to 4 begin with a stride."""
    table = bottlenecks(RESNET50)
    assert [block.width for block in table] == [64] * 3 + [128] * 4 + [256] * 6 + [512] * 3
    assert [i for i, block in enumerate(table) if block.stride == 2] == [3, 7, 13]
    assert [i for i, block in enumerate(table) if block.projected] == [0, 3, 7, 13]
    assert [block.name for block in table[2:4]] == ["block1_3", "block2_1"]


def test_stem_takes_twelve_channels_and_nothing_else_changes():
    rgb, maps = (shapes(SMALL, (33, 33), channels)[0] for channels in (3, 12))
    assert rgb["params"].pop("stem") == {"kernel": jax.ShapeDtypeStruct((7, 7, 3, 4), jnp.float32)}
    assert maps["params"].pop("stem")["kernel"].shape == (7, 7, 12, 4)
    assert rgb == maps


# --- the same network in NumPy, float64
# --------------------------------------


def windows(x, kernel, stride, fill=0.0):
    """PyTorch's windows, padded by kernel // 2 on every side: [B, H', W', C, k, k]."""
    pad = (kernel // 2, kernel // 2)
    x = np.pad(x, [(0, 0), pad, pad, (0, 0)], constant_values=fill)
    seen = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (1, 2))
    return seen[:, ::stride, ::stride]


def conv_norm(params, stats, name, x, stride=1):
    kernel, norm, seen = params[name]["kernel"], params[f"{name}_norm"], stats[f"{name}_norm"]
    x = np.einsum("bijcuv,uvcd->bijd", windows(x, len(kernel), stride), kernel)
    return (x - seen["mean"]) / np.sqrt(seen["var"] + 1e-5) * norm["scale"] + norm["bias"]


def relu(x):
    return np.maximum(x, 0)


def branch_and_shortcut(block, p, s, x):
    y = relu(conv_norm(p, s, "reduce", x))
    y = conv_norm(p, s, "expand", relu(conv_norm(p, s, "conv", y, block.stride)))
    return y, conv_norm(p, s, "shortcut", x, block.stride) if "shortcut" in p else x


def forward(config, variables, x):
    p, s = variables["params"], variables["batch_stats"]
    x = windows(relu(conv_norm(p, s, "stem", x, 2)), 3, 2, -np.inf).max((4, 5))
    for block in bottlenecks(config):
        x = relu(sum(branch_and_shortcut(block, p[block.name], s[block.name], x)))
    return x


def double(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def test_forward_pass_against_numpy():
    seen = images()
    variables = drawn(SMALL, seen)
    ours = jax.jit(lambda v, x: ResNet(SMALL).apply(v, x, mode="eval"))(variables, seen)
    theirs = forward(SMALL, double(variables), double(seen))
    assert ours.dtype == jnp.float32 and ours.shape == theirs.shape
    assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 1e-5


def test_stochastic_depth_drops_the_branch_and_not_the_shortcut():
    seen = images(5, 4, 16)
    block = resnet.Bottleneck("block2_1", 4, 2, projected=True)
    module = resnet.ResNetBlock(block, 0.25, SMALL.conventions)
    uniform = jnp.asarray([0.1, 0.3, 0.24, 0.9])
    made = jax.eval_shape(lambda: module.init(jax.random.key(0), seen, None, mode="eval"))
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.3), made)
    ours = module.apply(variables, seen, uniform, mode="eval")
    p, s = double((variables["params"], variables["batch_stats"]))
    branch, shortcut = branch_and_shortcut(block, p, s, double(seen))
    kept = np.array([0, 1, 0, 1])[:, None, None, None] / 0.75
    np.testing.assert_allclose(ours, relu(shortcut + kept * branch), rtol=1e-5, atol=1e-5)


def test_rates_grow_linearly_from_zero(monkeypatch):
    rates = []
    monkeypatch.setattr(resnet, "stochastic_depth", lambda x, _, rate: rates.append(rate) or x)
    config = ResNetConfig(blocks=(1, 3), width=4, stochastic_depth=0.4)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    jax.eval_shape(lambda x: ResNet(config).init(keys, x, mode="train"), images())
    np.testing.assert_allclose(rates, [0, 0.1, 0.2, 0.3])


def test_modes():
    """Train draws; feedback takes the batch's statistics and draws nothing; eval moves nothing."""
    config, seen = ResNetConfig(blocks=(1, 2), width=4, stochastic_depth=0.9), images()
    variables = drawn(config, seen)

    @jax.jit
    def apply(mode_keys):
        module = ResNet(config)
        return {
            name: module.apply(variables, seen, mode=name[:-1], rngs=key, mutable=["batch_stats"])
            for name, key in mode_keys.items()
        }

    keys = [{"dropout": jax.random.key(seed)} for seed in range(2)]
    # The digit tells two passes of a mode apart; feedback and eval get no key at all.
    found = apply({"train0": keys[0], "train1": keys[1], "feedback0": {}, "eval0": {}})
    assert not np.allclose(found["train0"][0], found["train1"][0])
    assert not np.allclose(found["feedback0"][0], found["eval0"][0])
    kept = found["eval0"][1]["batch_stats"]
    chex.assert_trees_all_equal(kept, variables["batch_stats"])
    # 0.9 of the old mean, and the batch's: the stem's sees the images themselves.
    stem = np.einsum(
        "bijcuv,uvcd->bijd",
        windows(double(seen), 7, 2),
        double(variables["params"]["stem"]["kernel"]),
    )
    old = variables["batch_stats"]["stem_norm"]
    count = stem[..., 0].size
    for name in ("train0", "feedback0"):
        new = found[name][1]["batch_stats"]["stem_norm"]
        mean, var = stem.mean((0, 1, 2)), stem.var((0, 1, 2)) * count / (count - 1)
        np.testing.assert_allclose(
            new["mean"], 0.9 * old["mean"] + 0.1 * mean, rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(new["var"], 0.9 * old["var"] + 0.1 * var, rtol=1e-4)


def test_momentum_is_the_configurations():
    config = ResNetConfig(bn_momentum=0.5)
    assert convention_norm("norm", config.conventions, "train").momentum == 0.5


def test_half_precision_keeps_statistics_in_float32():
    seen = images()
    variables = drawn(SMALL, seen)

    @jax.jit
    def run(x):
        return ResNet(SMALL).apply(variables, x, mode="train", mutable=["batch_stats"])

    (half, stats), (single, _) = run(seen.astype(jnp.bfloat16)), run(seen)
    assert half.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(stats))
    off = np.linalg.norm(np.asarray(half, np.float32) - single) / np.linalg.norm(single)
    assert 1e-4 < off < 0.05


def test_every_derivative_that_feedback_takes_is_there():
    """Reverse, forward and the gradient of a gradient, through the max pooling."""
    config, seen = ResNetConfig(blocks=(1,), width=4), images()
    variables = drawn(config, seen)

    @jax.jit
    def run(params):
        def loss(params):
            both = {**variables, "params": params}
            return jnp.sum(ResNet(config).apply(both, seen, mode="eval") ** 2)

        def squared_slope(params):
            return sum(jnp.sum(g**2) for g in jax.tree.leaves(jax.grad(loss)(params)))

        slopes = jax.grad(loss)(params)
        along = jax.jvp(loss, (params,), (slopes,))[1]
        # Half the gradient of |g|^2 is the Hessian times g, which forward over reverse gives as well.
        twice = jax.grad(squared_slope)(params), jax.jvp(jax.grad(loss), (params,), (slopes,))[1]
        return along, squared_slope(params), twice

    along, squared, (reverse, forward_over_reverse) = run(variables["params"])
    np.testing.assert_allclose(along, squared, rtol=1e-4)
    for a, b in zip(*map(jax.tree.leaves, (reverse, forward_over_reverse)), strict=True):
        np.testing.assert_allclose(a, 2 * b, rtol=1e-3, atol=1e-4 * np.abs(a).max())
