"""Lock that lets one run at a time make a training: a file that names its holder and carries its heartbeat.

The file is created atomically (``O_EXCL``), and its modification time is the heartbeat. A waiting run compares it
with the time it saw before, never with a clock, so clocks of hosts may differ. No file system can keep a holder from
writing that is paused between its last check of the lock and its next write; so it checks right before each checkpoint,
line of metrics and export.
"""

import contextlib
import fcntl
import json
import logging
import os
import pathlib
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable

from piapdf_jax.runtime.filesystem import explain_disk_errors
from piapdf_jax.runtime.hosts import broadcast_from_primary
from piapdf_jax.types import JsonObject

log = logging.getLogger("piapdf")

_WAIT, _HELD, _DONE = 0, 1, 2
_SAID_AGAIN = 600.0  # seconds between two lines of a run that waits


class LockLost(RuntimeError):
    """Another run took over this training, because this one was silent for too long; it must write no more."""


class Lock:
    """The lock of one training, as a context manager; several hosts of a run hold it as one.

    Args:
        path: of its file; the folder is made.
        training: its name, for messages.
        run: what the holder is called in messages of others.
        beat: seconds between two heartbeats.
        silent: a holder without a heartbeat for so many seconds is replaced.
        poll: seconds between two looks of a run that waits.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        training: str,
        run: str,
        beat: float = 10.0,
        silent: float = 60.0,
        poll: float = 1.0,
    ) -> None:
        self.path, self.training, self.run = pathlib.Path(path), training, run
        self.beat, self.silent, self.poll = beat, silent, poll
        self._mine = b""
        self._file: int | None = None
        self._ended = threading.Event()
        self._beating = threading.Thread()
        self._watch = _Watch(silent, 3 * poll)
        self._said: tuple[bytes, float] | None = None

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        # What goes wrong in a run whose files another one has since written is that it has been replaced.
        failed = kind is not None and issubclass(kind, Exception) and kind is not LockLost
        replaced = failed and self._file is not None and not self._ours()
        self.release()
        if replaced:
            raise self._lost()

    def acquire(self, done: Callable[[], bool]) -> bool:
        """Waits until the lock is held or the export exists; logs once which run it waits for.

        Args:
            done: whether another run has made it; asked on the first host.

        Returns:
            Whether it is held; False where it is done.

        Raises:
            DiskError: where the disk refuses the file.
        """
        while True:
            state = broadcast_from_primary(lambda: self._try(done))
            if state != _WAIT:
                return state == _HELD
            time.sleep(self.poll)

    def check(self) -> None:
        """Checks that the lock is still held; all hosts ask together.

        Raises:
            LockLost: where another run has it, or had it and is through.
        """
        if not broadcast_from_primary(lambda: int(self._ours())):
            raise self._lost()

    def release(self) -> None:
        """Releases the lock, where it is still held."""
        file, self._file = self._file, None
        if file is None:
            return
        self._ended.set()
        self._beating.join()  # before the number of its file may be another's
        with contextlib.suppress(OSError):
            # Whoever replaces this holder removes its file under the same lock, so what is removed is ours.
            fcntl.flock(file, fcntl.LOCK_EX)
        with contextlib.suppress(OSError):
            if self._ours():
                self.path.unlink()
        os.close(file)

    def _lost(self) -> LockLost:
        return LockLost(
            f"{self.training}: the lock {self.path} is no longer this run's: another run has taken the"
            f" training over when this one was paused or silent for more than {self.silent:g} s, or"
            " somebody removed the file; this run has stopped without writing more, and the same command"
            " takes what the other one makes"
        )

    def _try(self, done: Callable[[], bool]) -> int:
        if done():
            return _DONE
        if not self._take():
            self._wait_for_holder()
            return _WAIT
        if done():  # between the two looks
            self.release()
            return _DONE
        return _HELD

    def _take(self) -> bool:
        """Makes the file, where there is none."""
        mine = {**_this_process(), "training": self.training, "run": self.run}
        self._mine = json.dumps({**mine, "token": secrets.token_hex(8)}).encode()
        with explain_disk_errors(self.path, len(self._mine)):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
            except FileExistsError:
                return False
            try:
                os.write(file, self._mine)
                os.fsync(file)
            except BaseException:
                os.close(file)
                self.path.unlink()
                raise
        self._file, self._ended = file, threading.Event()
        # Of the file as it was made, whatever lies under its name later: a holder that was paused and
        # replaced gives no sign of life to the lock of another.
        beat_args = (file, self.beat, self._ended)
        self._beating = threading.Thread(target=_beat, args=beat_args, daemon=True)
        self._beating.start()
        return True

    def _ours(self) -> bool:
        found = _look(self.path)
        return found is not None and found[0] == self._mine

    def _wait_for_holder(self) -> None:
        """Looks once at who holds it, and removes the file of one that is gone."""
        found = _look(self.path)
        if found is None:
            return
        holder = _parsed(found[0])
        who = "process {process} on {host}, run {run}, since {since}".format_map(holder)
        gone = self._watch.gone(found, holder)
        if gone:
            if _remove(self.path, found):
                log.warning("%s: %s, %s; this run takes over", self.training, who, gone)
            return
        now = time.monotonic()
        if self._said is None or self._said[0] != found[0] or now - self._said[1] > _SAID_AGAIN:
            self._said = found[0], now
            log.info("%s: waiting for %s (%s)", self.training, who, self.path)


class _Watch:
    """What a waiting run has seen of a holder's heartbeat."""

    def __init__(self, silent: float, longest: float) -> None:
        self._silent, self._longest = silent, longest
        self._seen: tuple[bytes, int] | None = None
        self._looked = self._still = 0.0

    def gone(self, found: tuple[bytes, int], holder: JsonObject) -> str:
        """Says why a holder is no more, "" where it may be there."""
        now = time.monotonic()
        if found != self._seen:
            self._seen, self._still = found, 0.0
        else:
            # A run that was paused itself has not watched meanwhile.
            self._still += min(now - self._looked, self._longest)
        self._looked = now
        if _ended(holder):
            return "has ended"
        return f"silent for {self._silent:g} s" if self._still >= self._silent else ""


