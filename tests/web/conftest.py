"""One Chromium for all tests of the web page, and pages of a nano network."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parents[1] / "page"))

from one_browser import browser
from web_pages import written

__all__ = ["browser", "written"]
