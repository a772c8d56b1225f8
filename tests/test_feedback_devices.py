"""Discrete feedback over devices, without jit, and mapped over seeds: the same trajectories each way."""

import feedback_problem
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from feedback_problem import ALWAYS, ETA, assert_trees, batches, learner
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from piapdf_jax.feedback import discrete_gate, student_slope
from piapdf_jax.feedback_variants import (
    compile_in_parts,
    constant_gate,
    continuous_gate,
    cosine,
    exact_teacher_gradient,
    jvp_slope,
    sample,
    soft,
)

B, D, H, C = 16, 5, 6, 3


def apply(params, model_state, batch, key, mode):
    """Tanh network with batch norm over the global batch, and dropout."""
    hidden = batch["x"] @ params["a"]
    mean, var = jnp.mean(hidden, 0, keepdims=True), jnp.var(hidden, 0, keepdims=True)
    hidden = jnp.tanh((hidden - mean) / jnp.sqrt(var + 1e-3))
    if mode == "train":
        hidden *= jax.random.bernoulli(key, 0.8, hidden.shape).astype(hidden.dtype)
    return hidden @ params["c"], 0.9 * model_state + 0.1 * mean[0]


LEARNER = learner(optax.sgd(0.3, momentum=0.9), apply=apply)


def make(**options):
    return feedback_problem.make(LEARNER, **options)


def begin(step, dtype):
    rng = np.random.default_rng(0)
    params = [
        {"a": rng.normal(size=(D, H)).astype(dtype), "c": rng.normal(size=(H, C)).astype(dtype)}
        for _ in range(2)
    ]
    return step.init(*((p, np.zeros(H, dtype)) for p in params))


def batch_at(t, dtype):
    rng = np.random.default_rng(100 + t)
    labels = rng.integers(-1, 2, size=(B, C))  # -1: unknown, so devices hold unequal numbers
    labeled = {"x": rng.normal(size=(B, D)).astype(dtype), "y": labels.astype(dtype)}
    return labeled, {"x": rng.normal(size=(B, D)).astype(dtype)}


def trajectory(devices, dtype, steps, compiled=lambda step: jax.jit(step.update), **options):
    """Final state, and feedback and coefficient of each step, on a mesh of so many devices."""
    made = jax.devices()[:devices]
    assert len(made) == devices, f"only {len(made)} devices: the environment asks for 8"
    mesh = Mesh(np.array(made), "data", axis_types=(AxisType.Auto,))
    whole, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
    step = make(**options)
    update = compiled(step)
    state, told = jax.device_put(begin(step, dtype), whole), []
    for t in range(steps):
        labeled, unlabeled = jax.device_put(batch_at(t, dtype), split)
        state, info = update(state, labeled, unlabeled, jax.device_put(jax.random.key(t), whole))
        told.append((float(info.feedback), float(info.coefficient)))
    return state, np.asarray(told)


VARIANTS = {
    "default": {},
    "sample": {"label": sample(), "measure": student_slope(jvp_slope)},
    "cosine": {"measure": cosine(), "gate": continuous_gate(decay=0.9)},
    "exact": {
        "label": soft(),
        "measure": exact_teacher_gradient(),
        "gate": constant_gate(1.0),
    },
}
variants = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)


@pytest.mark.x64
@variants
def test_one_device_is_two_is_eight(options):
    state, told = trajectory(1, "float64", 6, **options)
    assert np.abs(told[:, 0]).min() > 1e-9
    if not options:
        assert {1.0, -0.1} <= set(told[:, 1]), "both signs occur"
    for devices in (2, 8):
        other, same = trajectory(devices, "float64", 6, **options)
        np.testing.assert_allclose(same, told, rtol=1e-9, atol=1e-13)
        assert_trees(other, state, rtol=1e-10, atol=1e-13)


@pytest.mark.x64
def test_parts_on_eight_devices_are_one_device():
    state, told = trajectory(1, "float64", 3)
    other, same = trajectory(8, "float64", 3, compiled=lambda step: compile_in_parts(step).update)
    np.testing.assert_allclose(same, told, rtol=1e-9, atol=1e-13)
    assert_trees(other, state, rtol=1e-10, atol=1e-13)


