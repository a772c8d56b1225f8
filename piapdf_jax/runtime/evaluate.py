"""One pass of ``predict`` over a split: arrays by record row, of which every score is made."""

import collections
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from piapdf_jax.batch import Batch, images_to_float, unpack_maps
from piapdf_jax.runtime.mesh import replicate, shard_batch
from piapdf_jax.stages.base import Scores
from piapdf_jax.types import Parts

_Arrays = Mapping[str, np.ndarray | jax.Array]


class Evaluation(NamedTuple):
    """Predictions of an export for a split, sorted by row; None where it has no such part.

    Attributes:
        record_index: [N] int64, position of the record in its split.
        au_probs: [N, C] float32 in [0, 1].
        vector: [N, F] float32, the encoder's pooled vector.
        pi_intersection: [N, K] int64, pixels where map and predefined map are both 1.
        pi_union: [N, K] int64, pixels where either is.
    """

    record_index: np.ndarray
    au_probs: np.ndarray | None
    vector: np.ndarray | None
    pi_intersection: np.ndarray | None
    pi_union: np.ndarray | None


def evaluate(
    predict: Callable[[Parts, jax.Array], Scores],
    exported: Parts,
    batches: Iterable[Batch],
    *,
    mesh: Mesh | None = None,
) -> Evaluation:
    """Runs a predictor over a split once.

    Args:
        predict: of a stage; sees the export and images [B, S, S, 3] and nothing else.
        exported: parts by name.
        batches: this host's share of the split; rows whose ``mask`` is 0 are padding, dropped.
        mesh: devices to split each batch over; None for one device a host.

    Returns:
        Arrays over the whole split, on every host. Maps are binarized at 0.5.

    Raises:
        ValueError: where there is no batch, or a row comes twice.
    """
    if mesh is not None:
        exported = replicate(mesh, exported)
    waiting: collections.deque[tuple[_Arrays, _Arrays]] = collections.deque()
    collected: list[dict[str, np.ndarray]] = []
    for batch in batches:
        images, maps = batch.image, batch.pi_maps
        if mesh is not None:
            images, maps = shard_batch(mesh, (images, maps))
        scores = predict(exported, images_to_float(jnp.asarray(images)))
        waiting.append(
            ({"mask": batch.mask, "record_index": batch.record_index}, _arrays(scores, maps))
        )
        if len(waiting) > 1:  # the device works on one batch while the host fetches the one before
            collected.append(_fetch(*waiting.popleft(), mesh))
    collected += [_fetch(*entry, mesh) for entry in waiting]
    if not collected:
        raise ValueError("there is nothing to evaluate: the split has no records")
    return _by_row({name: np.concatenate([c[name] for c in collected]) for name in collected[0]})


def _arrays(scores: Scores, maps: np.ndarray | jax.Array | None) -> dict[str, jax.Array]:
    found = {"au_probs": scores.au_probs, "vector": scores.vector}
    if scores.pi_probs is not None and maps is not None:
        found["pi_intersection"], found["pi_union"] = _overlap(scores.pi_probs, jnp.asarray(maps))
    return {name: value for name, value in found.items() if value is not None}


@jax.jit
def _overlap(probs: jax.Array, packed: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Pixels of intersection and union of binarized and predefined maps, per image and map."""
    ours, theirs = probs >= 0.5, unpack_maps(packed, probs.shape[-1]) >= 0.5
    return (ours & theirs).sum(axis=(1, 2)), (ours | theirs).sum(axis=(1, 2))


def _fetch(own: _Arrays, scored: _Arrays, mesh: Mesh | None) -> dict[str, np.ndarray]:
    """One batch on the host, padding dropped; rows of all hosts in the same order everywhere."""
    if jax.process_count() > 1:
        own = multihost_utils.process_allgather(own, tiled=True)
        # Arrays of a mesh are global already, others are this host's share.
        scored = scored if mesh is not None else jax.device_get(scored)
        scored = multihost_utils.process_allgather(scored, tiled=True)
    host = {name: np.asarray(value) for name, value in {**own, **scored}.items()}
    kept = host.pop("mask") > 0
    return {name: value[kept] for name, value in host.items()}


def _by_row(found: dict[str, np.ndarray]) -> Evaluation:
    rows, first = np.unique(found["record_index"].astype(np.int64), return_index=True)
    if len(rows) != len(found["record_index"]):
        twice = np.setdiff1d(np.arange(len(found["record_index"])), first)[0]
        raise ValueError(f"record row {found['record_index'][twice]} was evaluated twice")
    counts = {
        name: found[name][first].astype(np.int64)
        for name in ("pi_intersection", "pi_union")
        if name in found
    }
    floats = {
        name: found[name][first].astype(np.float32)
        for name in ("au_probs", "vector")
        if name in found
    }
    blank = dict.fromkeys(Evaluation._fields)
    return Evaluation(**{**blank, "record_index": rows, **floats, **counts})
