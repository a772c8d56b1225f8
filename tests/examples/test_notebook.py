"""The notebook runs from top to bottom, and computes what it says."""

import json
import math
import pathlib

import nbclient
import nbformat
import numpy as np
import pytest

PATH = pathlib.Path(__file__).resolve().parents[2] / "examples" / "feedback.ipynb"
#: What the notebook has computed, for this test to read.
TELL = """
import json
print(json.dumps({
    "by_hand": [helped, hurt],
    "by_step": [by_step(1.0), by_step(0.0)],
    "accuracy": [accuracy(s) for s in (state.teacher, state.student, own_state.student)],
    "counts": {name: int(count) for name, count in state.counts.items()},
    "large": int(own_state.counts["large"]),
    "helped": share_that_helped(info),
    "relative": relative_length(info).tolist(),
    "norms": {name: norm.tolist() for name, norm in info.gradient_norms.items()},
    "coefficients": info.coefficient.tolist(),
    "feedback": [i.feedback.tolist() for i in (info, own_info)],
    "own_coefficients": own_info.coefficient.tolist(),
}))
"""


@pytest.fixture(scope="module")
def book():
    return nbformat.read(PATH, as_version=4)


@pytest.fixture(scope="module")
def told(book):
    run = nbformat.from_dict(book)
    run.cells.append(nbformat.v4.new_code_cell(TELL))
    where = {"metadata": {"path": str(PATH.parent)}}
    nbclient.NotebookClient(run, timeout=300, kernel_name="python3", resources=where).execute()
    errors = [o for cell in run.cells for o in cell.get("outputs", ()) if o.output_type == "error"]
    assert not errors
    return json.loads(run.cells[-1].outputs[0].text)


def test_it_is_stored_without_results(book):
    nbformat.validate(book)
    assert (book.nbformat, book.nbformat_minor) == (4, 5)
    assert book.metadata.kernelspec.name == "python3"
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    assert len(cells) >= 6
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
    assert len({cell.id for cell in book.cells}) == len(book.cells)


def test_one_weight_by_hand_and_by_the_step(told):
    def sigma(z):
        return 1 / (1 + math.exp(-z))

    xi = 0.2 + 0.1 * (1 - sigma(0.2))
    feedback = (0.342023295951, -0.558308709424)
    teacher = (
        0.5 + 0.1 * (1 - sigma(0.5)) + 0.2 * (1 - sigma(1.0)),
        0.5 - 0.01 * (1 - sigma(0.5)) - 0.2 * sigma(1.0),
    )
    for case, c in enumerate((1.0, -0.1)):
        expected = {"student": xi, "feedback": feedback[case], "c": c, "teacher": teacher[case]}
        assert told["by_hand"][case] == pytest.approx(expected, rel=1e-11)
        assert told["by_step"][case] == pytest.approx(expected, rel=1e-6)


def test_two_moons_are_learned_and_every_step_is_counted(told):
    assert min(told["accuracy"]) > 0.75
    fb, c = np.array(told["feedback"][0]), np.array(told["coefficients"])
    counts = told["counts"]
    assert len(c) == 300 == counts["positive"] + counts["negative"] + counts["zero"]
    assert counts["positive"] == (c == 1).sum() and counts["negative"] == (c < 0).sum()
    assert 3 <= counts["dropped"] == counts["zero"] <= 30  # 5 %
    np.testing.assert_allclose(c, np.where(c == 0, 0, np.where(fb > 0, 1, -0.1)), rtol=1e-6)


def test_own_metrics(told):
    assert told["helped"] == pytest.approx((np.array(told["feedback"][0]) > 0).mean())
    norms = {name: np.array(norm) for name, norm in told["norms"].items()}
    part = np.abs(told["coefficients"]) * norms["teacher_pseudo"]
    np.testing.assert_allclose(told["relative"], part / norms["teacher_labeled"], rtol=1e-5)


def test_own_gate(told):
    average, large = 0.0, 0
    for fb, c in zip(told["feedback"][1], told["own_coefficients"], strict=True):
        average = 0.9 * average + 0.1 * abs(fb)
        large += abs(fb) > 2 * average
        assert c == pytest.approx(math.tanh(fb / average), abs=1e-5)
    assert told["large"] == large > 0
    assert min(told["own_coefficients"]) < 0 < max(told["own_coefficients"])