@pytest.mark.x64
@variants
def test_without_jit_the_trajectory_is_the_same(options):
    state, told = trajectory(1, "float64", 3, **options)
    other, same = trajectory(1, "float64", 3, compiled=lambda step: step.update, **options)
    assert np.abs(told[:, 0]).min() > 1e-9
    np.testing.assert_allclose(same, told, rtol=1e-9, atol=1e-13)
    assert_trees(other, state, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("devices", [2])
def test_one_step_in_float32(devices):
    """Coefficients are equal where the feedback stands clear of the rounding."""
    clear, step = 0, make(gate=ALWAYS)
    state, update = begin(step, "float32"), jax.jit(step.update)
    mesh = Mesh(np.array(jax.devices()[:devices]), "data", axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("data"))
    spread = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
    for seed in range(8):
        pair, key = batch_at(seed, "float32"), jax.random.key(seed)
        one, told = update(state, *pair, key)
        two, same = update(spread, *jax.device_put(pair, split), key)
        np.testing.assert_allclose(same.feedback, told.feedback, rtol=1e-4, atol=1e-6)
        if abs(float(told.feedback)) > 1e-5:
            clear += 1
            assert float(same.coefficient) == float(told.coefficient)
            assert_trees(
                (two.student, two.teacher), (one.student, one.teacher), rtol=1e-4, atol=1e-6
            )
    assert clear >= 6


@pytest.mark.x64
def test_signs_of_the_parts_are_not_the_sign_of_the_mean():
    """What a device would say of its own part differs from what all say together, so it matters
    that the mean comes before the sign."""
    step, differing = make(gate=ALWAYS), 0
    state, update = begin(step, "float64"), jax.jit(step.update)
    for t in range(6):
        labeled, unlabeled = batch_at(t, "float64")
        _, info = update(state, labeled, unlabeled, jax.random.key(t))
        parts = []
        for rows in np.split(np.arange(B), 8):
            own = {name: value[rows] for name, value in labeled.items()}
            if (own["y"] >= 0).any():
                _, part = update(state, own, unlabeled, jax.random.key(t))
                parts.append(float(ALWAYS.update(part.feedback, jax.random.key(0), ())[0]))
        differing += not np.isclose(np.mean(parts), float(info.coefficient))
    assert differing >= 3


def test_signs_in_half_precision_agree_with_single():
    """At least nine in ten of 200 random students; sums are taken in float32 in both."""
    step = make(gate=ALWAYS)

    @jax.jit
    def both(key):
        keys = jax.random.split(key, 5)
        shapes = {"a": (D, H), "c": (H, C)}
        student = {n: jax.random.normal(k, shapes[n]) for n, k in zip("ac", keys, strict=False)}
        teacher = {n: jax.random.normal(k, shapes[n]) for n, k in zip("ac", keys[2:], strict=False)}
        x = jax.random.normal(keys[4], (2, B, D))
        y = jax.random.bernoulli(jax.random.fold_in(key, 7), 0.5, (B, C)).astype(jnp.float32)

        def feedback(dtype):
            cast = lambda tree: jax.tree.map(lambda leaf: leaf.astype(dtype), tree)  # noqa: E731
            state = step.init(*((cast(p), jnp.zeros(H, dtype)) for p in (teacher, student)))
            labeled, unlabeled = cast(({"x": x[0], "y": y}, {"x": x[1]}))
            return step.update(state, labeled, unlabeled, key)[1].feedback

        return feedback(jnp.float32), feedback(jnp.bfloat16)

    keys = jax.random.split(jax.random.key(3), 200)
    single, half = (np.asarray(f) for f in jax.vmap(both)(keys))
    assert single.dtype == half.dtype == np.float32
    assert np.isfinite(half).all() and not np.array_equal(single, half)
    assert np.mean((single > 0) == (half > 0)) >= 0.9


def test_a_state_kept_on_the_host_goes_on_bitwise():
    step = make()
    update = jax.jit(step.update)
    straight = begin(step, "float32")
    for t in range(6):
        straight, info = update(straight, *batch_at(t, "float32"), jax.random.key(t))
    stopped = begin(step, "float32")
    for t in range(3):
        stopped, _ = update(stopped, *batch_at(t, "float32"), jax.random.key(t))
    stopped = jax.tree.map(np.array, stopped)
    for t in range(3, 6):
        stopped, again = update(stopped, *batch_at(t, "float32"), jax.random.key(t))
    assert_trees((straight, info), (stopped, again))


def test_vmap_over_seeds_equals_a_loop():
    step = feedback_problem.make(
        learner(optax.sgd(ETA, momentum=0.9)), label=sample(), gate=discrete_gate(drop_rate=0.5)
    )
    labeled, unlabeled = batches()

    def train(seed):
        keys = jax.random.split(jax.random.key(seed), 4)
        state = step.init(*(({"w": jax.random.normal(k, (4, 3))}, None) for k in keys[:2]))
        for key in keys[2:]:
            state, info = step.update(state, labeled, unlabeled, key)
        return state, info

    many = jax.jit(jax.vmap(train))(jnp.arange(9))
    loop = [jax.jit(train)(seed) for seed in range(9)]
    assert len({float(info.coefficient) for _, info in loop}) == 3
    assert_trees(many, jax.tree.map(lambda *x: jnp.stack(x), *loop), rtol=1e-5, atol=1e-6)
