"""Writers of metrics: always JSON lines, TensorBoard if it is installed, and a progress line on the terminal."""

import contextlib
import contextvars
import dataclasses
import json
import logging
import math
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from piapdf_jax.runtime.filesystem import explain_disk_errors
from piapdf_jax.types import Json, JsonObject, PyTree

log = logging.getLogger("piapdf.writers")


def read_jsonl(path: str | os.PathLike[str]) -> list[JsonObject]:
    """Reads the whole lines of a metrics file, [] where it is missing; a line cut short is left out."""
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith("\n")]


class JsonlWriter:
    """Writes one line of JSON per logged step, through to the file at once.

    Args:
        path: the file; its folder is made.
        step: the step that training goes on from; lines of later steps, done again, are cut off.
    """

    def __init__(self, path: str | os.PathLike[str], *, step: int = 0) -> None:
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in read_jsonl(path) if row["step"] <= step]
        temporary = path.with_name(path.name + ".tmp")
        text = "".join(_line(row) for row in kept)
        with (
            explain_disk_errors(temporary, len(text)),
            temporary.open("w", encoding="utf-8") as file,
        ):
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        self._path, self._file = path, path.open("a", encoding="utf-8")

    def write(self, step: int, row: JsonObject) -> None:
        """Appends ``{"step": step, **row}``; null stands for what is not finite.

        Raises:
            DiskError: where the disk refuses it.
        """
        line = _line({"step": step, **row})
        with explain_disk_errors(self._path, len(line)):
            self._file.write(line)
            self._file.flush()

    def sync(self) -> None:
        """Syncs every line to disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        # What a full disk has refused once, closing would try to write again.
        with contextlib.suppress(OSError):
            self._file.close()


def _line(row: JsonObject) -> str:
    return json.dumps({name: _finite(value) for name, value in row.items()}) + "\n"


def _finite(value: Json) -> Json:
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class TensorBoardWriter:
    """Writes scalars, and each item of a list as a scalar of its own, for TensorBoard.

    Args:
        folder: of the event files.
        step: the step that training goes on from; later points of an earlier file are hidden.

    Raises:
        ImportError: without tensorboardX.
    """

    def __init__(self, folder: str | os.PathLike[str], *, step: int = 0) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(os.fspath(folder), purge_step=step + 1 if step else None)

    def write(self, step: int, row: JsonObject) -> None:
        """Adds one point per number."""
        for name, value in row.items():
            for tag, number in _flat(name, value):
                self._writer.add_scalar(tag, number, step)

    def sync(self) -> None:
        """Flushes the event file."""
        self._writer.flush()

    def close(self) -> None:
        """Closes the event file."""
        self._writer.close()


def _flat(name: str, value: Json) -> list[tuple[str, float]]:
    if isinstance(value, list):
        return [pair for k, item in enumerate(value) for pair in _flat(f"{name}/{k}", item)]
    return [(name, float(value))]


class MultiWriter:
    """Several writers as one; none on hosts that do not write."""

    def __init__(self, writers: Iterable[JsonlWriter | TensorBoardWriter] = ()) -> None:
        self._writers = list(writers)

    def write(self, step: int, row: JsonObject) -> None:
        """Hands a row to each."""
        for writer in self._writers:
            writer.write(step, row)

    def sync(self) -> None:
        """Syncs each."""
        for writer in self._writers:
            writer.sync()

    def close(self) -> None:
        """Closes each."""
        for writer in self._writers:
            writer.close()


def open_writers(
    folder: str | os.PathLike[str], *, step: int, primary: bool, tensorboard: bool = True
) -> MultiWriter:
    """Opens the writers of one training.

    Args:
        folder: gets ``metrics.jsonl`` and ``tensorboard/``.
        step: the step that training goes on from.
        primary: whether this host writes.
        tensorboard: write it where tensorboardX is installed; one log line says that it is not.

    Returns:
        One writer for all.
    """
    if not primary:
        return MultiWriter()
    folder = pathlib.Path(folder)
    writers: list[JsonlWriter | TensorBoardWriter] = [
        JsonlWriter(folder / "metrics.jsonl", step=step)
    ]
    if tensorboard:
        try:
            writers.append(TensorBoardWriter(folder / "tensorboard", step=step))
        except ImportError:
            log.info("tensorboardX is not installed: metrics go to metrics.jsonl alone")
    return MultiWriter(writers)


@dataclasses.dataclass(frozen=True)
class WholeCommand:
    """The command that a pass belongs to, if it makes several runs.

    Attributes:
        title: of a pass by its name, such as ``fold 2, seed 0, Baseline``.
        left: a pass's name and its seconds left (None: unknown) -> those of the whole command.
    """

    title: Callable[[str], str]
    left: Callable[[str, float | None], float | None]


_COMMAND: contextvars.ContextVar[WholeCommand | None] = contextvars.ContextVar(
    "command", default=None
)


@contextlib.contextmanager
def part_of(command: WholeCommand) -> Iterator[None]:
    """Lets every pass inside say which run it is of, and the time left of the whole command."""
    token = _COMMAND.set(command)
    try:
        yield
    finally:
        _COMMAND.reset(token)


def format_duration(seconds: float | None) -> str:
    """Returns a time as people read it: ``45 s``, ``12 min``, ``3 h 05 min``; ``-`` for unknown."""
    if seconds is None:
        return "-"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


class Progress:
    """Shows how far a pass is: a bar with images/s and time left, or log lines off a terminal.

    Args:
        name: of the training or evaluation.
        step: where it starts.
        steps: where it ends.
        batch_size: images a step.
        shown: False on hosts that stay silent.
        every: seconds between plain lines.
        greets: a plain line before the first step and after the last, however short the pass.
    """

    def __init__(
        self,
        name: str,
        step: int,
        steps: int,
        batch_size: int,
        *,
        shown: bool = True,
        every: float = 10.0,
        greets: bool = True,
    ) -> None:
        self._greets = greets
        self._command, self._called = _COMMAND.get(), name
        name = self._command.title(name) if self._command else name
        self.name, self.steps, self.batch_size, self.every = name, steps, batch_size, every
        self._from, self._begin = step, None
        self._said, self._shown, self._bar = time.monotonic(), shown, None
        self._loss = self._wait = ""
        console = Console(stderr=True)
        if shown and console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                console=console,
            )
            self._task = self._bar.add_task(name, total=steps, completed=step, note="compiling")

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        elif self._shown and self._greets:
            log.info("%s: step %d/%d, compiling", self.name, self._from, self.steps)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def over(self, batches: Iterable[PyTree]) -> Iterator[PyTree]:
        """Passes batches on, each a step that is done when the next one is asked for."""
        for step, batch in enumerate(batches, start=1):
            yield batch
            self.update(step)

    def update(self, step: int, row: JsonObject | None = None) -> None:
        """Shows that a step is done; ``row`` are its metrics where it was logged."""
        now = time.monotonic()
        if self._begin is None:  # the first step compiles: the rate counts from its end
            self._begin = now, step
        if row is not None and isinstance(row.get("loss"), float):
            self._loss = f"loss {row['loss']:.4f}, "
        if row is not None and "input_wait" in row:
            self._wait = f", {row['input_wait']:.0%} waiting for input"
        done = step - self._begin[1]
        rate = done / (now - self._begin[0]) if done else 0.0
        speed = f"{rate * self.batch_size:.1f} images/s" if done else "first step done"
        own = (self.steps - step) / rate if rate else None
        whole = ""
        if self._command is not None:
            whole = f", {format_duration(self._command.left(self._called, own))} left of the whole command"
        if self._bar is not None:
            note = self._loss + speed + self._wait + whole
            self._bar.update(self._task, completed=step, note=note)
        elif self._shown and (
            now - self._said >= self.every or (self._greets and step == self.steps)
        ):
            self._said = now
            left = "" if own is None else f", {own:.0f} s left"
            note = self._loss + speed + self._wait + left + whole
            log.info("%s: step %d/%d, %s", self.name, step, self.steps, note)
