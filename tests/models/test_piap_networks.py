"""The parts of the method: starts, modes, running statistics, identity logits, full size."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from encoder_variants import variant

from piapdf_jax.models.decoder import decoder_apply
from piapdf_jax.models.encoder import encoder_apply
from piapdf_jax.models.flops import count_params
from piapdf_jax.models.generator import generator_apply, gray_times_maps
from piapdf_jax.models.heads import head_apply, identity_logits
from piapdf_jax.models.piap import PARTS, init_part, network_apply
from piapdf_jax.models.presets import MODELS

#: Deep enough for branches that stochastic depth can drop.
NANO = dataclasses.replace(MODELS["nano"], encoder=variant(depth=0.7), stochastic_depth=0.5)
SIZE = 40
NUMBERS = {"image_size": SIZE, "num_aus": 5, "num_maps": 4, "num_identities": 7}


def random_images(seed=0, batch=4, size=SIZE):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.uniform(size=(batch, size, size, 3)), jnp.float32)


@pytest.fixture(scope="module")
def parts():
    keys = jax.random.split(jax.random.key(0), len(PARTS))
    made = {
        name: init_part(NANO, name, key, **NUMBERS) for name, key in zip(PARTS, keys, strict=True)
    }
    return made


@pytest.fixture(scope="module")
def passes(parts):
    """Each network once in each mode, and in train mode under another key; compiled together."""
    images = random_images()
    network = {name: parts[name] for name in ("encoder", "head", "decoder")}

    @jax.jit
    def run(network, generator, images, key):
        def both(mode, key):
            prediction, stats = network_apply(NANO, network, images, mode=mode, key=key)
            maps, generator_stats = generator_apply(NANO, generator, images, mode=mode)
            return prediction, {**stats, "generator": generator_stats}, maps

        keys = jax.random.split(key)
        train, other = both("train", keys[0]), both("train", keys[1])
        return {
            "train": train,
            "other": other,
            "feedback": both("feedback", None),
            "eval": both("eval", None),
        }

    return run(network, parts["generator"], images, jax.random.key(5))


def test_shapes_and_dtypes(passes):
    for prediction, _, maps in passes.values():
        assert prediction.pi_logits.shape == maps.shape == (4, SIZE, SIZE, 4)
        assert prediction.vector.shape == (4, 32)
        assert prediction.au_logits.shape == (4, 5)
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((prediction, maps)))


def test_train_draws_and_the_other_modes_do_not_need_a_key(passes):
    train, other = passes["train"][0], passes["other"][0]
    feedback, evaluated = passes["feedback"][0], passes["eval"][0]
    assert not np.allclose(train.vector, other.vector)
    assert not np.allclose(train.vector, feedback.vector)
    assert not np.allclose(feedback.vector, evaluated.vector)
    np.testing.assert_array_equal(passes["train"][2], passes["feedback"][2])
    assert not np.allclose(passes["feedback"][2], passes["eval"][2])


@pytest.mark.parametrize("mode", ["train", "feedback", "eval"])
def test_running_statistics_move_outside_eval_only(parts, passes, mode):
    _, stats, _ = passes[mode]
    assert set(stats) == {"encoder", "head", "decoder", "generator"}
    for name, updated in stats.items():
        old = parts[name][1]
        assert jax.tree.structure(updated) == jax.tree.structure(old)
        moved = jax.tree.map(
            lambda a, b: bool(np.any(np.asarray(a) != np.asarray(b))), updated, old
        )
        if mode == "eval":
            assert not any(jax.tree.leaves(moved))
        else:
            assert all(jax.tree.leaves(moved))


def test_head_dropout_alone(parts):
    """Inverted dropout, seen through the identity as kernel: 0, or 1 / (1 - rate)."""
    config = dataclasses.replace(NANO, dropout=0.25)
    head = ({"dense": {"kernel": jnp.eye(32), "bias": jnp.zeros(32)}}, {})
    vector = jnp.ones((64, 32))
    y = np.asarray(head_apply(config, head, vector, mode="train", key=jax.random.key(0)))
    assert set(np.unique(np.round(y, 5))) == {0.0, np.float32(np.round(1 / 0.75, 5))}
    assert abs((y == 0).mean() - 0.25) < 0.05
    for mode in ("feedback", "eval"):
        np.testing.assert_array_equal(head_apply(config, head, vector, mode=mode), vector)


def test_gradients_reach_every_leaf():
    """Of all parts that train, and the generator through the encoder of PI stage 2."""
    images, nano = random_images(1), MODELS["nano"]
    trained = {name: init_part(nano, name, jax.random.key(1), **NUMBERS) for name in PARTS}
    trained["masked"] = init_part(nano, "encoder", jax.random.key(2), in_channels=4)
    params = {name: part[0] for name, part in trained.items()}
    stats = {name: part[1] for name, part in trained.items()}

    @jax.jit
    def run(params):
        def loss(params):
            now = {name: (params[name], stats[name]) for name in params}
            network = {name: now[name] for name in ("encoder", "head", "decoder")}
            prediction, _ = network_apply(nano, network, images, mode="feedback")
            who = jnp.arange(4)
            classes = identity_logits(now["identity"], prediction.vector, who, mode="train")
            maps, _ = generator_apply(nano, now["generator"], images, mode="feedback")
            masked = gray_times_maps(images, jax.nn.sigmoid(maps))
            _, vector, _ = encoder_apply(nano, now["masked"], masked, mode="feedback")
            outputs = (prediction.au_logits, prediction.pi_logits, classes, vector)
            # Not linear, so that the batch's mean does not cancel what a bias adds.
            return sum(jnp.mean(jnp.sin(out + 0.3)) for out in outputs)

        return jax.grad(loss)(params)

    for path, leaf in jax.tree_util.tree_leaves_with_path(run(params)):
        assert float(jnp.max(jnp.abs(leaf))) > 0, jax.tree_util.keystr(path)


def test_no_gradient_needs_a_scatter():
    """What GPUs refuse, or add in any order, when they are asked to be deterministic."""
    nano = MODELS["nano"]
    made = {name: init_part(nano, name, jax.random.key(1), **NUMBERS) for name in PARTS}

    def loss(params, images, key):
        now = {name: (params[name], made[name][1]) for name in params}
        prediction, _ = network_apply(nano, now, images, mode="train", key=key)
        maps, _ = generator_apply(nano, now["generator"], images, mode="train")
        who = jnp.arange(4)
        classes = identity_logits(now["identity"], prediction.vector, who, mode="train")
        return sum(jnp.sum(out) for out in (prediction.pi_logits, maps, classes))

    params = {name: part[0] for name, part in made.items()}
    arguments = (params, random_images(), jax.random.key(0))
    program = str(jax.make_jaxpr(jax.grad(loss))(*arguments))
    assert "dot_general" in program
    assert "scatter" not in program and "select_and_gather" not in program


def test_encoder_sees_the_resized_normalized_image(parts):
    """An image of any size equals the same image resized and normalized beforehand."""
    config = dataclasses.replace(NANO, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    plain = dataclasses.replace(NANO, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    images = random_images(2)
    side = NANO.encoder_size
    small = jax.image.resize(images, (4, side, side, 3), "bilinear")
    small = (small - jnp.asarray([[[[0.1, 0.2, 0.3]]]])) / jnp.asarray([[[[0.5, 0.6, 0.7]]]])
    run = jax.jit(encoder_apply, static_argnums=0, static_argnames="mode")
    ours = run(config, parts["encoder"], images, mode="eval")
    theirs = run(plain, parts["encoder"], small, mode="eval")
    for a, b in zip(ours[:2], theirs[:2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours[1], np.mean(ours[0], (1, 2)), rtol=1e-5)


def test_full_size_by_shapes():
    """The paper's sizes: 7x7x1280 features of 256 px images, PI maps of 256x256x12."""
    config, image = MODELS["b1"], jax.ShapeDtypeStruct((2, 256, 256, 3), jnp.float32)
    numbers = {"image_size": 256, "num_aus": 12, "num_maps": 12}
    parts = {
        name: init_part(config, name, jax.random.key(0), **numbers)
        for name in ("encoder", "head", "decoder", "generator")
    }
    assert count_params(parts["encoder"][0]) + 1281 * 1000 == 7_794_184
    assert count_params(parts["head"][0]) == 1281 * 12

    def run(parts, images, key):
        features, vector, _ = encoder_apply(config, parts["encoder"], images, mode="train", key=key)
        drawn, _ = decoder_apply(config, parts["decoder"], features, image_size=256, mode="train")
        maps, _ = generator_apply(config, parts["generator"], images, mode="train")
        logits = head_apply(config, parts["head"], vector, mode="train", key=key)
        return features, vector, logits, drawn, maps

    outputs = jax.eval_shape(run, parts, image, jax.random.key(0))
    expected = [(7, 7, 1280), (1280,), (12,), (256, 256, 12), (256, 256, 12)]
    assert [out.shape for out in outputs] == [(2, *shape) for shape in expected]
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((parts, outputs)))


