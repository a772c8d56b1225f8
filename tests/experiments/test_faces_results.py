"""Results of the study on drawn faces: what is written is what is read."""

import numpy as np
import pytest
from random_faces_results import random_results

from experiments.feedback_study import faces_results


@pytest.fixture(name="results", scope="module")
def fixture_results():
    return random_results(2)


def test_numbers_by_seed_are_read_as_they_were_written_to_four_digits(results, tmp_path):
    (tmp_path / "7_7_7.csv").write_text("of an older study\n")
    rows = [r | {"prefers": r["prefers"] or float("nan")} for r in results.mechanism]
    faces_results.write(results._replace(mechanism=rows), tmp_path)
    found = faces_results.read(tmp_path)
    assert len(list(tmp_path.glob("*.csv"))) == 36
    for name in ("worlds", "arms", "chosen", "ablation_titles", "mechanism", "about"):
        assert getattr(found, name) == getattr(results, name)
    for name in ("scores", "references", "ablations", "counts"):
        same(getattr(results, name), getattr(found, name), rtol=0 if name == "counts" else 1e-3)


def same(one, other, rtol):
    if isinstance(one, dict):
        assert set(one) == set(other)
        for key in one:
            same(one[key], other[key], rtol)
    else:
        np.testing.assert_allclose(one, other, rtol=rtol)


def test_a_file_that_holds_something_else_is_named(results, tmp_path):
    faces_results.write(results, tmp_path)
    (tmp_path / "5_0_0.csv").write_text("a,b\n")
    with pytest.raises(ValueError, match=r"5_0_0\.csv does not begin with the columns"):
        faces_results.read(tmp_path)
