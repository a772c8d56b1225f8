"""The programs of docs/feedback.md and README.md, as they stand there, against NumPy."""

import contextlib
import dataclasses
import importlib
import io
import pathlib
import re
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.sections import FeedbackSection, TrainSection
from piapdf_jax import feedback
from piapdf_jax import feedback_variants as variants
from piapdf_jax.feedback import discrete_feedback, discrete_gate

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "feedback.md").read_text(encoding="utf-8")
PROGRAMS = {
    name: code for code, name in re.findall(r"```python\n(# (\w+)\.py\n.*?)```", TEXT, re.DOTALL)
}
NETWORKS = ("linen_pair", "nnx_pair")
TESTED = {"pair", "own_gate", "own_labels", "softmax", *NETWORKS, "seeds", "resume"}


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Runs a program of the document, once, and returns it as a module."""
    folder = tmp_path_factory.mktemp("programs")
    for name, code in PROGRAMS.items():
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.chdir(folder)
        yield importlib.import_module
    for name in (set(sys.modules) - before) & set(PROGRAMS):
        del sys.modules[name]


def arrays(tree):
    return jax.tree.map(np.array, tree)  # copies: states are donated


def same(a, b):
    leaves = zip(*(jax.tree.leaves(arrays(tree)) for tree in (a, b)), strict=True)
    return all(x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in leaves)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def cross_entropy(z, y, mask):
    """Mean of -log P(y) of binary labels, over the cells of the mask."""
    return -np.log(sigmoid((2 * y - 1) * z))[np.broadcast_to(mask, z.shape)].mean()


def steps(module, count):
    """Yields state before, state after and metrics of single steps, from the program's own start."""
    pair, state = sys.modules["pair"], module.step.init(module.start, module.start)
    for n in range(count):
        before = arrays(state)
        state, info = module.update(state, pair.labeled, pair.unlabeled, jax.random.key(n))
        yield before, arrays(state), arrays(info)


def test_every_program_is_tested_and_uses_nothing_private():
    assert set(PROGRAMS) == TESTED
    private = re.findall(r"(?:\.|import )_\w+", "".join(PROGRAMS.values()))
    assert set(private) <= {"._replace"}  # of a named tuple


def test_the_table_of_keys_names_every_option_and_functions_that_exist():
    table = re.search(r"\| key \| value \| function \|\n.*?\n\n", TEXT, re.DOTALL)[0]
    every, shared = (
        {field.name for field in dataclasses.fields(section)}
        for section in (FeedbackSection, TrainSection)
    )
    assert every - shared <= set(re.findall(r"`df\.(\w+)`", table)) <= every
    functions = set(re.findall(r"`(?:feedback_variants\.)?(\w+)\(", table))
    assert len(functions) > 5
    assert all(hasattr(feedback, name) or hasattr(variants, name) for name in functions)


def test_the_gate_is_the_hyperbolic_tangent_of_fb_over_its_moving_average(load):
    average, signs = 0.0, set()
    for _, after, info in steps(load("own_gate"), 6):
        average = 0.9 * average + 0.1 * abs(info.feedback)
        assert info.coefficient == pytest.approx(np.tanh(info.feedback / average), rel=1e-5)
        assert after.gate == pytest.approx(average, rel=1e-5)
        signs.add(np.sign(info.coefficient))
    assert signs == {-1, 1}


def test_the_gate_of_no_feedback_gives_0(load):
    c, flags, average = load("own_gate").tanh_gate().update(jnp.zeros(()), None, jnp.zeros(()))
    assert (c, flags, average) == (0, {}, 0)


def test_the_label_rule_cuts_where_labeled_points_have_their_mean_probability(load):
    module, cut, elsewhere = load("own_labels"), np.full(2, 0.5), 0
    pair = arrays(
        {"x_l": sys.modules["pair"].labeled["x"], "x_u": sys.modules["pair"].unlabeled["x"]}
    )
    for before, after, info in steps(module, 4):
        w, b = before.teacher.params["w"], before.teacher.params["b"]
        z = pair["x_u"] @ w + b
        labels = sigmoid(z) >= cut
        elsewhere += (labels != (z >= 0)).sum()
        told = cross_entropy(z, labels, True)
        assert info.losses["teacher_pseudo"] == pytest.approx(told, rel=1e-5)
        cut = 0.9 * cut + 0.1 * sigmoid(pair["x_l"] @ w + b).mean(0)
        np.testing.assert_allclose(after.label, cut, rtol=1e-5)
    assert elsewhere > 0 and info.accepted == 1


