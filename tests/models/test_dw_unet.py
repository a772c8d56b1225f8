"""PI generator: shapes of every size, cost against the plain U-Net, start and training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from piapdf_jax.models.dw_unet import DWUNet, UNet
from piapdf_jax.models.parameters import initialize

SMALL = DWUNet(num_maps=3, widths=(8, 12), blocks=1, momentum=0.5)


def traced(module, size):
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, mode="eval"), images)
    logits = jax.eval_shape(lambda v, x: module.apply(v, x, mode="eval"), variables, images)
    return variables, logits


@pytest.mark.parametrize("stem_stride", [1, 2, 4])
@pytest.mark.parametrize("size", [(256, 256), (128, 96), (100, 75)])
def test_maps_have_the_size_of_the_image(size, stem_stride):
    _, logits = traced(DWUNet(num_maps=12, stem_stride=stem_stride), size)
    assert logits.shape == (2, *size, 12)
    assert logits.dtype == jnp.float32


def test_the_plain_network_has_the_same_widths_depths_and_skips():
    """Layer by layer: a 3x3 filter of the same stride, from as many channels to as many."""
    separable, plain = (traced(net(num_maps=12), (64, 64))[0]["params"] for net in (DWUNet, UNet))
    assert separable.keys() == plain.keys()
    for name, layer in plain.items():
        if "conv" in layer:
            rows, columns, c, d = layer["conv"]["kernel"].shape
            assert separable[name]["depthwise"]["kernel"].shape == (rows, columns, c)
            assert separable[name]["pointwise"]["kernel"].shape == (1, 1, c, d)
        else:
            assert jax.tree.map(jnp.shape, layer) == jax.tree.map(jnp.shape, separable[name])
    full = [leaf.shape for leaf in jax.tree.leaves(separable) if leaf.ndim == 4]
    assert [shape for shape in full if shape[0] > 1] == [(3, 3, 3, 32)], "the stem alone is full"


def test_the_start_says_that_few_pixels_are_positive():
    images = jax.random.uniform(jax.random.key(0), (2, 16, 16, 3))
    for prior in (0.05, 0.5):
        module = SMALL.clone(prior=prior)
        variables = initialize(module, jax.random.key(1), images, mode="eval")
        # Without what the last layer adds, the logits are the prior's.
        variables["params"]["maps"] = jax.tree.map(jnp.zeros_like, variables["params"]["maps"])
        logits = jax.jit(lambda v, m=module: m.apply(v, images, mode="eval"))(variables)
        np.testing.assert_allclose(jax.nn.sigmoid(logits), prior, rtol=1e-5)


@pytest.fixture(scope="module")
def trained():
    """Forty steps toward a map that a 3x3 filter can find: where a bright square lies."""
    rng = np.random.default_rng(0)
    images, maps = rng.uniform(0, 0.3, (8, 16, 16, 3)), np.zeros((8, 16, 16, 3))
    for i in range(8):
        row, column = rng.integers(0, 12, 2)
        images[i, row : row + 4, column : column + 4] += 0.6
        maps[i, row : row + 4, column : column + 4] = 1
    images, maps = jnp.asarray(images, jnp.float32), jnp.asarray(maps, jnp.float32)
    variables = initialize(SMALL, jax.random.key(0), images, mode="eval")
    optimizer = optax.sgd(0.5, momentum=0.9)

    def loss_fn(params, stats):
        both = {"params": params, "batch_stats": stats}
        logits, updated = SMALL.apply(both, images, mode="train", mutable=["batch_stats"])
        return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, maps)), updated["batch_stats"]

    @jax.jit
    def step(params, stats, opt_state):
        (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, stats)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), stats, opt_state, loss, grads

    params, stats = variables["params"], variables["batch_stats"]
    opt_state, losses, first = optimizer.init(params), [], None
    for _ in range(40):
        params, stats, opt_state, loss, grads = step(params, stats, opt_state)
        losses.append(float(loss))
        first = first or grads
    logits = jax.jit(lambda v: SMALL.apply(v, images, mode="eval"))(
        {"params": params, "batch_stats": stats}
    )
    return losses, first, logits, maps


def test_every_leaf_gets_a_gradient(trained):
    _, grads, _, _ = trained
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert float(jnp.max(jnp.abs(leaf))) > 0, jax.tree_util.keystr(path)


def test_it_learns_to_draw(trained):
    losses, _, logits, maps = trained
    assert losses[-1] < 0.3 * losses[0]
    drawn, true = np.asarray(logits) > 0, np.asarray(maps) > 0
    assert (drawn & true).sum() / (drawn | true).sum() > 0.5
