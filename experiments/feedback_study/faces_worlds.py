"""Worlds of the study on faces: who is labeled, who is not, who is tested, and which labels are wrong.

A seed deals the people anew. Worlds of one seed are nested: the five labeled people are among the ten,
the ten among the twenty, the same cells are wrong sooner or later, and the test people are the same.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.feedback_study import faces_results
from experiments.feedback_study.faces_data import Faces, generator

#: Powers of the eigenvalues by which principal components are divided: nearly white ones.
_WHITENING = 0.35


class World(NamedTuple):
    """Labeled people, new people without labels (0: own uncoded frames), percent of wrong labels."""

    people: int
    pool: int
    wrong: int

    @property
    def key(self) -> str:
        """Name of the world."""
        return faces_results.world_key(*self)


class Sizes(NamedTuple):
    """How many people each role takes at most, and inputs of the network.

    Attributes:
        tuning: people by whose published labels is tuned; the same in all seeds, in no other role.
        test: people of the test.
        labeled, pool: people with labels and without, in the largest world.
        inputs: principal components.
    """

    tuning: int = 10
    test: int = 60
    labeled: int = 20
    pool: int = 100
    inputs: int = 256


class Roles(NamedTuple):
    """Who is what in one seed: indices of people; worlds take the first of ``labeled`` and ``pool``."""

    tuning: np.ndarray
    test: np.ndarray
    labeled: np.ndarray
    pool: np.ndarray


class Lanes(NamedTuple):
    """Data of N trainings side by side, of equal shapes whatever the worlds.

    Attributes:
        seed: [N] int32.
        labeled: [N, L, D] coded frames of the labeled people, those of fewer people first.
        published: [N, L, C] their labels, 0 or 1.
        learned: [N] int32, how many of them teach.
        judged: [N] int32, end of those after them that judge; as ``learned`` where the same do both.
        unlabeled: [N, U, D] frames without labels.
        truth: [N, U, C] their true labels, for the ceiling alone.
        unlabeled_count: [N] int32.
    """

    seed: Any
    labeled: Any
    published: Any
    learned: Any
    judged: Any
    unlabeled: Any
    truth: Any
    unlabeled_count: Any


def deal(people: int, sizes: Sizes, seed: int) -> Roles:
    """Deals roles.

    Raises:
        ValueError: for fewer people than roles.
    """
    needed = sizes.tuning + sizes.test + sizes.labeled + sizes.pool
    if people < needed:
        raise ValueError(f"{people} people are too few for {needed} in all roles.")
    order = generator("feedback study", "tuning").permutation(people)
    tuning, others = np.split(order, [sizes.tuning])
    others = generator("feedback study", "roles", seed).permutation(others)
    ends = np.cumsum((sizes.test, sizes.labeled, sizes.pool))
    return Roles(tuning, *np.split(others, ends)[:3])


class Deck:
    """Inputs and labels of drawn people as each seed deals them; computed once a seed.

    Args:
        faces: drawn people.
        sizes: of roles.
    """

    def __init__(self, faces: Faces, sizes: Sizes) -> None:
        self.faces, self.sizes = faces, sizes
        self.inputs = functools.lru_cache(maxsize=128)(self._inputs)

    def roles(self, seed: int) -> Roles:
        """Returns who is what."""
        return deal(len(self.faces.people), self.sizes, seed)

    def _inputs(self, seed: int) -> np.ndarray:
        """[P, K, D] principal components of all frames; fitted on those of people not tested."""
        hog = self.faces.hog
        fitted = np.delete(hog, self.roles(seed).test, axis=0).reshape(-1, hog.shape[-1])
        mean = fitted.mean(0)
        centered = fitted - mean
        values, vectors = np.linalg.eigh(centered.T @ centered / len(fitted))
        values, vectors = values[: -self.sizes.inputs - 1 : -1], vectors[:, ::-1]
        scale = values**-_WHITENING
        scale /= np.sqrt(np.mean(values * scale**2))  # unit variance on the mean
        matrix = vectors[:, : self.sizes.inputs] * scale
        return ((hog - mean) @ matrix).astype(np.float32)

    def published(self, seed: int, wrong: int) -> np.ndarray:
        """Returns [P, K, C] int8 labels of which ``wrong`` percent are flipped, cell by cell."""
        labels = self.faces.labels
        drawn = generator("feedback study", "wrong", seed).random(labels.shape)
        return np.where(drawn < wrong / 100, 1 - labels, labels)

    def scored(self, seed: int, world: World, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns coded frames to score on: inputs [N, D] and labels [N, C], person by person.

        Args:
            seed: the deal.
            world: whose share of wrong labels counts.
            split: "test", with true labels, or "tuning", with published ones.
        """
        roles = self.roles(seed)
        who = {"test": roles.test, "tuning": roles.tuning}[split]
        labels = self.faces.labels if split == "test" else self.published(seed, world.wrong)
        cells = np.ix_(who, self.faces.coded)
        x, y = self.inputs(seed)[cells], labels[cells]
        return x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])

    def rates(self, seed: int, world: World) -> np.ndarray:
        """Computes the published rates of the labeled frames, [C]."""
        who = self.roles(seed).labeled[: world.people]
        cells = self.published(seed, world.wrong)[np.ix_(who, self.faces.coded)]
        return cells.mean((0, 1))

    def lanes(self, pairs: Sequence[tuple[World, int]], *, judges: bool = False) -> Lanes:
        """Returns the data of trainings.

        Args:
            pairs: world and seed of each.
            judges: whether a quarter of the labeled people judge, and teach no more.
        """
        return Lanes(*map(np.stack, zip(*(self._lane(*p, judges) for p in pairs), strict=True)))

    def _lane(self, world: World, seed: int, judges: bool) -> tuple[Any, ...]:
        faces, sizes, roles = self.faces, self.sizes, self.roles(seed)
        x, published = self.inputs(seed), self.published(seed, world.wrong)
        labeled = np.ix_(roles.labeled[: world.people], faces.coded)
        pool = roles.pool[: world.pool]
        unlabeled = (
            np.ix_(pool) if world.pool else np.ix_(roles.labeled[: world.people], ~faces.coded)
        )
        frames = int(faces.coded.sum())
        apart = max(1, world.people // 4) if judges else 0
        counts = (world.people - apart) * frames, world.people * frames
        rows = sizes.labeled * frames, max(sizes.labeled, sizes.pool) * len(faces.coded)
        found = _padded(x[unlabeled], rows[1]), _padded(faces.labels[unlabeled], rows[1])
        size = int(np.prod(x[unlabeled].shape[:2]))
        whole = np.int32(seed), _padded(x[labeled], rows[0]), _padded(published[labeled], rows[0])
        return (*whole, *map(np.int32, counts), *found, np.int32(size))


def _padded(values: np.ndarray, rows: int) -> np.ndarray:
    """[people, frames, n] as [rows, n] float32, zeros after what is there."""
    flat = values.reshape(-1, values.shape[-1])
    found = np.zeros((rows, flat.shape[1]), np.float32)
    found[: len(flat)] = flat
    return found
