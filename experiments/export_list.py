"""Exports below RUNS: how large and old they are, and who uses them.

A run uses the exports named in its results, including earlier results (``results.N.json``), those after which its
folders of trainings are named, and those that these trainings depend on, finished or not. An export uses those that
it was made from.
"""

import dataclasses
import json
import os
import pathlib
import re
import time
from collections.abc import Iterator
from typing import Any

from experiments.trainings import TRAININGS
from piapdf_jax.runtime import exports, lock

#: Training and digest.
Name = tuple[str, str]
_RESULTS = re.compile(r"results(\.\d+)?\.json")
#: In the folder of a training of a run, and what each calls the exports that were taken.
_OF_TRAINING = {"export.json": "consumed", "fingerprint.json": "takes"}
_UNFINISHED = re.compile(r"\.(?P<digest>[^.]+)\.[0-9a-f]{8}\.tmp")
#: Folders that stay whoever names them: the second is none that a run has written.
_LINK, _NO_EXPORT = "a link to somewhere else", "no export.json in it"
_READ_ERRORS = (OSError, ValueError, LookupError, TypeError, AttributeError)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """A folder of ``RUNS/exports``.

    Attributes:
        training, digest: its name.
        folder: where it lies.
        nbytes: of its files.
        age: seconds since it was written.
        parts: names of its parts.
        inputs: exports that it was made of.
        runs: names of the runs that use it.
        exports: those that were made of it.
        held: whether a run may be making it.
        problem: why it is no export that can be read, "" for none.
        kept: whether a run uses it, directly or through other exports, or it is not ours to delete.
    """

    training: str
    digest: str
    folder: pathlib.Path
    nbytes: int
    age: float
    parts: tuple[str, ...] = ()
    inputs: tuple[Name, ...] = ()
    runs: tuple[str, ...] = ()
    exports: tuple[Name, ...] = ()
    held: bool = False
    problem: str = ""
    kept: bool = True

    @property
    def name(self) -> Name:
        """Training and digest."""
        return self.training, self.digest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unfinished:
    """What a run that was ended while it wrote an export, or a deletion that was stopped, has left."""

    training: str
    folder: pathlib.Path
    nbytes: int
    age: float
    held: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """All exports of a folder of runs.

    Attributes:
        exports: by training, the newest first.
        unfinished: folders that never became one.
        damaged: a line for each file of a run that does not say which exports it names.
    """

    exports: tuple[Export, ...]
    unfinished: tuple[Unfinished, ...]
    damaged: tuple[str, ...]


def read_listing(runs: pathlib.Path) -> Listing:
    """Reads who uses which export; writes nothing.

    Args:
        runs: RUNS.

    Raises:
        FileNotFoundError: where it holds no exports.
    """
    top = runs / "exports"
    if not top.is_dir():
        raise FileNotFoundError(f"{runs} holds no exports: name the folder that holds all runs")
    named, damaged = _named_by_runs(runs)
    found: dict[Name, Export] = {}
    unfinished: list[Unfinished] = []
    for training in sorted(path for path in top.iterdir() if path.is_dir()):
        for folder in sorted(path for path in training.iterdir() if path.is_dir()):
            if folder.name.startswith("."):
                unfinished += _unfinished(runs, folder)
            else:
                export = _export(runs, folder)
                found[export.name] = export
    damaged += _damaged(found, named)
    order = list(TRAININGS)
    entries = sorted(
        _with_users(found, named),
        key=lambda export: (
            order.index(export.training) if export.training in order else len(order),
            export.training,
            export.age,
        ),
    )
    return Listing(exports=tuple(entries), unfinished=tuple(unfinished), damaged=tuple(damaged))


def _export(runs: pathlib.Path, folder: pathlib.Path) -> Export:
    training, digest = folder.parent.name, folder.name
    problem, info = "", {}
    file = folder / "export.json"
    try:
        info = exports.read_info(folder)
        inputs = tuple((str(name), str(other)) for name, other in info["consumed"].items())
        parts = tuple(map(str, info["parts"]))
    except FileNotFoundError:
        problem, inputs, parts = _NO_EXPORT, (), ()
    except _READ_ERRORS as error:
        problem, inputs, parts = f"export.json cannot be read ({_words(error)})", (), ()
    if folder.is_symlink() or folder.parent.is_symlink():
        problem = _LINK
    return Export(
        training=training,
        digest=digest,
        folder=folder,
        nbytes=_size(folder),
        age=_age([file if file.is_file() else folder]),
        parts=parts,
        inputs=inputs,
        held=lock.is_held(exports.lock_path(runs, training, digest)),
        problem=problem,
    )


