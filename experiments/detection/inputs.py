"""Inputs that a user names, each with its own table: a picture, the pictures of a folder, a film, a camera."""

import collections
import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from experiments.detection.settings import Settings
from piapdf_jax import capture, paths, photographs
from piapdf_jax.capture import Shot

_CAMERA = re.compile(r"camera:(\d{1,4})")
#: Files and folders that a command of detection draws.
_OVERLAY = re.compile(r"(.+)_overlay(?:\.jpg|\.webm)?", re.DOTALL)
#: Bytes of the name of a table, which leaves room for its endings.
_LONGEST = 200
Wanted = Callable[[int, float | None], bool]


class Shots(Protocol):
    """An opened input."""

    def shots(self, wanted: Any) -> Iterator[Any]:
        """Yields frames in order, see ``capture.Film.shots``."""
        ...

    def describe(self) -> dict[str, Any]:
        """Returns, at the end, frames ``read`` and ``expected``, ``notes``, whether the input is ``broken``."""
        ...

    @property
    def rate(self) -> float | None:
        """Frames a second; None where nobody knows, and of pictures."""
        ...

    def looked_at(self, settings: Settings) -> int | None:
        """Estimates how many frames will be looked at; None where nobody knows."""
        ...


@dataclasses.dataclass(frozen=True)
class Input:
    """One input, which gets one table.

    Attributes:
        text: as the user named it; of a folder's film, folder and path in it.
        stem: of the names of its tables.
        kind: ``picture``, ``pictures``, ``film`` or ``camera``.
        files: its files; of a camera, its number.
        names: of the rows of each file of ``pictures``.
    """

    text: str
    stem: str
    kind: str
    files: tuple[str, ...]
    names: tuple[str, ...] = ()

    @property
    def is_film(self) -> bool:
        """Whether frames follow one another in time."""
        return self.kind in ("film", "camera")

    def frame_name(self, number: int) -> str:
        """Returns the cell ``input`` of a frame's rows."""
        return self.names[number] if self.names else self.text

    def open(self, *, threads: int = 1) -> Shots:
        """Opens the input.

        Raises:
            ValueError: for a film or camera that cannot be read at all.
        """
        if self.kind == "film":
            return _Film(capture.Film(self.files[0], threads=threads))
        if self.kind == "camera":
            return _Film(capture.Camera(int(self.files[0])))
        return _Pictures(self.files)

    def checksum(self) -> tuple[str, int]:
        """Returns SHA-256 and bytes of its files; of several, of the names and checksums of all; of a camera "", 0."""
        if self.kind == "camera":
            return "", 0
        found = [_sha256(path) for path in self.files]
        size = sum(nbytes for _, nbytes in found)
        if not self.names:
            return found[0][0], size
        state = hashlib.sha256()
        for name, (checksum, _) in zip(self.names, found, strict=True):
            state.update(f"{checksum}  {name}\n".encode("utf-8", "surrogateescape"))
        return state.hexdigest(), size


class _Film:
    """A film or camera, with what is known of it at the end."""

    def __init__(self, reader: Any):
        self._reader = reader
        self.rate: float | None = reader.rate
        self._whole = False

    def shots(self, wanted: Wanted) -> Iterator[Shot]:
        """See ``capture.Film.shots``."""
        yield from self._reader.shots(wanted)
        self._whole = True

    def looked_at(self, settings: Settings) -> int | None:
        """See ``Shots``: of the frames that the film says it has."""
        reader = self._reader
        if reader.expected is None or not reader.rate:
            return None
        end = min(reader.expected / reader.rate, settings.end or float("inf"))
        rate = min(reader.rate / settings.every, settings.fps or float("inf"))
        return max(0, round((end - settings.start) * rate))

    def describe(self) -> dict[str, Any]:
        """See ``Shots``; where no more was asked for than a part, nothing is missing."""
        reader = self._reader
        return {
            "read": reader.read,
            "expected": reader.expected,
            "notes": reader.notes(),
            "broken": self._whole and reader.ended_early,
        }


