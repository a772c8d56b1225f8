"""A profile of a few steps, for TensorBoard's profile plugin, XProf or Perfetto."""

import contextlib
import logging
import pathlib
from collections.abc import Iterator

import jax

log = logging.getLogger("piapdf.loop")


class Profile:
    """Traces some steps of a training, as a context manager; the one that compiles is left out.

    Args:
        folder: of the trace.
        steps: how many; 0 for none.
    """

    def __init__(self, folder: pathlib.Path, steps: int) -> None:
        self.folder, self.left, self._tracing = folder, steps, False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @contextlib.contextmanager
    def step(self, number: int, first: bool) -> Iterator[bool]:
        """Around one step; yields whether to wait for it, because it compiles or ends the trace.

        Args:
            number: of the step.
            first: whether it compiles.
        """
        if first or not self.left:
            yield first
            return
        if not self._tracing:
            jax.profiler.start_trace(self.folder)
            self._tracing = True
        self.left -= 1
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            yield not self.left
        if not self.left:
            self._stop()

    def _stop(self) -> None:
        if self._tracing:
            self._tracing = False
            jax.profiler.stop_trace()
            log.info("profile written to %s", self.folder)
