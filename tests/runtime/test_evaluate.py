import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_stage import BATCH, ToyStage, toy_batch

from piapdf_jax.records import pack_planes
from piapdf_jax.runtime import mesh
from piapdf_jax.runtime.evaluate import evaluate
from piapdf_jax.stages.base import Scores

RECORDS = 19


@pytest.fixture(scope="module")
def exported():
    stage = ToyStage()
    return stage.export(stage.init(jax.random.key(0), {})[0])


def split(order, maps=True):
    """A split of 19 records in batches of 8, the last one padded with rows of record 0."""
    data = toy_batch(5, size=RECORDS)
    rng = np.random.default_rng(0)
    planes = (rng.random((RECORDS, 4, 4, 2)) < 0.4).astype(np.float32)
    padded = np.concatenate([order, np.zeros(-RECORDS % BATCH, int)])
    mask = (np.arange(len(padded)) < RECORDS).astype(np.float32)
    batches = [
        data._replace(
            image=data.image[rows],
            labels=data.labels[rows],
            pi_maps=np.stack([pack_planes(p) for p in planes[rows]]) if maps else None,
            mask=mask[k * BATCH : (k + 1) * BATCH],
            record_index=rows.astype(np.int32),
        )
        for k, rows in enumerate(np.split(padded, len(padded) // BATCH))
    ]
    return data.image, planes, batches


def reference(exported, image, planes):
    """The toy network and the overlaps in float64."""
    (params, stats), (head, _) = jax.tree.map(
        lambda x: np.asarray(x, np.float64), (exported["encoder"], exported["head"])
    )
    x = (image.reshape(len(image), -1) - stats["mean"]) / np.sqrt(stats["var"] + 1e-3)
    vector = np.tanh(x @ params["kernel"])
    probs = 1 / (1 + np.exp(-(vector @ head["kernel"] + head["bias"])))
    ours, theirs = image[..., :2] >= 0.5, planes == 1
    axes = (1, 2)
    return probs, vector, np.sum(ours & theirs, axes), np.sum(ours | theirs, axes)


@pytest.mark.parametrize("devices", [None, 1, 2])
def test_arrays_by_row_without_padding(exported, devices):
    image, planes, batches = split(np.random.default_rng(1).permutation(RECORDS))
    on = mesh.data_mesh(jax.devices()[:devices]) if devices else None
    result = evaluate(ToyStage().predict, exported, iter(batches), mesh=on)
    probs, vector, intersection, union = reference(exported, image, planes)
    np.testing.assert_array_equal(result.record_index, np.arange(RECORDS))
    np.testing.assert_allclose(result.au_probs, probs, rtol=0, atol=1e-6)
    np.testing.assert_allclose(result.vector, vector, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(result.pi_intersection, intersection)
    np.testing.assert_array_equal(result.pi_union, union)
    assert result.pi_union.dtype == np.int64 and result.au_probs.dtype == np.float32


def test_parts_that_are_not_there_are_none(exported):
    _, _, batches = split(np.arange(RECORDS), maps=False)
    result = evaluate(ToyStage().predict, exported, batches)
    assert result.pi_intersection is None and result.pi_union is None
    _, _, batches = split(np.arange(RECORDS))
    only = evaluate(functools.partial(lambda e, x: Scores(None, None, x[..., :2])), {}, batches)
    assert only.au_probs is None and only.vector is None and only.pi_union is not None


def test_a_half_is_inside_a_map():
    batch = toy_batch(0)._replace(pi_maps=np.full((BATCH, 4, 4), 0b11, np.uint16))
    flat = evaluate(lambda e, x: Scores(None, None, jnp.full((BATCH, 4, 4, 2), 0.5)), {}, [batch])
    np.testing.assert_array_equal(flat.pi_intersection, np.full((BATCH, 2), 16))


def test_nothing_and_double_rows_are_refused(exported):
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(ToyStage().predict, exported, [])
    batch = toy_batch(0)._replace(record_index=np.array([3, 4, 3, 5, 6, 7, 8, 9], np.int32))
    with pytest.raises(ValueError, match="row 3 was evaluated twice"):
        evaluate(ToyStage().predict, exported, [batch])
