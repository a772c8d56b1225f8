"""Arms of the study on faces: ways to train, as options of ``piapdf_jax.feedback.discrete_feedback``."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from piapdf_jax import feedback
from piapdf_jax.feedback import Gate, LabelRule, Learner, discrete_gate, masked_mean
from piapdf_jax.feedback_labels import MatchedState
from piapdf_jax.feedback_variants import (
    constant_gate,
    continuous_gate,
    exact_teacher_gradient,
    matched,
    negative_log_likelihood,
    sample,
    soft,
)

_MOMENTUM = 0.9


class Arm(NamedTuple):
    """A way to train; equal ones but for ``title``, ``model``, ``unit`` and ``varies`` are one training.

    Attributes:
        title: in tables.
        label: "threshold", "matched", "sample", "soft", or "truth", the true labels of x_u.
        gate: "constant", "discrete" or "continuous".
        constant: c of the constant gate; 0 is no feedback, and a supervised teacher.
        positive, negative, drop_rate: of the discrete gate.
        exact: whether the teacher gets the second-order gradient in place of its own.
        model: "student" or "teacher", the one that the arm hands on.
        unit: a feedback weight at which the teacher's term is about as long as its labeled gradient, 1 where
            it is the paper's; 0 where there is no feedback.
        per_rate: weights are in units of 1 / eta, for a gradient that is eta times one.
        judges: whether a quarter of the labeled people judge in place of those that teach.
        score: whether the teacher's own term is -log P(Y_p), not the mean cross entropy.
        follow, gain: of ``matched``.
        adamw: in place of SGD.
        student_rate: factor on the student's learning rate.
        fresh: whether both models start untrained, at the start's rate, for all steps of start and arm.
        finetune: supervised steps of the student at the end.
        varies: the arm of which this is an ablation.
    """

    title: str
    label: str = "threshold"
    gate: str = "constant"
    constant: float = 0.0
    positive: float = 1.0
    negative: float = -0.1
    drop_rate: float = 0.05
    exact: bool = False
    model: str = "student"
    unit: float = 0.0
    per_rate: bool = False
    judges: bool = False
    score: bool = False
    follow: str = "unlabeled"
    gain: float = 0.5
    adamw: bool = False
    student_rate: float = 1.0
    fresh: bool = False
    finetune: int = 0
    varies: str = ""

    @property
    def training(self) -> "Arm":
        """What decides the compiled training, and nothing else."""
        return self._replace(title="", model="", unit=0.0, per_rate=False, varies="")


_THRESHOLD = Arm("DF, threshold", gate="discrete", unit=1.0)
_MATCHED = Arm("DF, matched", label="matched", gate="discrete", unit=1.0)
_EXACT = Arm("exact gradient", label="soft", constant=1.0, exact=True, unit=50.0, per_rate=True)
ARMS = {
    # c = 0 leaves the teacher exactly what plain supervised training makes of it.
    "supervised": Arm("supervised for as long", model="teacher"),
    "student_threshold": Arm("student, threshold, no feedback"),
    "student_matched": Arm("student, matched, no feedback", label="matched"),
    "student_matched_labeled": Arm(
        "student, matched on labeled frames, no feedback", label="matched", follow="labeled"
    ),
    "student_soft": Arm("student, soft, no feedback", label="soft"),
    "student_sample": Arm("student, sample, no feedback", label="sample"),
    "constant": Arm("self-training (c = 1), threshold", constant=1.0, unit=1.0),
    "df_threshold": _THRESHOLD,
    "df_matched": _MATCHED,
    "df_matched_labeled": _MATCHED._replace(
        title="DF, matched on labeled frames", follow="labeled"
    ),
    "df_sample": Arm("DF, sample", label="sample", gate="discrete", unit=1.0),
    "continuous": Arm(
        "continuous (MPL), sample", label="sample", gate="continuous", score=True, unit=2.0
    ),
    "exact": _EXACT,
    "exact_judges": _EXACT._replace(
        title="exact, a quarter of the labeled people judge", judges=True
    ),
    "truth": Arm("student of true labels (ceiling)", label="truth"),
}


def _vary(name: str, title: str, **changes: Any) -> Arm:
    return ARMS[name]._replace(title=title, varies=name, **changes)


ABLATIONS = {
    "drop_0": _vary("df_threshold", "sigma never 0", drop_rate=0.0),
    "negative_0": _vary("df_threshold", "h(z) = 0 for z <= 0", negative=0.0),
    "negative_1": _vary("df_threshold", "h(z) = -1 for z <= 0", negative=-1.0),
    "public_sign": _vary("df_threshold", "sign of public code", positive=-0.1, negative=1.0),
    "fresh": _vary("df_threshold", "fresh start", fresh=True),
    "finetuned": _vary("df_threshold", "fine-tuned on labels", finetune=60),
    "matched_finetuned": _vary("df_matched", "matched, fine-tuned on labels", finetune=60),
    "adamw": _vary("df_threshold", "AdamW", adamw=True),
    "slow_student": _vary("df_threshold", "student at a fifth of the rate", student_rate=0.2),
    **{
        f"matched_{follow[0]}_{gain:g}": _vary(
            "df_matched", f"matched by {follow} frames, gain {gain:g}", follow=follow, gain=gain
        )
        for follow in ("unlabeled", "labeled")
        for gain in (0.1, 0.5, 2.0)
        if (follow, gain) != (ARMS["df_matched"].follow, ARMS["df_matched"].gain)
    },
}
#: Arms at a learning rate and a weight that each chose for itself.
TUNED = {
    f"{name}_tuned": name
    for name, arm in ARMS.items()
    if name != "supervised" and arm.follow == "unlabeled"
}
ABLATIONS |= {name: _vary(arm, f"{ARMS[arm].title}, tuned") for name, arm in TUNED.items()}


def find(name: str) -> Arm:
    """Returns an arm or an ablation."""
    return ARMS[name] if name in ARMS else ABLATIONS[name]


class Frames(NamedTuple):
    """A batch: x [B, D]; y [B, C] float, 0 or 1, and -1 where there is no label."""

    x: jax.Array
    y: jax.Array


class Network(NamedTuple):
    """The network's one hidden layer, and what disturbs it in mode "train": dropout, and noise of the inputs."""

    hidden: int = 32
    dropout: float = 0.2
    noise: float = 0.5


