"""Discrete feedback at its start: what it copies, what it compiles, and what cannot be right."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from feedback_problem import batches, learner, make, start, whole_and_in_parts

from piapdf_jax.feedback import Gate, LabelRule, threshold

ZERO = jnp.zeros(())  # one array for whoever asks


def counting(init):
    return Gate(lambda fb, key, state: (jnp.sign(fb), {}, state), init=init)


@pytest.mark.parametrize(
    "options",
    [
        {"gate": counting(lambda params: params)},
        {"gate": counting(lambda params: (ZERO, ZERO))},
        {"teacher": learner(optax.add_noise(0.1, 0.1, jax.random.key(0)))},
        {"teacher": learner(optax.contrib.prodigy())},
    ],
    ids=["params", "shared", "noise", "prodigy"],
)
def test_whatever_a_state_starts_from_it_may_be_donated(options):
    options = dict(options)
    teacher = options.pop("teacher", None)
    for _ in range(2):  # a second training starts from the same functions
        step = make(teacher, **options)
        update, state = jax.jit(step.update, donate_argnums=0), start(step)
        for t in range(2):
            state, _ = update(state, *batches(t), jax.random.key(t))
    assert not ZERO.is_deleted()


def test_states_of_plain_numbers_compile_once():
    gate = Gate(lambda fb, key, state: (fb, {}, state + fb), init=lambda params: 0.0)
    step = make(gate=gate)
    chex.clear_trace_counter()
    update, state = jax.jit(chex.assert_max_traces(step.update, n=1)), start(step)
    for t in range(3):
        state, _ = update(state, *batches(t), jax.random.key(t))


@pytest.mark.parametrize(
    "c", [lambda fb: jnp.full((2,), fb), lambda fb: fb[None]], ids=["two", "one in a row"]
)
def test_a_gate_gives_a_scalar(c):
    step = make(gate=Gate(lambda fb, key, state: (c(fb), {}, state)))
    with pytest.raises(ValueError, match=r"a gate returns c \[\]"):
        start(step)


@whole_and_in_parts
def test_a_rule_gives_labels_to_every_row(way):
    rule = LabelRule(lambda z, key, state: ((z[:1] >= 0).astype(z.dtype), z[:1] < np.inf, state))
    step = way(make(label=rule))
    with pytest.raises(ValueError, match=r"labels \(1, 3\), mask \(1, 3\) unlike \(1, 3\), B=6"):
        step.update(start(step), *batches(), jax.random.key(0))


def test_a_confidence_is_no_cut():
    with pytest.raises(TypeError):
        threshold(0.95)
    for cut in (0.0, 1.0, 1.5):
        with pytest.raises(ValueError, match=r"cut=.* in \(0, 1\)"):
            threshold(cut=cut)
