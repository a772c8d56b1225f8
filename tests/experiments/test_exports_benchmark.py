"""The table of formats: what it measures, and what it does where a runtime says nonsense or does not run."""

import light_model
import numpy as np
import pytest
from programs import load

from piapdf_jax.export import check, formats
from piapdf_jax.export.detector_file import read_light

exports = load("benchmarks.exports")

pytestmark = pytest.mark.nightly


@pytest.fixture
def light(tmp_path, monkeypatch):
    """A nano detector, written as StableHLO alone, which every installation does."""
    stablehlo = formats.FORMATS["stablehlo"]
    monkeypatch.setattr(exports, "FORMATS", {"stablehlo": stablehlo})
    monkeypatch.setattr(exports, "_SECONDS", 0.0)
    return read_light(light_model.write(tmp_path / "runs"))


def test_a_row_is_a_file_in_a_runtime(light, tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "_THREADS", (1,))
    rows = exports.rows_of("nano, PIAP", light, tmp_path)
    assert [row[:3] for row in rows] == [
        ["nano, PIAP", "model.stablehlo", dtype] for dtype in ("float32", "float16")
    ]
    for row, limit in zip(rows, (1e-5, 2e-3), strict=True):
        size = (tmp_path / f"nano,_PIAP-{row[2]}" / row[1]).stat().st_size
        assert row[3:5] == [f"{size / 1e6:.2f}", "JAX"]
        assert 0 <= float(row[5]) < limit and float(row[6]) >= 0


def test_a_difference_is_the_largest_of_all_frames(light, tmp_path):
    exports.rows_of("nano, PIAP", light, tmp_path)
    folder = tmp_path / "nano,_PIAP-float32"
    frames, probabilities, _ = check.read_golden(folder / "golden.npz")
    probabilities[-1, 0] += np.float32(0.25)
    np.savez(folder / "golden.npz", frames=frames, probabilities=probabilities, dtype="float32")
    found = exports.measure(folder / "model.stablehlo", "jax", 1)
    assert found["difference"] == pytest.approx(0.25, abs=1e-5) and found["milliseconds"] > 0


def test_what_does_not_run_says_why(light, tmp_path, monkeypatch):
    jax = formats.FORMATS["stablehlo"].runtimes["jax"]
    wrong = jax._replace(wrong={"float32": "nonsense"})
    monkeypatch.setitem(formats.FORMATS["stablehlo"].runtimes, "jax", wrong)
    monkeypatch.setattr(exports, "_THREADS", (1,))
    (first, second) = exports.rows_of("nano, PIAP", light, tmp_path)
    assert first[5:] == ["nonsense", ""] and second[5] != "nonsense"
    (tmp_path / "nano,_PIAP-float16" / "model.stablehlo").write_bytes(b"damaged")
    cells = exports._cells(tmp_path / "nano,_PIAP-float16" / "model.stablehlo", "jax", "")
    assert "cannot be read by JAX" in cells[0] and cells[1] == ""
