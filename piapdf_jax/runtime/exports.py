"""Exports of finished trainings: their parts, stored under a digest of everything that decided them."""

import json
import os
import pathlib
import secrets
import shutil
import time
from collections.abc import Callable, Mapping

import jax
import numpy as np
from jax.experimental import multihost_utils

from piapdf_jax.runtime import orbax_files
from piapdf_jax.runtime.digests import tree_digest
from piapdf_jax.runtime.filesystem import explain_disk_errors, sync_tree
from piapdf_jax.runtime.hosts import barrier, holds_everywhere, primary
from piapdf_jax.types import JsonObject, Parts

#: Folder beside the parts, of what the score alone reads; and its digest's key in ``export.json``.
_BESIDE, _BESIDE_CONTENT = "beside", "beside_content"


class ExportError(ValueError):
    """An export cannot be read, is not what was written, or leads out of its folder."""


def export_folder(runs_dir: str | os.PathLike[str], training: str, digest: str) -> pathlib.Path:
    """Returns the folder of an export, whether or not it is there."""
    return pathlib.Path(runs_dir).absolute() / "exports" / training / digest


def lock_path(runs_dir: str | os.PathLike[str], training: str, digest: str) -> pathlib.Path:
    """Returns the lock file of the run that makes an export."""
    return export_folder(runs_dir, training, f".{digest}.lock")


def find_export(
    runs_dir: str | os.PathLike[str], training: str, digest: str
) -> pathlib.Path | None:
    """Returns the folder of a finished export, or None."""
    folder = export_folder(runs_dir, training, digest)
    return folder if (folder / "export.json").is_file() else None


def find_stale(
    runs_dir: str | os.PathLike[str], training: str, fingerprint: JsonObject
) -> tuple[str, list[str]] | None:
    """Finds the newest export that other sources made of the same settings and data.

    Args:
        runs_dir: RUNS.
        training: name of the training.
        fingerprint: all that decides its numbers; ``sources`` by name among it.

    Returns:
        Its digest and the names of the sources that differ, or None. What cannot be read as an export
        is none.
    """
    wanted = json.loads(json.dumps(fingerprint))
    sources, found = wanted.pop("sources"), []
    for path in export_folder(runs_dir, training, "*").parent.glob("[!.]*/export.json"):
        try:
            theirs = dict(json.loads(path.read_text(encoding="utf-8"))["fingerprint"])
            others = dict(theirs.pop("sources"))
        except (ValueError, TypeError, KeyError):
            continue
        if theirs == wanted:
            names = sorted(n for n in {*sources, *others} if sources.get(n) != others.get(n))
            # The folder's name, not what a file in it says.
            found.append((path.stat().st_mtime_ns, path.parent.name, names))
    return max(found)[1:] if found else None


def write_export(
    runs_dir: str | os.PathLike[str],
    training: str,
    digest: str,
    exported: Parts,
    info: JsonObject,
    *,
    beside: Parts | None = None,
    files: Mapping[str, str] | None = None,
    check: Callable[[], None] = lambda: None,
) -> pathlib.Path:
    """Writes an export atomically; if another run was first, its export is used.

    It gets its name only when what lies on disk has been read back and is what was written.

    Args:
        runs_dir: RUNS; the export lies in ``RUNS/exports/<training>/<digest>/``.
        training: name of the training.
        digest: of what decided its numbers.
        exported: parts by name.
        info: what ``export.json`` says beside names and digests.
        beside: parts by names of their own that ``read_beside`` alone reads, such as a teacher's.
        files: names and texts of files to lie beside it.
        check: called on every host before it gets its name; raises where it may not.

    Returns:
        The folder of the export.

    Raises:
        DiskError: where the disk refuses it.
        ExportError: where something else comes back from the disk.
    """
    folder = export_folder(runs_dir, training, digest)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f".{digest}.{_shared_token()}.tmp"
    folders = {"parts": orbax_files.to_host(exported)}
    known = {"training": training, "digest": digest, "parts": sorted(exported)}
    known["content"] = tree_digest(folders["parts"])
    if beside:
        folders[_BESIDE] = orbax_files.to_host(beside)
        known[_BESIDE_CONTENT] = tree_digest(folders[_BESIDE])
    nbytes = sum(leaf.nbytes for leaf in jax.tree.leaves(folders))
    try:
        with explain_disk_errors(folder, nbytes, "its training's last checkpoint is whole"):
            for name, parts in folders.items():
                orbax_files.save(temporary / name, parts)
                _read_back(temporary / name, folder, tree_digest(parts))
            check()
            if primary():
                text = json.dumps({**known, **info}, indent=1)
                _publish(temporary, folder, {**(files or {}), "export.json": text})
    except Exception:
        # Another run that was first has cleared ours away; anything else is an error.
        if temporary.exists() or not _wait_for_file(folder / "export.json"):
            raise
    finally:
        if primary():
            shutil.rmtree(temporary, ignore_errors=True)
    barrier("export")
    return folder


