"""The state that scores best on people kept apart, where there are such people."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from piapdf_jax.runtime.checkpoints import Checkpoints, Restored
from piapdf_jax.types import Parts


class Validation(NamedTuple):
    """How states are compared.

    Attributes:
        every: steps between two scores; the last step has one as well.
        score: of an export; higher is better.
    """

    every: int
    score: Callable[[Parts], float]


class Best:
    """Keeps the best state so far, as a context manager; does nothing without a validation.

    A state is on disk before any checkpoint tells of it. So after a kill what lies here may be ahead
    of the training, which comes to it again and finds it there.

    Args:
        folder: of the one state.
        config: all that decides the training's numbers.
        validation: how states are compared, or None.
    """

    def __init__(
        self, folder: pathlib.Path, config: dict[str, Any], validation: Validation | None
    ) -> None:
        self.validation, self.step, self.score = validation, None, -np.inf
        self._kept = Checkpoints(folder, every=0, config=config, keep=1) if validation else None

    def __enter__(self) -> "Best":
        return self

    def __exit__(self, *_: object) -> None:
        if self._kept is not None:
            self._kept.close()

    def go_on(self, saved: list[Any] | None) -> None:
        """Takes what a checkpoint says of the best state before it."""
        if saved is not None:
            self.step, self.score = saved

    def told(self) -> list[Any] | None:
        """Step and score of the best state so far, as JSON holds them."""
        return None if self.step is None else [self.step, self.score]

    def due(self, step: int, steps: int) -> bool:
        """Whether the state after this step is scored."""
        return self.validation is not None and (step % self.validation.every == 0 or step == steps)

    def consider(self, step: int, state: Any, exported: Parts) -> float:
        """Scores a state and keeps it where none before was better; returns the score."""
        assert self.validation is not None and self._kept is not None
        local = jax.tree.map(lambda leaf: jax.numpy.asarray(np.asarray(leaf)), exported)
        score = self.validation.score(local)
        if score > self.score:
            self.step, self.score = step, score
            if step > max(self._kept.steps(), default=-1):
                self._kept.save(step, state, {})
                self._kept.wait()
        return score

    def restore(self, target: Any) -> Restored | None:
        """The best state, or None where there is no choice."""
        return None if self._kept is None else self._kept.restore_latest(target)
