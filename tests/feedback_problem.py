"""What tests of the feedback share: small models, data and comparisons, in the width of floats that is on."""

import hashlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from piapdf_jax.feedback import (
    Learner,
    LearnerState,
    discrete_feedback,
    discrete_gate,
    student_slope,
)
from piapdf_jax.feedback_variants import compile_in_parts

ETA = 0.1
#: A gate that never drops.
ALWAYS = discrete_gate(drop_rate=0.0)
whole_and_in_parts = pytest.mark.parametrize(
    "way", [lambda step: step, compile_in_parts], ids=["whole", "parts"]
)


# Models.


def known_labels(batch):
    return batch["y"], batch["y"] >= 0


def masked_bce(z, batch, labels, mask):
    cells = optax.sigmoid_binary_cross_entropy(z, labels)
    return jnp.sum(cells, where=mask) / jnp.maximum(jnp.sum(mask), 1).astype(z.dtype)


def identity(outputs):
    return outputs


def linear_apply(params, model_state, batch, key, mode):
    return batch["x"] @ params["w"], model_state


def tanh_apply(params, model_state, batch, key, mode):
    return jnp.tanh(batch["x"] @ params["a"]) @ params["c"], model_state


def dropout_apply(params, model_state, batch, key, mode):
    """Tanh network with dropout and, where there is a model state, a running mean."""
    hidden = jnp.tanh(batch["x"] @ params["a"])
    if mode == "train":
        hidden *= jax.random.bernoulli(key, 0.7, hidden.shape).astype(hidden.dtype)
    if model_state is not None:
        model_state = 0.9 * model_state + 0.1 * hidden.mean(axis=0)
    return hidden @ params["c"], model_state


def poisoned_apply(params, model_state, batch, key, mode):
    """A linear model that counts its passes; its batch says where it breaks."""
    poison = batch["poison"]
    z = batch["x"] @ params["w"] * poison["train" if mode == "train" else "judged"]
    if model_state is not None:
        passes, mean = model_state
        model_state = passes + 1, (mean + batch["x"].mean()) * poison["state"]
    return z, model_state


def poisoned_loss(z, batch, labels, mask):
    """Masked cross entropy; with "slope" 0 its value is as ever, and its gradient not finite."""
    poison = batch["poison"]
    nothing = 0 * jnp.sqrt(poison["slope"] + 0 * jnp.sum(z))
    return masked_bce(z, batch, labels, mask) * poison["loss"] + nothing


def poison(batch, **where):
    """The batch, with what logits in ``train`` mode and those ``judged``, ``state`` and ``loss`` are multiplied by."""
    where = dict.fromkeys(("train", "judged", "state", "loss", "slope"), 1.0) | where
    return {**batch, "poison": jax.tree.map(jnp.asarray, where)}


def clean_apply(params, model_state, batch, key, mode):
    """The same model, that no batch breaks."""
    return poisoned_apply(params, model_state, poison(batch), key, mode)


def counter():
    """The model state of a poisoned model, with a whole number in it."""
    return jnp.zeros((), jnp.int32), jnp.zeros(())


def learner(optimizer=None, **options):
    options = {"apply": linear_apply, "logits": identity, "loss": masked_bce} | options
    return Learner(optimizer=optimizer or optax.sgd(ETA), **options)


def poisoned(optimizer=None):
    return learner(optimizer, apply=poisoned_apply, loss=poisoned_loss)


def make(teacher=None, student=None, **options):
    teacher = teacher or learner()
    options = {"known_labels": known_labels} | options
    return discrete_feedback(teacher, student or teacher, **options)


# Data and starts.


def data(seed, b=2, d=4, c=2):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(b, d)), rng.integers(0, 2, size=(b, c))
    return {"x": jnp.asarray(x, float), "y": jnp.asarray(y, float)}


def batches(seed=0, b=6, d=4, c=3):
    """A labeled and an unlabeled batch."""
    rng = np.random.default_rng(seed)
    return [data(rng, b, d, c) for _ in range(2)]


def unknown(batch):
    return {**batch, "y": jnp.full_like(batch["y"], -1.0)}


def mlp_params(seed, d=4, h=5, c=2):
    rng = np.random.default_rng(seed)
    return {"a": jnp.asarray(rng.normal(size=(d, h))), "c": jnp.asarray(rng.normal(size=(h, c)))}


def start(step, d=4, c=3, seed=0, model_state=None):
    """Linear teacher and student."""
    rng = np.random.default_rng(seed)
    params = [{"w": jnp.asarray(rng.normal(size=(d, c)))} for _ in range(2)]
    return step.init(*((p, model_state) for p in params))


def start_mlp(step, c=2, model_state=None):
    return step.init(*((mlp_params(seed, c=c), model_state) for seed in (0, 1)))


def tanh_loss(batch):
    """The labeled loss of a tanh network by its parameters."""
    return lambda params: masked_bce(
        tanh_apply(params, None, batch, None, "feedback")[0], batch, *known_labels(batch)
    )


