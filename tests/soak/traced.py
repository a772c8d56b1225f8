"""A command under strace, which stops the command at each change of its files and lets us kill it there."""

import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

#: System calls that change files. Each is held for a moment after it is done, so that a kill hits
#: the process there and not some way further.
HELD = "mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,write,pwrite64,fsync,fdatasync,ftruncate"
_HOLD = "20000us"
_LINE = re.compile(r"^(\d+) +(\w+)\((.*)$")
_PATH = re.compile(r'"([^"]*)"|<(/[^>]*)>')


class Traced:
    """A traced process.

    Args:
        command: program and arguments.
        folder: only changes in it count.
        env: environment.
    """

    def __init__(self, command: list[str], folder: pathlib.Path, env: dict[str, str]) -> None:
        self._folder = str(folder)
        read, write = os.pipe()
        trace = [
            "strace",
            "-f",
            "-y",
            "--seccomp-bpf",
            "-qq",
            "-s",
            "300",
            "-o",
            f"/dev/fd/{write}",
        ]
        trace += ["-e", f"trace={HELD},openat", f"--inject={HELD}:delay_exit={_HOLD}"]
        self.process = subprocess.Popen(
            [*trace, *command],
            pass_fds=[write],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
        )
        os.close(write)
        self._lines = os.fdopen(read, encoding="utf-8", errors="replace")
        self._pid: int | None = None

    def events(self) -> Iterator[str]:
        """Changes of files as they happen: system call and path in the folder, without random names."""
        for line in self._lines:
            found = _LINE.match(line)
            if found is None:
                continue
            self._pid = self._pid or int(found[1])
            call, rest = found[2], found[3]
            if call == "openat" and "O_CREAT" not in rest:
                continue
            paths = [a or b for a, b in _PATH.findall(rest)]
            inside = [path for path in paths if path.startswith(self._folder + "/")]
            if inside and " = -1 " not in rest:
                yield f"{call} {named(inside[-1].removeprefix(self._folder))}"

    def kill(self) -> None:
        """Kills the process where it stands."""
        assert self._pid is not None
        os.kill(self._pid, signal.SIGKILL)

    def finish(self) -> tuple[int, str]:
        """Waits for the end; the exit code, and what it printed."""
        with self._lines:
            self._lines.read()
        out, _ = self.process.communicate(timeout=120)
        return self.process.returncode, out


def named(path: str) -> str:
    """A path with its numbers and random names replaced: equal for equal roles."""
    path = re.sub(r"[0-9a-f]{8,}", "H", path)
    return re.sub(r"\d+", "N", path)


if __name__ == "__main__":
    for event in Traced(sys.argv[2:], pathlib.Path(sys.argv[1]), dict(os.environ)).events():
        print(event)
