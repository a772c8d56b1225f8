"""The study of feedback on points: its problem, its trainings, and what it may look at."""

import json
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from programs import load

from experiments import markdown
from experiments.feedback_study import points_problem as problems
from experiments.feedback_study import points_report as report
from experiments.feedback_study import points_training as training
from experiments.feedback_study.points_problem import Problem
from piapdf_jax.feedback import discrete_feedback

DOCS = pathlib.Path(__file__).resolve().parent.parent.parent / "docs"
studies = load("experiments.feedback_study.points")
QUICK = studies.QUICK


@pytest.fixture(scope="module")
def results():
    lines = []
    return studies.run(QUICK, lines.append)


# The problem.


def test_published_labels_are_wrong_at_the_stated_rate_and_truth_is_not():
    clean = Problem(labeled=4000, wrong=0.0)
    dirty = clean._replace(wrong=0.2)
    truth, published = (problems.draw(p, jnp.int32(3), "labeled") for p in (clean, dirty))
    np.testing.assert_array_equal(truth.x, published.x)
    share = float(jnp.mean((truth.y != published.y).astype(jnp.float32)))
    assert abs(share - 0.2) < 5 * math.sqrt(0.2 * 0.8 / truth.y.size)
    for split in ("test", "unlabeled"):
        same = [problems.draw(p, jnp.int32(3), split).y for p in (clean, dirty)]
        np.testing.assert_array_equal(*same)


def test_labels_come_at_their_rates_and_unlabeled_points_have_none():
    problem = Problem(test=20000)
    rates = np.asarray(problems.draw(problem, jnp.int32(0), "test").y).mean(axis=0)
    np.testing.assert_allclose(rates, np.linspace(0.2, 0.5, 6), atol=0.02)
    unlabeled = problems.draw(problem, jnp.int32(0), "unlabeled")
    assert not np.asarray(problems.known_labels(unlabeled)[1]).any()


def test_splits_and_seeds_share_no_point():
    problem = Problem(labeled=50, unlabeled=50, validation=50, test=50)
    points = [
        tuple(np.asarray(row).tolist())
        for seed in (0, 1)
        for split in problems.SPLITS
        for row in problems.draw(problem, jnp.int32(seed), split).x
    ]
    assert len(set(points)) == len(points) == 400


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="'train' is not one of"):
        problems.draw(Problem(), jnp.int32(0), "train")


# The trainings.


def weighted_step(variant, learning_rate, weight):
    """The same step with the weight inside of a loss, and 1 where ``discrete_feedback`` takes it."""
    optimizer = optax.sgd(learning_rate, momentum=0.9)

    def weighted(*arguments):
        return weight * problems.label_loss(*arguments)

    teacher = problems.learner(optimizer, pseudo_loss=weighted)
    student = problems.learner(optimizer)
    if variant.per_rate:  # the exact gradient is that of the student's labeled loss
        student = student._replace(loss=weighted, pseudo_loss=problems.label_loss)
    return discrete_feedback(
        teacher, student, known_labels=problems.known_labels, **variant.options
    )


@pytest.mark.parametrize("name", [name for name, v in training.VARIANTS.items() if v.unit])
def test_a_traced_weight_is_the_same_weight_inside_the_loss(name):
    variant, rate, seed = training.VARIANTS[name], 0.05, jnp.int32(1)
    weight = 0.7 * variant.unit / (rate if variant.per_rate else 1)
    labeled, unlabeled = (
        problems.draw(QUICK.problem, seed, split) for split in ("labeled", "unlabeled")
    )
    # two networks: soft labels of a copy would be the student's own, and their gradient 0
    starts = [(problems.initial_params(QUICK.problem, jnp.int32(n)), None) for n in (1, 2)]

    @jax.jit
    def traced(state, batches, key, rate, weight):
        return training.feedback_step(variant.options, rate, weight).update(state, *batches, key)

    step = weighted_step(variant, rate, weight)
    inside, ends = jax.jit(step.update), [step.init(*starts)] * 2
    for number in range(3):
        key = jax.random.key(number)
        ends[0], _ = traced(ends[0], (labeled, unlabeled), key, rate, weight)
        ends[1], _ = inside(ends[1], labeled, unlabeled, key)
    for model, start in zip(("teacher", "student"), starts, strict=True):
        a, b = (jax.tree.leaves(getattr(state, model).params) for state in ends)
        for x, y, z in zip(a, b, jax.tree.leaves(start[0]), strict=True):
            np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5)
            assert not np.allclose(x, z, atol=1e-3)


def test_supervised_row_is_plain_supervised_training():
    seed, rate = 2, 0.1
    lanes = [(seed, rate, 0.0)]
    found = training.train(QUICK.problem, QUICK.lengths, "supervised", lanes, "test", size=4)
    labeled = problems.draw(QUICK.problem, jnp.int32(seed), "labeled")
    params = problems.initial_params(QUICK.problem, jnp.int32(seed))

    def loss(params, x, y):
        probs = jax.nn.sigmoid(problems.logits(params, x))
        return -jnp.mean(y * jnp.log(probs) + (1 - y) * jnp.log(1 - probs))

    key = jax.random.split(problems.stream(jnp.int32(seed), 20))[0]
    for number, rows in enumerate(jax.random.randint(key, (4 + 6, 8), 0, 32)):
        if number in (0, 4):  # momentum begins anew where teacher and student part
            velocity = jax.tree.map(jnp.zeros_like, params)
        gradient = jax.grad(loss)(params, labeled.x[rows], labeled.y[rows])
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradient)
        params = jax.tree.map(lambda p, v: p - rate * v, params, velocity)
    test = problems.draw(QUICK.problem, jnp.int32(seed), "test")
    accuracy = float(problems.accuracy(params, test))
    assert abs(float(found.teacher[0]) - accuracy) < 100 / test.y.size + 1e-3  # one cell at most


