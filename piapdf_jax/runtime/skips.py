"""Steps that changed or taught nothing: counted, and too many of them named."""

import contextlib
import logging
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

#: Step -> names of its frames (subject/task/frame), by part of the batch.
Frames = Callable[[int], dict[str, list[str]]]
_NAMED = 8  # frames in a message; the file names them all
#: So many useless steps in a row are worth a warning.
_USELESS, _USELESS_METRIC = 20, "count_useless_"
log = logging.getLogger("piapdf.loop")


class NotFinite(Exception):
    """A training ended because too many steps had no finite loss and gradient.

    Attributes:
        name: of the training.
        step: the last step that was skipped, counted from 1.
        path: the file that holds its batch.
    """

    def __init__(self, name: str, step: int, path: pathlib.Path, message: str) -> None:
        super().__init__(message)
        self.name, self.step, self.path = name, step, path


def skipped(counts: dict[str, Any]) -> int:
    """Returns how many steps were skipped, by the metrics of one step or the totals of all."""
    names = [name for name in counts if name.endswith("skipped")]
    return sum(int(np.asarray(counts[name]).sum()) for name in names)


class Skips:
    """Counts skipped steps of a training up to a limit, and warns of many useless ones in a row.

    A step is useless for a reason when its metric ``count_useless_<reason>`` is not 0.

    Args:
        name: of the training.
        limit: more than this end it.
        folder: where the batch of the last one is saved.
        stream: first step -> iterator of batches, which are a function of the step alone.
        frames: step -> names of its frames, or None where nobody knows them.
    """

    def __init__(
        self,
        name: str,
        limit: int,
        folder: pathlib.Path,
        stream: Callable[[int], Iterator[Any]],
        frames: Frames | None,
    ) -> None:
        self.name, self.limit, self.folder = name, limit, folder
        self._stream, self._frames = stream, frames
        self.count, self._in_a_row = 0, 0
        self._useless: set[str] = set()

    def add(self, step: int, metrics: dict[str, Any]) -> None:
        """Notes the metrics of one step, counted from 1.

        Raises:
            NotFinite: past the limit, with the batch saved.
        """
        self._warn(step, metrics)
        now = skipped(metrics)
        self.count += now
        if not now or self.count <= self.limit:
            return
        frames = self._frames(step - 1) if self._frames else {}
        path = self._save(step, frames)
        told = [f"{part}: {_shortened(names)}" for part, names in frames.items()]
        raise NotFinite(
            self.name,
            step,
            path,
            f"{self.name}: loss or gradient was not finite in {self.count} steps, more than"
            f" run.max_skipped={self.limit}; the last was step {step}"
            f"{' with ' + '; '.join(told) if told else ''}. Its batch is saved in {path}",
        )

    def _warn(self, step: int, metrics: dict[str, Any]) -> None:
        found = [n for n, value in metrics.items() if n.startswith(_USELESS_METRIC) and int(value)]
        self._useless = {*self._useless, *found} if found else set()
        self._in_a_row = self._in_a_row + 1 if found else 0
        if self._in_a_row == _USELESS:
            names = sorted(n.removeprefix(_USELESS_METRIC) for n in self._useless)
            reason = ", ".join(name.replace("_", " ") for name in names)
            first = step - _USELESS + 1
            log.warning("%s: steps %d to %d taught nothing: %s", self.name, first, step, reason)

    def _save(self, step: int, frames: dict[str, list[str]]) -> pathlib.Path:
        """The batch of a step, read again, this host's share of it."""
        with contextlib.closing(self._stream(step - 1)) as batches:  # pyright: ignore
            batch = next(batches)
        leaves = jax.tree_util.tree_leaves_with_path(batch)
        arrays = {
            jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf)
            for path, leaf in leaves
        }
        arrays |= {f"frames.{part}": np.array(names) for part, names in frames.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step_{step}.host_{jax.process_index()}.npz"
        np.savez_compressed(path, **arrays)  # pyright: ignore[reportArgumentType]
        return path


def _shortened(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