def _unfinished(runs: pathlib.Path, folder: pathlib.Path) -> Iterator[Unfinished]:
    match = _UNFINISHED.fullmatch(folder.name)
    if match and not folder.is_symlink() and not folder.parent.is_symlink():
        training = folder.parent.name
        path = exports.lock_path(runs, training, match["digest"])
        yield Unfinished(
            training=training,
            folder=folder,
            nbytes=_size(folder),
            age=_age([folder, *_files(folder)]),
            held=lock.is_held(path),
        )


def _files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Files and folders below a folder; links are not followed."""
    for above, folders, files in os.walk(folder):
        yield from (pathlib.Path(above, name) for name in (*folders, *files))


def _size(folder: pathlib.Path) -> int:
    total = 0
    for path in _files(folder):
        try:
            stat = path.lstat()
        except FileNotFoundError:  # a run has deleted it meanwhile
            continue
        total += 0 if path.is_dir() else stat.st_size
    return total


def _age(files: list[pathlib.Path]) -> float:
    """Seconds since the newest of some files changed."""
    times = []
    for path in files:
        try:
            times.append(path.lstat().st_mtime)
        except FileNotFoundError:
            times.append(time.time())
    return time.time() - max(times)


def _named_by_runs(runs: pathlib.Path) -> tuple[dict[Name, set[str]], list[str]]:
    """Exports that files of runs name, by whom, and a line for each file that cannot be read."""
    named: dict[Name, set[str]] = {}
    damaged: list[str] = []

    def unreadable(error: OSError) -> None:
        damaged.append(f"{error.filename} cannot be read ({error.strerror})")

    seen: set[str] = set()
    # Links are followed here, since a run that lies elsewhere uses exports as well.
    for above, folders, files in os.walk(runs, followlinks=True, onerror=unreadable):
        real = os.path.realpath(above)
        top = pathlib.Path(above) == runs
        folders[:] = sorted(
            name for name in folders if name[0] != "." and not (top and name == "exports")
        )
        if real in seen or _OF_TRAINING.keys() & set(files):
            folders.clear()  # checkpoints and the like
        if real in seen:
            continue
        seen.add(real)
        for file in sorted(files):
            path = pathlib.Path(above, file)
            try:
                for name in _names_in(path):
                    named.setdefault(name, set()).add(_run_of(path, runs))
            except _READ_ERRORS as error:
                damaged.append(f"{path} cannot be read ({_words(error)})")
    return named, damaged


def _run_of(path: pathlib.Path, runs: pathlib.Path) -> str:
    """The name of the run that a file belongs to."""
    folder = path.parent.parent.parent if path.name in _OF_TRAINING else path.parent
    return str(folder.relative_to(runs)) if folder.is_relative_to(runs) else str(folder)


def _names_in(path: pathlib.Path) -> Iterator[Name]:
    """Exports that a file of a run names; none in files of other kinds."""
    if path.name in _OF_TRAINING:
        told = _object(path)
        yield path.parent.parent.name, path.parent.name
        yield from _pairs(told.get(_OF_TRAINING[path.name], {}))
    elif _RESULTS.fullmatch(path.name):
        told = _object(path)
        for training, export in told["trainings"].items():
            yield training, str(export["digest"])
            yield from _pairs(export.get("consumed", {}))
        yield from ((name, str(export["digest"])) for name, export in told.get("stale", {}).items())
    elif path.name == "config.json":
        _object(path)


def _pairs(told: dict[str, Any]) -> Iterator[Name]:
    return ((str(name), str(digest)) for name, digest in told.items())


def _object(path: pathlib.Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")).items())


def _words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error!s:.200}".split())


def _damaged(found: dict[Name, Export], named: dict[Name, set[str]]) -> list[str]:
    """A line for each export that is used and does not say what it was made of."""
    return [
        f"{export.folder}: {export.problem}"
        for name, export in found.items()
        if name in named and export.problem.startswith("export.json")
    ]


def _with_users(found: dict[Name, Export], named: dict[Name, set[str]]) -> Iterator[Export]:
    """Adds who uses each export, and whether it stays."""
    takers: dict[Name, list[Name]] = {}
    for name, export in found.items():
        for other in export.inputs:
            takers.setdefault(other, []).append(name)
    kept: set[Name] = set()
    waiting = [
        name
        for name, export in found.items()
        if name in named or export.held or export.problem in (_LINK, _NO_EXPORT)
    ]
    while waiting:
        name = waiting.pop()
        if name in found and name not in kept:
            kept.add(name)
            waiting += found[name].inputs
    for name, export in found.items():
        yield dataclasses.replace(
            export,
            runs=tuple(sorted(named.get(name, ()))),
            exports=tuple(sorted(takers.get(name, ()))),
            kept=name in kept,
        )
