"""State of a training under way (Orbax): written beside the steps, restored on any devices."""

import contextlib
import json
import logging
import os
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from orbax.checkpoint import checkpoint_managers

from piapdf_jax.runtime.disk import naming_disk_errors
from piapdf_jax.runtime.hosts import first, primary
from piapdf_jax.runtime.part_files import tree_digest

log = logging.getLogger("piapdf.checkpoints")


class CheckpointError(RuntimeError):
    """A checkpoint does not lie on disk as it was written."""


class Restored(NamedTuple):
    """A checkpoint: the step it was taken after, the state, and what was said with it."""

    step: int
    state: Any
    meta: dict[str, Any]


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
        config: dict[str, Any],
        keep: int = 2,
    ) -> None:
        self.folder = pathlib.Path(folder).absolute()
        self.every, self.config = every, json.loads(json.dumps(config))
        self._newest: int | None = None
        self._nbytes = 0
        self._written: _Written | None = None
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
        """Waits until what was saved is on disk, and looks at it there.

        Raises:
            DiskError: where the disk has refused it.
            CheckpointError: where it does not lie there as it was written.
        """
        with self._naming(self._newest), contextlib.closing(self._manager):
            self._settle()

    def wait(self) -> None:
        """Waits until what was saved is on disk, looks at it there, and goes on.

        Raises:
            DiskError: where the disk has refused it.
            CheckpointError: where it does not lie there as it was written.
        """
        with self._naming(self._newest):
            self._settle()

    def _settle(self) -> None:
        self._manager.wait_until_finished()
        written, self._written = self._written, None
        if written is None or not primary():
            return
        path = self.folder / str(written.step)
        try:
            stored = self._manager.item_metadata(written.step)["state"].tree
            reason = _differs(path, stored, written)
        except MemoryError:
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error!s:.200}".split())
        if reason:
            raise CheckpointError(
                f"checkpoint {path} is not on disk as it was written ({reason});"
                f" {self._whole(written.step) or 'there is none before it'}: see to the disk, or give"
                " another --runs_dir, and start the same command again"
            )

    def steps(self) -> list[int]:
        """Steps whose state is there."""
        return sorted(self._manager.all_steps())

    def _naming(self, step: int | None) -> contextlib.AbstractContextManager[None]:
        """Names a checkpoint that the disk refuses, and what is there without it."""
        return naming_disk_errors(self.folder / str(step), self._nbytes, self._whole(step))

    def _whole(self, step: int | None) -> str:
        """The newest checkpoint but that of one step, in words."""
        whole = [
            other
            for other in self.folder.glob("*")
            if other.name.isdigit() and other.name != str(step)
        ]
        newest = max((int(other.name) for other in whole), default=None)
        return "" if newest is None else f"the checkpoint of step {newest} is whole"

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
                raise OSError(f"checkpoint {path} was refused: a later one is there")
        self._newest, self._written = step, _Written(step, _described(host), known["content"])

    def restore_latest(self, target: Any) -> Restored | None:
        """The newest state that can be read; one that cannot is named in a warning and put aside.

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

    def _read(self, step: int, abstract: Any) -> Restored:
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
                " Take another folder or delete this one"
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
        first("checkpoint put aside", lambda: path.rename(aside))
        self._manager.reload()


class _Written(NamedTuple):
    """What of a checkpoint must be found on disk: its arrays' names, shapes and types, its digest."""

    step: int
    arrays: list[str]
    content: str


def _differs(path: pathlib.Path, stored: Any, written: _Written) -> str:
    """Says what a checkpoint lacks on disk, "" where it is whole as far as a glance can tell."""
    found = _described(stored)
    if found != written.arrays:
        wrong = sorted({*found} ^ {*written.arrays})
        return f"written or there, but not both: {', '.join(wrong[:3])}"
    told = [file.read_bytes() for file in (path / "meta").rglob("*") if file.is_file()]
    if not any(written.content.encode() in text for text in told):
        return f"{path / 'meta'} does not hold what is said with it"
    # Every value is read as it lies there, not decoded: a file that is missing or cut short shows.
    base = {"driver": "file", "path": f"{path / 'state'}/"}
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    empty = [key for key in store.list().result() if not store.read(key).result().value]
    return f"no bytes of {empty[0].decode()}" if empty else ""


def _described(tree: Any) -> list[str]:
    """Name, shape and type of every array, sorted."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    return sorted(
        f"{name} {tuple(leaf.shape)} {np.dtype(leaf.dtype)}"
        for name, (_, leaf) in zip(names, leaves, strict=True)
    )


class _ForeignCheckpoint(Exception):
    """A checkpoint of another training."""


def differences(there: Any, here: Any, name: str = "") -> list[str]:
    """Fields in which two configurations differ, as ``name is A there, B here``.

    Args:
        there: what JSON holds.
        here: the same, of this run.
        name: of the field that both are.
    """
    if there == here:
        return []
    if isinstance(there, dict) and isinstance(here, dict):
        found = []
        for key in sorted({*there, *here}):
            inner = f"{name}.{key}" if name else str(key)
            found += differences(there.get(key), here.get(key), inner)
        return found
    return [f"{name} is {json.dumps(there)} there, {json.dumps(here)} here"]
