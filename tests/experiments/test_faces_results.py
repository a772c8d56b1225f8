"""Results of the study on drawn faces: what is written is what is read."""

import jax
import numpy as np
import pytest
from random_faces_results import random_results

from experiments.feedback_study import faces_results


def test_results_are_read_as_they_were_written(tmp_path):
    results = random_results(worlds=[(20, 0, 5, 4), (5, 20, 20, 3)])
    path = tmp_path / "faces.npz"
    faces_results.write(results, path)
    found = faces_results.read(path)
    before, after = (jax.tree.flatten_with_path(r._asdict())[0] for r in (results, found))
    assert [place for place, _ in before] == [place for place, _ in after]
    for (place, one), (_, other) in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=str(place))
    assert [p.name for p in tmp_path.iterdir()] == ["faces.npz"]


def test_a_file_without_results_is_named(tmp_path):
    np.savez(path := tmp_path / "faces.npz", about=np.array("{}"))
    with pytest.raises(ValueError, match=r"faces\.npz holds no results"):
        faces_results.read(path)
