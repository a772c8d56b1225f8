"""Discrete feedback on the PIAP losses (section 3.3): binds the networks and L_PIAP to ``piapdf_jax.feedback``.

Teacher and student start from the same trained network. Each step: targets of all frames from the frozen parts,
then one step of ``discrete_feedback`` on (x_l, Y_l) and x_u.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from piapdf_jax import feedback_variants as variants
from piapdf_jax.action_units import UNKNOWN
from piapdf_jax.batch import Batch, FeedbackBatch, Prediction, Targets
from piapdf_jax.feedback import (
    FeedbackInfo,
    FeedbackState,
    FeedbackStep,
    Learner,
    Loss,
    discrete_feedback,
)
from piapdf_jax.losses import LossWeights, au_loss, piap_loss
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.piap import init_part, network_apply
from piapdf_jax.models.prediction import frozen_targets, predict_action_units
from piapdf_jax.stages.base import RUNTIME_ONLY, Exported, OptimizerConfig, Scores
from piapdf_jax.stages.feedback_options import COMPILE, MATCHED, FeedbackOptions

#: ``OptimizerConfig.eps_root`` of a student whose step is differentiated: AdamW's derivative is
#: infinite at a gradient of 0 without it.
_EPS_ROOT = 1e-8
#: Flags of a step whose feedback told the teacher nothing, and what a training calls them.
_USELESS = {
    "nonfinite": "feedback_not_finite",
    "no_labels": "no_label_known_or_accepted",
    "unusable": "optimizer_hides_the_gradient",
}


class _Supervised(NamedTuple):
    """Images with the targets that the frozen parts and, for x_l, the labels give."""

    image: jax.Array
    targets: Targets


@dataclasses.dataclass(frozen=True)
class FeedbackStage:
    """Teacher and student under L_PIAP (6) with the feedback (9)-(11).

    Attributes:
        model: sizes of the networks.
        teacher_optimizer: how the teacher steps.
        student_optimizer: how the student steps.
        weights: of the three losses; (1, 0, 0) for feedback on the baseline.
        image_size: S, pixels.
        num_aus: C.
        num_maps: K.
        binarise: cut the generator's soft maps at 0.5 before L_PI.
        positive_weight: of the maps' inside in the cross-entropy of L_PI.
        dice: weight of the Dice term of L_PI.
        begin: training that both copies start from; None for fresh networks.
        options: how feedback is measured and handed back.
        labeled_rates: returns rates and cuts of the labeled frames, [C] each, where ``options.labels`` is
            ``matched``: share of positives, and probabilities at which the start meets it. Called by ``init``
            alone; no setting, for the data and the export that a training starts from decide what it returns.
        compile: ``whole``, one function with the state donated; ``parts``, which compile faster and hold less at a
            time; ``auto``, parts on a CPU alone. The numbers are equal.
    """

    model: ModelConfig
    teacher_optimizer: OptimizerConfig
    student_optimizer: OptimizerConfig
    weights: LossWeights
    image_size: int
    num_aus: int
    num_maps: int
    binarise: bool = False
    positive_weight: float = 1.0
    dice: float = 0.0
    begin: str | None = None
    options: FeedbackOptions = FeedbackOptions()
    labeled_rates: Callable[[], tuple[ArrayLike, ArrayLike]] | None = dataclasses.field(
        default=None, compare=False, metadata=RUNTIME_ONLY
    )
    compile: str = dataclasses.field(default="auto", metadata=RUNTIME_ONLY)

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts whose sizes decide it, keys of ``models.config.PART_FIELDS``."""
        return ("encoder", "head", *(("generator", "decoder") if self.weights.pi else ()))

    def __post_init__(self) -> None:
        if self.compile not in COMPILE:
            raise ValueError(f"df.compile={self.compile!r} is not one of {', '.join(COMPILE)}")
        _make_step(self)

    def init(self, key: jax.Array, inputs: dict[str, Exported]) -> tuple[FeedbackState, Exported]:
        """Teacher and student as copies of the trained network, or fresh; PI Generator 1 and Encoder P frozen."""
        keys = jax.random.split(key, 3)
        parts = dict(inputs[self.begin]) if self.begin else {}
        size = self.image_size
        if not self.begin:
            parts["encoder"] = init_part(self.model, "encoder", keys[0])
            parts["head"] = init_part(self.model, "head", keys[1], num_aus=self.num_aus)
            parts["decoder"] = init_part(
                self.model, "decoder", keys[2], image_size=size, num_maps=self.num_maps
            )
        if not self.weights.pi:
            parts.pop("decoder", None)
        frozen: Exported = {}
        if self.weights.pi:
            frozen["generator"] = inputs["pi2"]["generator"]
        if self.weights.ap:
            frozen["identity"] = inputs["identity"]["encoder"]
        params = {name: part[0] for name, part in parts.items()}
        stats = {name: part[1] for name, part in parts.items()}
        return self._first_step().init((params, stats), (params, stats)), frozen

    def _first_step(self) -> FeedbackStep:
        """The step whose label rule starts from the labeled frames, where it does."""
        step = _make_step(self)
        if self.options.labels != MATCHED:
            return step
        if self.labeled_rates is None:
            raise ValueError("labels='matched' needs the rates of the labeled frames")
        return dataclasses.replace(step, label=self.options.label_rule(*self.labeled_rates()))

    def train_step(
        self, state: FeedbackState, frozen: Exported, batch: FeedbackBatch, key: jax.Array
    ) -> tuple[FeedbackState, dict[str, jax.Array]]:
        """One step of teacher and student on x_l and x_u, judged by ``batch.judge`` where that is given."""
        cpu = jax.default_backend() == "cpu"
        if self.compile == "whole" or (self.compile == "auto" and not cpu):
            return _whole(self, state, frozen, batch, key)
        labeled, unlabeled, judge = _with_targets(self, frozen, batch)
        state, info = _step_in_parts(self).update(state, labeled, unlabeled, key, judge)
        return state, _metrics(state, info)

    def export(self, state: FeedbackState) -> Exported:
        """{encoder, head} of the student."""
        student = state.student
        return {k: (student.params[k], student.model_state[k]) for k in ("encoder", "head")}

    def beside(self, state: FeedbackState) -> Exported:
        """{teacher_encoder, teacher_head}: what the score alone reads, to stand beside the student."""
        teacher = state.teacher
        return {
            f"teacher_{k}": (teacher.params[k], teacher.model_state[k]) for k in ("encoder", "head")
        }

    def predict(self, exported: Exported, images: jax.Array) -> Scores:
        """AU probabilities and the encoder's vector, from the student's encoder and AU head alone."""
        kept = {name: exported[name] for name in ("encoder", "head")}
        prediction = predict_action_units(self.model, kept, images)
        return Scores(jax.nn.sigmoid(prediction.au_logits), prediction.vector, None)


