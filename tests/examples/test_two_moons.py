"""The example in two dimensions learns what it says, and stands on its own."""

import ast
import importlib.util
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "two_moons.py"
_spec = importlib.util.spec_from_file_location("two_moons", SOURCE)
example = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(example)


def test_moons_are_two_half_circles():
    points = jax.tree.map(np.asarray, example.moons(jax.random.key(0), 4000))
    x, y = points["x"], points["y"][:, 0]
    assert y.mean() == 0.5
    for moon, (center, side) in enumerate((((0.0, 0.0), 1), ((1.0, 0.5), -1))):
        away = x[y == moon] - center
        radius = np.hypot(*away.T)
        # noise of 0.1 across the circle, and half of its square over 1 from the curvature
        assert abs(radius.mean() - 1.005) < 0.01 and abs(radius.std() - 0.1) < 0.01
        assert (side * away[:, 1] > -0.5).all()


@pytest.mark.parametrize("title", list(example.PANELS))
def test_every_panel_learns_more_than_it_knew_at_the_start(title):
    kind, model = example.PANELS[title]
    run = jax.jit(jax.vmap(example.learn, in_axes=(None, None, 0)), static_argnums=(0, 1))
    models, right, known, unlabeled = run(kind, 200, np.arange(4))
    assert known["x"].shape == (4, 8, 2) and set(unlabeled) == {"x"}
    assert float(right[:, model].mean()) > 0.75
    assert np.abs(models[model]["c"]).max() > 0.1  # 0 at the start


def test_supervised_panel_does_not_depend_on_unlabeled_points(monkeypatch):
    before = example.learn("none", 20, 0)
    moons = example.moons

    def moved(key, n):
        points = moons(key, n)
        return points if n != 400 else points | {"x": points["x"] + 5}

    monkeypatch.setattr(example, "moons", moved)
    after = example.learn("none", 20, 0)
    teacher, student = (
        [np.abs(np.asarray(a - b)).max() for a, b in zip(*map(jax.tree.leaves, pair), strict=True)]
        for pair in zip(before[0], after[0], strict=True)
    )
    assert max(teacher) == 0 and max(student) > 1e-4


def test_loss_is_the_mean_over_known_cells_and_0_without_any():
    z, y = jnp.array([[2.0], [-1.0], [0.5]]), jnp.array([[1.0], [1.0], [-1.0]])
    mask = jnp.array([[True], [True], [False]])
    # -log sigma(2) and -log sigma(-1) by hand
    assert float(example.loss(z, None, y, mask)) == pytest.approx((0.126928 + 1.313262) / 2, 1e-5)
    assert float(example.loss(z, None, y, jnp.zeros_like(mask))) == 0.0


def test_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    import cv2

    path = tmp_path / "moons.png"
    example.main(str(path), steps=200, seeds=4)  # as above, so compiled already
    image = cv2.imread(str(path))
    assert image.shape[1] > 800
    colors = np.unique(image.reshape(-1, 3), axis=0)
    assert len(colors) > 100


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit, match=r"^error: figures need matplotlib: pip install"):
        example.main("nowhere.png", steps=1, seeds=1)


def test_source_takes_its_step_from_the_package():
    names = {
        node.module: {alias.name for alias in node.names}
        for node in ast.walk(ast.parse(SOURCE.read_text()))
        if isinstance(node, ast.ImportFrom)
    }
    assert names.pop("piapdf_jax.feedback") == {"Learner", "discrete_feedback", "masked_mean"}
    assert names.pop("piapdf_jax.feedback_variants") >= {"exact_teacher_gradient", "soft"}
    assert not names  # nothing else of this repository
