"""Append-only file of rows with a journal of finished blocks, from which a killed command resumes."""

import json
import os
import pathlib
import shutil
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from experiments.detection.rows import Row

_FOLDER = ".{}.detect"


class Progress(NamedTuple):
    """What stands in a journal: blocks, rows and frames that are finished, and what the next block goes on from."""

    blocks: int
    state: dict[str, Any]


class Journal:
    """Rows of an input as JSON lines; after each block a line with its checksum and the state that the next needs.

    Args:
        out: folder of the tables.
        stem: of the input's tables.
        fingerprint: of all that decides the rows; what another one has left is deleted.
    """

    def __init__(self, out: pathlib.Path, stem: str, fingerprint: str):
        self.folder = out / _FOLDER.format(stem)
        self._rows = self.folder / "rows.jsonl"
        self._named = self.folder / "fingerprint"
        self._fingerprint = fingerprint
        self._file: BinaryIO | None = None
        self._lock: int | None = None

    def open(self, start: dict[str, Any]) -> Progress:
        """Opens the file of rows, truncated after the last finished block.

        Args:
            start: state where there is no finished block.

        Raises:
            BlockingIOError: where another command is at work on it.
        """
        self._hold()
        if not self.is_ours():
            # The folder itself stays, for the lock is on it.
            for left in self.folder.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            self._named.write_text(self._fingerprint, encoding="utf-8")
            self._rows.touch()
        progress, length = self._finished(start)
        self._file = self._rows.open("r+b")
        self._file.truncate(length)
        self._file.seek(length)
        return progress

    def _hold(self) -> None:
        """Takes the folder for this command, as long as it runs; a command that was killed holds nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            import fcntl

            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows
            return
        except BlockingIOError as error:
            self.close()
            raise BlockingIOError(
                f"{self.folder} is in use: another command makes the same tables"
            ) from error

    def append(self, block: int, rows: list[Row], state: dict[str, Any]) -> None:
        """Adds a block's rows, and brings them to disk before the line that says so."""
        assert self._file is not None
        text = "".join(json.dumps(list(row)) + "\n" for row in rows).encode()
        marker = {"block": block, "crc": zlib.crc32(text), "state": state}
        self._file.write(text + json.dumps(marker).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def rows(self) -> Iterator[Row]:
        """Yields all rows of finished blocks."""
        with self._rows.open("rb") as file:
            for line in file:
                told = json.loads(line)
                if isinstance(told, list):
                    yield _row(told)

    def close(self) -> None:
        """Lets go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def delete(self) -> None:
        """Deletes all; when the tables are written."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()

    def abandon(self) -> None:
        """Lets go of what this command holds, and deletes it where no block is finished."""
        if self._lock is None:  # another command's
            return
        if self._rows.is_file() and not self._rows.stat().st_size:
            self.delete()
        self.close()

    def is_ours(self) -> bool:
        """Returns whether there are rows of this fingerprint to go on with."""
        try:
            named = self._named.read_text(encoding="utf-8") == self._fingerprint
        except (OSError, UnicodeDecodeError):
            return False
        return named and self._rows.is_file()

    def _finished(self, start: dict[str, Any]) -> tuple[Progress, int]:
        """The last finished block, and the length of the file up to its line."""
        progress, length, crc, position = Progress(0, start), 0, 0, 0
        with self._rows.open("rb") as file:
            for line in file:
                position += len(line)
                try:
                    told = json.loads(line)
                except ValueError:
                    break  # torn
                if isinstance(told, list):
                    crc = zlib.crc32(line, crc)
                    continue
                if not line.endswith(b"\n") or told["crc"] != crc:
                    break
                progress, length, crc = Progress(told["block"] + 1, told["state"]), position, 0
        return progress, length


def _row(told: list[Any]) -> Row:
    values: Any = (tuple(value) if isinstance(value, list) else value for value in told)
    return Row(*values)
