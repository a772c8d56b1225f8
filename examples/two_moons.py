"""Two moons with four known labels each: a teacher labels the rest of the points for a student.

python examples/two_moons.py [picture.png] [--steps=2000]
"""

import argparse
import os

import jax
import jax.numpy as jnp
import optax

from piapdf_jax.feedback import Learner, discrete_feedback, masked_mean
from piapdf_jax.feedback_variants import constant_gate, exact_teacher_gradient, soft

# What differs between trainings. The paper's choices are the defaults.
KINDS = {
    "none": dict(gate=constant_gate(0.0)),
    "discrete": dict(),
    "exact": dict(label=soft(), measure=exact_teacher_gradient(), gate=constant_gate(1.0)),
}
# A training and which of its two networks is shown: 0 for the teacher, 1 for the student.
PANELS = {"supervised": ("none", 0), "discrete feedback": ("discrete", 1), "exact": ("exact", 1)}


def moons(key, n):
    """Draws n points x [n, 2] on two half circles by turns, and on which one each lies, y [n, 1]."""
    t, y = jnp.pi * jax.random.uniform(key, (n,)), jnp.tile(jnp.array([0.0, 1.0]), n // 2)
    x = jnp.stack([(1 - 2 * y) * jnp.cos(t) + y, (1 - 2 * y) * jnp.sin(t) + 0.5 * y], axis=1)
    noise = jax.random.normal(jax.random.fold_in(key, 1), x.shape)
    return {"x": x + 0.1 * noise, "y": y[:, None]}


def apply(params, model_state, batch, key=None, mode=""):
    """Returns logits [..., 1]; the network has no dropout and no statistics, so keys and modes are all one."""
    return jnp.tanh(batch["x"] @ params["a"] + params["b"]) @ params["c"], model_state


def loss(z, batch, y, mask):
    """Returns the mean cross entropy of the cells that have a label."""
    return masked_mean(optax.sigmoid_binary_cross_entropy(z, y), mask)


def learn(kind, steps, seed):
    """Returns teacher and student, their accuracies on new points, and the points seen."""
    keys = jax.random.split(jax.random.key(seed), 4 + steps)
    known, new, x = moons(keys[0], 8), moons(keys[1], 2000), {"x": moons(keys[2], 400)["x"]}

    net = Learner(apply, lambda z: z, loss, optax.sgd(0.1, momentum=0.9))
    step = discrete_feedback(
        net, net, known_labels=lambda batch: (batch["y"], batch["y"] >= 0), **KINDS[kind]
    )

    # Both start from the same network, which says 0.5 everywhere.
    a, b, c = jax.random.normal(keys[3], (2, 32)), jnp.linspace(-2, 2, 32), jnp.zeros((32, 1))
    start = {"a": 2 * a, "b": b, "c": c}, None
    state = step.init(start, start)
    state, _ = jax.lax.scan(lambda s, k: (step.update(s, known, x, k)[0], None), state, keys[4:])

    models = [state.teacher.params, state.student.params]
    right = jnp.stack([(apply(p, None, new)[0] > 0) == (new["y"] > 0) for p in models])
    return models, jnp.mean(right, axis=(1, 2)), known, x


def main(path, steps=2000, seeds=10):
    """Draws how the first seed's network divides the plane, and tells the mean accuracy of all."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise SystemExit("error: figures need matplotlib: pip install matplotlib") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(1, 3, figsize=(10, 3), sharey=True, layout="tight")
    grid = jnp.stack(jnp.meshgrid(jnp.linspace(-1.5, 2.5, 99), jnp.linspace(-1, 1.5, 99)), axis=-1)
    run = jax.jit(jax.vmap(learn, in_axes=(None, None, 0)), static_argnums=(0, 1))
    for axis, (title, (kind, model)) in zip(axes, PANELS.items(), strict=True):
        models, right, known, x = run(kind, steps, jnp.arange(seeds))
        z, _ = apply(jax.tree.map(lambda w: w[0], models[model]), None, {"x": grid})
        axis.contourf(*grid.T, jax.nn.sigmoid(z[..., 0]).T, jnp.linspace(0, 1, 21), cmap="RdBu")
        axis.scatter(*x["x"][0].T, s=2, color="0.3")
        axis.scatter(*known["x"][0].T, c=known["y"][0], cmap="RdBu", edgecolors="w")
        axis.set_title(f"{title} {right[0, model]:.1%} (mean {right[:, model].mean():.1%})", size=9)
    axes[0].figure.savefig(path, dpi=90)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__,
        usage=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("picture", nargs="?", default="two_moons.png", help="file to draw")
    parser.add_argument("--steps", type=int, default=2000, help="of each training")
    given = parser.parse_args()
    path = os.path.expanduser(given.picture)
    if not os.path.isdir(os.path.dirname(path) or "."):
        parser.error(f"{path} does not lie in a folder that is there")
    if given.steps < 1:
        parser.error(f"--steps={given.steps} is not at least 1")
    main(path, given.steps)
