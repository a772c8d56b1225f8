"""Web pages of a nano network, and what tests do with one."""

import base64
import pathlib
import time
from typing import Any, NamedTuple

import light_model
import numpy as np
import pytest
from browser import Browser, Page

from piapdf_jax.export import detector_file, web_file
from piapdf_jax.model_json import Model

#: Seconds for a page to do something, on a machine that does other things as well.
PATIENCE = 60


class Written(NamedTuple):
    """A folder, the light detector of an export, and its page by type of input."""

    folder: pathlib.Path
    light: detector_file.Light
    pages: dict[str, pathlib.Path]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("web")
    light = detector_file.read_light(light_model.write(folder))
    pages = {kind: folder / f"{kind}.html" for kind in ("uint8", "float32")}
    for kind, path in pages.items():
        write(path, light, kind=kind)
    return Written(folder, light, pages)


def write(
    path: pathlib.Path,
    light: detector_file.Light,
    *,
    kind: str = "uint8",
    dtype: str = "float32",
    model: Model | None = None,
) -> None:
    """Writes a page; ``model`` says other things of the same network."""
    onnx = path.with_suffix(".onnx")
    detector_file.write_file(onnx, light, dtype=dtype, input_type=kind)
    web_file.write_web(path, onnx.read_bytes(), model or light.model)


def ready(browser: Browser, path: pathlib.Path, **size: Any) -> Page:
    """A page whose network runs."""
    page = Page(browser, path).load(**size)
    wait(page, "piapdf.state !== 'loading'")
    assert page.evaluate("piapdf.state") == "ready"
    return page


def wait(page: Page, condition: str) -> None:
    """Waits until an expression of JavaScript is true."""
    deadline = time.monotonic() + PATIENCE
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, (condition, status(page), page.console)
        time.sleep(0.05)


def give(page: Page, path: pathlib.Path) -> None:
    """Opens a file, as a person chooses one."""
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    page.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)


def settled(page: Page) -> dict[str, Any]:
    """What the page last looked at, once it looks at nothing new any more."""
    wait(page, "piapdf.seen() !== null")
    before = None
    while (seen := page.evaluate("piapdf.seen()")) != before:
        before = seen
        time.sleep(0.3)
    return seen


def frame(seen: dict[str, Any], side: int) -> np.ndarray:
    """[side, side, 3] uint8 of what the page looked at."""
    return np.frombuffer(base64.b64decode(seen["frame"]), np.uint8).reshape(side, side, 3)


def status(page: Page) -> str:
    return page.evaluate("document.getElementById('status').textContent")
