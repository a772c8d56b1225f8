"""One Chromium for all tests of the page."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parents[1] / "experiments"))

from one_browser import browser

__all__ = ["browser"]
