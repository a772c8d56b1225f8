"""Weights that Keras writes, read through the name map, say what Keras says."""

import dataclasses
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from piapdf_jax.models import pretrained
from piapdf_jax.models.config import ModelConfig, encoder_of
from piapdf_jax.models.piap import init_part

# NumPy warns of how Keras hands over arrays of PyTorch.
pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
SIDE = 65


@pytest.fixture(name="network", scope="module")
def _network():
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    keras.config.set_floatx("float32")
    network = keras.applications.EfficientNetB0(
        weights=None, include_top=False, input_shape=(SIDE, SIDE, 3)
    )
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            count = layer.gamma.shape
            layer.gamma.assign(rng.uniform(0.5, 1.5, count))
            layer.beta.assign(rng.normal(0, 0.2, count))
    # Statistics of the layers' own inputs, moved at random: with others the signal would vanish.
    below = keras.Model(network.get_layer("stem_conv_pad").input, network.output)
    for layer in below.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    below(_images(16, seed=1), training=True)
    for layer in below.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            factor = rng.uniform(0.8, 1.25, layer.gamma.shape)
            layer.moving_variance.assign(layer.moving_variance * factor)
    scaling = network.get_layer("normalization")
    mean, variance, count = scaling.get_weights()
    scaling.set_weights([mean, np.full_like(variance, 0.25), count])
    return network, below


def _images(count, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (count, SIDE, SIDE, 3)).astype(np.float32)


def test_features_of_a_file_that_keras_wrote(network, tmp_path):
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    whole, below = network
    with h5py.File(tmp_path / "notop.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, whole)
    config = dataclasses.replace(ModelConfig(encoder="b0"), pretrained=str(tmp_path / "notop.h5"))
    config = pretrained.resolve(config)
    part = init_part(config, "encoder", jax.random.key(0))
    images = _images(4, seed=2)
    theirs = below(images, training=False).detach().numpy()
    variables = {"params": part[0], "batch_stats": part[1]}
    net = encoder_of(config).module
    ours = np.asarray(net.apply(variables, jnp.asarray(images), mode="eval"))
    assert ours.shape == theirs.shape and np.std(theirs) > 1e-3
    assert np.linalg.norm(ours - theirs) <= 1e-5 * np.linalg.norm(theirs)
