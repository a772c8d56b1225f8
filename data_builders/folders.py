"""Finds original files in folders as users have them: packed, nested one level too deep, with system files."""

import glob
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator

from data_builders.fault_report import FaultReport
from piapdf_jax.paths import local_path

#: Why an archive is counted that lies among files which are read.
ARCHIVE = "archive, of which nothing is read"
#: How far below the given folder the files of a data set are looked for.
DEPTH = 5
_ARCHIVES = {".zip", ".tar", ".tgz", ".gz", ".tbz2", ".bz2", ".txz", ".xz", ".7z", ".rar", ".zst"}
#: Packed pictures that no archiver unpacks.
_RECORDS = {
    ".rec": "RecordIO of MXNet",
    ".tfrecord": "TFRecord",
    ".parquet": "Parquet",
    ".mdb": "LMDB",
}
#: What systems, archivers and disks of a network leave behind; names that begin with a dot go with them.
_LEFT_BEHIND = {
    "__MACOSX",
    "@eaDir",
    "#recycle",
    "#snapshot",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
}
_LOOKED_AT = 10_000  # files in which archives are looked for
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp")


def is_left_behind(name: str) -> bool:
    """Returns whether a file or folder is none of the data set's, such as ``__MACOSX`` or ``._0001.jpg``."""
    return name.startswith(".") or name in _LEFT_BEHIND


def subfolders(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders in one by name, without those that systems leave behind."""
    return sorted(
        pathlib.Path(entry.path)
        for entry in os.scandir(folder)
        if not is_left_behind(entry.name) and entry.is_dir()
    )


def below(folder: pathlib.Path, depth: int = DEPTH) -> Iterator[pathlib.Path]:
    """Yields the folders below one, each before those in it."""
    for child in subfolders(folder) if depth else ():
        yield child
        yield from below(child, depth - 1)


def files(folder: pathlib.Path, depth: int = DEPTH) -> Iterator[pathlib.Path]:
    """Yields the files in a folder and below, by name, without those that systems leave behind."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if is_left_behind(entry.name):
            continue
        if entry.is_file():
            yield pathlib.Path(entry.path)
        elif depth and entry.is_dir():
            yield from files(pathlib.Path(entry.path), depth - 1)


def is_archive(path: pathlib.Path) -> bool:
    """Returns whether a file is named as an archive, or as one of its volumes (``.7z.001``)."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1][1:].isdigit():
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in _ARCHIVES


def report_archives(root: pathlib.Path, report: FaultReport, *, depth: int = 0) -> None:
    """Counts the archives in a folder, so many folders down, for what is in them may be missing beside them."""
    for path in files(root, depth):
        if is_archive(path):
            report.add(ARCHIVE, str(path.relative_to(root)))


def manual(
    name: str, instructions: str | None, manual_dir: str | os.PathLike[str] | None
) -> pathlib.Path | None:
    """Returns the folder of the original files of a data set; None where it needs none.

    Args:
        name: of the data set.
        instructions: what its builder says of the folder; empty where it needs none.
        manual_dir: what the user gave.

    Raises:
        FileNotFoundError: where it is not given, not there or empty; says what should lie in it.
    """
    if not instructions:
        return None
    where = " ".join(instructions.split())
    if manual_dir is None:
        raise FileNotFoundError(
            f"{name} needs --manual_dir, the folder of the original files. {where}"
        )
    folder = local_path(manual_dir, "--manual_dir")
    if not folder.is_dir() or not any(folder.iterdir()):
        raise FileNotFoundError(f"--manual_dir {folder} {state(folder)}. {where}")
    return folder


def people_folder(manual: pathlib.Path, names: tuple[str, ...]) -> pathlib.Path:
    """Returns the folder that holds a folder of pictures for each person, as ``lfw/lfw-deepfunneled`` may do.

    Args:
        manual: the folder that was given; it may be that one.
        names: what it is called in the distributions, the preferred one first.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where there are several, none of them with such a name.
    """
    found = [folder for folder in (manual, *below(manual, 3)) if _holds_people(folder)]
    for name in names:
        named = [folder for folder in found if folder.name.lower() == name.lower()]
        if named:
            return min(named, key=lambda folder: len(folder.parts))
    if not found:
        raise FileNotFoundError(
            f"{manual} holds no folder of a person with pictures; expected"
            f" {' or '.join(names)} below it, or the people's folders themselves{packed(manual)}"
        )
    top = min(len(folder.parts) for folder in found)
    one, *more = (folder for folder in found if len(folder.parts) == top)
    if more:
        raise ValueError(
            f"people lie in {one} and in {more[0]}: give one of them as --manual_dir, or put all"
            f" people into {manual / names[0]}"
        )
    return one


def _holds_people(folder: pathlib.Path) -> bool:
    return any(
        name.lower().endswith(_PICTURES) and not is_left_behind(name)
        for person in subfolders(folder)
        for name in os.listdir(person)
    )


def beside(name: str, folder: pathlib.Path, manual: pathlib.Path) -> pathlib.Path:
    """Finds a file that belongs to a whole data set: in the given folder, in that of the people or on the way to it.

    Args:
        name: of the file.
        folder: of the people.
        manual: the folder that was given.

    Returns:
        The first that is there, else where it should be.
    """
    way = [folder, *folder.parents]
    places = reversed(way[: way.index(manual) + 1])
    return next((p / name for p in places if (p / name).is_file()), manual / name)


def packed(folder: pathlib.Path) -> str:
    """Returns what to do with an archive near the top of a folder, for the end of a message; "" without one."""
    return packed_among(itertools.islice(files(folder, 2), _LOOKED_AT))


def packed_among(paths: Iterable[pathlib.Path]) -> str:
    """Returns what to do with the first file of some that is an archive, for the end of a message; "" for none."""
    for path in paths:
        if is_archive(path):
            return f"; {path} is packed: unpack it first"
        if kind := _RECORDS.get(path.suffix.lower()):
            return f"; {path} is {kind}, not pictures: write them into a folder a person first"
    return ""


def state(folder: pathlib.Path) -> str:
    """Returns why a folder holds nothing: it is empty, missing, a file, or still packed."""
    if folder.is_dir():
        return "is empty"
    if folder.exists():
        return "is a file, no folder" + packed_among([folder])
    near = sorted(folder.parent.glob(f"{glob.escape(folder.name)}.*")) if folder.name else []
    return "does not exist" + packed_among(near)
