"""Settings of discrete feedback: the values of ``df.*``, and the functions that they choose."""

import dataclasses
from typing import Annotated

import optax
from numpy.typing import ArrayLike

from piapdf_jax import feedback_variants as variants
from piapdf_jax import ranges
from piapdf_jax.feedback import (
    Gate,
    LabelRule,
    discrete_gate,
    grad_slope,
    student_slope,
    threshold,
)
from piapdf_jax.ranges import Choice, Range, Share
from piapdf_jax.stages.base import RUNTIME_ONLY

_SLOPES = {"grad": grad_slope, "jvp": variants.jvp_slope, "vjp": variants.vjp_slope}
_LABELS = {"threshold": threshold, "sample": variants.sample, "soft": variants.soft}
#: The rule that starts from rates and cuts of the labeled frames.
MATCHED = "matched"
#: How the step is compiled, see ``discrete_feedback.FeedbackStage``.
COMPILE = ("auto", "whole", "parts")
#: What c is for one sign of the feedback, whose own sign is the researcher's.
_Coefficient = Annotated[float, Range(-1000, 1000)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeedbackOptions:
    """How feedback is measured and handed back; each value chooses a function, see docs/feedback.md."""

    variant: Annotated[str, Choice("discrete", "continuous", "exact", "none", "constant")] = (
        "discrete"
    )
    estimator: Annotated[str, Choice(*_SLOPES, "difference")] = "grad"
    direction: Annotated[str, Choice("gradient", "update")] = "gradient"
    labels: Annotated[str, Choice(*_LABELS, MATCHED)] = "threshold"
    matched_on: Annotated[str, Choice(*variants.FOLLOWED)] = "labeled"
    # Share of the published labels that is known to be flipped.
    label_noise: Annotated[float, Range(0, 0.5, high_open=True)] = 0.0
    # Of x_u: the one that learns, or the frame without augmentation.
    label_view: Annotated[str, Choice("same", "clean")] = "same"
    # A pseudo label is accepted where max(p, 1 - p) is at least this.
    confidence: Annotated[float, Range(0.5, 1)] = 0.5
    teacher_term: Annotated[str, Choice("full", "score")] = "full"
    positive: _Coefficient = 1.0
    negative: _Coefficient = -0.1
    drop_rate: Share = 0.05
    drop_on: Annotated[str, Choice("all", "positive")] = "all"
    # The exact gradient wants multiples of 1 / learning rate.
    feedback_weight: Annotated[float, Range(-1e7, 1e7)] = 1.0
    # Log the feedback of L_AU alone as well.
    log_parts: bool = dataclasses.field(default=False, metadata=RUNTIME_ONLY)

    def check(self) -> None:
        """Raises ValueError for what is unknown or out of its range, or means nothing together."""
        ranges.check(self, "df.")
        if self.estimator == "difference" and self.direction == "update":
            raise ValueError(
                "df.estimator=difference compares two students: df.direction=update has no effect"
            )
        other = (self.estimator, self.direction, self.teacher_term) != ("grad", "gradient", "full")
        if self.variant == "exact" and (other or self.labels in ("sample", MATCHED)):
            raise ValueError(
                "df.variant=exact takes the gradient through soft labels, student and optimizer itself:"
                " df.labels, df.estimator, df.direction and df.teacher_term have no effect there;"
                " --set df=paper restores their defaults"
            )
        linear = self.variant != "exact" and self.estimator in _SLOPES
        if self.log_parts and not (linear and self.direction == "gradient"):
            raise ValueError(
                "df.log_parts reports parts of a slope along the gradient, which df.variant=exact,"
                " df.estimator=difference and df.direction=update do not have: remove one of the two"
            )
        if self.label_noise and self.labels != MATCHED:
            raise ValueError(
                f"df.label_noise={self.label_noise} corrects the rates that df.labels=matched meets: it means"
                f" nothing with df.labels={self.labels}"
            )
        if self.matched_on != "labeled" and self.labels != MATCHED:
            raise ValueError(
                f"df.matched_on={self.matched_on} moves the cuts of df.labels=matched: it means nothing with"
                f" df.labels={self.labels}"
            )
        try:
            self.label_rule().check(self.measure(lambda step: 1.0), self.gate())
        except ValueError as error:
            both = f"df.labels={self.labels} with df.variant={self.variant}"
            raise ValueError(f"{both}: {error}") from error

    def label_rule(self, rates: ArrayLike = 0.5, cuts: ArrayLike = 0.5) -> LabelRule:
        """Returns the rule of ``labels``; the exact gradient differentiates soft ones, and no others.

        Args:
            rates: [C] share of positives among the published labels, nan for none known; for ``matched``, whose
                state holds them: what makes a step may leave them out, what starts one may not.
            cuts: [C] probabilities at which the start meets them, likewise.
        """
        if self.labels == MATCHED:
            clean = variants.clean_rates(rates, self.label_noise)
            return variants.matched(
                clean, cuts=cuts, follow=self.matched_on, confidence=self.confidence
            )
        rule = _LABELS["soft" if self.variant == "exact" else self.labels]
        return rule(confidence=self.confidence)

    def measure(self, schedule: optax.Schedule) -> variants.Measure:
        """Returns the measure of ``variant``, ``estimator`` and ``direction``.

        Args:
            schedule: the student's step -> its learning rate.
        """
        if self.variant == "exact":
            return variants.exact_teacher_gradient()
        if self.estimator == "difference":
            return variants.difference()
        slope = _SLOPES[self.estimator]
        if self.direction == "update":
            return variants.through_optimizer(slope)
        # A gate that looks at the size wants it in units of the loss, as those above are.
        scaled = self.variant == "continuous"
        return variants.scaled_slope(schedule, slope) if scaled else student_slope(slope)

    def gate(self) -> Gate:
        """Returns the gate of ``variant``."""
        if self.variant == "discrete":
            more = {"drop_negative": self.drop_on == "all"}
            return discrete_gate(self.positive, self.negative, self.drop_rate, **more)
        if self.variant == "continuous":
            return variants.continuous_gate()
        constants = {"exact": 1.0, "none": 0.0, "constant": self.positive}
        return variants.constant_gate(constants[self.variant])
