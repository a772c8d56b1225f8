"""States of a training under way (Orbax): the last few, and the best one, restored on any devices."""

import contextlib
import json
import logging
import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from piapdf_jax.runtime.digests import differences, tree_digest
from piapdf_jax.runtime.filesystem import explain_disk_errors
from piapdf_jax.runtime.hosts import primary, run_on_primary
from piapdf_jax.runtime.orbax_files import WrittenCheckpoint, describe_arrays, find_damage
from piapdf_jax.types import Json, JsonObject, Parts, PyTree

log = logging.getLogger("piapdf.checkpoints")


class CheckpointError(RuntimeError):
    """A checkpoint does not lie on disk as it was written."""


class Restored(NamedTuple):
    """A restored checkpoint: its step, its state, and the metadata saved with it."""

    step: int
    state: PyTree
    meta: JsonObject


class Checkpoints:
    """The last few states of one training, as a context manager.

    Saving copies the state to the host and writes while the next steps run. A folder belongs to
    one configuration, which every checkpoint carries.

    Args:
        folder: made where it is not there.
        every: steps between two saves that ``due`` asks for; 0 for none.
        config: all that decides the training's numbers, as JSON holds it.
        keep: how many are kept.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every: int,
        config: JsonObject,
        keep: int = 2,
    ) -> None:
        self.folder = pathlib.Path(folder).absolute()
        self.every, self.config = every, json.loads(json.dumps(config))
        self._newest: int | None = None
        self._nbytes = 0
        self._written: WrittenCheckpoint | None = None
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
        """Waits until what was saved is on disk, verifies it there, and closes the folder.

        Raises:
            DiskError: where the disk has refused it.
            CheckpointError: where it does not lie there as it was written.
        """
        with self._naming(self._newest), contextlib.closing(self._manager):
            self._verify_written()

    def wait(self) -> None:
        """Waits until what was saved is on disk, and verifies it there.

        Raises:
            DiskError: where the disk has refused it.
            CheckpointError: where it does not lie there as it was written.
        """
        with self._naming(self._newest):
            self._verify_written()

    def _verify_written(self) -> None:
        self._manager.wait_until_finished()
        written, self._written = self._written, None
        if written is None or not primary():
            return
        path = self.folder / str(written.step)
        try:
            stored = self._manager.item_metadata(written.step)["state"].tree
            reason = find_damage(path, stored, written)
        except MemoryError:
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error!s:.200}".split())
        if reason:
            raise CheckpointError(
                f"checkpoint {path} is not on disk as it was written ({reason});"
                f" {self._whole(written.step) or 'there is none before it'}: check the disk, or give"
                " another --runs_dir, and start the same command again"
            )

    def steps(self) -> list[int]:
        """Returns the steps whose state is on disk."""
        return sorted(self._manager.all_steps())

    def _naming(self, step: int | None) -> contextlib.AbstractContextManager[None]:
        """Names a checkpoint that the disk refuses, and what is there without it."""
        return explain_disk_errors(self.folder / str(step), self._nbytes, self._whole(step))

    def _whole(self, step: int | None) -> str:
        """Returns the newest checkpoint but that of one step, in words."""
        names = {other.name for other in self.folder.glob("*")} - {str(step)}
        newest = max((int(name) for name in names if name.isdigit()), default=None)
        return "" if newest is None else f"the checkpoint of step {newest} is whole"

    def due(self, step: int) -> bool:
        """Returns whether a state is to be saved after this step."""
        return bool(self.every) and step % self.every == 0

    def save(self, step: int, state: PyTree, meta: JsonObject) -> None:
        """Saves the state after a step; one that is there already is left alone.

        Args:
            step: updates done.
            state: any pytree of arrays, the same on every host; no typed random keys.
            meta: what JSON holds.

        Raises:
            DiskError: where the disk has refused the save before, or refuses this one at once.
            CheckpointError: where the one before does not lie on disk as it was written.
            OSError: where a later checkpoint is there.
        """
        if step == self._newest:
            return
        # A copy of our own: the state is donated to the next step while Orbax still writes.
        host = jax.tree.map(np.array, state)
        known = {"config": self.config, "step": step, "content": tree_digest(host)}
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(host), meta=ocp.args.JsonSave({**meta, **known})
        )
        self.wait()
        self._nbytes = sum(leaf.nbytes for leaf in jax.tree.leaves(host))
        with self._naming(step):
            if not self._manager.save(step, args=args):
                path = self.folder / str(step)
                raise OSError(f"checkpoint {path} was refused: a later one exists")
        self._newest = step
        self._written = WrittenCheckpoint(step, describe_arrays(host), known["content"])

    def restore_latest(self, target: PyTree) -> Restored | None:
        """Restores the newest state that can be read; one that cannot is named in a warning and put aside.

        Args:
            target: a freshly initialized state, for structure, shapes, dtypes and shardings.

        Returns:
            The checkpoint, or None where there is none.

        Raises:
            ValueError: where the checkpoints belong to another configuration, naming what differs.
        """
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding),
            target,
        )
        for step in reversed(self.steps()):
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

    def _read(self, step: int, abstract: PyTree) -> Restored:
        # Before Orbax, which would follow it, reads anything.
        for path in (self.folder / str(step)).rglob("*"):
            if path.is_symlink():
                raise ValueError(f"{path} is a link")
        # First what it belongs to: the state of another training would not fit the target.
        meta = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))
        meta = dict(meta["meta"])
        config, content = meta.pop("config"), meta.pop("content")
        if config != self.config:
            raise _ForeignCheckpoint(
                f"checkpoint {self.folder / str(step)} belongs to another configuration:"
                f" {'; '.join(differences(config, self.config))}."
                " Use another folder or delete this one"
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
            "checkpoint %s cannot be read (%s: %s); renamed to %s, the one before it is used",
            *(path, type(error).__name__, reason, aside.name),
        )
        run_on_primary("checkpoint put aside", lambda: path.rename(aside))
        self._manager.reload()


class _ForeignCheckpoint(Exception):
    """A checkpoint of another training."""


class Validation(NamedTuple):
    """How states are compared.

    Attributes:
        every: steps between two scores; the last step has one as well.
        score: of an export; higher is better.
    """

    every: int
    score: Callable[[Parts], float]


class BestCheckpoint:
    """Keeps the best state so far, as a context manager; does nothing without a validation.

    A state is on disk before any checkpoint tells of it. So after a kill what lies here may be ahead
    of the training, which comes to it again and finds it there.

    Args:
        folder: of the one state.
        config: all that decides the training's numbers.
        validation: how states are compared, or None.
    """

    def __init__(
        self, folder: pathlib.Path, config: JsonObject, validation: Validation | None
    ) -> None:
        self.validation, self.step, self.score = validation, None, -np.inf
        self._kept = Checkpoints(folder, every=0, config=config, keep=1) if validation else None

    def __enter__(self) -> "BestCheckpoint":
        return self

    def __exit__(self, *_: object) -> None:
        if self._kept is not None:
            self._kept.close()

    def restore(self, saved: list[Json] | None) -> None:
        """Restores step and score of the best state so far from a checkpoint."""
        if saved is not None:
            self.step, self.score = saved

    def to_json(self) -> list[Json] | None:
        """Returns step and score of the best state so far, as JSON holds them."""
        return None if self.step is None else [self.step, self.score]

    def due(self, step: int, steps: int) -> bool:
        """Returns whether the state after this step is scored."""
        return self.validation is not None and (step % self.validation.every == 0 or step == steps)

    def consider(self, step: int, state: PyTree, exported: Parts) -> float:
        """Scores a state, saves it where it is the best so far, and returns the score."""
        assert self.validation is not None and self._kept is not None
        local = jax.tree.map(lambda leaf: jax.numpy.asarray(np.asarray(leaf)), exported)
        score = self.validation.score(local)
        if score > self.score:
            self.step, self.score = step, score
            if step > max(self._kept.steps(), default=-1):
                self._kept.save(step, state, {})
                self._kept.wait()
        return score

    def restore_state(self, target: PyTree) -> Restored | None:
        """Restores the best state; None without a validation, or where no state had a score."""
        return None if self._kept is None else self._kept.restore_latest(target)
