"""The contract of a stage: the few functions that the training loop, the evaluation and the exports call."""

from typing import Any, NamedTuple, Protocol

import jax

#: Parts by name (``generator``, ``encoder``, ``head``, ``decoder``), each (parameters, batch statistics).
Exported = dict[str, tuple[Any, Any]]


class StageState(NamedTuple):
    """State of one training.

    Attributes:
        step: [] int32, updates attempted so far; also the position in the data.
        params: parameters by part.
        batch_stats: running batch statistics by part.
        opt_state: the optimizer's state.
        skipped: [] int32, steps whose loss or gradient was not finite and changed nothing.
    """

    step: jax.Array
    params: dict[str, Any]
    batch_stats: dict[str, Any]
    opt_state: Any
    skipped: jax.Array


class Scores(NamedTuple):
    """What a trained export says of some images; None where the export has no such part.

    Attributes:
        au_probs: [B, C] in [0, 1].
        vector: [B, F], the encoder's pooled vector.
        pi_probs: [B, S, S, K] in [0, 1].
    """

    au_probs: jax.Array | None
    vector: jax.Array | None
    pi_probs: jax.Array | None


class Stage(Protocol):
    """One kind of training, made from its own small dataclass and the facts of its data."""

    def init(self, key: jax.Array, inputs: dict[str, Exported]) -> tuple[Any, Exported]:
        """Start state, and the frozen parts that every step only reads ({} if none).

        Args:
            key: typed key.
            inputs: exported parts by training name.
        """
        ...

    def train_step(
        self, state: Any, frozen: Exported, batch: Any, key: jax.Array
    ) -> tuple[Any, dict[str, jax.Array]]:
        """One update; jitted by the stage with ``state`` donated. A non-finite loss or gradient changes nothing and is counted.

        Args:
            state: what ``init`` or the last step returned; its ``step`` field counts.
            frozen: the second value of ``init``.
            batch: what the stage's stream yields.
            key: typed key of this step.

        Returns:
            The new state, and scalar metrics, among them ``loss``.
        """
        ...

    def export(self, state: Any) -> Exported:
        """The parts that go on to later trainings and to evaluation."""
        ...

    def predict(self, exported: Exported, images: jax.Array) -> Scores:
        """Scores of images [B, S, S, 3] float32 in [0, 1]; jitted, sees an export and nothing else."""
        ...
