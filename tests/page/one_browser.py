"""One Chromium for all tests of a folder."""

import contextlib
from collections.abc import Iterator

import pytest
from browser import Browser, BrowserError


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium. Where it is missing these tests fail: they were asked for."""
    with contextlib.ExitStack() as stack:
        try:
            started = stack.enter_context(Browser())
        except BrowserError as error:
            pytest.fail(str(error))
        yield started