def is_held(path: str | os.PathLike[str]) -> bool:
    """Returns whether a lock may be held: not without its file, nor by a process of this machine that has ended."""
    found = _look(pathlib.Path(path))
    return found is not None and not _ended(_parsed(found[0]))


def _ended(holder: JsonObject) -> bool:
    return holder["machine"] == _machine() and not _alive(holder["process"], holder["started"])


def _look(path: pathlib.Path) -> tuple[bytes, int] | None:
    """What stands in a lock's file and its time of change in ns, None where there is none."""
    try:
        # Opening asks a server anew, where a file's attributes alone may be remembered.
        with path.open("rb") as file:
            return file.read(), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def _remove(path: pathlib.Path, found: tuple[bytes, int]) -> bool:
    """Removes the file of a holder that is gone, unless it has stirred or been replaced since."""
    # Some file systems lock only what may be written; another user's file may only be read.
    mode = "r+b" if os.access(path, os.W_OK) else "rb"
    with contextlib.suppress(FileNotFoundError), path.open(mode) as file:
        # Of two runs that wait, the second sees here that the first has been quicker. Where a file
        # system has no locks, the moment between the last look and the removal is unguarded.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        if _look(path) == found:
            path.unlink()
            return True
    return False


def _beat(file: int, every: float, ended: threading.Event) -> None:
    while not ended.wait(every):
        with contextlib.suppress(OSError):
            os.utime(file)


def _this_process() -> JsonObject:
    number = os.getpid()
    since = time.strftime("%Y-%m-%d %H:%M:%S %z")
    process = {"host": socket.gethostname(), "process": number, "since": since}
    return {**process, "machine": _machine(), "started": _started(number)}


def _parsed(text: bytes) -> JsonObject:
    """What a lock's file says; a file without text is one that is being written, or was not to its end."""
    unknown = {"host": "?", "process": 0, "since": "?", "machine": "", "started": "", "run": "?"}
    try:
        holder = json.loads(text)
        return {name: type(value)(holder[name]) for name, value in unknown.items()}
    except (ValueError, TypeError, KeyError):
        return unknown


def _machine() -> str:
    """Tells apart computers, starts of one, and containers that count processes by themselves."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _alive(number: int, started: str) -> bool:
    """Whether a process of this machine is there, and not another with its number."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return _started(number) == started


def _started(number: int) -> str:
    """When a process began, "" for one that has ended."""
    try:
        fields = pathlib.Path(f"/proc/{number}/stat").read_bytes().rpartition(b")")[2].split()
        return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
    except OSError:
        # In the same words whatever language and time zone each run has.
        plain = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
        command = ["ps", "-o", "stat=", "-o", "lstart=", "-p", str(number)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=plain)
        state, _, began = done.stdout.strip().partition(" ")
        return "" if state.startswith("Z") else began.strip()
