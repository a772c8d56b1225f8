"""What the tests of the page share lies beside them, and in the folder above."""

import pathlib
import sys

sys.path += [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1])]
