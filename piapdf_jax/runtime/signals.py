"""A request to stop, noted now and obeyed after the step."""

import logging
import signal
import threading
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

log = logging.getLogger("piapdf.loop")


class Interrupted(Exception):
    """A training was asked to stop, and has saved its state.

    Attributes:
        name: of the training.
        step: updates done and saved.
        signum: the signal that asked.
    """

    def __init__(self, name: str, step: int, steps: int, signum: int) -> None:
        super().__init__(f"{name}: stopped and saved at step {step} of {steps}")
        self.name, self.step, self.signum = name, step, signum


class StopSignals:
    """While it is entered, a first SIGINT or SIGTERM only notes itself; a second acts as before."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: Any) -> None:
        self.received = number
        self.__exit__()
        log.warning("stopping after this step; a second signal stops at once")

    def agreed(self, together: bool) -> int | None:
        """The signal that any host received, or None.

        Args:
            together: whether every host asks after this step; several hosts stop only then.
        """
        if jax.process_count() == 1 or not together:
            return self.received if jax.process_count() == 1 else None
        everywhere = multihost_utils.process_allgather(np.int32(self.received or 0))
        return int(np.max(everywhere)) or None