def run(step, pair=None, steps=1):
    """Tanh teacher and student after so many steps: state before the last, state, info."""
    x_l, x_u = pair or (data(10, b=3), data(11, b=3))
    state, update = start_mlp(step), jax.jit(step.update)
    for t in range(steps):
        before = state
        state, info = update(state, x_l, x_u, jax.random.key(t))
    return before, state, info


def stream(key, name):
    """The key of one draw of a step."""
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    return jax.random.fold_in(key, word)


# Comparisons.


def supervised(model, state, batch, labels):
    """What plain training makes of a learner, written without the module."""

    def loss(params):
        z, model_state = model.apply(params, state.model_state, batch, None, "train")
        return model.loss(z, batch, labels, jnp.ones_like(labels, bool)), model_state

    grads, model_state = jax.grad(loss, has_aux=True)(state.params)
    with jax.numpy_dtype_promotion("standard"):
        updates, opt_state = model.optimizer.update(grads, state.opt_state, state.params)
    return LearnerState(optax.apply_updates(state.params, updates), model_state, opt_state)


def weights(state):
    """Of linear teacher and student, as NumPy has them."""
    return [np.asarray(x.params["w"], np.float64) for x in (state.teacher, state.student)]


def assert_trees(a, b, **tolerance):
    """Fails where two trees differ, by a single bit if no tolerance is given."""
    if tolerance:
        chex.assert_trees_all_close(a, b, **tolerance)
    else:
        chex.assert_trees_all_equal(a, b)


def close(a, b, rtol=1e-10, atol=0.0):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=atol)


def flat(tree):
    return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(tree)])


def relative(a, b):
    return np.linalg.norm(flat(a) - flat(b)) / np.linalg.norm(flat(b))


def finite(tree):
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


def sigmoid(z):
    return 1 / (1 + np.exp(-np.asarray(z, np.float64)))


def bce(z, y):
    """Mean binary cross entropy, in NumPy."""
    z = np.asarray(z, np.float64)
    return np.mean(np.logaddexp(0, z) - np.asarray(y) * z)


def slope(w, x, y):
    """Gradient by w of ``bce`` of x @ w, in NumPy."""
    x, z = np.asarray(x, np.float64), np.asarray(x, np.float64) @ np.asarray(w, np.float64)
    return x.T @ (sigmoid(z) - np.asarray(y)) / z.size


def counting(function):
    """The function, and a list that grows each time it is traced."""
    calls = []

    def counted(*args):
        calls.append(args[-1])
        return function(*args)

    return counted, calls


# One weight each, by hand: x_u = 1, x_l = 2, theta = 0.5, xi = 0.2, eta = 0.1.

XI_NEW = 0.245016600269  # the student after its step
# y_l: g_l at xi', fb, c, g_theta_l, theta' (sigma 1), theta' (sigma 0), L_l(xi) - L_l(xi')
SCALAR = {
    1.0: (
        *(-0.759771492980, 0.342023295951, 1.0, -0.537882842740),
        *(0.591542351154, 0.553788284274, 0.035163714334),
    ),
    0.0: (
        *(1.240228507020, -0.558308709424, -0.1, 1.462117157260),
        *(0.350012877586, 0.353788284274, -0.054869486203),
    ),
}


def scalar_step(y, **options):
    """State and info after one step of that problem."""
    x_u, x_l = {"x": jnp.ones((1, 1))}, {"x": jnp.full((1, 1), 2.0), "y": jnp.full((1, 1), y)}
    step = make(**options)
    starts = (({"w": jnp.full((1, 1), weight)}, None) for weight in (0.5, 0.2))
    return step.update(step.init(*starts), x_l, x_u, jax.random.key(0))


def check_scalar_in_single(label, along):
    """Fails unless the slope ``along`` leads to the numbers worked by hand."""
    _, fb, _, _, kept, dropped, _ = SCALAR[label]
    for drop_rate, theta in ((0.0, kept), (1.0, dropped)):
        gate = discrete_gate(drop_rate=drop_rate)
        state, info = scalar_step(label, measure=student_slope(along), gate=gate)
        np.testing.assert_allclose(info.feedback, fb, rtol=2e-6)
        np.testing.assert_allclose(state.student.params["w"], XI_NEW, rtol=2e-6)
        np.testing.assert_allclose(state.teacher.params["w"], theta, rtol=2e-6)


def check_orthogonal(along):
    """Fails unless gradients without a common direction give exactly 0, which is not positive."""
    step = make(measure=student_slope(along), gate=ALWAYS)
    unlabeled, labeled = {"x": jnp.asarray([[1.0, 0.0]])}, {"x": jnp.asarray([[0.0, 1.0]])}
    labeled["y"] = jnp.ones((1, 1))
    _, info = step.update(start(step, d=2, c=1), labeled, unlabeled, jax.random.key(0))
    assert float(info.feedback) == 0
    assert float(info.coefficient) == np.float32(-0.1)
