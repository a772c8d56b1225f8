"""State of a training under way (Orbax): written beside the steps, restored on any devices."""

import logging
import os
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from piapdf_jax.runtime.exports import tree_digest

log = logging.getLogger("piapdf.checkpoints")


class Restored(NamedTuple):
    """A checkpoint: the step it was taken after, the state, and what was said with it."""

    step: int
    state: Any
    meta: dict[str, Any]


class Checkpoints:
    """The last few states of one training, as a context manager.

    Saving copies the state to the host and writes while the next steps run. A folder belongs to
    one digest.

    Args:
        folder: made where it is not there.
        every: steps between two saves that ``due`` asks for; 0 for none.
        digest: of the training's configuration.
        keep: how many are kept.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, every: int, digest: str, keep: int = 2
    ) -> None:
        self.folder = pathlib.Path(folder).absolute()
        self.every, self.digest = every, digest
        self._newest: int | None = None
        options = ocp.CheckpointManagerOptions(
            cleanup_tmp_directories=True,
            preservation_policy=checkpoint_managers.LatestN(keep),
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Waits until what was saved is on disk."""
        self._manager.close()

    def due(self, step: int) -> bool:
        """Whether a state is to be saved after this step."""
        return bool(self.every) and step % self.every == 0

    def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        """Saves the state after a step; one that is there already is left alone.

        Args:
            step: updates done.
            state: any pytree of arrays, the same on every host; no typed random keys.
            meta: what JSON holds.

        Raises:
            OSError: where this or the save before could not be written.
        """
        if step == self._newest:
            return
        # A copy of our own: the state is donated to the next step while Orbax still writes.
        host = jax.tree.map(np.array, state)
        known = {"digest": self.digest, "step": step, "content": tree_digest(host)}
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(host), meta=ocp.args.JsonSave({**meta, **known})
        )
        if not self._manager.save(step, args=args):
            raise OSError(f"checkpoint {self.folder / str(step)} was refused: a later one is there")
        self._newest = step

    def restore_latest(self, target: Any) -> Restored | None:
        """The newest state that can be read; one that cannot is named in a warning and put aside.

        Args:
            target: a freshly initialised state, for structure, shapes, dtypes and shardings.

        Returns:
            The checkpoint, or None where there is none.

        Raises:
            ValueError: where the checkpoints belong to another digest.
        """
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding),
            target,
        )
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                restored = self._read(step, abstract)
            except _ForeignCheckpoint as error:
                raise ValueError(str(error)) from None
            except (MemoryError, jax.errors.JaxRuntimeError):
                raise  # the machine's fault, not the checkpoint's
            except Exception as error:
                self._put_aside(step, error)
                continue
            self._newest = step
            return restored
        return None

    def _read(self, step: int, abstract: Any) -> Restored:
        # First what it belongs to: the state of another training would not fit the target.
        meta = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))
        meta = dict(meta["meta"])
        digest, content = meta.pop("digest"), meta.pop("content")
        if digest != self.digest:
            raise _ForeignCheckpoint(
                f"checkpoint {self.folder / str(step)} belongs to digest {digest}, not to"
                f" {self.digest}: take another folder or delete this one"
            )
        state = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        )["state"]
        if tree_digest(state) != content:
            raise ValueError("its arrays are not what was written")
        meta.pop("step")
        return Restored(step, state, meta)

    def _put_aside(self, step: int, error: Exception) -> None:
        path = self.folder / str(step)
        aside = path.with_name(f"{step}.unreadable")
        number = 1
        while aside.exists():
            aside, number = path.with_name(f"{step}.unreadable{number}"), number + 1
        reason = " ".join(str(error).split())[:200]
        log.warning(
            "checkpoint %s cannot be read (%s: %s); put aside as %s, the one before it is taken",
            *(path, type(error).__name__, reason, aside.name),
        )
        if jax.process_index() == 0:
            path.rename(aside)
        self._manager.reload()


class _ForeignCheckpoint(Exception):
    """A checkpoint of another training."""
