"""Runs the network of a web page on frames in headless Chromium, to compare what a user would see in numbers."""

import base64
import pathlib
import subprocess
import time
import weakref

import numpy as np

from piapdf_jax.detector_runtimes import Probabilities
from piapdf_jax.export import chromium
from piapdf_jax.model_json import ModelError
from piapdf_jax.types import JsonObject

#: Seconds in which a page must have its network ready, on a machine that does other things as well.
LOADING = 300.0
#: Frames of one batch: what goes to the browser and back is text.
_BATCH = 8


def load_web(path: pathlib.Path) -> Probabilities:
    """Opens a page of ``write_web`` in headless Chromium.

    Args:
        path: of the .html file. Its scripts run: take none that you would not open in a browser.

    Returns:
        Of uint8 RGB frames [B, S, S, 3] the probabilities [B, C] float32 that the page's network gives. The browser
        ends with the last reference to it.

    Raises:
        FileNotFoundError: where there is no such file.
        ModelError: for a page of another kind, or one whose network does not run.
        BrowserError: where Chromium is missing or does not answer.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    return _WebPage(path)


def browser_version() -> str:
    """Returns the version of the installed Chromium, "" where there is none."""
    found = chromium.program()
    if found is None:
        return ""
    done = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    return next((word for word in done.stdout.split() if word[0].isdigit()), "unknown")


class _WebPage:
    """A page whose network is ready.

    Attributes:
        loading: milliseconds from the start of the page until its network was ready.
        milliseconds: a frame of the last call, in the page itself.
    """

    def __init__(self, path: pathlib.Path) -> None:
        browser = chromium.Browser()
        browser.__enter__()
        self._close = weakref.finalize(self, browser.__exit__)
        try:
            self._page = chromium.Page(browser, path).load()
            self.loading = self._ready(path)
            facts = self._page.evaluate("piapdf.facts.model")
            self._side, self._units = facts["image_size"], len(facts["units"])
        except BaseException:
            self._close()
            raise
        self.milliseconds = 0.0

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        side = self._side
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != (side, side, 3):
            raise ValueError(
                f"expected uint8 RGB frames [B, {side}, {side}, 3], got {frames.dtype} {frames.shape}"
            )
        rows, spent = np.empty((len(frames), self._units), np.float32), 0.0
        for start in range(0, len(frames), _BATCH):
            batch = frames[start : start + _BATCH]
            said = self._probabilities(batch)
            rows[start : start + _BATCH] = said["probabilities"]
            spent += said["milliseconds"]
        self.milliseconds = spent / max(len(frames), 1)
        return rows

    def _probabilities(self, batch: np.ndarray) -> JsonObject:
        text = base64.b64encode(np.ascontiguousarray(batch).tobytes()).decode()
        return self._page.evaluate(f"piapdf.probabilities('{text}', {len(batch)})")

    def _ready(self, path: pathlib.Path) -> float:
        deadline = time.monotonic() + LOADING
        while (state := self._page.evaluate("window.piapdf?.state ?? null")) == "loading":
            if time.monotonic() > deadline:
                raise ModelError(f"{path}: its network is not ready after {LOADING:g} s")
            time.sleep(0.1)
        if state != "ready":
            raise ModelError(f"{path}: {state or 'it is not a page of experiments.export'}")
        return self._page.evaluate("piapdf.loaded")
