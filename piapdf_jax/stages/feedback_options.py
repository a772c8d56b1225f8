"""What of discrete feedback can be set: the values of ``df.*``, and the functions that they choose."""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

from piapdf_jax import feedback_variants as variants
from piapdf_jax.feedback import (
    Gate,
    LabelRule,
    discrete_gate,
    grad_slope,
    student_slope,
    threshold,
)

_SLOPES = {"grad": grad_slope, "jvp": variants.jvp_slope, "vjp": variants.vjp_slope}
_LABELS = {"threshold": threshold, "sample": variants.sample, "soft": variants.soft}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeedbackOptions:
    """How feedback is measured and handed back; each value chooses a function, see docs/feedback.md."""

    variant: str = "discrete"
    estimator: str = "grad"
    direction: str = "gradient"
    labels: str = "threshold"
    teacher_term: str = "full"
    positive: float = 1.0
    negative: float = -0.1
    drop_rate: float = 0.05
    drop_on: str = "all"
    feedback_weight: float = 1.0

    def check(self) -> None:
        """Raises ValueError for what is unknown, or means nothing together."""
        _choose("variant", self.variant, ("discrete", "continuous", "exact", "none", "constant"))
        _choose("estimator", self.estimator, (*_SLOPES, "difference"))
        _choose("direction", self.direction, ("gradient", "update"))
        _choose("labels", self.labels, _LABELS)
        _choose("teacher_term", self.teacher_term, ("full", "score"))
        _choose("drop_on", self.drop_on, ("all", "positive"))
        for name in ("positive", "negative", "feedback_weight"):
            if not math.isfinite(value := getattr(self, name)):
                raise ValueError(f"df.{name}={value} must be finite")
        if self.estimator == "difference" and self.direction == "update":
            raise ValueError("df.estimator=difference compares two students: it has no direction")
        other = (self.estimator, self.direction, self.teacher_term) != ("grad", "gradient", "full")
        if self.variant == "exact" and (other or self.labels == "sample"):
            raise ValueError(
                "df.variant=exact takes the gradient through soft labels, student and optimizer itself:"
                " df.labels, df.estimator, df.direction and df.teacher_term mean nothing there"
            )

    def label_rule(self) -> LabelRule:
        """Returns the rule of ``labels``; the exact gradient differentiates soft ones, and no others."""
        return _LABELS["soft" if self.variant == "exact" else self.labels]()

    def measure(self, schedule: Callable[[Any], Any]) -> variants.Measure:
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


def _choose(name: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise ValueError(f"df.{name}={value!r} is not one of {', '.join(choices)}")
