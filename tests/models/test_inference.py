"""What inference says, how networks are built, and numbers of the TensorFlow networks that no other test holds."""

import jax
import jax.numpy as jnp
import numpy as np

from piapdf_jax.models import efficientnet
from piapdf_jax.models.decoder import PIDecoder
from piapdf_jax.models.efficientnet import EfficientNet, EfficientNetConfig, blocks
from piapdf_jax.models.layers import CONVENTIONS
from piapdf_jax.models.piap import init_part, predict_action_units
from piapdf_jax.models.presets import MODELS
from piapdf_jax.stages.targets import frozen_targets

NANO, SIZE = MODELS["nano"], 32


def trained_part(name, seed, **more):
    params, stats = init_part(NANO, name, jax.random.key(seed), **more)
    rng = np.random.default_rng(seed)  # running statistics as after a training, not 0 and 1
    stats = jax.tree.map(lambda x: jnp.asarray(rng.uniform(0.5, 2, x.shape), x.dtype), stats)
    return params, stats


def test_what_is_said_of_an_image_does_not_depend_on_its_batch():
    images = jax.random.uniform(jax.random.key(0), (4, SIZE, SIZE, 3))
    trained = {"encoder": trained_part("encoder", 0), "head": trained_part("head", 1, num_aus=3)}
    frozen = {
        "generator": trained_part("generator", 2, image_size=SIZE, num_maps=5),
        "identity": trained_part("encoder", 3),
    }
    many, one = (predict_action_units(NANO, trained, x) for x in (images, images[:1]))
    np.testing.assert_allclose(many.au_logits[:1], one.au_logits, rtol=1e-4, atol=1e-5)
    many, one = (
        frozen_targets(NANO, frozen, x, jnp.zeros((len(x), 3))) for x in (images, images[:1])
    )
    np.testing.assert_allclose(many.pi_maps[:1], one.pi_maps, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(many.identity[:1], one.identity, rtol=1e-4, atol=1e-5)
    cut = frozen_targets(NANO, frozen, images, jnp.zeros((4, 3)), binarize=True).pi_maps
    np.testing.assert_array_equal(cut, (many.pi_maps >= 0.5).astype(np.float32))


def test_stochastic_depth_grows_from_0_at_the_first_block(monkeypatch):
    seen = []
    monkeypatch.setattr(efficientnet, "stochastic_depth", lambda x, u, rate: seen.append(rate) or x)
    config = EfficientNetConfig(width=0.25, depth=1.1, features=8, stochastic_depth=0.4)
    x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    jax.eval_shape(lambda x: EfficientNet(config).init(rngs, x, mode="train"), x)
    table = [row for _, row in blocks(config)]
    residual = [
        i
        for i in range(1, len(table))
        if table[i].stride == 1 and table[i].channels == table[i - 1].channels
    ]
    expected = [0.4 * i / len(table) for i in residual]
    np.testing.assert_allclose(seen[-len(expected) :], expected)
    assert len(expected) > 3 and seen == sorted(seen)


def test_the_tensorflow_networks_keep_99_percent():
    """Tan and Le's code and Keras: batch_norm_momentum 0.99, epsilon 1e-3, variance by n."""
    assert CONVENTIONS["tensorflow"] == ("SAME", 1e-3, 0.99, False)


def test_decoder_enlarges_from_coarse_to_fine():
    module = PIDecoder(num_maps=1, output_size=32, widths=(4, 4, 4), stride=2)
    x = jax.ShapeDtypeStruct((1, 2, 2, 4), jnp.float32)
    seen = jax.eval_shape(
        lambda x: module.init_with_output(
            jax.random.key(0), x, mode="eval", capture_intermediates=True
        ),
        x,
    )[1]["intermediates"]
    assert [seen[f"up{i}"]["__call__"][0].shape[1] for i in range(3)] == [4, 8, 16]
