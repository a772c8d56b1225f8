"""A small multi-label problem whose truth is known: few labels, some of them wrong, many points without.

Each seed is a world of its own. In the manner of faces, C binary labels come first, at their own
rates and correlated, and make the point after them:

    z = (f_group + e) / sqrt(2),   y_c = 1[z_c < quantile of rate_c]
    h = 2 y - 1 + spread n         one cluster a combination of labels
    x = tanh(h A) B + noise m      bent, so that no line parts a label from the rest

with f, e, n, m standard normal and A, B drawn once a world. Whoever trains or tunes sees published
labels, of which each is wrong with probability ``wrong``; only the test split holds the truth.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from piapdf_jax.feedback import Learner, masked_mean

SPLITS = ("labeled", "unlabeled", "validation", "test")
_GROUPS = 2


class Problem(NamedTuple):
    """Sizes of the problem and of the network that learns it.

    Attributes:
        inputs: D, width of a point.
        labels: C, binary labels of a point.
        hidden: units of the network's one hidden layer, and of the world's.
        labeled: points with published labels, to learn from.
        unlabeled: points without labels, to learn from.
        validation: points with published labels, to tune by.
        test: points with true labels.
        wrong: probability that a published label is not the true one.
        spread: standard deviation of a cluster; half the distance of neighboring clusters is 1.
        noise: standard deviation of what is added to a point.
        rates: probability of the rarest and of the commonest label.
    """

    inputs: int = 12
    labels: int = 6
    hidden: int = 32
    labeled: int = 64
    unlabeled: int = 2000
    validation: int = 400
    test: int = 2000
    wrong: float = 0.2
    spread: float = 0.4
    noise: float = 0.1
    rates: tuple[float, float] = (0.2, 0.5)


class Points(NamedTuple):
    """A batch: x [B, D]; y [B, C] float, 0 or 1, and -1 where there is no label."""

    x: jax.Array
    y: jax.Array


def draw(problem: Problem, seed: jax.Array, split: str) -> Points:
    """Draws the points of one split of the world that a seed makes.

    Args:
        problem: sizes and rates.
        seed: [] int, the world.
        split: "labeled" or "validation" (published labels), "unlabeled" (y = -1), "test" (truth).

    Returns:
        Points, as many as ``problem`` says for that split.

    Raises:
        ValueError: another split.
    """
    if split not in SPLITS:
        raise ValueError(f"split={split!r} is not one of {', '.join(SPLITS)}.")
    count = getattr(problem, split)
    bend, mix = _world(problem, seed)
    keys = iter(jax.random.split(stream(seed, 1 + SPLITS.index(split)), 5))
    shape = (count, problem.labels)
    factors = jax.random.normal(next(keys), (count, _GROUPS))
    shared = factors[:, jnp.arange(problem.labels) % _GROUPS]
    scores = (shared + jax.random.normal(next(keys), shape)) / jnp.sqrt(2.0)
    rates = jnp.linspace(*problem.rates, problem.labels)
    truth = (scores < jax.scipy.stats.norm.ppf(rates)).astype(jnp.float32)
    center = 2 * truth - 1
    h = center + problem.spread * jax.random.normal(next(keys), shape)
    x = jnp.tanh(h @ bend) @ mix
    x += problem.noise * jax.random.normal(next(keys), x.shape)
    if split == "test":
        return Points(x, truth)
    if split == "unlabeled":
        return Points(x, jnp.full_like(truth, -1))
    wrong = jax.random.bernoulli(next(keys), problem.wrong, shape)
    return Points(x, jnp.where(wrong, 1 - truth, truth))


def stream(seed: jax.Array, number: int) -> jax.Array:
    """Returns one of the independent random streams of a seed, a typed key."""
    return jax.random.fold_in(jax.random.key(seed), number)


def _world(problem: Problem, seed: jax.Array) -> tuple[jax.Array, jax.Array]:
    keys = jax.random.split(stream(seed, 0))
    bend = jax.random.normal(keys[0], (problem.labels, problem.hidden))
    mix = jax.random.normal(keys[1], (problem.hidden, problem.inputs))
    return bend / jnp.sqrt(float(problem.labels)), mix / jnp.sqrt(float(problem.hidden))


def initial_params(problem: Problem, seed: jax.Array) -> dict[str, jax.Array]:
    """Draws the weights of a network with one hidden layer.

    Returns:
        ``a`` [D, H], ``b`` [H], ``c`` [H, C], ``d`` [C].
    """
    keys = jax.random.split(stream(seed, 1 + len(SPLITS)))
    d, h, c = problem.inputs, problem.hidden, problem.labels
    return {
        "a": jax.random.normal(keys[0], (d, h)) * jnp.sqrt(2.0 / d),
        "b": jnp.zeros(h),
        "c": jax.random.normal(keys[1], (h, c)) / jnp.sqrt(float(h)),
        "d": jnp.zeros(c),
    }


def logits(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """Computes the network: z = relu(x a + b) c + d, [B, D] -> [B, C]."""
    hidden = jax.nn.relu(x @ params["a"] + params["b"][None])
    return hidden @ params["c"] + params["d"][None]


def label_loss(z: jax.Array, batch: Any, labels: jax.Array, mask: jax.Array) -> jax.Array:
    """Computes binary cross entropy, mean over the cells where ``mask`` is true; 0 where it is nowhere."""
    del batch
    return masked_mean(optax.sigmoid_binary_cross_entropy(z, labels), mask)


def learner(optimizer: optax.GradientTransformation, **losses: Any) -> Learner:
    """Returns the network as ``piapdf_jax.feedback`` takes it; ``losses`` replace what Learner holds."""

    def apply(params: Any, model_state: Any, batch: Points, key: jax.Array, mode: str) -> Any:
        del key, mode  # no dropout, no batch statistics
        return logits(params, batch.x), model_state

    parts = {"loss": label_loss} | losses
    return Learner(apply=apply, logits=lambda z: z, optimizer=optimizer, **parts)


def known_labels(batch: Points) -> tuple[jax.Array, jax.Array]:
    """Returns labels of a batch, and where they are known."""
    return batch.y, batch.y >= 0


def accuracy(params: dict[str, jax.Array], points: Points) -> jax.Array:
    """Computes the percentage of cells [] on whose side of 0.5 the network stands with the label."""
    right = (logits(params, points.x) >= 0) == (points.y >= 0.5)
    return 100 * jnp.mean(right.astype(jnp.float32))
