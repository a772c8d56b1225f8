"""Entry point shared by all programs of this repository: flags, help, and user errors as one line."""

import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags
from absl import logging as absl_logging

from piapdf_jax.paths import PathError


def run(main: Callable[[list[str]], object], *, arguments: int = 0, speaker: str = "error") -> None:
    """Parses the flags and runs a program; ``--help`` and ``-h`` print its docstring and flags.

    Exit codes: what the main function returns, 0 after help, 2 with one line on standard error for a
    flag or argument that there is not, ``app.UsageError`` and ``PathError``.

    Args:
        main: takes the program's name and its arguments, flags removed.
        arguments: how many it takes at most.
        speaker: begins the line of a mistake.
    """

    def parse(argv: list[str]) -> list[str]:
        try:
            left = flags.FLAGS(["--help" if word == "-h" else word for word in argv])
        except SystemExit:  # absl has printed the help, and would end with 1
            sys.exit(0)
        except flags.Error as error:
            fail(error, speaker)
        if len(left) > 1 + arguments:
            fail(f"unexpected argument {left[1 + arguments]!r}; see --help", speaker)
        return left

    def guarded(argv: list[str]) -> object:
        try:
            return main(argv)
        except (app.UsageError, PathError) as error:
            fail(error, speaker)

    # OpenBLAS's threads spin while they wait, which doubles the processor time of what multiplies small matrices. It
    # reads this when NumPy is first imported: in most programs after here, and in all processes that they start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    app.run(guarded, flags_parser=parse)


def as_script(module: str, doc: str | None) -> None:
    """Gives an installed script the help of the module that it starts, where the script itself has none.

    Args:
        module: its name, ``__main__`` where it was started itself.
        doc: its docstring.
    """
    if module == "__main__":
        return
    sys.modules["__main__"].__doc__ = doc
    for flag in flags.FLAGS.get_flags_for_module(module):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def fail(error: object, speaker: str = "error") -> NoReturn:
    """Ends the process with ``complain``."""
    sys.exit(complain(error, speaker))


def complain(error: object, speaker: str = "error") -> int:
    """Prints a user's mistake as one line on standard error; returns its exit code, 2."""
    print(f"{speaker}: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


def quiet() -> None:
    """Silences the logs of libraries, so that a command that fails ends with one line."""
    logging.basicConfig(level=logging.ERROR, format="%(message)s", force=True)
    absl_logging.set_verbosity(absl_logging.FATAL)
