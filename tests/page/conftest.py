"""One Chromium for all tests of the page."""

import pathlib
import sys
from collections.abc import Iterator

import pytest

sys.path.append(str(pathlib.Path(__file__).parents[1] / "experiments"))

from browser import Browser, BrowserError


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium. Where it is missing these tests fail: they were asked for."""
    started = Browser()
    try:
        started.__enter__()
    except BrowserError as error:
        pytest.fail(str(error))
    with started:
        yield started
