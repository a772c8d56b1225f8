"""Pairs of pictures verified by vectors: LFW's protocol, view 2."""

from typing import Any, NamedTuple

import numpy as np

from experiments import gaps, scoring
from experiments.data_slices import DataSlice
from experiments.gaps import Gap
from experiments.job import Job
from experiments.scoring import Tools
from piapdf_jax import identity_metrics
from piapdf_jax.data import description
from piapdf_jax.types import Parts


class Pairs(NamedTuple):
    """The pairs of a data set.

    Attributes:
        table: everything but the pictures of its records, a row each.
        first: [P] rows of the first pictures.
        second: [P] rows of the second ones.
        same: [P] whether both show one person.
        block: [P] which block a pair belongs to.
    """

    table: dict[str, np.ndarray]
    first: np.ndarray
    second: np.ndarray
    same: np.ndarray
    block: np.ndarray


def pairs_of(test: DataSlice) -> Pairs:
    """Reads the pairs of a data set.

    Raises:
        Gap: where some name pictures that are not there, or they are of one block.
    """
    table, pairs = test.records().table(), description.metadata(test.folder)["pairs"]
    if lacking := gaps.pairs(pairs, table):
        raise Gap(lacking)
    places = {
        (name, int(number)): row
        for row, (name, number) in enumerate(zip(table["name"], table["number"], strict=True))
    }
    first = np.array([places[name, int(number)] for name, number, _, _, _, _ in pairs])
    second = np.array([places[name, int(number)] for _, _, name, number, _, _ in pairs])
    same, block = (np.array([int(pair[k]) for pair in pairs]) for k in (4, 5))
    return Pairs(table, first, second, same, block)


def verified(vectors: np.ndarray, pairs: Pairs) -> dict[str, Any]:
    """Verifies pairs by the cosine of their vectors.

    Args:
        vectors: [N, F] of the data set's records.
        pairs: of the same.

    Returns:
        ``verification``, the mean accuracy of the blocks, its ``interval``, their ``deviation`` and ``blocks``.

    Raises:
        Gap: for vectors that have no direction.
    """
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(length > 0, length, np.nan)
    similarity = (unit[pairs.first] * unit[pairs.second]).sum(axis=1)
    if not np.isfinite(similarity).all():
        raise Gap("the vectors of some pictures are zero or not finite")
    found = identity_metrics.ten_fold_verification(similarity, pairs.same, pairs.block)
    return {
        "verification": found.accuracy,
        "deviation": found.deviation,
        "interval": [found.low, found.high],
        "blocks": found.blocks.tolist(),
    }


def verification(job: Job, exported: Parts, tools: Tools) -> dict[str, Any]:
    """Verifies pairs in ten folds by the cosine of identity vectors."""
    test, lost = scoring.tested(job), {}
    scores: dict[str, Any] = {"verification": None, "deviation": None}
    scores["pairs"] = len(description.metadata(test.folder)["pairs"])

    def verify() -> dict[str, Any]:
        pairs = pairs_of(test)
        vectors = scoring.evaluated(job, exported, tools).vector
        assert vectors is not None
        return verified(vectors, pairs)

    found = gaps.attempt(lost, "verification", verify, otherwise={}, together=True)
    return gaps.with_gaps(scores | found, lost)
