"""Trainings of the study on drawn faces: network, start, cuts, and what each arm may see."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.feedback_study import faces_arms as arms
from experiments.feedback_study import faces_training as training
from experiments.feedback_study.faces_arms import Network
from experiments.feedback_study.faces_training import Lengths
from experiments.feedback_study.faces_worlds import Lanes
from piapdf_jax import metrics

LENGTHS = Lengths(start=3, steps=5, batch=8, network=Network(hidden=6, dropout=0.0, noise=0.0))
RATE, WEIGHT = np.array([0.3, 0.2]), np.array([1.0, 0.5])


def made(seed=0, lanes=2, learned=20, judged=20):
    rng = np.random.default_rng(seed)

    def frames(*shape):
        return rng.standard_normal((lanes, *shape)).astype(np.float32)

    def labels(*shape):
        return (rng.random((lanes, *shape)) < 0.4).astype(np.float32)

    counts = (np.full(lanes, n, np.int32) for n in (learned, judged, 30))
    first, second, third = counts
    seeds = np.arange(lanes, dtype=np.int32)
    x, y = (frames(24, 10), frames(40, 10)), (labels(24, 12), labels(40, 12))
    return Lanes(seeds, x[0], y[0], first, second, x[1], y[1], third)


def begun(lanes, lengths=LENGTHS):
    return training.start(lengths, lanes, RATE)


def train(name, lanes, lengths=LENGTHS, weight=WEIGHT):
    return training.train(arms.find(name), lengths, lanes, begun(lanes, lengths), RATE, weight)


def assert_same(a, b, **close):
    if close:
        chex.assert_trees_all_close(a, b, **close)
    else:
        chex.assert_trees_all_equal(a, b)


def differs(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return any(not np.array_equal(x, y) for x, y in pairs)


# The network.


def test_the_network_is_one_hidden_layer():
    params = arms.initial_params(Network(hidden=5), 7, 12, jax.random.key(0))
    x = np.random.default_rng(0).standard_normal((4, 7)).astype(np.float32)
    a, b, c, d = (np.asarray(params[key], np.float64) for key in "abcd")
    z = arms.logits(Network(), params, jnp.asarray(x))
    np.testing.assert_allclose(z, np.tanh(x @ a + b) @ c + d, rtol=1e-5, atol=1e-5)


def test_noise_and_dropout_are_as_large_as_said():
    identity = {"a": jnp.eye(40), "b": jnp.zeros(40), "c": jnp.eye(40), "d": jnp.zeros(40)}
    x, key = jnp.zeros((500, 40)), jax.random.key(1)
    noisy = np.arctanh(arms.logits(Network(dropout=0.0, noise=0.5), identity, x, key))
    np.testing.assert_allclose(np.abs(noisy), 0.5, rtol=1e-5)
    assert abs(noisy.mean()) < 4 * 0.5 / np.sqrt(noisy.size)
    signs = np.corrcoef(noisy.T) - np.eye(
        40
    )  # words give 32 columns each, which must not go together
    assert np.abs(signs).max() < 5 / np.sqrt(500)
    dropped = np.asarray(arms.logits(Network(dropout=0.2, noise=0.0), identity, x + 1, key))
    np.testing.assert_allclose(np.unique(dropped.round(5)), [0, np.tanh(1) / 0.8], rtol=1e-4)
    assert abs((dropped == 0).mean() - 0.2) < 4 * 0.4 / np.sqrt(dropped.size)


# The start, and supervised training after it.


def steps_by_hand(params, lane, rows, rate):
    """SGD with momentum 0.9 on the mean cross entropy, its rate on a cosine to 0; NumPy but for the gradient."""

    def loss(params, x, y):
        p = jax.nn.sigmoid(jnp.tanh(x @ params["a"] + params["b"]) @ params["c"] + params["d"])
        return -jnp.mean(y * jnp.log(p) + (1 - y) * jnp.log(1 - p))

    velocity = jax.tree.map(np.zeros_like, params)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for step, chosen in enumerate(np.asarray(rows)):
            now = np.float32(rate * (1 + np.cos(np.pi * step / len(rows))) / 2)
            gradient = jax.grad(loss)(params, lane.labeled[chosen], lane.published[chosen])
            velocity = jax.tree.map(
                lambda v, g: np.float32(0.9) * v + np.asarray(g), velocity, gradient
            )
            params = jax.tree.map(lambda p, v, now=now: p - now * v, params, velocity)
    return params


def test_supervised_training_is_sgd_on_labeled_frames_alone():
    lanes = made()
    lane = jax.tree.map(lambda x: x[1], lanes)
    params = arms.initial_params(
        LENGTHS.network, 10, 12, training.stream(jnp.int32(1), training._WEIGHTS)
    )
    rows = training._rows(lane, LENGTHS, 3, 0)[0]
    assert rows.shape == (3, 8) and int(rows.max()) < 20
    start = steps_by_hand(jax.tree.map(np.asarray, params), lane, rows, RATE[1])
    assert_same(jax.tree.map(lambda x: x[1], begun(lanes)), start, rtol=1e-4, atol=1e-5)
    longer = steps_by_hand(start, lane, training._rows(lane, LENGTHS, 5, 1)[0], RATE[1])
    found = jax.tree.map(lambda x: x[1], train("supervised", lanes).teacher)
    assert_same(found, longer, rtol=1e-3, atol=1e-4)


def test_a_teacher_without_feedback_is_the_supervised_network():
    lanes = made()
    supervised, other = train("supervised", lanes), train("student_matched", lanes)
    assert_same(supervised.teacher, other.teacher, rtol=1e-5, atol=1e-6)
    assert differs(supervised.student, other.student)


# What arms may see.


def test_true_labels_of_the_pool_are_not_for_others_than_the_ceiling():
    lanes = made()
    flipped = lanes._replace(truth=1 - lanes.truth)
    assert_same(train("df_matched", lanes), train("df_matched", flipped))


def test_frames_after_the_counts_are_never_read():
    lanes = made()
    late = {key: getattr(lanes, key).copy() for key in ("labeled", "published", "unlabeled")}
    late["labeled"][:, 20:], late["published"][:, 20:], late["unlabeled"][:, 30:] = 99, 1, 99
    other = lanes._replace(**late)
    assert_same(train("df_matched", lanes), train("df_matched", other))


def test_judges_teach_no_more_and_judge():
    lanes = made(learned=12, judged=20)
    taught = lanes._replace(published=lanes.published.copy())
    taught.published[:, 12:20] = 1 - taught.published[:, 12:20]
    assert_same(begun(lanes), begun(taught))
    assert_same(train("supervised", lanes), train("supervised", taught))
    assert differs(train("exact_judges", lanes).teacher, train("exact_judges", taught).teacher)


def test_the_student_of_the_ceiling_learns_the_true_labels():
    lanes = made()
    truth = (lanes.unlabeled.sum(-1, keepdims=True) > 0).astype(
        np.float32
    )  # no labeled frame says so
    lanes = lanes._replace(truth=np.repeat(truth, 12, 2))
    trained = train("truth", lanes, LENGTHS._replace(steps=200))
    right = []
    for params in (trained.student, trained.teacher):
        p = training.probabilities(LENGTHS.network, params, lanes.unlabeled[:, :30])
        right.append(((p >= 0.5) == lanes.truth[:, :30]).mean())
    assert right[0] > 0.95 > 0.8 > right[1]


def test_weights_per_rate_are_divided_by_the_rate():
    lanes, arm = made(), arms.find("df_matched")
    rated = training.train(arm._replace(per_rate=True), LENGTHS, lanes, begun(lanes), RATE, WEIGHT)
    assert_same(rated, train("df_matched", lanes, weight=WEIGHT / RATE))
    assert differs(rated.teacher, train("df_matched", lanes).teacher)


def test_fine_tuning_changes_the_student_alone():
    plain, tuned = (train(name, made()) for name in ("df_matched", "matched_finetuned"))
    assert_same(plain.teacher, tuned.teacher, rtol=1e-5, atol=1e-6)
    assert differs(plain.student, tuned.student)


# Cuts of matched labels.


def test_start_cuts_are_those_of_the_metrics():
    rng = np.random.default_rng(3)
    z = rng.standard_normal((30, 12)).astype(np.float32)
    rates = np.linspace(0.05, 0.95, 12).astype(np.float32)
    found = training.start_cuts(jnp.asarray(z), jnp.asarray(rates), jnp.int32(20))
    wanted = [metrics.matching_cut(z[:20, c], rate)[0] for c, rate in enumerate(rates)]
    np.testing.assert_allclose(found, np.array(wanted, np.float32), rtol=1e-6)
    ends = training.start_cuts(jnp.asarray(z), jnp.array([0.0, 1.0] * 6), jnp.int32(20))
    assert (z[:20] >= np.asarray(ends)).sum(0).tolist() == [1, 19] * 6


def test_matched_starts_at_the_published_rates():
    rates, cuts = jnp.linspace(0.1, 0.9, 12), jnp.linspace(-1, 1, 12)
    rule = arms.label_rule(arms.find("df_matched"), rates, cuts)
    state = rule.init(None)
    assert_same(tuple(state), (rates, cuts))
    z = jnp.asarray(np.random.default_rng(0).standard_normal((50, 12)).astype(np.float32))
    labels, _, after = rule.update(z, jax.random.key(0), state)
    np.testing.assert_array_equal(labels, z >= cuts)
    np.testing.assert_allclose(
        after.cut, cuts + 0.5 * (labels.mean(0) - rates), rtol=1e-5, atol=1e-6
    )


# Arms.


def test_arms_are_what_their_names_say():
    untuned = {"supervised", "student_matched_labeled", "df_matched_labeled"}
    assert set(arms.TUNED.values()) == set(arms.ARMS) - untuned
    for name, arm in arms.ABLATIONS.items():
        assert arm.varies in arms.ARMS, name
        same = arm.training == arms.ARMS[arm.varies].training
        assert same == (name in arms.TUNED), name
    teachers = [name for name, arm in arms.ARMS.items() if arm.model == "teacher"]
    assert teachers == ["supervised"]
    gates = {
        name: arms._gate(arms.find(name)) for name in ("public_sign", "df_threshold", "constant")
    }
    fb, key = jnp.asarray([2.0, -2.0]), jax.random.key(0)  # this key drops neither
    c = {n: [float(g.update(x, key, optax.EmptyState())[0]) for x in fb] for n, g in gates.items()}
    assert c == {
        "public_sign": pytest.approx([-0.1, 1.0]),
        "df_threshold": pytest.approx([1.0, -0.1]),
        "constant": [1.0, 1.0],
    }


def test_lanes_do_not_know_of_each_other():
    lanes = made()
    alone = jax.tree.map(lambda x: x[1:], lanes)
    start = jax.tree.map(lambda x: np.asarray(x)[1:], begun(lanes))
    args = LENGTHS, alone, start, RATE[1:], WEIGHT[1:]
    one = training.train(arms.find("df_matched"), *args)
    both = jax.tree.map(lambda x: x[1:], train("df_matched", lanes))
    assert_same(one, both, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("learned", "judges"), [(20, range(20)), (12, range(12, 20))])
def test_batches_hold_all_frames_of_their_role_and_no_others(learned, judges):
    lane = jax.tree.map(lambda x: x[0], made(learned=learned))
    rows = training._rows(lane, LENGTHS, 200, 1)
    found = [sorted(set(np.asarray(r).ravel().tolist())) for r in rows]
    assert found == [list(range(learned)), list(range(30)), list(judges)]
    assert_same(training._labeled(lane, rows[0][0]).x, lane.labeled[rows[0][0]])