def initial_params(network: Network, inputs: int, units: int, key: jax.Array) -> dict[str, Any]:
    """Draws weights: ``a`` [D, H], ``b`` [H], ``c`` [H, C], ``d`` [C]; variances of 1 / D and 1 / H."""
    keys, h = jax.random.split(key), network.hidden
    return {
        "a": jax.random.normal(keys[0], (inputs, h)) / jnp.sqrt(float(inputs)),
        "b": jnp.zeros(h),
        "c": jax.random.normal(keys[1], (h, units)) / jnp.sqrt(float(h)),
        "d": jnp.zeros(units),
    }


def logits(
    network: Network, params: dict[str, Any], x: jax.Array, key: jax.Array | None = None
) -> jax.Array:
    """Computes z = tanh(x a + b) c + d, [B, D] -> [B, C]; with a key disturbed, as "train" is."""
    if key is not None:
        x = x + network.noise * _signs(jax.random.fold_in(key, 0), *x.shape)
    hidden = jnp.tanh(x @ params["a"] + params["b"][None])
    if key is not None:
        keep = 1 - network.dropout
        kept = jax.random.bernoulli(jax.random.fold_in(key, 1), keep, hidden.shape)
        hidden = jnp.where(kept, hidden / keep, 0)
    return hidden @ params["c"] + params["d"][None]


def _signs(key: jax.Array, rows: int, columns: int) -> jax.Array:
    """[rows, columns] of -1 and 1, 32 from each random word: sums of hundreds are as good as normal."""
    words = jax.random.bits(key, (rows, -(-columns // 32)), jnp.uint32)
    bits = (words[:, :, None] >> jnp.arange(32, dtype=jnp.uint32)) & 1
    return bits.reshape(rows, -1)[:, :columns].astype(jnp.float32) * 2 - 1


def learner(network: Network, optimizer: Any, **more: Any) -> Learner:
    """Returns the network as ``piapdf_jax.feedback`` takes it; outputs are z and the labels of the batch."""

    def apply(params: Any, model_state: Any, batch: Frames, key: jax.Array, mode: str) -> Any:
        z = logits(network, params, batch.x, key if mode == "train" else None)
        return Frames(z, batch.y), model_state

    def loss(outputs: Frames, batch: Frames, labels: jax.Array, mask: jax.Array) -> jax.Array:
        del batch
        return masked_mean(optax.sigmoid_binary_cross_entropy(outputs.x, labels), mask)

    parts: dict[str, Any] = {"logits": lambda outputs: outputs.x} | more
    return Learner(apply=apply, loss=loss, optimizer=optimizer, **parts)


def known_labels(batch: Frames) -> tuple[jax.Array, jax.Array]:
    """Returns the labels of a batch, and where they are known."""
    return batch.y, batch.y >= 0


def optimizer(arm: Arm, rate: Any, steps: int) -> optax.GradientTransformation:
    """Returns SGD with momentum, or AdamW; a cosine takes the rate, which may be traced, to 0."""
    cosine = optax.cosine_decay_schedule(1.0, steps)

    def schedule(count: Any) -> Any:
        return rate * cosine(count)

    return optax.adamw(schedule) if arm.adamw else optax.sgd(schedule, momentum=_MOMENTUM)


def feedback_step(
    arm: Arm, network: Network, rate: Any, weight: Any, steps: int, label: LabelRule
) -> feedback.FeedbackStep:
    """Returns the step of an arm; rate and weight may be traced."""
    more: dict[str, Any] = {}
    measure: dict[str, Any] = {"measure": exact_teacher_gradient()} if arm.exact else {}
    if arm.label == "truth":  # certain of the true label
        more["logits"] = lambda outputs: 20 * outputs.y - 10
    if arm.score:
        more["pseudo_loss"] = negative_log_likelihood(lambda outputs: outputs.x)
    return feedback.discrete_feedback(
        learner(network, optimizer(arm, rate, steps), **more),
        learner(network, optimizer(arm, rate * arm.student_rate, steps)),
        known_labels=known_labels,
        label=label,
        gate=_gate(arm),
        feedback_weight=weight,
        **measure,
    )


def _gate(arm: Arm) -> Gate:
    if arm.gate == "discrete":
        return discrete_gate(arm.positive, arm.negative, arm.drop_rate)
    return continuous_gate() if arm.gate == "continuous" else constant_gate(arm.constant)


def label_rule(arm: Arm, rates: jax.Array, cuts: jax.Array) -> LabelRule:
    """Returns the label rule of an arm; rates [C] and start cuts [C], logits, are of ``matched`` alone."""
    if arm.label == "matched":
        rule = matched(0.5, follow=arm.follow, gain=arm.gain)
        return rule._replace(init=lambda params: MatchedState(rates, cuts))
    return {"soft": soft, "sample": sample}.get(arm.label, feedback.threshold)()
