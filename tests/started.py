"""Programs started as users start them, each in a fork of one process that has loaded the libraries once."""

import json
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
_PROGRAM = """
import io, json, os, runpy, sys, traceback, warnings
warnings.filterwarnings("ignore")
import absl.app, cv2, flax.linen, grain, jax, optax, orbax.checkpoint, rich.table, scipy.stats
import tensorflow_datasets
import experiments.pipeline, experiments.plugins, data_builders.validate

def start(program, arguments, cwd, environment, homeless):
    os.chdir(cwd)
    os.environ.update(environment)
    sys.path.insert(0, cwd)
    if homeless:
        import pwd
        os.environ.pop("HOME", None)
        def nobody(*_):
            raise KeyError("getpwuid(): uid not found")
        pwd.getpwuid = nobody
    sys.argv = [program, *arguments]
    if program.endswith(".py"):
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)

for number, command in enumerate(json.load(sys.stdin)):
    child = os.fork()
    if child:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    for stream in (1, 2):
        os.dup2(os.open(f"{sys.argv[1]}/{number}.{stream}", os.O_CREAT | os.O_WRONLY), stream)
    code = 0
    try:
        start(**command)
    except SystemExit as stop:
        code = stop.code or 0
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
"""


class Command(NamedTuple):
    """What is typed, and where.

    Attributes:
        program: dotted name of a module, or path of a file.
        arguments: after it.
        cwd: where the user stands.
        environment: variables beside those of the tests.
        homeless: HOME is not set, and the user has no passwd entry.
    """

    program: str
    arguments: tuple[str, ...]
    cwd: pathlib.Path
    environment: dict[str, str] = {}
    homeless: bool = False


class Done(NamedTuple):
    """What came of a command."""

    code: int
    out: str
    err: str

    def mistake(self) -> str:
        """The one line of a user's mistake."""
        assert self.code == 2, self
        assert self.out == "", self
        (line,) = self.err.splitlines()
        assert line.partition(": ")[0] in ("error", "prepare", "validate"), self
        return line


def run(commands: list[Command], folder: pathlib.Path) -> list[Done]:
    """Starts them one after the other; their outputs go through files of a folder."""
    folder.mkdir(exist_ok=True)
    told = [{**command._asdict(), "cwd": str(command.cwd)} for command in commands]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(folder)],
        input=json.dumps(told),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    codes = [int(code) for code in done.stdout.split()]
    outputs = [
        [(folder / f"{number}.{stream}").read_text() for stream in (1, 2)]
        for number in range(len(commands))
    ]
    return [Done(code, *output) for code, output in zip(codes, outputs, strict=True)]