def test_gray_times_maps_against_numpy():
    images = random_images(3)
    maps = np.random.default_rng(4).uniform(size=(4, SIZE, SIZE, 4)).astype(np.float32)
    red, green, blue = np.moveaxis(np.asarray(images, np.float64), -1, 0)
    gray = 0.299 * red + 0.587 * green + 0.114 * blue
    ours = gray_times_maps(images, jnp.asarray(maps))
    np.testing.assert_allclose(ours, gray[..., None] * maps, rtol=1e-5, atol=1e-6)


def test_arcface_against_numpy():
    """cos(angle + margin) at the true class by arccos; past pi - margin the linear continuation."""
    rng = np.random.default_rng(0)
    kernel, vector = rng.normal(size=(6, 5)), rng.normal(size=(8, 6))
    identity = rng.integers(0, 5, 8)
    # Angles of nearly pi and of nearly 0.
    vector[0], vector[1] = -2 * kernel[:, identity[0]] + 0.05, 3 * kernel[:, identity[1]] + 0.05
    cosines = (vector / np.linalg.norm(vector, axis=1, keepdims=True)) @ (
        kernel / np.linalg.norm(kernel, axis=0, keepdims=True)
    )
    angles = np.arccos(cosines)
    expected = cosines.copy()
    for i, true in enumerate(identity):
        late = angles[i, true] > np.pi - 0.4
        expected[i, true] = (
            cosines[i, true] - 0.4 * np.sin(0.4) if late else np.cos(angles[i, true] + 0.4)
        )
    assert (angles[np.arange(8), identity] > np.pi - 0.4).any()
    part = ({"kernel": jnp.asarray(kernel, jnp.float32)}, {})
    single, who = jnp.asarray(vector, jnp.float32), jnp.asarray(identity)

    def logits(**kwargs):
        return identity_logits(part, single, who, margin=0.4, scale=10.0, **kwargs)

    np.testing.assert_allclose(logits(mode="train"), 10 * expected, atol=1e-4)
    np.testing.assert_allclose(logits(mode="eval"), 10 * cosines, atol=1e-4)
    np.testing.assert_allclose(logits(mode="train", arcface=False), vector @ kernel, atol=1e-4)


