"""What several workers need and one of them makes."""

import fcntl
import os
import pathlib
import shutil
from collections.abc import Callable

import pytest


def shared_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> pathlib.Path:
    """Returns a folder of this run that all of its workers have, and no other run."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name


def made_once(folder: pathlib.Path, make: Callable[[pathlib.Path], object]) -> None:
    """Lets the first process that asks for ``folder`` make it; the others wait."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished)
            unfinished.rename(folder)
