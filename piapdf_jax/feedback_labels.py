"""Label rules beside the paper's: how the teacher's logits become pseudo labels, for ``feedback.discrete_feedback``.

``feedback_variants`` holds the other measures and gates, and hands these on.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from piapdf_jax import feedback
from piapdf_jax.feedback import Gate, LabelRule, upcast

#: Whose logits move the cuts of ``matched``.
FOLLOWED = ("labeled", "unlabeled")
#: A cut of 0 or 1 is at no finite logit; float32 knows no probability nearer to them.
_NEAREST = float(np.finfo(np.float32).eps)


def _binary(decide, confidence, **more):
    rule = feedback.threshold(confidence=confidence)

    def update(logits, key, state):
        probs = jnp.where(jnp.isfinite(logits), jax.nn.sigmoid(upcast(logits)), 0)
        return decide(probs, key).astype(probs.dtype), rule.update(logits, key, state)[1], state

    return rule._replace(update=update, **more)


def sample(*, confidence: float = 0.5) -> LabelRule:
    """Returns ``threshold`` with labels drawn from the teacher's probabilities."""

    def decide(probs, key):  # the bar is in (0, 1]: p = 0 gives no 1
        return probs >= 1 - jax.random.uniform(key, probs.shape, probs.dtype)

    return _binary(decide, confidence)


def soft(*, confidence: float = 0.5) -> LabelRule:
    """Returns ``threshold`` with probabilities as labels, for a gate that is always 0 or ``exact_teacher_gradient``."""
    return _binary(lambda probs, key: probs, confidence, check=check_soft)


def check_soft(measure: object, gate: Gate) -> None:
    """Refuses soft labels where the teacher's own term counts: it would be 0."""
    if gate.constant != 0 and not getattr(measure, "exact", False):
        raise ValueError(
            "soft labels teach the teacher nothing: the gradient of its cross entropy with its own "
            "probabilities is exactly 0; use hard ones."
        )


class MatchedState(NamedTuple):
    """State of ``matched``.

    Attributes:
        rate: share of positives to meet, in [0, 1]; nan for units of which it is not known.
        cut: logit from which on a label is 1.
    """

    rate: jax.Array
    cut: jax.Array


def matched(
    rates: ArrayLike,
    *,
    cuts: ArrayLike = 0.5,
    follow: str = "labeled",
    gain: float = 0.5,
    confidence: float = 0.5,
) -> LabelRule:
    """Returns ``threshold`` with one cut per unit, at which the share of positives is that of the labeled data.

    The student of labels cut at 0.5 says yes of a rare unit too seldom, and more seldom than its teacher. Here a label
    is 1[z >= q], and q follows the teacher by stochastic approximation of the quantile 1 - rate (Robbins and Monro,
    Ann. Math. Stat. 22, 1951):

        q' = q + gain (mean of 1[z >= q] over the batch - rate)

    which stands still where the share is the rate, whatever the size of a batch. Labels are those of q, not of q', so
    that no label depends on the other frames of its batch. Class-aware pseudo labels at the labeled rates: Xie et al.,
    Class-Distribution-Aware Pseudo-Labeling for Semi-Supervised Multi-Label Learning, NeurIPS 2023.

    Args:
        rates: [...] as one row of the logits; in [0, 1], nan for those that keep their cut.
        cuts: where q starts, as probabilities in [0, 1]; nan for 0.5.
        follow: whose logits move q: "labeled", x_l, of which the rates are; "unlabeled", x_u, which must come at the
            same rates, and before the teacher's step.
        gain: logits by which q moves for a share that is off by 1.
        confidence: accepted are labels with max(p, 1 - p) >= ``confidence``, p = sigma(z - q).

    Raises:
        ValueError: for rates, cuts or a gain out of range, or an unknown ``follow``; in a step, for logits whose rows
            do not have the shape of rates and cuts.
    """
    rates, cuts = (np.asarray(x, np.float32) for x in (rates, cuts))
    for name, values in (("rates", rates), ("cuts", cuts)):
        if not (np.isnan(values) | ((values >= 0) & (values <= 1))).all():
            raise ValueError(f"{name} must lie in [0, 1], not {values}.")
    if follow not in FOLLOWED or not gain > 0:
        raise ValueError(f"follow={follow!r} is not one of {', '.join(FOLLOWED)}, or gain={gain}.")
    rule = feedback.threshold(confidence=confidence)

    def init(params):
        p = np.clip(np.where(np.isnan(cuts), np.float32(0.5), cuts), _NEAREST, 1 - _NEAREST)
        rate, cut = np.broadcast_arrays(rates, np.log(p / (1 - p)))
        return MatchedState(jnp.asarray(rate), jnp.asarray(cut))

    def moved(logits, state):
        return state._replace(cut=state.cut + gain * _share_off(logits, state))

    def update(logits, key, state):
        if state.cut.shape != logits.shape[1:]:
            raise ValueError(
                f"cuts {state.cut.shape} do not fit rows {logits.shape[1:]} of the logits"
            )
        shifted = upcast(logits) - state.cut.astype(upcast(logits).dtype)
        labels, mask, _ = rule.update(shifted, key, state)
        return labels, mask, moved(logits, state) if follow == "unlabeled" else state

    observe = moved if follow == "labeled" else rule.observe
    return rule._replace(update=update, init=init, observe=observe)


def _share_off(logits: jax.Array, state: MatchedState) -> jax.Array:
    """Share of finite logits at or above the cut, less the rate; 0 where either is not known."""
    finite, wide = jnp.isfinite(logits), upcast(logits)
    above = (finite & (wide >= state.cut.astype(wide.dtype))).astype(state.cut.dtype)
    count = jnp.sum(finite.astype(state.cut.dtype), 0)
    share = jnp.sum(above, 0) / jnp.maximum(count, 1)
    return jnp.where(jnp.isnan(state.rate) | (count == 0), 0, share - state.rate)


def clean_rates(rates: ArrayLike, flipped: float) -> np.ndarray:
    """Computes the rates of true labels from those of labels of which a known share is flipped.

    rate = r (1 - e) + (1 - r) e,   so   r = (rate - e) / (1 - 2 e), within [0, 1]

    Args:
        rates: [...] share of positives among the labels.
        flipped: e, in [0, 0.5).
    """
    if not 0 <= flipped < 0.5:
        raise ValueError(f"flipped={flipped} must lie in [0, 0.5).")
    return np.clip((np.asarray(rates, np.float64) - flipped) / (1 - 2 * flipped), 0, 1)
