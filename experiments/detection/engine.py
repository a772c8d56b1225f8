"""Turns one input into rows: runs blocks of crops through the network, numbers faces, saves every block."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from experiments.detection.feeding import feed
from experiments.detection.finding import Block, End, FoundFrame
from experiments.detection.inputs import Input
from experiments.detection.journal import Journal
from experiments.detection.rows import UNREADABLE, Row
from experiments.detection.settings import Settings
from experiments.detection.tracks import Tracker
from piapdf_jax.detector import Detector

#: So many faults of single pictures are named.
_NAMED_FAULTS = 20


class Counts(NamedTuple):
    """What rows come to; grows block by block and is kept with them."""

    frames: int = 0
    with_face: int = 0
    faces: int = 0
    reasons: dict[str, int] = {}
    faults: tuple[str, ...] = ()


class Finished(NamedTuple):
    """An input whose rows are all in its journal: their counts, description of the input, seconds per activity."""

    counts: Counts
    description: dict[str, Any]
    seconds: dict[str, float]


def run(
    source: Input,
    settings: Settings,
    detector: Detector,
    journal: Journal,
    *,
    workers: int,
    progress: Callable[[Counts, dict[str, Any]], None],
    stop: Callable[[], bool] = lambda: False,
) -> Finished:
    """Makes the rows of an input, from where its journal stands.

    Args:
        source: the input.
        settings: which frames and faces, and the batch.
        detector: the network.
        journal: opened here, left open.
        workers: processes that decode and find; 0 for none.
        progress: called after every block.
        stop: with no processes, whether what comes is left out.

    Raises:
        InputError: for an input that cannot be read.
        OSError: where the disk refuses rows.
    """
    start = {"tracker": Tracker().state(), "counts": Counts()._asdict()}
    done = journal.open(start)
    tracker = Tracker(done.state["tracker"])
    counts = Counts(**{**done.state["counts"], "faults": tuple(done.state["counts"]["faults"])})
    seconds: dict[str, float] = {"decoding": 0.0, "finding": 0.0, "network": 0.0}
    with feed(source, settings, first=done.blocks, workers=workers, stop=stop) as made:
        for block in made:
            if isinstance(block, End):
                return Finished(counts, block.description, seconds)
            rows = _rows(block, settings, detector, tracker, seconds)
            counts = _counted(counts, block)
            state = {"tracker": tracker.state(), "counts": counts._asdict()}
            journal.append(block.number, rows, state)
            progress(counts, seconds)
    raise AssertionError("blocks end with End")


def _rows(
    block: Block,
    settings: Settings,
    detector: Detector,
    tracker: Tracker,
    seconds: dict[str, float],
) -> list[Row]:
    for name, spent in block.seconds.items():
        seconds[name] += spent
    begun = time.perf_counter()
    scores = iter(_scores(block.crops, settings.batch, detector))
    seconds["network"] += time.perf_counter() - begun
    rows = []
    for frame in block.frames:
        boxes = [face.box for face in frame.faces]
        # In a folder of pictures no face goes on.
        numbers = (
            tracker.number(boxes, cut=frame.cut)
            if frame.timestamp is not None
            else range(len(boxes))
        )
        place = (frame.name, frame.number, frame.timestamp)
        if not boxes:
            rows.append(Row(*place, reason=frame.reason))
        for face, number in zip(frame.faces, numbers, strict=True):
            probs = tuple(round(float(p), 6) for p in next(scores))
            rows.append(
                Row(*place, number, face.confidence, "", face.box, face.roll, face.crop, probs)
            )
    return rows


def _scores(crops: np.ndarray, batch: int, detector: Detector) -> np.ndarray:
    """Probabilities [N, C], in batches of one size: one is compiled, and a face's numbers depend on no other face."""
    parts = [np.zeros((0, len(detector.model.units)), np.float32)]
    for begin in range(0, len(crops), batch):
        part = crops[begin : begin + batch]
        padding = np.zeros((batch - len(part), *part.shape[1:]), np.uint8)
        parts.append(detector(np.concatenate([part, padding]))[: len(part)])
    scores = np.concatenate(parts)
    if not np.isfinite(scores).all():
        raise ValueError(f"model {detector.model.digest} gives probabilities that are not finite")
    return scores


def _counted(counts: Counts, block: Block) -> Counts:
    reasons = dict(counts.reasons)
    for frame in block.frames:
        if frame.reason:
            reasons[frame.reason] = reasons.get(frame.reason, 0) + 1
    found = [frame for frame in block.frames if frame.faces]
    faults = (*counts.faults, *filter(None, map(_fault, block.frames)))
    return Counts(
        counts.frames + len(block.frames),
        counts.with_face + len(found),
        counts.faces + sum(len(frame.faces) for frame in found),
        reasons,
        faults[:_NAMED_FAULTS],
    )


def _fault(frame: FoundFrame) -> str:
    if frame.reason != UNREADABLE:
        return ""
    where = frame.name if frame.timestamp is None else f"frame {frame.number}"
    return frame.fault or f"{where} cannot be decoded"
