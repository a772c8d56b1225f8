"""Reads the layout in which AFEW-VA is distributed: a folder a clip, pictures and one JSON file in it."""

import json
import pathlib
from typing import Any, NamedTuple

import numpy as np

from data_builders import folders
from data_builders.fault_report import FaultReport

_SUFFIXES = {".png", ".jpg", ".jpeg"}


class Clip(NamedTuple):
    """The frames of one clip that have landmarks: numbers, files, landmarks [N, 68, 2] in picture pixels."""

    name: str
    actor: str
    numbers: tuple[int, ...]
    paths: tuple[str, ...]
    landmarks: np.ndarray


def read_clips(root: pathlib.Path, report: FaultReport) -> list[Clip]:
    """Reads every clip below a folder.

    Args:
        root: holds ``001/001.json`` and its pictures, at most five folders down, for each of the twelve archives may
            be unpacked into a folder of its own.
        report: gets frames without 68 landmarks or without a picture, pictures without landmarks, second ones.

    Returns:
        Clips with at least one frame, by name.

    Raises:
        FileNotFoundError: where there is no clip.
        ValueError: for a JSON file that is not as distributed, naming it, and for a clip that is there twice.
    """
    files: dict[str, pathlib.Path] = {}
    for folder in folders.below(root):
        path = folder / f"{folder.name}.json"
        names = {file.name for file in folders.files(folder, 0)}
        if path.name not in names:
            if any(pathlib.Path(name).suffix.lower() in _SUFFIXES for name in names):
                report.add("clip without its JSON file", str(folder.relative_to(root)))
        elif path.stem in files:
            raise ValueError(f"clip {path.stem} appears twice: {files[path.stem]} and {path}")
        else:
            files[path.stem] = path
    if not files:
        raise FileNotFoundError(
            f"no clip below {root}; expected 001/001.json and its pictures{folders.packed(root)}"
        )
    folders.report_archives(root, report, depth=1)
    clips = [_read_clip(files[name], report) for name in sorted(files)]
    return [clip for clip in clips if clip.numbers]


def _read_clip(path: pathlib.Path, report: FaultReport) -> Clip:
    actor, frames = _parse(path)
    pictures: dict[str, str] = {}
    for picture in sorted(path.parent.iterdir()):
        if picture.suffix.lower() not in _SUFFIXES or picture.name.startswith("."):
            continue
        if pictures.setdefault(picture.stem, str(picture)) != str(picture):
            report.add("second picture of a frame", f"{path.stem}/{picture.name}")
    for name in sorted(pictures.keys() - frames.keys()):
        report.add("picture without landmarks", f"{path.stem}/{name}")
    numbers, paths, landmarks = [], [], []
    for name in sorted(frames, key=int):
        points = _points(frames[name])
        if points is None:
            report.add("landmark list that is not 68 points", f"{path.stem}/{name}")
        elif name not in pictures:
            report.add("landmarks without their picture", f"{path.stem}/{name}")
        elif int(name) in numbers[-1:]:
            report.add("second picture of a frame", f"{path.stem}/{name}")
        else:
            numbers.append(int(name))
            paths.append(pictures[name])
            landmarks.append(points)
    stacked = np.array(landmarks, np.float32).reshape(-1, 68, 2)
    return Clip(path.stem, actor, tuple(numbers), tuple(paths), stacked)


def _parse(path: pathlib.Path) -> tuple[str, dict[str, Any]]:
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from error
    actor = content.get("actor") if isinstance(content, dict) else None
    frames = content.get("frames") if isinstance(content, dict) else None
    if not actor or not isinstance(actor, str):
        raise ValueError(f"{path} names no actor, so its clip belongs to no split")
    if not isinstance(frames, dict) or not all(name.isdecimal() for name in frames):
        raise ValueError(f"{path}: 'frames' must map frame numbers to landmarks")
    return actor, frames


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names differ; JSON's reader would take the last of two without a word."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} appears twice")
        found[name] = value
    return found


def _points(frame: Any) -> np.ndarray | None:
    """[68, 2], or None for anything else."""
    try:
        points = np.asarray(frame["landmarks"], np.float32)
    except (TypeError, KeyError, ValueError):
        return None
    return points if points.shape == (68, 2) and np.isfinite(points).all() else None
