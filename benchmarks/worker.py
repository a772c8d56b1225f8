"""Runs one side in a separate process, which answers requests: one JSON object per line, each way.

python -m benchmarks.worker SIDE SETTINGS, SIDE being ``jax`` or a form of PyTorch
"""

import dataclasses
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

from absl import app

from benchmarks.cases import Case, sizes
from piapdf_jax import command_line, process_memory


class Worker:
    """The parent's end of such a process.

    Args:
        side: ``jax``, or a form of PyTorch, see ``torch_side.TorchSide``.
        settings: whether it takes the memory settings of the package.
        options: of its side.
    """

    def __init__(self, side: str, *, settings: bool = True, **options: Any) -> None:
        self.side, self.options = side, options
        # Several processes may share one card.
        env = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        env.pop("JAX_COMPILATION_CACHE_DIR", None)  # first steps compile
        command = [sys.executable, "-m", "benchmarks.worker", side, str(int(settings))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def make(self, case: Case) -> None:
        """Builds a case."""
        self.ask(do="make", case=dataclasses.asdict(case), sizes=sizes(case), **self.options)

    def run(self, name: str, seconds: float) -> list[float]:
        """Seconds of each call of a pass, called again until some seconds are over."""
        return self.ask(do="run", name=name, seconds=seconds)

    def ask(self, **request: Any) -> Any:
        """Sends a request and waits for its answer.

        Raises:
            RuntimeError: when the process ended instead.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            raise RuntimeError(f"the {self.side} process ended with {code}; see above")
        return json.loads(line)


def peak() -> int:
    """Bytes of memory that this process held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def build(side: str, request: dict[str, Any]) -> Any:
    """The side that a request asks for."""
    fields = request["case"]
    case = Case(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})
    options = {k: v for k, v in request.items() if k not in ("do", "case", "sizes")}
    if side == "jax":
        from benchmarks.jax_side import JaxSide

        return JaxSide(case, request["sizes"], **options)
    if case.network == "feedback":
        from benchmarks.torch_feedback import TorchFeedback

        return TorchFeedback(case, request["sizes"], side)
    from benchmarks.torch_side import TorchSide

    return TorchSide(case, request["sizes"], side, **options)


def serve(side: str, settings: bool) -> None:
    """Answers until the parent closes the pipe."""
    # What libraries print goes to stderr; the pipe is for answers alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if settings and side != "jax":
        process_memory.keep_heap()
    elif settings and process_memory.cpu_alone():
        process_memory.keep_freed_memory()
    running: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any = None
        if request["do"] == "make":
            running = build(side, request)
        elif request["do"] == "run":
            answer, end = [], time.perf_counter() + request["seconds"]
            while not answer or time.perf_counter() < end:
                answer.append(getattr(running, request["name"])())
        elif request["do"] == "peak":
            answer = running.device_peak() or peak()
        else:
            answer = getattr(running, request["do"])()
        print(json.dumps(answer), file=answers, flush=True)


def main(arguments: list[str]) -> None:
    """Serves the side that is named."""
    if len(arguments) != 3 or arguments[2] not in ("0", "1"):
        raise app.UsageError("give a side, and 1 or 0 for its memory settings")
    serve(arguments[1], arguments[2] == "1")


if __name__ == "__main__":
    command_line.run(main, arguments=2)