def test_lanes_do_not_know_of_each_other():
    lanes = [(seed, rate, 100.0) for seed in (0, 1, 2) for rate in (0.02, 0.2)]
    together = training.train(QUICK.problem, QUICK.lengths, "mpl", lanes, "test", size=4)
    for number in (0, 5):
        alone = training.train(QUICK.problem, QUICK.lengths, "mpl", [lanes[number]], "test", size=4)
        np.testing.assert_allclose(together.term_norm[number], alone.term_norm[0], rtol=1e-4)
    assert len(set(together.labeled_norm.tolist())) == len(lanes)


# What the study may look at.


def test_tuning_seeds_are_no_test_seeds():
    full = studies.Study()
    assert len(set(full.tuning_seeds)) == 5 and len(set(full.test_seeds)) == 20
    for study in (full, QUICK):
        assert not set(study.tuning_seeds) & set(study.test_seeds)


def test_all_variants_have_the_same_budget():
    counts = {
        name: len(set(studies.candidates(studies.Study(), name))) for name in training.VARIANTS
    }
    assert set(counts.values()) == {64}
    for name, variant in training.VARIANTS.items():
        signs = {np.sign(weight) for _, weight in studies.candidates(studies.Study(), name)}
        assert signs == {np.sign(variant.unit)}
    public, right = (training.VARIANTS[name] for name in ("mpl_public", "mpl"))
    assert public.options == right.options and public.unit == -right.unit


def test_choosing_draws_no_test_point_and_no_test_seed(monkeypatch):
    drawn, draw = set(), problems.draw
    jax.clear_caches()  # or a compiled training would draw unseen

    def watched(problem, seed, split):
        drawn.add(split)
        return draw(problem, seed, split)

    trained, train = set(), studies.train

    def watched_train(problem, lengths, name, lanes, split, **options):
        trained.update(lane[0] for lane in lanes)
        return train(problem, lengths, name, lanes, split, **options)

    monkeypatch.setattr(problems, "draw", watched)
    monkeypatch.setattr(studies, "train", watched_train)
    rate, weight = studies.tune(QUICK, "mpl")
    assert (rate, weight) in studies.candidates(QUICK, "mpl")
    assert drawn == {"labeled", "unlabeled", "validation"}
    assert trained == set(QUICK.tuning_seeds)
    studies.measure(QUICK, "mpl", rate, weight)
    assert "test" in drawn and trained == {*QUICK.tuning_seeds, *QUICK.test_seeds}


def test_the_candidate_with_the_best_validation_mean_is_chosen(monkeypatch):
    def fake(problem, lengths, name, lanes, split, **options):
        student = np.array([-abs(rate - 0.002) - abs(weight - 60) for _, rate, weight in lanes])
        noise = np.array([0.5 if seed % 2 else -0.5 for seed, *_ in lanes])  # the same for all
        return training.Runs(-student, student + noise, *[student] * 3)

    monkeypatch.setattr(studies, "train", fake)
    study = studies.Study()
    assert studies.tune(study, "mpl") == (0.002, 60)
    assert studies.at_edge(study, "mpl", (0.002, 60))  # the lowest rate
    rate = studies.LEARNING_RATES[3]
    edges = [studies.at_edge(study, "mpl", (rate, w)) for w in (2.0, 60.0, 6000.0)]
    assert edges == [True, False, True]
    assert not studies.at_edge(study, "pseudo_soft", (studies.FINE_LEARNING_RATES[1], 0.0))


# Numbers and tables.


def test_rows_are_of_the_seeds_and_the_table_says_what_they_hold(results):
    rows = results["tuned"]
    assert list(rows) == list(training.VARIANTS)
    assert all(len(row["student"]) == len(QUICK.test_seeds) for row in rows.values())
    for row in results["signs"]:
        assert row["mpl"]["weight"] == -row["mpl_public"]["weight"] > 0
        assert row["mpl"]["learning_rate"] == rows["pseudo_sample"]["learning_rate"]
    text = report.table(results)
    line = next(line for line in text.splitlines() if "MPL, public sign" in line)
    row, base = rows["mpl_public"], rows["supervised"]["teacher"]
    gaps = [a - b for a, b in zip(row["student"], base, strict=True)]
    assert f"| {sum(row['student']) / 4:.2f} | {sum(gaps) / 4:+.2f} ±" in line


def test_numbers_survive_json_and_the_page_is_rewritten_in_place(results, tmp_path):
    again = json.loads(json.dumps(results))
    assert report.table(again) == report.table(results)
    path, start = tmp_path / "page.md", report.START
    path.write_text(f"before\n{start}\nold\n{markdown.END}\nafter\n")
    for text in ("first", "second"):
        markdown.insert(path, start, text)
    assert path.read_text() == f"before\n{start}\n\nsecond\n\n{markdown.END}\nafter\n"
    path.write_text("no markers")
    with pytest.raises(ValueError, match="has no lines"):
        markdown.insert(path, start, "text")


def test_the_table_in_the_documentation_is_that_of_its_numbers():
    results = json.loads((DOCS / "feedback_study.json").read_text())
    assert report.table(results) in (DOCS / "feedback.md").read_text()
    assert tuple(results["study"]["test_seeds"]) == studies.TEST_SEEDS
    assert tuple(results["study"]["tuning_seeds"]) == studies.TUNING_SEEDS
    assert results["study"]["problem"] == json.loads(json.dumps(Problem()._asdict()))
    assert results["study"]["lengths"] == training.Lengths()._asdict()
