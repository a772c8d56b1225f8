"""The page's network says in Chromium what JAX says, of the same bytes."""

import re

import numpy as np
import pytest
import web_pages
from browser import Browser

from piapdf_jax.export import check, detector_file, web_check
from piapdf_jax.model_json import ModelError

pytestmark = pytest.mark.web


@pytest.fixture(scope="module")
def golden(written):
    """Nine frames, more than go to the page at once, and what JAX says of them."""
    frames = detector_file.golden_frames(written.light.model.image_size)
    frames = np.concatenate([frames, frames[:, ::-1], frames[:1, :, ::-1]])
    said = detector_file.golden_probabilities(written.light, frames)
    # A page that says the same of every frame, or of every unit, would not pass.
    assert np.ptp(said, axis=0).min() > 100 * check.TOLERANCES["float32"]
    assert np.ptp(said, axis=1).min() > 100 * check.TOLERANCES["float32"]
    return frames, said


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_both_types_of_input_agree_with_jax(written, golden, kind):
    frames, wanted = golden
    probabilities = web_check.load_web(written.pages[kind])
    for count in (9, 1, 4):
        found = probabilities(frames[:count])
        assert found.dtype == np.float32 and found.shape == (count, 3)
        np.testing.assert_allclose(found, wanted[:count], rtol=0, atol=check.TOLERANCES["float32"])
    assert probabilities(frames[:0]).shape == (0, 3)
    print(f"{kind}: {np.abs(probabilities(frames) - wanted).max():.1e}")


def test_half_the_width_agrees_with_jax(written, golden, tmp_path):
    frames, wanted = golden
    page = tmp_path / "half.html"
    web_pages.write(page, written.light, dtype="float16")
    found = web_check.load_web(page)(frames)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=check.TOLERANCES["float16"])
    # Were it not of float16, this would say so.
    assert np.abs(found - wanted).max() > 1e-6


def test_frames_of_another_shape_are_refused(written):
    probabilities = web_check.load_web(written.pages["uint8"])
    for frames in (np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 64, 64, 3), np.float32)):
        with pytest.raises(ValueError, match=r"expected uint8 RGB frames \[B, 64, 64, 3\], got"):
            probabilities(frames)


def test_a_page_that_does_not_run_says_why(written, tmp_path):
    whole = written.pages["uint8"].read_text()
    block = re.search(r'(<script id="network"[^>]*>)([^<]*)', whole)
    assert block is not None
    bad = tmp_path / "bad.html"
    bad.write_text(whole.replace(block[0], block[1] + block[2][: len(block[2]) // 8 * 4]))
    with pytest.raises(ModelError, match=r"bad\.html: \S+"):
        web_check.load_web(bad)
    bad.write_text("<!doctype html><title>another</title>")
    with pytest.raises(ModelError, match="is not a page of experiments.export"):
        web_check.load_web(bad)
    with pytest.raises(FileNotFoundError, match="none.html does not exist"):
        web_check.load_web(tmp_path / "none.html")


def test_the_browser_ends_with_what_it_computes(written):
    probabilities = web_check.load_web(written.pages["uint8"])
    close = probabilities._close
    assert close.alive
    del probabilities
    assert not close.alive


def test_the_version_is_that_of_the_browser(browser: Browser):
    told = browser.call("Browser.getVersion")["product"]
    assert told.rpartition("/")[2] == web_check.browser_version()
