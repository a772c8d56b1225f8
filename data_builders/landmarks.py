"""Landmarks of the frames of a video: detected once, cached on disk, gaps filled from neighboring frames."""

import functools
import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from data_builders import crops, target_files
from piapdf_jax import pictures
from piapdf_jax.faces import LandmarkDetector

#: How a frame came to its landmarks.
FOUND, BORROWED, NO_FACE, UNREADABLE, UNKNOWN_RANGE = range(5)
#: Why a picture was not searched.
REFUSED = {UNREADABLE: crops.UNREADABLE, UNKNOWN_RANGE: crops.UNKNOWN_RANGE}
#: Frames further away than this lend no landmarks (half a second at 25 frames a second).
REACH = 12


class VideoFiles(NamedTuple):
    """One video to find landmarks in.

    Attributes:
        name: what its cache file is called.
        paths: picture files, in time order.
        numbers: frame number of each; () for pictures that are no video and lend one another nothing.
        cache: folder of the cache.
        detector: makes the detector, in whatever process this is; importable by name.
    """

    name: str
    paths: tuple[str, ...]
    numbers: tuple[int, ...]
    cache: str
    detector: Callable[[], LandmarkDetector]


class VideoLandmarks(NamedTuple):
    """Landmarks [N, 68, 2] float32 in picture pixels (NaN: none) and their origin [N] uint8."""

    landmarks: np.ndarray
    origin: np.ndarray


def find_landmarks(video: VideoFiles) -> VideoLandmarks:
    """Finds the landmarks of every frame of a video.

    A frame whose file has the name, size and time of change of the cached one is not searched
    again, unless pictures are read in another way since. Where no face is found, the nearest frames
    before and after it lend theirs, by linear interpolation over the frame number; so does a single
    neighbor at the ends.

    Args:
        video: files and cache.

    Returns:
        One set of landmarks a frame.
    """
    detector = _detector(video.detector)
    cache = pathlib.Path(video.cache, detector.digest, f"{video.name}.npz")
    known = _read_cache(cache)
    keys = [_key(path) for path in video.paths]
    landmarks = np.full((len(keys), 68, 2), np.nan, np.float32)
    origin = np.full(len(keys), NO_FACE, np.uint8)
    new = False
    for row, (path, key) in enumerate(zip(video.paths, keys, strict=True)):
        if key not in known:
            known[key], new = _search(path, detector), True
        landmarks[row], origin[row] = known[key]
    if new:
        target_files.write_arrays(cache, keys=np.array(keys), landmarks=landmarks, origin=origin)
    found = VideoLandmarks(landmarks, origin)
    return fill_gaps(found, np.asarray(video.numbers)) if video.numbers else found


def fill_gaps(found: VideoLandmarks, numbers: np.ndarray, *, reach: int = REACH) -> VideoLandmarks:
    """Gives frames without a face the landmarks of their neighbors.

    Args:
        found: landmarks as detected.
        numbers: [N] int, frame numbers, rising.
        reach: largest distance in frame numbers at which a frame lends its landmarks.

    Returns:
        The same with ``NO_FACE`` turned into ``BORROWED`` where a neighbor is near enough.
    """
    landmarks, origin = found.landmarks.copy(), found.origin.copy()
    sure = np.flatnonzero(found.origin == FOUND)
    for row in np.flatnonzero(found.origin == NO_FACE):
        after = np.searchsorted(sure, row)
        near = [
            other
            for other in sure[max(after - 1, 0) : after + 1]
            if abs(numbers[other] - numbers[row]) <= reach
        ]
        if not near:
            continue
        weights = np.ones(1)
        if len(near) == 2:
            share = (numbers[row] - numbers[near[0]]) / (numbers[near[1]] - numbers[near[0]])
            weights = np.array([1 - share, share])
        landmarks[row] = np.tensordot(weights, found.landmarks[near], 1)
        origin[row] = BORROWED
    return VideoLandmarks(landmarks, origin)


@functools.lru_cache(maxsize=1)
def _detector(factory: Callable[[], LandmarkDetector]) -> LandmarkDetector:
    return factory()


def _search(path: str, detector: LandmarkDetector) -> tuple[np.ndarray, int]:
    nothing = np.full((68, 2), np.nan, np.float32)
    image = crops.read(path)
    if isinstance(image, str):
        return nothing, UNREADABLE if image == crops.UNREADABLE else UNKNOWN_RANGE
    points = detector(image)
    return (nothing, NO_FACE) if points is None else (points, FOUND)


def _key(path: str) -> str:
    state = os.stat(path)
    # Another reader may refuse what this one took, and what it finds must not outlive it.
    return f"{os.path.basename(path)}:{state.st_size}:{state.st_mtime_ns}:{pictures.digest()}"


def _read_cache(path: pathlib.Path) -> dict[str, tuple[np.ndarray, int]]:
    stored = target_files.read_arrays(path)
    if stored is None or stored.keys() != {"keys", "landmarks", "origin"}:
        return {}  # no cache, or a torn one, which only costs the search
    keys, landmarks, origin = stored["keys"], stored["landmarks"], stored["origin"]
    if landmarks.shape != (len(keys), 68, 2) or origin.shape != (len(keys),):
        return {}
    return {
        str(key): (points, int(kind))
        for key, points, kind in zip(keys, landmarks, origin, strict=True)
    }
