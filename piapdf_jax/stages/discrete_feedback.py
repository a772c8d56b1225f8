"""Discrete feedback on the PIAP losses (section 3.3): binds the networks and L_PIAP to ``piapdf_jax.feedback``.

Teacher and student start from the same trained network. Each step: targets of all frames from the frozen parts,
then one step of ``discrete_feedback`` on (x_l, Y_l) and x_u. By switch the student is fine-tuned on (x_l, Y_l)
afterward, as in Meta Pseudo Labels (Pham et al., CVPR 2021).
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from numpy.typing import ArrayLike

from piapdf_jax import feedback_variants as variants
from piapdf_jax.batch import Batch, FeedbackBatch
from piapdf_jax.feedback import (
    FeedbackInfo,
    FeedbackState,
    FeedbackStep,
    Learner,
    LearnerState,
    PassOutput,
    discrete_feedback,
)
from piapdf_jax.losses import LossWeights
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.piap import init_part, predict_action_units
from piapdf_jax.stages.base import (
    RUNTIME_ONLY,
    OptimizerConfig,
    Scores,
    StageState,
    update_if_finite,
)
from piapdf_jax.stages.feedback_learners import (
    ImagesWithTargets,
    labels_from_clean_view,
    piap_learner,
    student_pass,
    teacher_pseudo_loss,
    weighted_au_loss,
)
from piapdf_jax.stages.feedback_options import COMPILE, MATCHED, FeedbackOptions
from piapdf_jax.stages.targets import frozen_targets
from piapdf_jax.types import Part, Parts

#: ``OptimizerConfig.eps_root`` of a student whose step is differentiated: AdamW's derivative is
#: infinite at a gradient of 0 without it.
_EPS_ROOT = 1e-8
#: Flags of a step whose coefficient is 0 for a reason, and their names in the metrics.
_USELESS = {
    "nonfinite": "feedback_not_finite",
    "no_labels": "no_label_known_or_accepted",
    "unusable": "optimizer_hides_the_gradient",
}
#: Of L_AU alone, where ``df.log_parts`` asks for it.
_PART = "feedback_au"


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
        binarize: cut the generator's soft maps at 0.5 before L_PI.
        positive_weight: of the maps' inside in the cross-entropy of L_PI.
        dice: weight of the Dice term of L_PI.
        init_from: training that both copies start from; None for fresh networks.
        options: how feedback is measured and handed back.
        labeled_rates: returns rates and cuts of the labeled frames, [C] each, where ``options.labels`` is
            ``matched``: share of positives, and probabilities at which the start meets it. Called by ``init``
            alone; no setting, for the data and the export that a training starts from decide what it returns.
        finetune_optimizer: how the student steps on labels at the end; None for no fine-tuning.
        compile: of a step with feedback: ``whole``, one function with the state donated; ``parts``, which compile
            faster and hold less at a time; ``auto``, parts on a CPU alone. The numbers are equal.
    """

    model: ModelConfig
    teacher_optimizer: OptimizerConfig
    student_optimizer: OptimizerConfig
    weights: LossWeights
    image_size: int
    num_aus: int
    num_maps: int
    binarize: bool = False
    positive_weight: float = 1.0
    dice: float = 0.0
    init_from: str | None = None
    options: FeedbackOptions = FeedbackOptions()
    labeled_rates: Callable[[], tuple[ArrayLike, ArrayLike]] | None = dataclasses.field(
        default=None, compare=False, metadata=RUNTIME_ONLY
    )
    finetune_optimizer: OptimizerConfig | None = None
    compile: str = dataclasses.field(default="auto", metadata=RUNTIME_ONLY)

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts whose sizes decide it, keys of ``models.config.PART_FIELDS``."""
        return ("encoder", "head", *(("generator", "decoder") if self.weights.pi else ()))

    def __post_init__(self) -> None:
        if self.compile not in COMPILE:
            raise ValueError(f"df.compile={self.compile!r} is not one of {', '.join(COMPILE)}")
        _make_step(self)

    def init(self, key: jax.Array, inputs: dict[str, Parts]) -> tuple[FeedbackState, Parts]:
        """Copies the trained network, or a fresh one, to teacher and student; freezes PI Generator 1 and Encoder P."""
        keys = jax.random.split(key, 3)
        parts = dict(inputs[self.init_from]) if self.init_from else {}
        size = self.image_size
        if not self.init_from:
            parts["encoder"] = init_part(self.model, "encoder", keys[0])
            parts["head"] = init_part(self.model, "head", keys[1], num_aus=self.num_aus)
            if self.weights.pi:
                parts["decoder"] = init_part(
                    self.model, "decoder", keys[2], image_size=size, num_maps=self.num_maps
                )
        if not self.weights.pi:
            parts.pop("decoder", None)
        frozen: Parts = {}
        if self.weights.pi:
            frozen["generator"] = inputs["pi2"]["generator"]
        if self.weights.ap:
            frozen["identity"] = inputs["identity"]["encoder"]
        params = {name: part[0] for name, part in parts.items()}
        stats = {name: part[1] for name, part in parts.items()}
        return self._first_step().init((params, stats), (params, stats)), frozen

    def _first_step(self) -> FeedbackStep:
        """Returns the step whose label rule starts from the labeled frames, where it does."""
        step = _make_step(self)
        if self.options.labels != MATCHED:
            return step
        if self.labeled_rates is None:
            raise ValueError("labels='matched' needs the rates of the labeled frames")
        return dataclasses.replace(step, label=self.options.label_rule(*self.labeled_rates()))

    def train_step(
        self, state: FeedbackState, frozen: Parts, batch: FeedbackBatch | Batch, key: jax.Array
    ) -> tuple[FeedbackState, dict[str, jax.Array]]:
        """Steps teacher and student on x_l and x_u, or fine-tunes on a ``Batch`` of x_l alone.

        Where ``batch.judge`` is given, it judges the student's step in the place of x_l.
        """
        if isinstance(batch, Batch):
            return _fine_tune(self, state, frozen, batch, key)
        if (batch.clean is None) == (self.options.label_view == "clean"):
            has = "no clean view" if batch.clean is None else "a clean view"
            raise ValueError(f"df.label_view={self.options.label_view}, but the batch has {has}")
        cpu = jax.default_backend() == "cpu"
        if self.compile == "whole" or (self.compile == "auto" and not cpu):
            return _jitted_update(self, state, frozen, batch, key)
        labeled, unlabeled, judge = _with_targets(self, frozen, batch)
        state, info = _step_in_parts(self).update(state, labeled, unlabeled, key, judge)
        return state, _metrics(state, info)

    def export(self, state: FeedbackState) -> Parts:
        """Returns {encoder, head} of the student."""
        student = state.student
        return {k: Part(student.params[k], student.model_state[k]) for k in ("encoder", "head")}

    def export_for_scoring(self, state: FeedbackState) -> Parts:
        """Returns {teacher_encoder, teacher_head}, which scores alone read."""
        teacher = state.teacher
        return {
            f"teacher_{k}": Part(teacher.params[k], teacher.model_state[k])
            for k in ("encoder", "head")
        }

    def predict(self, exported: Parts, images: jax.Array) -> Scores:
        """Computes AU probabilities and the encoder's vector, from the student's encoder and AU head alone."""
        kept = {name: exported[name] for name in ("encoder", "head")}
        prediction = predict_action_units(self.model, kept, images)
        return Scores(jax.nn.sigmoid(prediction.au_logits), prediction.vector, None)


@functools.partial(jax.jit, static_argnums=0)
def _targets(
    stage: FeedbackStage, frozen: Parts, batch: Batch, clean: jax.Array | None = None
) -> ImagesWithTargets:
    targets = frozen_targets(
        stage.model, frozen, batch.image, batch.labels, binarize=stage.binarize
    )
    return ImagesWithTargets(batch.image, targets, clean)


def _with_targets(
    stage: FeedbackStage, frozen: Parts, batch: FeedbackBatch
) -> tuple[ImagesWithTargets, ImagesWithTargets, ImagesWithTargets | None]:
    """Returns labeled frames, unlabeled ones, and those that judge or None, each with its targets."""
    labeled = _targets(stage, frozen, batch.labeled)
    judge = None if batch.judge is None else _targets(stage, frozen, batch.judge)
    return labeled, _targets(stage, frozen, batch.unlabeled, batch.clean), judge


@functools.lru_cache(maxsize=16)
def _learner(stage: FeedbackStage) -> Learner:
    maps = {"positive_weight": stage.positive_weight, "dice": stage.dice}
    return piap_learner(stage.model, stage.weights, **maps)


@functools.lru_cache(maxsize=16)
def _make_step(stage: FeedbackStage) -> FeedbackStep:
    options, student = stage.options, stage.student_optimizer
    options.check()
    if options.variant == "exact" or options.direction == "update":
        student = dataclasses.replace(student, eps_root=max(student.eps_root, _EPS_ROOT))
    learner, measure = _learner(stage), options.measure(stage.student_optimizer.schedule())
    if options.log_parts:
        measure = variants.with_part(measure, _PART, weighted_au_loss(stage.weights))
    teacher = learner._replace(
        optimizer=stage.teacher_optimizer.build(),
        pseudo_loss=teacher_pseudo_loss(options, stage.weights, learner),
    )
    return discrete_feedback(
        labels_from_clean_view(teacher) if options.label_view == "clean" else teacher,
        learner._replace(optimizer=student.build()),
        known_labels=lambda batch: (batch.targets.labels, batch.targets.labels >= 0),
        label=options.label_rule(),
        measure=measure,
        gate=options.gate(),
        feedback_weight=options.feedback_weight,
    )


@functools.lru_cache(maxsize=16)
def _step_in_parts(stage: FeedbackStage) -> FeedbackStep:
    return variants.compile_in_parts(_make_step(stage))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _jitted_update(
    stage: FeedbackStage, state: FeedbackState, frozen: Parts, batch: FeedbackBatch, key: jax.Array
) -> tuple[FeedbackState, dict[str, jax.Array]]:
    labeled, unlabeled, judge = _with_targets(stage, frozen, batch)
    state, info = _make_step(stage).update(state, labeled, unlabeled, key, judge)
    return state, _metrics(state, info)


def _fine_tune(
    stage: FeedbackStage, state: FeedbackState, frozen: Parts, batch: Batch, key: jax.Array
) -> tuple[FeedbackState, dict[str, jax.Array]]:
    """Steps the student under L_PIAP on (x_l, Y_l), its optimizer begun anew; the teacher stays.

    In parts always: a step that was compiled so has its gradient already.
    """
    step, targets = _step_in_parts(stage), _targets(stage, frozen, batch)
    return _step_student(stage, state, student_pass(step, state, targets, key))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _step_student(
    stage: FeedbackStage, state: FeedbackState, passed: PassOutput
) -> tuple[FeedbackState, dict[str, jax.Array]]:
    assert stage.finetune_optimizer is not None
    optimizer, student = stage.finetune_optimizer.build(), state.student
    # Kept in the place of the student's former one, which has the same form.
    first = state.step == stage.teacher_optimizer.steps
    opt_state = optax.tree.where(first, optimizer.init(student.params), student.opt_state)
    before = StageState(state.step, *student[:2], opt_state, jnp.zeros((), jnp.int32))
    after, metrics = update_if_finite(
        optimizer, before, passed.loss, passed.grads, passed.model_state
    )
    student = LearnerState(after.params, after.batch_stats, after.opt_state)
    return state._replace(step=after.step, student=student), metrics


def _metrics(state: FeedbackState, info: FeedbackInfo) -> dict[str, jax.Array]:
    """Returns scalars and, by action unit, rates and confidence of pseudo labels: they show confirmation bias."""
    c, flags, diagnostics = info.coefficient, info.flags, info.diagnostics
    skipped = flags["student_skipped"] | flags["teacher_skipped"]
    counts = {"positive": c > 0, "negative": c < 0, "zero": c == 0, "skipped": skipped}
    counts |= {"dropped": flags["dropped"]} if "dropped" in flags else {}
    counts |= {f"useless_{reason}": flags[name] for name, reason in _USELESS.items()}
    cut = getattr(state.label, "cut", None)  # of a rule that has one, for the next batch
    return {
        **({} if cut is None else {"pseudo_cut": jax.nn.sigmoid(cut)}),
        "loss": info.losses["student_labeled"],
        "feedback": info.feedback,
        **{name: diagnostics[name] for name in (_PART,) if name in diagnostics},
        "coefficient": c,
        "pseudo_positive_rate": diagnostics["positive_rate"],
        "pseudo_confidence": diagnostics["confidence"],
        "agreement": diagnostics["agreement"],
        **{f"{name}_loss": value for name, value in info.losses.items()},
        **{f"{name}_gradient_norm": value for name, value in info.gradient_norms.items()},
        **{f"count_{name}": flag.astype(jnp.int32) for name, flag in counts.items()},
    }
