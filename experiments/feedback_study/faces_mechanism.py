"""Measures which labels feedback prefers: the teacher's pseudo labels, the truth, or half of each, by judge.

One student step on each batch of new people, from one start; the same step is judged by frames that the
start was trained on, and by those of other people, with labels published alike.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.feedback_study import faces_arms as arms
from experiments.feedback_study import faces_training as training
from experiments.feedback_study.faces_arms import Arm, Frames
from experiments.feedback_study.faces_training import Lengths
from experiments.feedback_study.faces_worlds import Deck, Lanes, World
from piapdf_jax import feedback

#: Labels of x_u, and who judges.
LABELS, JUDGES = ("teacher", "half", "truth"), ("training", "others")
_STREAM = 100


def measure(
    deck: Deck,
    lengths: Lengths,
    world: World,
    seeds: int,
    batches: int,
    start: int,
    rates: tuple[float, float],
) -> list[dict[str, Any]]:
    """Measures feedback at one start.

    Args:
        deck: who is what; the tuning people are the other judges.
        lengths: of trainings.
        world: with new people.
        seeds: 0, 1, ...
        batches: of each seed.
        start: supervised steps before.
        rates: learning rates of the start and of the student's step.

    Returns:
        Rows as ``faces_results.Results.mechanism`` holds them: the share of batches in which feedback is
        above that of the teacher's labels (nan for these), and above 0.
    """
    lengths = lengths._replace(start=start)
    pairs = [(world, seed) for seed in range(seeds)]
    lanes = deck.lanes(pairs)
    others = [deck.scored(seed, world, "tuning") for _, seed in pairs]
    judges = Frames(*(jnp.array(c, jnp.float32) for c in zip(*others, strict=True)))
    begun = training.start(lengths, lanes, np.full(seeds, rates[0]))
    found = np.asarray(_feedback(lengths, batches, rates[1], lanes, judges, begun))
    rows = []
    for j, judge in enumerate(JUDGES):
        fb = found[:, :, j].reshape(-1, len(LABELS))
        for k, labels in enumerate(LABELS):
            prefers = float((fb[:, k] > fb[:, 0]).mean()) if k else float("nan")
            row = {"judges": judge, "start": start, "labels": labels, "prefers": prefers}
            rows.append(row | {"opens": float((fb[:, k] > 0).mean()), "batches": len(fb)})
    return rows


@functools.partial(jax.jit, static_argnums=(0, 1))
@functools.partial(jax.vmap, in_axes=(None, None, None, 0, 0, 0))
def _feedback(
    lengths: Lengths, batches: int, rate: Any, lane: Lanes, others: Frames, begun: Any
) -> jax.Array:
    """Feedback [batches, judges, labels] of a lane."""
    truth = Arm("", label="truth", gate="discrete", drop_rate=0.0)
    made = arms.feedback_step(truth, lengths.network, rate, 1.0, 1, feedback.threshold())
    state = made.init((begun, None), (begun, None))

    def one(key: jax.Array) -> jax.Array:
        keys = jax.random.split(key, 5)
        shape = (lengths.batch,)
        ends = lane.learned, lane.unlabeled_count, len(others.x)
        rows = [jax.random.randint(k, shape, 0, n) for k, n in zip(keys, ends, strict=False)]
        x = lane.unlabeled[rows[1]]
        own = (arms.logits(lengths.network, begun, x, keys[3]) >= 0).astype(jnp.float32)
        right = lane.truth[rows[1]]
        mixed = jnp.where(jax.random.bernoulli(keys[4], 0.5, right.shape), right, own)
        labeled = Frames(lane.labeled[rows[0]], lane.published[rows[0]])
        both = labeled, Frames(others.x[rows[2]], others.y[rows[2]])
        judges, labels = (
            jax.tree.map(lambda *x: jnp.stack(x), *both),
            jnp.stack((own, mixed, right)),
        )

        def fb(judge: Frames, y: jax.Array) -> jax.Array:
            return made.update(state, labeled, Frames(x, y), key, judge)[1].feedback

        return jax.vmap(jax.vmap(fb, (None, 0)), (0, None))(judges, labels)

    return jax.lax.map(one, jax.random.split(training.stream(lane.seed, _STREAM), batches))
