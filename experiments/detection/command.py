"""Runs all inputs of one command in turn: rows, tables, overlays, and the summary that is printed."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from experiments.detection import engine, outputs, summary
from experiments.detection.engine import Finished
from experiments.detection.inputs import Input
from experiments.detection.journal import Journal
from experiments.detection.outputs import Outputs
from experiments.detection.progress import Progress, say
from experiments.detection.settings import Settings
from piapdf_jax.detector import Detector
from piapdf_jax.runtime.filesystem import explain_disk_errors

#: What is wrong with one input alone.
_FAULTS = (ValueError, OSError, MemoryError)


class InputResult(NamedTuple):
    """Summary of an input: frames, faces, faults, and seconds per activity."""

    frames: int = 0
    faces: int = 0
    faults: tuple[str, ...] = ()
    seconds: dict[str, float] = {}


def run(
    sources: Sequence[Input],
    settings: Settings,
    detector: Detector,
    wanted: Outputs,
    *,
    workers: int,
    overwrite: bool,
) -> list[str]:
    """Makes the tables of all inputs; what is wrong with one does not keep the others.

    Args:
        sources: the inputs.
        settings: which frames and faces.
        detector: finder and network.
        wanted: which tables and pictures, and where.
        workers: processes that decode and find.
        overwrite: whether tables of other inputs or settings may be replaced.

    Returns:
        What is wrong, a line each; an input without a face is in order.
    """
    begun, faults, results = time.perf_counter(), [], []
    for source in sources:
        try:
            result = _process(source, settings, detector, wanted, workers, overwrite)
        except _FAULTS as error:
            result = InputResult(faults=(f"{source.text}: {' '.join(str(error).split())}",))
        results.append(result)
        faults += result.faults
        for line in result.faults:
            say(f"error: {line}", sys.stderr)
    _print_total(results, time.perf_counter() - begun)
    return faults


def _process(
    source: Input,
    settings: Settings,
    detector: Detector,
    wanted: Outputs,
    workers: int,
    overwrite: bool,
) -> InputResult:
    settings, workers = _suited(source, settings, workers)
    checksum, place = source.checksum(), wanted.out / f"{source.stem}.json"
    # What a camera sees comes once.
    content = checksum[0] if source.kind != "camera" else f"{time.time_ns()}"
    fingerprint = summary.fingerprint(source, content, settings, detector)
    mark = wanted.mark(fingerprint)
    journal = Journal(wanted.out, source.stem, fingerprint)
    if source.kind == "camera" and not overwrite:
        _check_nothing_waits(journal)
    # Rows that wait to be gone on with are ours, and so is a table that was written of them.
    if not overwrite and not journal.is_ours() and _is_done(source, place, mark, wanted):
        journal.delete()
        say(f"{source.text}: done before, {place}")
        return InputResult(faults=_named(source, summary.faults_of(place)))
    try:
        with explain_disk_errors(wanted.out / source.stem, 0, "finished frames are kept"):
            finished = _rows(source, settings, detector, journal, workers)
            cuts = summary.cuts(settings, detector)
            written = outputs.write(source, settings, wanted, journal, detector.model, cuts)
            facts = summary.build(source, checksum, settings, detector, finished, written, mark)
            part = summary.write(journal.folder / place.name, facts)
            _delete_former(place, facts["outputs"])
            part.replace(place)
        journal.delete()
    except BaseException:
        journal.abandon()
        raise
    return _result(source, finished, place)


def _suited(source: Input, settings: Settings, workers: int) -> tuple[Settings, int]:
    """A picture alone shares its batch with nothing, and neither it nor a camera needs processes."""
    if source.kind == "picture":
        return dataclasses.replace(settings, batch=1), 0
    return settings, 0 if source.kind == "camera" else workers


def _check_nothing_waits(journal: Journal) -> None:
    """Refuses to lose what a camera showed before."""
    if journal.folder.exists():
        raise FileExistsError(
            f"{journal.folder} holds rows of an interrupted command: move them elsewhere, or give --overwrite"
        )


def _delete_former(place: pathlib.Path, written: dict[str, Any]) -> None:
    """Deletes table and overlay that the ``NAME.json`` to be replaced tells of, and the new one does not."""
    former = summary.files_of(place) if summary.written_by(place) else []
    for name in set(former) - {written["table"], written.get("overlay")}:
        path = place.with_name(pathlib.PurePath(name).name)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _rows(
    source: Input, settings: Settings, detector: Detector, journal: Journal, workers: int
) -> Finished:
    progress = Progress(source.text, _expected(source, settings))
    with contextlib.ExitStack() as stack:
        stack.callback(progress.close)
        stop = stack.enter_context(_asked_to_stop()) if source.kind == "camera" else _never
        return engine.run(
            source, settings, detector, journal, workers=workers, progress=progress, stop=stop
        )


def _never() -> bool:
    return False


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Takes Ctrl-C as the end of a camera: what came is written; a second one ends the command."""
    asked = threading.Event()

    def ask(number: int, frame: Any) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _expected(source: Input, settings: Settings) -> int | None:
    """Frames that will be looked at, as the film says; a camera is opened once alone."""
    return None if source.kind == "camera" else source.open().looked_at(settings)


def _is_done(source: Input, place: pathlib.Path, mark: str, wanted: Outputs) -> bool:
    """Whether all is there already.

    Raises:
        FileExistsError: where something else has the name.
    """
    if summary.written_by(place) == mark:
        return all((wanted.out / name).exists() for name in summary.files_of(place))
    names = (place, wanted.table(place.stem), wanted.overlay_of(source))
    taken = [path for path in names if path is not None and path.exists()]
    if taken:
        raise FileExistsError(
            f"{taken[0]} already exists, made from another input, model or other flags: name another --out, or"
            " give --overwrite"
        )
    return False


def _result(source: Input, finished: Finished, place: pathlib.Path) -> InputResult:
    counts, description = finished.counts, finished.description
    reasons = ", ".join(f"{name} {count}" for name, count in sorted(counts.reasons.items()))
    say(
        f"{source.text}: {counts.frames} frames, {counts.with_face} with a face"
        f"{f' ({reasons})' if reasons else ''}, {counts.faces} faces: {place}"
    )
    for note in description["notes"]:
        say(f"{source.text}: {note}", sys.stderr)
    faults = _named(source, summary.faults(finished))
    return InputResult(counts.frames, counts.faces, faults, finished.seconds)


def _named(source: Input, faults: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{source.text}: {fault}" for fault in faults)


def _print_total(results: Sequence[InputResult], elapsed: float) -> None:
    """The last line: how fast, and what took the time."""
    frames, found = (sum(getattr(t, name) for t in results) for name in ("frames", "faces"))
    if not frames:
        return
    names = ("decoding", "finding", "network")
    spent = {n: sum(t.seconds.get(n, 0.0) for t in results) for n in names}
    total = sum(spent.values()) or 1.0
    shares = ", ".join(f"{name} {100 * value / total:.0f}%" for name, value in spent.items())
    say(
        f"{frames} frames, {found} faces, {frames / elapsed:.1f} frames/s; of the work: {shares}"
        f" ({os.cpu_count()} cores)"
    )