@functools.partial(jax.jit, static_argnums=0)
def _targets(stage: FeedbackStage, frozen: Exported, batch: Batch) -> _Supervised:
    targets = frozen_targets(
        stage.model, frozen, batch.image, batch.labels, binarise=stage.binarise
    )
    return _Supervised(batch.image, targets)


def _with_targets(stage: FeedbackStage, frozen: Exported, batch: FeedbackBatch) -> Any:
    """Labeled frames, unlabeled ones, and those that judge or None, each with its targets."""
    return [None if part is None else _targets(stage, frozen, part) for part in batch]


def _learner(stage: FeedbackStage) -> Learner:
    """What teacher and student share, so that their passes compile once: all but the optimizer."""

    def apply(params: Any, stats: Any, batch: _Supervised, key: jax.Array, mode: str) -> Any:
        parts = {name: (params[name], stats[name]) for name in params}
        return network_apply(stage.model, parts, batch.image, mode=mode, key=key)

    def logits(prediction: Prediction) -> jax.Array:
        return prediction.au_logits

    def loss(
        prediction: Prediction, batch: _Supervised, labels: jax.Array, mask: jax.Array
    ) -> jax.Array:
        targets = batch.targets._replace(labels=jnp.where(mask, labels, UNKNOWN))
        maps = {"positive_weight": stage.positive_weight, "dice": stage.dice}
        return piap_loss(prediction, targets, stage.weights, **maps)[0]

    return Learner(apply=apply, logits=logits, loss=loss, optimizer=None)


