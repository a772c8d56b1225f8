"""Tests of the soak use the toy stage of the loop's tests."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parents[1] / "runtime"))
