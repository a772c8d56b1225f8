"""The example in two dimensions: short, and it learns what it says."""

import ast
import pathlib
import sys

import jax
import numpy as np
import pytest

from experiments import feedback_example as example

SOURCE = pathlib.Path(example.__file__)


def test_it_has_fewer_than_60_lines():
    assert len(SOURCE.read_text().splitlines()) < 60


def test_moons_are_two_half_circles():
    points = jax.tree.map(np.asarray, example._moons(jax.random.key(0), 4000))
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
    moons = example._moons

    def moved(key, n):
        points = moons(key, n)
        return points if n != 400 else points | {"x": points["x"] + 5}

    monkeypatch.setattr(example, "_moons", moved)
    after = example.learn("none", 20, 0)
    teacher, student = (
        [np.abs(np.asarray(a - b)).max() for a, b in zip(*map(jax.tree.leaves, pair), strict=True)]
        for pair in zip(before[0], after[0], strict=True)
    )
    assert max(teacher) == 0 and max(student) > 1e-4


def test_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    import cv2

    path = tmp_path / "moons.png"
    example.main(str(path), steps=20, seeds=2)
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
        alias.name
        for node in ast.walk(ast.parse(SOURCE.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "piapdf_jax.feedback"
        for alias in node.names
    }
    assert names == {"Learner", "discrete_feedback"}