def test_arcface_has_a_finite_gradient_where_vector_and_class_agree():
    part = ({"kernel": jnp.eye(3)}, {})

    def loss(vector):
        return jnp.sum(identity_logits(part, vector, jnp.arange(2), mode="train"))

    assert np.isfinite(jax.jit(jax.grad(loss))(jnp.eye(3)[:2])).all()


def test_a_start_depends_on_the_key_and_the_part_alone(parts):
    again = init_part(NANO, "generator", jax.random.split(jax.random.key(0), 5)[0], **NUMBERS)
    chex.assert_trees_all_equal(parts["generator"], again)
    other = init_part(NANO, "generator", jax.random.key(9), **NUMBERS)
    assert not np.array_equal(other[0]["stem"]["kernel"], again[0]["stem"]["kernel"])


def test_presets_are_named_and_grow():
    sizes = [
        count_params(init_part(MODELS[name], "encoder", jax.random.key(0))[0])
        for name in ("nano", "tiny", "b1")
    ]
    assert sizes == sorted(sizes) and sizes[1] < sizes[2] / 10


def test_errors():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="'student' is not one of"):
        init_part(NANO, "student", key)
    with pytest.raises(ValueError, match="'head' needs"):
        init_part(NANO, "head", key)
    head = init_part(NANO, "head", key, num_aus=2)
    with pytest.raises(ValueError, match="mode 'test' is not one of"):
        head_apply(NANO, head, jnp.zeros((1, 32)), mode="test")
    with pytest.raises(ValueError, match="needs a key"):
        head_apply(NANO, head, jnp.zeros((1, 32)), mode="train")
