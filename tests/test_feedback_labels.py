"""Labels at the labeled rates: the cut and what moves it, against NumPy and against numbers by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from feedback_problem import batches, learner, make, start, whole_and_in_parts

from piapdf_jax.feedback_labels import clean_rates, matched
from piapdf_jax.feedback_variants import constant_gate, continuous_gate

KEY = jax.random.key(0)
#: Its update moves the cut itself.
by_x_u = functools.partial(matched, follow="unlabeled")


def labels_of(rule, logits, state=None):
    state = rule.init(None) if state is None else state
    labels, mask, state = rule.update(jnp.asarray(logits), KEY, state)
    return np.asarray(labels), np.asarray(mask), state


def test_a_label_is_one_from_the_cut_on():
    rule = by_x_u([0.25, 0.5], cuts=[0.8, 0.5])
    # logit(0.8) = log 4 = 1.386
    labels, mask, state = labels_of(rule, [[1.38, -0.1], [1.39, 0.0], [3.0, 9.0], [-5.0, -9.0]])
    np.testing.assert_array_equal(labels, [[0, 0], [1, 1], [1, 1], [0, 0]])
    assert mask.all()
    # Two of four are above, 0.25 too many: the cut rises by half of that. The other share is as it should be.
    np.testing.assert_allclose(state.cut, [np.log(4) + 0.125, 0.0], rtol=1e-6)
    np.testing.assert_allclose(state.rate, [0.25, 0.5])


def test_labels_are_those_of_the_cut_before_the_batch():
    rule = by_x_u([0.9], gain=10.0)
    labels, _, state = labels_of(rule, [[-1.0], [-2.0]])
    assert labels.sum() == 0 and float(state.cut[0]) == pytest.approx(-9.0)
    again, _, _ = labels_of(rule, [[-1.0], [-2.0]], state)
    assert again.sum() == 2


def test_the_cut_comes_to_the_quantile_of_what_it_follows():
    """Against the quantiles of the normal and the exponential distribution, by hand."""
    rng, rate = np.random.default_rng(0), np.array([0.15, 0.5])
    rule = by_x_u(rate, gain=0.05)
    update, state = jax.jit(rule.update), rule.init(None)
    draws = np.stack([rng.normal(2, 3, (20000, 32)), rng.exponential(2, (20000, 32))], -1)
    cuts = []
    for z in draws.astype(np.float32)[:6000]:
        _, _, state = update(z, KEY, state)
        cuts.append(np.asarray(state.cut))
    # 2 + 3 x 1.0364, the 85 % quantile; and 2 log 2, a median.
    np.testing.assert_allclose(np.mean(cuts[1000:], 0), [5.109, 1.386], atol=0.05)


def simulated(logits, rate, cut, gain):
    """The recursion in NumPy, in double width: labels of every batch and the last cut."""
    told = []
    for z in np.asarray(logits, np.float64):
        told.append(z >= cut)
        share = np.array([np.mean(c[np.isfinite(c)] >= q) for c, q in zip(z.T, cut, strict=True)])
        cut = cut + np.where(np.isnan(rate), 0, gain * (share - rate))
    return np.stack(told), cut


def test_the_recursion_is_numpys():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(30, 8, 3)).astype(np.float32) * 3
    rate, cuts = np.array([0.1, np.nan, 0.7]), np.array([0.3, 0.4, 0.9])
    rule = by_x_u(rate, cuts=cuts, gain=0.5)
    state, told = rule.init(None), []
    for z in logits:
        labels, _, state = labels_of(rule, z, state)
        told.append(labels)
    expected, cut = simulated(logits, rate, np.log(cuts / (1 - cuts)), 0.5)
    np.testing.assert_array_equal(np.stack(told) == 1, expected)
    np.testing.assert_allclose(state.cut, cut, rtol=1e-5)
    assert float(state.cut[1]) == pytest.approx(np.log(0.4 / 0.6), rel=1e-6), "no rate, no move"


def test_logits_that_are_not_finite_are_no_label_and_move_nothing():
    rule = by_x_u(0.5, cuts=[0.5, 0.5])
    z = [[np.nan, 1.0], [np.inf, np.nan], [-np.inf, np.nan], [np.nan, np.nan]]
    labels, mask, state = labels_of(rule, z)
    np.testing.assert_array_equal(mask, [[0, 1], [0, 0], [0, 0], [0, 0]])
    # No finite logit in the first column; one in the second, above its cut.
    np.testing.assert_allclose(state.cut, [0.0, 0.25])


def test_confidence_counts_from_the_cut():
    rule = matched([0.5], cuts=0.8, confidence=0.7)
    # sigma(0.8) = 0.69, sigma(0.9) = 0.71
    labels, mask, _ = labels_of(rule, np.log(4) + np.array([[0.8], [0.9], [-0.8], [-0.9]]))
    np.testing.assert_array_equal(mask[:, 0], [0, 1, 0, 1])
    np.testing.assert_array_equal(labels[:, 0], [1, 1, 0, 0])


def test_cuts_at_the_ends_are_finite_and_none_is_a_half():
    state = matched([0.0, 0.3, 1.0], cuts=[1.0, np.nan, 0.0]).init(None)
    cut = np.asarray(state.cut)
    assert np.isfinite(cut).all() and cut[0] > 15 and cut[1] == 0 and cut[2] < -15


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rates": [0.2, 1.1]}, "rates must lie"),
        ({"rates": 0.2, "cuts": -0.1}, "cuts must lie"),
        ({"rates": 0.2, "follow": "both"}, "'both' is not one of labeled, unlabeled"),
        ({"rates": 0.2, "gain": 0.0}, "gain=0.0"),
    ],
)
def test_what_it_does_not_take(options, told):
    with pytest.raises(ValueError, match=told):
        matched(**options)


def test_rates_of_other_units_are_refused():
    with pytest.raises(ValueError, match=r"cuts \(2,\) do not fit rows \(3,\)"):
        labels_of(matched([0.2, 0.3]), np.zeros((4, 3), np.float32))


def test_rates_of_true_labels():
    # Of 0.3 true positives and 10 % flips: 0.3 x 0.9 + 0.7 x 0.1 = 0.34.
    np.testing.assert_allclose(clean_rates([0.34, 0.5, 0.05], 0.1), [0.3, 0.5, 0.0])
    np.testing.assert_array_equal(clean_rates([0.34, np.nan], 0.0), [0.34, np.nan])
    with pytest.raises(ValueError, match=r"flipped=0\.5 must lie in"):
        clean_rates(0.3, 0.5)


# In the step.


@whole_and_in_parts
@pytest.mark.parametrize("follow", ["unlabeled", "labeled"])
def test_the_step_moves_the_cut_by_the_logits_it_follows(way, follow):
    labeled, unlabeled = batches()
    step = make(label=matched([0.2, 0.2, 0.2], cuts=[0.5, 0.6, 0.7], follow=follow))
    state = start(step)
    params = state.teacher.params
    new, info = way(step).update(state, labeled, unlabeled, KEY)
    batch = unlabeled if follow == "unlabeled" else labeled
    z = np.asarray(batch["x"]) @ np.asarray(params["w"])
    cut = np.log(np.array([1.0, 1.5, 7 / 3]))
    np.testing.assert_allclose(new.label.cut, cut + 0.5 * ((z >= cut).mean(0) - 0.2), rtol=1e-5)
    y = (np.asarray(unlabeled["x"]) @ np.asarray(params["w"]) >= cut).mean(0)
    np.testing.assert_allclose(info.diagnostics["positive_rate"], y, rtol=1e-6)


@pytest.mark.parametrize(
    "gate",
    [None, continuous_gate(), constant_gate(1.0), constant_gate(0.0)],
    ids=["discrete", "continuous", "constant", "none"],
)
def test_every_gate_takes_it(gate):
    labeled, unlabeled = batches()
    options = {} if gate is None else {"gate": gate}
    step = make(label=matched([0.2, 0.2, 0.2]), **options)
    state = start(step)
    for k in range(3):
        state, info = step.update(state, labeled, unlabeled, jax.random.key(k))
    assert not any(bool(flag) for name, flag in info.flags.items() if name != "dropped")
    assert np.isfinite(state.teacher.params["w"]).all() and int(state.step) == 3


def test_a_step_that_is_skipped_moves_no_cut():
    labeled, unlabeled = batches()
    step = make(learner(optax.sgd(0.1)), label=matched([0.2, 0.2, 0.2]))
    state = start(step)
    broken = {**labeled, "x": labeled["x"].at[0, 0].set(jnp.nan)}
    new, info = step.update(state, broken, unlabeled, KEY)
    assert bool(info.flags["teacher_skipped"])
    np.testing.assert_array_equal(new.label.cut, state.label.cut)