class Softmax:
    """A linear softmax classifier in doubles, with momentum."""

    def __init__(self, start, rate):
        self.w, self.b = (np.array(start[0][name]) for name in "wb")
        self.rate, self.speed = rate, (0.0, 0.0)

    def probabilities(self, x):
        e = np.exp(x @ self.w + self.b)
        return e / e.sum(-1, keepdims=True)

    def gradient(self, x, y, mask):
        wrong = (self.probabilities(x) - np.eye(len(self.b))[y]) * mask[:, None] / mask.sum()
        return x.T @ wrong, wrong.sum(0)

    def descend(self, gradient):
        self.speed = [0.9 * v + g for v, g in zip(self.speed, gradient, strict=True)]
        self.w, self.b = self.w - self.rate * self.speed[0], self.b - self.rate * self.speed[1]


@pytest.mark.x64
def test_classes_give_the_numbers_of_a_program_of_their_own(load):
    module = load("softmax")
    pupil = module.classifier._replace(optimizer=optax.sgd(0.2, momentum=0.9))
    step = discrete_feedback(
        *(module.classifier, pupil),
        known_labels=module.known_labels,
        label=module.classes(confidence=0.5),
        gate=discrete_gate(drop_rate=0.0),
    )
    update, state = jax.jit(step.update), step.init(module.start, module.start)
    teacher, student = Softmax(module.start, 0.5), Softmax(module.start, 0.2)
    x_l, y_l = (np.asarray(module.labeled[name]) for name in ("x", "class"))
    rng, coefficients, accepted = np.random.default_rng(0), [], []
    for n in range(8):
        x_u = rng.normal(size=(6, 2))
        state, info = update(state, module.labeled, {"x": jnp.asarray(x_u)}, jax.random.key(n))

        p = teacher.probabilities(x_u)
        y_p, sure = p.argmax(-1), p.max(-1) >= 0.5
        told = teacher.gradient(x_u, y_p, sure)
        taught = student.gradient(x_u, y_p, sure)
        student.descend(taught)
        judged = student.gradient(x_l, y_l, y_l >= 0)
        fb = sum((a * b).sum() for a, b in zip(judged, taught, strict=True))
        c = 1.0 if fb > 0 else -0.1
        known = teacher.gradient(x_l, y_l, y_l >= 0)
        teacher.descend([c * a + b for a, b in zip(told, known, strict=True)])

        assert info.feedback.dtype == jnp.float64
        np.testing.assert_allclose(info.feedback, fb, rtol=0, atol=1e-12)
        assert info.coefficient == c
        assert info.accepted == pytest.approx(sure.mean(), rel=1e-12)
        for ours, theirs in ((state.teacher, teacher), (state.student, student)):
            expected = {"w": theirs.w, "b": theirs.b}
            chex.assert_trees_all_close(ours.params, expected, rtol=0, atol=1e-12)
        coefficients.append(c)
        accepted.append(sure.mean())
    assert set(coefficients) == {1.0, -0.1} and 0 < min(accepted) < 1


def layers(module, learner_state):
    """Kernel, bias, scale, shift, kernel, bias and running mean, variance, whoever wrote the network."""
    params, stats = learner_state[:2]
    if module.__name__ == "nnx_pair":
        params, stats = (
            arrays(module.nnx.to_pure_dict(params)),
            arrays(module.nnx.to_pure_dict(stats)),
        )
        dense, norm, out = (params[name] for name in ("hidden", "norm", "out"))
        running = stats["norm"]
    else:
        dense, norm, out = (params[name] for name in ("Dense_0", "BatchNorm_0", "Dense_1"))
        running = stats["batch_stats"]["BatchNorm_0"]
    named = dense["kernel"], dense["bias"], norm["scale"], norm["bias"], out["kernel"], out["bias"]
    return named, (running["mean"], running["var"])


