"""A teacher learns to label two moons of which it knows four points each; a picture of its student.

python -m experiments.feedback_example docs/pictures/feedback_example.png
"""

import sys

import jax
import jax.numpy as jnp
import optax

from experiments.feedback_report import pyplot
from piapdf_jax.feedback import Learner, discrete_feedback

PANELS = {"supervised": ("none", 0), "discrete feedback": ("discrete", 1), "exact": ("exact", 1)}


def _moons(key, n):  # x [n, 2] on two half circles by turns, and on which one y [n, 1]
    t, y = jnp.pi * jax.random.uniform(key, (n,)), jnp.tile(jnp.array([0.0, 1.0]), n // 2)
    x = jnp.stack([(1 - 2 * y) * jnp.cos(t) + y, (1 - 2 * y) * jnp.sin(t) + 0.5 * y], axis=1)
    return {"x": x + 0.1 * jax.random.normal(jax.random.fold_in(key, 1), x.shape), "y": y[:, None]}


def _apply(params, model_state, batch, key=None, mode=""):
    return jnp.tanh(batch["x"] @ params["a"] + params["b"]) @ params["c"], model_state


def learn(kind, steps, seed):
    """Parameters of teacher and student, their accuracies on new points, and the points seen."""
    keys = jax.random.split(jax.random.key(seed), 4 + steps)
    known, new, x = _moons(keys[0], 8), _moons(keys[1], 2000), {"x": _moons(keys[2], 400)["x"]}
    loss = lambda z, batch, y, mask: optax.sigmoid_binary_cross_entropy(z, y).mean(where=mask)  # noqa: E731
    net = Learner(_apply, lambda z: z, loss, optax.sgd(0.1, momentum=0.9))
    step = discrete_feedback(net, net, known_labels=lambda b: (b["y"], b["y"] >= 0), variant=kind)
    a, b, c = jax.random.normal(keys[3], (2, 32)), jnp.linspace(-2, 2, 32), jnp.zeros((32, 1))
    state = step.init(*[({"a": 2 * a, "b": b, "c": c}, None)] * 2)
    state, _ = jax.lax.scan(lambda s, k: (step.update(s, known, x, k)[0], None), state, keys[4:])
    models = [state.teacher.params, state.student.params]
    right = jnp.stack([(_apply(p, None, new)[0] > 0) == (new["y"] > 0) for p in models])
    return models, jnp.mean(right, axis=(1, 2)), known, x


def main(path, steps=2000, seeds=10):
    """Draws how the first seed's network divides the plane, and tells the mean accuracy of all."""
    _, axes = pyplot().subplots(1, 3, figsize=(10, 3), sharey=True, layout="tight")
    grid = jnp.stack(jnp.meshgrid(jnp.linspace(-1.5, 2.5, 99), jnp.linspace(-1, 1.5, 99)), axis=-1)
    run = jax.jit(jax.vmap(learn, in_axes=(None, None, 0)), static_argnums=(0, 1))
    for axis, (title, (kind, model)) in zip(axes, PANELS.items(), strict=True):
        models, right, known, x = run(kind, steps, jnp.arange(seeds))
        z, _ = _apply(jax.tree.map(lambda w: w[0], models[model]), None, {"x": grid})
        axis.contourf(*grid.T, jax.nn.sigmoid(z[..., 0]).T, jnp.linspace(0, 1, 21), cmap="RdBu")
        axis.scatter(*x["x"][0].T, s=2, color="0.3")
        axis.scatter(*known["x"][0].T, c=known["y"][0], cmap="RdBu", edgecolors="w")
        axis.set_title(f"{title} {right[0, model]:.1%} (mean {right[:, model].mean():.1%})", size=9)
    axes[0].figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "feedback_example.png")
