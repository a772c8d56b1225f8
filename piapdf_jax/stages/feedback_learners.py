"""Teacher and student of discrete feedback as ``Learner``s: the networks under L_PIAP, by one view of x_u or two."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from piapdf_jax import feedback_variants as variants
from piapdf_jax.action_units import UNKNOWN
from piapdf_jax.batch import Prediction, Targets
from piapdf_jax.feedback import FeedbackState, FeedbackStep, Learner, Loss, PassOutput
from piapdf_jax.losses import LossWeights, au_loss, piap_loss
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.piap import network_apply
from piapdf_jax.stages.feedback_options import FeedbackOptions
from piapdf_jax.types import BatchStats, Params, Part, PyTree


class ImagesWithTargets(NamedTuple):
    """Images with the targets that the frozen parts and, for x_l, the labels give.

    Attributes:
        image: [B, S, S, 3] float32 in [0, 1].
        targets: of these images.
        clean: the same frames without augmentation; None where one view labels and learns.
    """

    image: jax.Array
    targets: Targets
    clean: jax.Array | None = None


class TwoViews(NamedTuple):
    """Outputs of a teacher on x_u: of the augmented view, and logits [B, C] of the clean one."""

    prediction: Prediction
    clean_logits: jax.Array


def piap_learner(model: ModelConfig, weights: LossWeights, **maps: float) -> Learner:
    """Returns what teacher and student share, so that their passes compile once: all but the optimizer.

    Args:
        model: sizes of the networks.
        weights: of the three losses.
        **maps: how maps are compared, as ``losses.piap_loss`` takes it.
    """

    def apply(
        params: Params, stats: BatchStats, batch: ImagesWithTargets, key: jax.Array, mode: str
    ) -> tuple[PyTree, BatchStats]:
        parts = {name: Part(params[name], stats[name]) for name in params}
        return network_apply(model, parts, batch.image, mode=mode, key=key)

    def logits(prediction: Prediction) -> jax.Array:
        return prediction.au_logits

    def loss(
        prediction: Prediction, batch: ImagesWithTargets, labels: jax.Array, mask: jax.Array
    ) -> jax.Array:
        targets = batch.targets._replace(labels=jnp.where(mask, labels, UNKNOWN))
        return piap_loss(prediction, targets, weights, **maps)[0]

    return Learner(apply=apply, logits=logits, loss=loss, optimizer=None)


def teacher_pseudo_loss(
    options: FeedbackOptions, weights: LossWeights, learner: Learner
) -> Loss | None:
    """Returns the part of the teacher's loss on x_u that the labels enter, where ``teacher_term`` is ``score``."""
    if options.teacher_term == "full":
        return None
    if options.variant == "continuous" and options.labels == "sample":
        return variants.negative_log_likelihood(learner.logits)
    return weighted_au_loss(weights)


def weighted_au_loss(weights: LossWeights) -> Loss:
    """Returns the term of L_PIAP that the labels enter, its weight times L_AU."""

    def term(
        prediction: Prediction, _: ImagesWithTargets, labels: jax.Array, mask: jax.Array
    ) -> jax.Array:
        return weights.au * au_loss(prediction.au_logits, jnp.where(mask, labels, UNKNOWN))

    return term


def labels_from_clean_view(learner: Learner) -> Learner:
    """Returns a teacher that labels the clean view of x_u and has its loss on the augmented one.

    The clean view goes through the network in mode "feedback": statistics of the batch as in (7), no dropout, running
    statistics untouched. The loss reads the other view alone, so its gradient makes the network say of the
    augmented frame what it says of the clean one. What has no clean view, x_l, is as ever.
    """

    def apply(
        params: Params, stats: BatchStats, batch: ImagesWithTargets, key: jax.Array, mode: str
    ) -> tuple[PyTree, BatchStats]:
        prediction, after = learner.apply(params, stats, batch, key, mode)
        if batch.clean is None:
            return prediction, after
        clean = batch._replace(image=batch.clean)
        labeling, _ = learner.apply(params, stats, clean, key, "feedback")
        return TwoViews(prediction, learner.logits(labeling)), after

    def logits(outputs: Prediction | TwoViews) -> jax.Array:
        return outputs.clean_logits if isinstance(outputs, TwoViews) else learner.logits(outputs)

    def of_augmented(loss: Loss) -> Loss:
        return lambda outputs, *rest: loss(
            outputs.prediction if isinstance(outputs, TwoViews) else outputs, *rest
        )

    pseudo = of_augmented(learner.pseudo_loss) if learner.pseudo_loss else None
    return learner._replace(
        apply=apply, logits=logits, loss=of_augmented(learner.loss), pseudo_loss=pseudo
    )


def student_pass(
    step: FeedbackStep, state: FeedbackState, labeled: PyTree, key: jax.Array
) -> PassOutput:
    """Returns the student's loss and gradient on (x_l, Y_l), by the function that ``step.update`` has for x_u."""
    given, key = _known(step.known_labels, labeled, key)
    spec, start = step.specs["student_unlabeled"], state.student[:2]
    return step._gradients(spec, start, labeled, given, False, key, (key, state.label))


@functools.partial(jax.jit, static_argnums=0)
def _known(known_labels: Callable, labeled: PyTree, key: jax.Array) -> tuple[PyTree, jax.Array]:
    """Returns the labels, and the key on their devices, as ``update`` has both: else its pass would compile again."""
    return known_labels(labeled), jax.random.clone(key)