class _Pictures:
    """Pictures one after another."""

    rate: float | None = None

    def __init__(self, files: Sequence[str]):
        self._files = files

    def shots(self, wanted: Wanted) -> Iterator[Any]:
        """Pictures that are wanted; None for one that cannot be read, with the reason as ``fault``."""
        for number, path in enumerate(self._files):
            if wanted(number, None):
                try:
                    yield Shot(number, None, photographs.read_photograph(path))  # pyright: ignore
                except (ValueError, OSError, MemoryError) as error:
                    yield _BadPicture(number, " ".join(str(error).split()))

    def looked_at(self, settings: Settings) -> int:
        """See ``Shots``."""
        return -(-len(self._files) // settings.every)

    def describe(self) -> dict[str, Any]:
        """See ``Shots``."""
        count = len(self._files)
        return {"read": count, "expected": count, "notes": [], "broken": False}


@dataclasses.dataclass(frozen=True)
class _BadPicture:
    """Shot of a picture that cannot be read."""

    number: int
    fault: str
    timestamp: None = None
    picture: None = None


def collect(texts: Sequence[str], *, recursive: bool) -> tuple[list[Input], list[str]]:
    """Turns what the user names into inputs.

    Args:
        texts: files, folders, ``camera:N``.
        recursive: whether folders below those are searched as well.

    Returns:
        Inputs, in the order given, with names of tables that no two share; and what is wrong with the others, a line
        each.
    """
    found: list[Input] = []
    faults: list[str] = []
    for text in texts:
        try:
            made = _inputs(text, recursive, faults)
        except (OSError, ValueError) as error:
            faults.append(f"{text}: {' '.join(str(error).split())}")
            continue
        found += [entry for entry in made if entry not in found]
    return _told_apart(found), faults


def _inputs(text: str, recursive: bool, faults: list[str]) -> list[Input]:
    camera = _CAMERA.fullmatch(text)
    if camera:
        return [Input(text, f"camera{camera[1]}", "camera", (camera[1],))]
    path = paths.local_path(text, "input")
    if path.is_dir():
        return _of_folder(text, path, recursive, faults)
    if not path.exists():
        raise ValueError("does not exist")
    if not path.is_file():
        raise ValueError("is neither a file nor a folder")
    kind = "picture" if photographs.is_photograph(path) else "film"
    return [Input(text, path.stem, kind, (str(path),))]


def _of_folder(text: str, path: pathlib.Path, recursive: bool, faults: list[str]) -> list[Input]:
    listed = photographs.pictures_and_films(path, recursive=recursive)
    faults += [f"{text}: {line}" for line in listed.faults]
    pictures, films = (
        [file for file in files if not _is_overlay(file)]
        for files in (listed.pictures, listed.films)
    )
    if not pictures and not films:
        deeper = "" if recursive else " (--recursive looks into the folders below as well)"
        raise ValueError(f"the folder holds no picture and no film{deeper}")
    made = []
    if pictures:
        names = tuple(os.path.join(text, file.relative_to(path)) for file in pictures)
        stem = os.path.basename(os.path.normpath(path)) or "pictures"
        made.append(Input(text, stem, "pictures", tuple(map(str, pictures)), names))
    for film in films:
        name = os.path.join(text, film.relative_to(path))
        made.append(Input(name, film.stem, "film", (str(film),)))
    return made


def _is_overlay(file: pathlib.Path) -> bool:
    """Whether a file, or its folder, was drawn by an earlier command, whose ``NAME.json`` lies beside it."""
    matches = ((path, _OVERLAY.fullmatch(path.name)) for path in (file, file.parent))
    return any(match and path.with_name(f"{match[1]}.json").is_file() for path, match in matches)


def _told_apart(found: list[Input]) -> list[Input]:
    """Names of tables: the file's without its ending, with it where two would be the same, then numbered."""
    stems = collections.Counter(entry.stem for entry in found)
    taken: set[str] = set()
    made = []
    for entry in found:
        stem = entry.stem if stems[entry.stem] == 1 else pathlib.Path(entry.files[0]).name
        if entry.kind in ("pictures", "camera"):
            stem = entry.stem
        stem = os.fsencode(stem)[:_LONGEST].decode(errors="ignore") if _is_long(stem) else stem
        name, count = stem, 1
        while name in taken:
            count += 1
            name = f"{stem}_{count}"
        taken.add(name)
        made.append(dataclasses.replace(entry, stem=name))
    return made


def _is_long(stem: str) -> bool:
    return len(os.fsencode(stem)) > _LONGEST


def _sha256(path: str) -> tuple[str, int]:
    try:
        with open(path, "rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
            return checksum, os.fstat(file.fileno()).st_size
    except OSError as error:
        return f"unreadable: {error.strerror}", 0
