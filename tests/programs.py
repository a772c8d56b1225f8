"""Command lines in one process, which in their own processes share names of flags."""

import importlib
import importlib.util
import pathlib
import re
import sys

from absl import flags


def load(name):
    """Imports a command line; flags of the same names that another has defined are its own from then on."""
    if name in sys.modules:  # defined once, and not again by another import
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    text = pathlib.Path(spec.origin).read_text(encoding="utf-8")
    for flag in re.findall(r'flags\.DEFINE_\w+\(\s*"(\w+)"', text):
        if flag in flags.FLAGS:
            delattr(flags.FLAGS, flag)
    return importlib.import_module(name)
