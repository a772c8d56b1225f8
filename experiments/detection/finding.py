"""Decodes frames and finds faces in worker processes: frames to blocks of faces and crops."""

import contextlib
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import queue as queues
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from experiments.detection import tracks
from experiments.detection.inputs import Input
from experiments.detection.rows import UNREADABLE
from experiments.detection.settings import PastEnd, Selection, Settings
from piapdf_jax import faces
from piapdf_jax.detector import cut_faces

#: Blocks that a process may be ahead of the network.
_AHEAD = 2


class FoundFace(NamedTuple):
    """A face as a row has it: box, confidence, roll, and the similarity to its crop."""

    box: tuple[float, float, float, float]
    confidence: float
    roll: float
    crop: tuple[float, float, float, float]


class FoundFrame(NamedTuple):
    """A frame that was looked at: why there is no face, whether the film was cut before it, why it cannot be read."""

    name: str
    number: int
    timestamp: float | None
    faces: tuple[FoundFace, ...]
    reason: str
    cut: bool
    fault: str = ""


class Block(NamedTuple):
    """Some frames in order, the crops [N, 256, 256, 3] uint8 of all their faces, and seconds per activity."""

    number: int
    frames: tuple[FoundFrame, ...]
    crops: np.ndarray
    seconds: dict[str, float]


class End(NamedTuple):
    """End of an input, with its description, see ``inputs.Shots``."""

    description: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Share:
    """Which blocks a process makes: every ``of``-th from ``place`` on, none before ``first``."""

    place: int = 0
    of: int = 1
    first: int = 0

    def has(self, block: int) -> bool:
        """Returns whether this process makes a block."""
        return block >= self.first and block % self.of == self.place


class Looking:
    """Says of each frame in order whether it is decoded, and of which block it is.

    Decoded are the frames of a process's own blocks, and the one before each of them, which tells whether the film was
    cut there.
    """

    def __init__(self, settings: Settings, share: Share, stop: Callable[[], bool] = lambda: False):
        self._select = Selection(settings)
        self._size, self._share, self._stop = settings.batch, share, stop
        self.selected = 0

    def __call__(self, number: int, timestamp: float | None) -> bool:
        """Returns whether a frame is decoded.

        Raises:
            PastEnd: where no later frame is looked at.
        """
        if self._stop():
            raise PastEnd
        if not self._select(number, timestamp):
            return False
        place = self.selected
        self.selected += 1
        ahead = (place + 1) // self._size
        return self._share.has(place // self._size) or (
            (place + 1) % self._size == 0 and self._share.has(ahead)
        )

    @property
    def block(self) -> int:
        """Block of the frame that was decoded last."""
        return (self.selected - 1) // self._size


def blocks(
    source: Input,
    settings: Settings,
    finder: faces.FaceFinder,
    share: Share,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Block | End]:
    """Makes a process's share of an input's blocks, then says what is known of the input.

    Args:
        source: what is read.
        settings: which frames, which faces.
        finder: of faces.
        share: which blocks.
        stop: whether what comes is left out, asked before every frame.

    Yields:
        Blocks in order, and ``End``.

    Raises:
        ValueError: for an input that cannot be read at all.
    """
    looking, shots = Looking(settings, share, stop), source.open()
    builder = _Builder(source, settings, finder)
    current, ended = -1, time.perf_counter()
    try:
        for shot in shots.shots(looking):
            decoded = time.perf_counter()
            builder.spent("decoding", decoded - ended)
            if looking.block != current and current >= 0 and builder.frames:
                yield builder.block(current)
            current = looking.block
            builder.add(shot, own=share.has(current))
            ended = time.perf_counter()
            builder.spent("finding", ended - decoded)
    except PastEnd:
        pass
    if builder.frames:
        yield builder.block(current)
    yield End(shots.describe())


class _Builder:
    """Frames of one block at a time."""

    def __init__(self, source: Input, settings: Settings, finder: faces.FaceFinder):
        self._source, self._finder = source, finder
        self._most = 1 if settings.faces == "one" else None
        self._before: np.ndarray | None = None
        self.frames: list[FoundFrame] = []
        self._crops: list[np.ndarray] = []
        self._seconds = {"decoding": 0.0, "finding": 0.0}

    def spent(self, what: str, seconds: float) -> None:
        self._seconds[what] += seconds

    def add(self, shot: Any, *, own: bool) -> None:
        """Looks at a frame; one of another block only says whether the film is cut after it."""
        picture, cut = shot.picture, False
        if picture is None:
            self._before = None
        elif self._source.is_film:
            now = tracks.thumbnail(picture)
            cut, self._before = tracks.is_cut(self._before, now), now
        if own:
            found, reason = ([], UNREADABLE) if picture is None else self._search(picture)
            name = self._source.frame_name(shot.number)
            time = None if shot.timestamp is None else round(shot.timestamp, 6)
            fault = getattr(shot, "fault", "")
            self.frames.append(
                FoundFrame(name, shot.number, time, tuple(found), reason, cut, fault)
            )

    def _search(self, picture: np.ndarray) -> tuple[list[FoundFace], str]:
        cropped, reason = cut_faces(self._finder, picture, most=self._most)
        self._crops += [one.crop for one in cropped]
        return [_plain(one.face) for one in cropped], reason

    def block(self, number: int) -> Block:
        """Returns what was collected, and starts anew."""
        crops = np.stack(self._crops) if self._crops else np.zeros((0, 256, 256, 3), np.uint8)
        made = Block(number, tuple(self.frames), crops, dict(self._seconds))
        self.frames, self._crops = [], []
        self._seconds = dict.fromkeys(self._seconds, 0.0)
        return made


def _plain(face: faces.Face) -> FoundFace:
    matrix = faces.crop_matrix(face.landmarks)
    a, b, x, y = matrix[0, 0], matrix[1, 0], matrix[0, 2], matrix[1, 2]
    box = tuple(round(float(v), 2) for v in face.box)
    return FoundFace(
        box,  # pyright: ignore
        round(float(face.score), 6),
        round(float(face.roll), 2) + 0.0,  # no -0
        (round(float(a), 8), round(float(b), 8), round(float(x), 4), round(float(y), 4)),
    )


def _end_with_parent() -> None:
    """Ends this process when the one that started it is gone, by whatever signal."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


@contextlib.contextmanager
def _ahead(line: Any) -> Iterator[Callable[[Any], None]]:
    """Yields what takes things to send down a line, and waits where ``_AHEAD`` of them are not taken yet."""
    waiting: queues.Queue[Any] = queues.Queue(_AHEAD)

    def send() -> None:
        try:
            for made in iter(waiting.get, None):
                line.send(made)
        except OSError:  # nobody is there any more who takes it
            os._exit(1)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    yield waiting.put
    waiting.put(None)
    thread.join()


def work(line: Any, source: Input, settings: Settings, share: Share) -> None:
    """Runs in a process of its own: sends its blocks, ``End`` or the text of an error down a line."""
    # Ctrl-C reaches every process of a terminal; the one that started this one ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with _ahead(line) as put:
        try:
            import cv2

            cv2.setNumThreads(1)  # one process a core
            for made in blocks(source, settings, faces.make_finder(settings.finder), share):
                put(made)
        except (ValueError, OSError, MemoryError) as error:
            put(f"{' '.join(str(error).split()) or type(error).__name__}")
        except Exception:
            put(f"unexpected: {traceback.format_exc()}")