def _score(stage: FeedbackStage, learner: Learner) -> Loss | None:
    """The part of the teacher's loss on x_u that the labels enter, where ``teacher_term`` is ``score``."""
    options = stage.options
    if options.teacher_term == "full":
        return None
    if options.variant == "continuous" and options.labels == "sample":
        return variants.negative_log_likelihood(learner.logits)

    def score(prediction: Prediction, _: _Supervised, labels: jax.Array, mask: jax.Array) -> Any:
        return stage.weights.au * au_loss(prediction.au_logits, jnp.where(mask, labels, UNKNOWN))

    return score


@functools.lru_cache(maxsize=16)
def _make_step(stage: FeedbackStage) -> FeedbackStep:
    options, student = stage.options, stage.student_optimizer
    options.check()
    if options.variant == "exact" or options.direction == "update":
        student = dataclasses.replace(student, eps_root=max(student.eps_root, _EPS_ROOT))
    learner = _learner(stage)
    teacher = learner._replace(optimizer=stage.teacher_optimizer.build())
    return discrete_feedback(
        teacher._replace(pseudo_loss=_score(stage, learner)),
        learner._replace(optimizer=student.build()),
        known_labels=lambda batch: (batch.targets.labels, batch.targets.labels >= 0),
        label=options.label_rule(),
        measure=options.measure(stage.student_optimizer.schedule()),
        gate=options.gate(),
        feedback_weight=options.feedback_weight,
    )


@functools.lru_cache(maxsize=16)
def _step_in_parts(stage: FeedbackStage) -> FeedbackStep:
    return variants.in_parts(_make_step(stage))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _whole(
    stage: FeedbackStage, state: FeedbackState, frozen: Exported, batch: FeedbackBatch, key: Any
) -> tuple[FeedbackState, dict[str, jax.Array]]:
    labeled, unlabeled, judge = _with_targets(stage, frozen, batch)
    state, info = _make_step(stage).update(state, labeled, unlabeled, key, judge)
    return state, _metrics(state, info)


def _metrics(state: FeedbackState, info: FeedbackInfo) -> dict[str, jax.Array]:
    """Scalars, and by action unit what tells of confirmation bias: pseudo labels and confidence."""
    c, flags, told = info.coefficient, info.flags, info.diagnostics
    skipped = flags["student_skipped"] | flags["teacher_skipped"]
    counts = {"positive": c > 0, "negative": c < 0, "zero": c == 0, "skipped": skipped}
    counts |= {"dropped": flags["dropped"]} if "dropped" in flags else {}
    counts |= {f"useless_{reason}": flags[name] for name, reason in _USELESS.items()}
    cut = getattr(state.label, "cut", None)  # of a rule that has one, for the next batch
    return {
        **({} if cut is None else {"pseudo_cut": jax.nn.sigmoid(cut)}),
        "loss": info.losses["student_labeled"],
        "feedback": info.feedback,
        "coefficient": c,
        "pseudo_positive_rate": told["positive_rate"],
        "pseudo_confidence": told["confidence"],
        "agreement": told["agreement"],
        **{f"{name}_loss": value for name, value in info.losses.items()},
        **{f"{name}_gradient_norm": value for name, value in info.gradient_norms.items()},
        **{f"count_{name}": flag.astype(jnp.int32) for name, flag in counts.items()},
    }