def moments(x, named):
    hidden = x @ named[0] + named[1]
    return hidden.mean(0), hidden.var(0)


def forward(x, named, mean, var):
    """The network without dropout."""
    a, b, scale, shift, c, d = named
    hidden = (x @ a + b - mean) / np.sqrt(var + 1e-5) * scale + shift
    return np.maximum(hidden, 0) @ c + d


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_with_statistics_and_dropout(load, name):
    module, pair = load(name), load("pair")
    x_l, x_u = np.asarray(pair.labeled["x"]), np.asarray(pair.unlabeled["x"])
    y = np.asarray(pair.labeled["y"])
    ((before, after, info),) = steps(module, 1)
    start, first = layers(module, before.teacher)
    assert not same(before.student.params, after.student.params)

    # The teacher's statistics move by x_u and then by x_l, the student's by x_u alone: not by x_l of the feedback.
    once = [0.9 * old + 0.1 * new for old, new in zip(first, moments(x_u, start), strict=True)]
    twice = [0.9 * old + 0.1 * new for old, new in zip(once, moments(x_l, start), strict=True)]
    for state, expected in ((after.student, once), (after.teacher, twice)):
        for ours, theirs in zip(layers(module, state)[1], expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)

    # The feedback pass: batch statistics of x_l at xi', no dropout.
    moved, running = layers(module, after.student)
    z = forward(x_l, moved, *moments(x_l, moved))
    assert info.losses["student_labeled"] == pytest.approx(cross_entropy(z, y, y >= 0), rel=1e-5)

    # Training has dropout, of a mask of its own in each pass.
    z = forward(x_u, start, *moments(x_u, start))
    dry = cross_entropy(z, z >= 0, True)
    wet = [float(info.losses[f"{who}_pseudo"]) for who in ("teacher", "student")]
    assert min(abs(a - b) for a, b in ((wet[0], dry), (wet[1], dry), wet)) > 1e-3

    # What is handed on predicts by the running statistics.
    np.testing.assert_allclose(
        module.predict(*after.student[:2], x_l), forward(x_l, moved, *running), rtol=1e-4, atol=1e-5
    )


def test_seeds_at_once_are_seeds_one_by_one(load):
    module = load("seeds")
    run = jax.jit(module.run)
    for seed in range(4):
        state, infos = arrays(run(seed))
        np.testing.assert_array_equal(module.infos.coefficient[seed], infos.coefficient)
        np.testing.assert_allclose(
            module.infos.feedback[seed], infos.feedback, rtol=1e-4, atol=1e-6
        )
        jax.tree.map(
            lambda a, b, seed=seed: np.testing.assert_allclose(a[seed], b, rtol=1e-4, atol=1e-6),
            *(arrays(module.states.teacher), state.teacher),
        )
    assert len({tuple(row) for row in np.asarray(module.infos.feedback)}) == 4


def test_a_resumed_training_is_bitwise_the_straight_one(load):
    module, gated, pair = load("resume"), load("own_gate"), load("pair")
    straight, info = pair.train(gated.update, gated.step.init(gated.start, gated.start), 6)
    assert int(module.state.step) == 6 and float(module.state.gate) > 0
    assert same(module.state, straight) and same(module.info, info)


def test_the_example_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    _, section = readme.split("## Discrete feedback alone")  # once
    (code,) = re.findall(r"```python\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    names, said = {}, io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code, names)
    fb, c = map(float, said.getvalue().split())
    labeled, x_u = names["labeled"], np.asarray(names["unlabeled"]["x"])
    x_l, y = np.asarray(labeled["x"]), np.asarray(labeled["y"])
    # Both networks are 0, so all pseudo labels are 1; the student steps at a rate of 0.1.
    gradient = x_u.T @ (0.5 * np.ones((len(x_u), 1)) - 1) / len(x_u)
    judged = x_l.T @ (sigmoid(x_l @ (-0.1 * gradient)) - y) / len(x_l)
    assert fb == pytest.approx((judged * gradient).sum(), rel=1e-5)
    assert c == pytest.approx(1.0 if fb > 0 else -0.1)
    (shown,) = re.findall(r"print\(.*\)  # (.*)", code)
    assert [float(number) for number in shown.split()] == pytest.approx([fb, c], rel=1e-3)