def _read_back(parts: pathlib.Path, folder: pathlib.Path, content: str) -> None:
    """Reads parts that were written; every host does, and all go on or none."""
    try:
        same = tree_digest(orbax_files.restore(parts)) == content
        reason = "" if same else "other numbers come back"
    except (MemoryError, jax.errors.JaxRuntimeError):
        raise  # the machine's fault, not the disk's
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error!s:.200}".split())
    if not holds_everywhere(not reason):
        raise ExportError(
            f"export {folder} is not on disk as it was written ({reason or 'seen by another host'}):"
            " its training's last checkpoint is kept: check the disk, or give another --runs_dir, and"
            " start the same command again"
        )


def _shared_token() -> str:
    """A random name, the same on every host."""
    token = np.uint32(secrets.randbits(32))
    if jax.process_count() > 1:
        token = multihost_utils.broadcast_one_to_all(token)
    return f"{int(token):08x}"


def _remove_leftovers(temporary: pathlib.Path, folder: pathlib.Path) -> None:
    """Deletes what runs that were killed while they wrote the same export have left."""
    for other in folder.parent.glob(f".{folder.name}.*.tmp"):
        if other != temporary:
            shutil.rmtree(other, ignore_errors=True)


def _wait_for_file(path: pathlib.Path, seconds: float = 5.0) -> bool:
    """Waits up to ``seconds`` for a file; returns whether it is there."""
    until = time.monotonic() + seconds
    while not path.is_file() and time.monotonic() < until:
        time.sleep(0.05)
    return path.is_file()


def _publish(temporary: pathlib.Path, folder: pathlib.Path, files: Mapping[str, str]) -> None:
    """Writes the files beside the parts, and gives the whole its name once it is on disk."""
    for file, text in files.items():
        (temporary / file).write_text(text, encoding="utf-8")
    sync_tree(temporary)
    _remove_leftovers(temporary, folder)
    _rename_first(temporary, folder)


def _rename_first(temporary: pathlib.Path, folder: pathlib.Path) -> None:
    try:
        temporary.rename(folder)
    except OSError:
        # A folder that is not empty is never replaced: the first rename has won.
        if not (folder / "export.json").is_file():
            raise


def read_info(path: str | os.PathLike[str]) -> JsonObject:
    """Reads ``export.json``.

    Args:
        path: folder of an export.

    Raises:
        FileNotFoundError: where there is no export.
        ExportError: where it cannot be read.
    """
    file = pathlib.Path(path).absolute() / "export.json"
    if not file.is_file():
        raise FileNotFoundError(f"no export in {file.parent}: {file} is missing")
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")).items())
    except (ValueError, AttributeError) as error:
        raise ExportError(
            f"export {file.parent} cannot be read ({file.name}: {error!s:.200}): delete it and run again"
        ) from error


def read_export(path: str | os.PathLike[str]) -> tuple[Parts, JsonObject]:
    """Reads an export on whatever devices there are.

    Args:
        path: folder of an export.

    Returns:
        Parts by name, each array on one local device, and what ``export.json`` says.

    Raises:
        FileNotFoundError: where there is no export.
        ExportError: where its parts cannot be read, are not what was written, or lead out of it.
    """
    folder = pathlib.Path(path).absolute()
    info = read_info(folder)
    return _read(folder, "parts", info, "content"), info


def read_beside(path: str | os.PathLike[str]) -> Parts:
    """Reads the extra parts stored beside an export under other names; {} if there are none.

    Args:
        path: folder of an export.

    Raises:
        FileNotFoundError: where there is no export.
        ExportError: as ``read_export``.
    """
    folder = pathlib.Path(path).absolute()
    info = read_info(folder)
    return _read(folder, _BESIDE, info, _BESIDE_CONTENT) if _BESIDE_CONTENT in info else {}


def _read(folder: pathlib.Path, below: str, info: JsonObject, key: str) -> Parts:
    try:
        return orbax_files.read(folder / below, info[key])
    except orbax_files.DigestMismatchError as error:
        raise ExportError(
            f"export {folder} is not what was written: delete it and run again"
        ) from error
    except Exception as error:
        raise ExportError(
            f"export {folder} cannot be read ({type(error).__name__}: {error!s:.200}):"
            " delete it and run again"
        ) from error
