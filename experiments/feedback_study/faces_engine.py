"""Trains arms of the study on faces in any worlds and seeds, and scores them; caches what they share."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.feedback_study import faces_training as training
from experiments.feedback_study.faces_arms import Arm
from experiments.feedback_study.faces_training import Lengths
from experiments.feedback_study.faces_worlds import Deck, Lanes, World


class Item(NamedTuple):
    """One training: where, and its learning rate and feedback weight."""

    world: World
    seed: int
    rate: float
    weight: float = 0.0


class Probabilities(NamedTuple):
    """Of one training, [F, C] each: probabilities by either model, and the labels to score on; means over the steps."""

    teacher: np.ndarray
    student: np.ndarray
    labels: np.ndarray
    means: dict[str, float]


Pairs = tuple[tuple[World, int], ...]


class Engine:
    """Trainings of one deck and lengths.

    Args:
        deck: who is what.
        lengths: of the trainings.
        lanes: trainings side by side; the last ones are filled up, so that an arm is compiled once.
    """

    def __init__(self, deck: Deck, lengths: Lengths, lanes: int) -> None:
        self.deck, self.lengths, self.lanes = deck, lengths, lanes
        self._starts: dict[tuple[float, bool, World, int], Any] = {}
        # As many as there are rows of lanes in what is trained at a time, and one more.
        self._data = functools.lru_cache(maxsize=6)(self._put_data)
        self._frames = functools.lru_cache(maxsize=6)(self._put_frames)

    def _put_data(self, pairs: Pairs, judges: bool) -> Lanes:
        return training.put(self.deck.lanes(pairs, judges=judges))

    def _put_frames(self, pairs: Pairs, split: str) -> tuple[Any, np.ndarray]:
        frames = [self.deck.scored(seed, world, split) for world, seed in pairs]
        x, y = (np.stack(column) for column in zip(*frames, strict=True))
        return training.put(x), y

    def _parts(self, items: Sequence[Any]) -> Iterator[tuple[list[Any], int]]:
        for first in range(0, len(items), self.lanes):
            part = list(items[first : first + self.lanes])
            yield part + part[-1:] * (self.lanes - len(part)), len(part)

    def starts(self, items: Sequence[Item], judges: bool = False) -> list[Any]:
        """Returns the start of each item, whose rate is the start's; trained once."""
        keys = [(item.rate, judges, item.world, item.seed) for item in items]
        missing = sorted({key for key in keys if key not in self._starts})
        for part, count in self._parts(missing):
            pairs = tuple(key[2:] for key in part)
            rates = np.array([key[0] for key in part])
            found = training.start(self.lengths, self._data(pairs, judges), rates)
            found = jax.tree.map(np.asarray, found)
            for k, key in enumerate(part[:count]):
                self._starts[key] = jax.tree.map(lambda x, k=k: x[k], found)
        return [self._starts[key] for key in keys]

    def run(
        self, arm: Arm, items: Sequence[Item], start_rate: float, split: str
    ) -> Iterator[Probabilities]:
        """Trains an arm and gives the probabilities of the frames of a split, item by item."""
        rate = start_rate
        for part, count in self._parts(items):
            pairs = tuple(item[:2] for item in part)
            begun = self.starts([item._replace(rate=rate) for item in part], arm.judges)
            begun = jax.tree.map(lambda *x: np.stack(x), *begun)
            floats = (np.array([getattr(item, key) for item in part]) for key in ("rate", "weight"))
            data = self._data(pairs, arm.judges)
            trained = training.train(arm, self.lengths, data, begun, *floats)
            x, y = self._frames(pairs, split)
            both = [training.probabilities(self.lengths.network, p, x) for p in trained[:2]]
            means = {key: np.asarray(getattr(trained, key)) for key in trained._fields[2:]}
            for k in range(count):
                told = {key: float(values[k]) for key, values in means.items()}
                yield Probabilities(both[0][k], both[1][k], y[k], told)

    def run_starts(
        self, items: Sequence[Item], split: str
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Trains starts and gives probabilities and labels of the frames of a split, item by item."""
        for part, count in self._parts(items):
            pairs = tuple(item[:2] for item in part)
            begun = jax.tree.map(lambda *x: np.stack(x), *self.starts(part))
            x, y = self._frames(pairs, split)
            probs = training.probabilities(self.lengths.network, begun, x)
            yield from zip(probs[:count], y[:count], strict=True)
