"""Scores of section 3.2's case: how well a network finds landmarks, and how well its vectors identify people."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import gaps, scoring
from experiments.feeds import pairs_to_test
from experiments.gaps import Gap
from experiments.job import Job
from experiments.mistakes import USER_ERRORS
from experiments.pair_scores import Pairs, pairs_of, verified
from experiments.scoring import Tools
from piapdf_jax import commands
from piapdf_jax.batch import images_to_float
from piapdf_jax.keys import named_key
from piapdf_jax.landmarks import COORDINATES, landmark_vector, outer_eye_distance
from piapdf_jax.records import IMAGE_SIZE
from piapdf_jax.runtime.evaluate import evaluate
from piapdf_jax.stages.base import Scores
from piapdf_jax.stages.landmarks import LandmarkStage, LandmarkVectors
from piapdf_jax.types import Parts

#: Batches of training frames whose statistics an untrained network has.
_BATCHES = 8
#: What verifies pairs: name in ``results.json`` -> what a person reads.
ROWS = {
    "classes": "1000 numbers before the last layer",
    "pooled": "pooled vector of the same network",
    "regressed": "landmarks that it finds",
    "untrained_classes": "1000 numbers, untrained",
    "untrained_pooled": "pooled vector, untrained",
    "landmarks": "landmarks themselves",
    "encoder_p": "Encoder P",
}


def landmark_identity(job: Job, exported: Parts, tools: Tools) -> dict[str, Any]:
    """Scores landmark regression on unseen people, and its vectors by LFW's protocol beside their alternatives.

    Returns:
        ``mse``, the mean squared error of coordinates, and ``nme``, the mean distance of points, both normalized by
        the distance of the outer eye corners; ``pairs``, the verification of each of ``ROWS``, None with a reason
        under ``gaps`` for what cannot be made.
    """
    lost: dict[str, str] = {}
    scores = errors(job, exported, tools)
    test, found = pairs_to_test(job), dict.fromkeys(ROWS)
    pairs = gaps.attempt(lost, "pairs", lambda: pairs_of(test))
    if pairs is not None:
        for name, make in _vectors(job, exported, tools, pairs).items():
            found[name] = gaps.attempt(
                lost,
                f"pairs.{name}",
                lambda make=make: verified(make(), pairs),
                expected=(Gap, *USER_ERRORS),
                together=True,
            )
    return gaps.with_gaps(scores | {"pairs": found}, lost)


def errors(job: Job, exported: Parts, tools: Tools) -> dict[str, Any]:
    """Computes the errors of the predicted landmarks of the test split."""
    said, test = _said(job, exported, tools), scoring.tested(job)
    true = test.records().table()["landmarks"].astype(np.float64)
    distance = outer_eye_distance(true)
    moved = (_points(said.coordinates) - true) / distance[:, None, None]
    return {
        "frames": len(true),
        "mse": float(np.mean(moved**2)),
        "nme": float(np.linalg.norm(moved, axis=-1).mean()),
    }


def _points(coordinates: Any) -> np.ndarray:
    """Coordinates [N, 136] as landmarks [N, 68, 2] in pixels of a record."""
    inside = np.asarray(coordinates, np.float64) + 0.5
    return inside.reshape(len(inside), -1, 2) * IMAGE_SIZE - 0.5


def _said(job: Job, exported: Parts, tools: Tools, *, pairs: bool = False) -> LandmarkVectors:
    """What a network says of every record of the test split, or of the pairs' pictures."""
    stage, part = job.stage, pairs_to_test(job) if pairs else None
    assert isinstance(stage, LandmarkStage)

    def predict(parts: Parts, images: jax.Array) -> Scores:
        return Scores(None, jnp.concatenate(stage.vectors(parts, images), axis=-1), None)

    with scoring.batches_of(job, tools.reading, part) as batches:
        found = evaluate(predict, exported, batches, mesh=tools.mesh).vector
    assert found is not None
    ends = np.cumsum([stage.classes, found.shape[1] - stage.classes - COORDINATES])
    parts: list[Any] = np.split(found, ends, axis=1)
    return LandmarkVectors(*parts)


def _vectors(job: Job, exported: Parts, tools: Tools, pairs: Pairs) -> dict[str, Callable[[], Any]]:
    """What makes the vectors of the pairs' pictures, by the names of ``ROWS``."""
    trained = functools.cache(lambda: _said(job, exported, tools, pairs=True))
    fresh = functools.cache(lambda: _said(job, _untrained(job), tools, pairs=True))
    mean = functools.cache(lambda: _mean_shape(job))
    return {
        "classes": lambda: trained().classes,
        "pooled": lambda: trained().pooled,
        "regressed": lambda: landmark_vector(_points(trained().coordinates)) - mean(),
        "untrained_classes": lambda: fresh().classes,
        "untrained_pooled": lambda: fresh().pooled,
        "landmarks": lambda: _shapes(job, pairs) - mean(),
        "encoder_p": lambda: _identity_vectors(job, tools),
    }


def _mean_shape(job: Job) -> np.ndarray:
    """Mean over the training frames, [136]; without it all shapes point the same way."""
    landmarks = job.slices.train.records().table()["landmarks"]
    return landmark_vector(landmarks.astype(np.float64)).mean(axis=0)


def without_landmarks(job: Job, table: dict[str, np.ndarray]) -> str:
    """Returns why the pairs of a training have no shapes of their own, from their records; "" where they have."""
    if "landmarks" in table:
        return ""
    name = job.section.pairs
    return (
        f"the records of {name} are of an older version, without landmarks; a newer one is built beside it by"
        f" {commands.prepare(name, job.datasets.data_dir)}"
    )


def _shapes(job: Job, pairs: Pairs) -> np.ndarray:
    """Shapes of the pairs' faces by the records' own landmarks, [N, 136]."""
    if lacking := without_landmarks(job, pairs.table):
        raise Gap(lacking)
    return landmark_vector(pairs.table["landmarks"].astype(np.float64))


def _untrained(job: Job) -> Parts:
    """A network of the same sizes with random weights and the statistics that they have on training frames."""
    # Whole batches on every host, so that all have the same network.
    reading = dataclasses.replace(job.reading(training=True), host=0, hosts=1)
    stream, stage = job.training.feed.stream(job, reading), job.stage
    assert isinstance(stage, LandmarkStage)
    images = [images_to_float(jnp.asarray(stream(step).image)) for step in range(_BATCHES)]
    return stage.untrained(named_key(jax.random.key(job.seed), "untrained"), images)


def _identity_vectors(job: Job, tools: Tools) -> np.ndarray:
    assert tools.finished is not None
    stage, exported = tools.finished("identity")
    with scoring.batches_of(job, tools.reading, pairs_to_test(job)) as batches:
        vectors = evaluate(stage.predict, exported, batches, mesh=tools.mesh).vector
    assert vectors is not None
    return vectors
