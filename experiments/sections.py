"""Sections of a configuration, as frozen dataclasses."""

import dataclasses

from piapdf_jax.action_units import BP4D_AUS, DISFA_AUS
from piapdf_jax.data.augment import AugmentConfig
from piapdf_jax.losses import LossWeights
from piapdf_jax.stages.base import RUNTIME_ONLY, OptimizerConfig
from piapdf_jax.stages.feedback_options import FeedbackOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSection:
    """Length, batch and optimizer of one training; the paper gives none of them, these are ours.

    ``accumulate`` batches make one update.
    """

    steps: int
    batch_size: int = 32
    accumulate: int = 1
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    optimizer: str = "adamw"
    momentum: float = 0.9

    def optimizer_config(self) -> OptimizerConfig:
        """The same as the stages take it."""
        return OptimizerConfig(
            steps=self.steps,
            learning_rate=self.learning_rate,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            kind=self.optimizer,
            momentum=self.momentum,
            accumulate=self.accumulate,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PI1Section(TrainSection):
    """PI stage 1, shared by all folds and seeds."""

    dataset: str = "afew_va"
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class IdentitySection(TrainSection):
    """Encoder P, shared by all folds and seeds."""

    dataset: str = "casia_webface"
    pairs: str = "lfw_pairs"
    seed: int = 0
    arcface: bool = True
    margin: float = 0.3
    scale: float = 16.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class AUSection(TrainSection):
    """A training under L_PIAP: the weights of L_AU, L_PI and L_AP, which sum to 1."""

    au: float = 1.0
    pi: float = 0.0
    ap: float = 0.0

    def weights(self) -> LossWeights:
        """The weights as the losses take them."""
        return LossWeights(au=self.au, pi=self.pi, ap=self.ap)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DISFASection(AUSection):
    """Fine-tuning to DISFA, and the action units that the new head tells."""

    dataset: str = "disfa"
    units: tuple[int, ...] = DISFA_AUS


@dataclasses.dataclass(frozen=True, kw_only=True)
class PISection:
    """PI maps: their action units; how they are compared: targets cut at 0.5, weight of their inside, Dice term."""

    units: tuple[int, ...] = BP4D_AUS
    binarise: bool = False
    positive_weight: float = 1.0
    dice: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeedbackSection(TrainSection, FeedbackOptions):
    """Discrete feedback (section 3.3); serves ``df`` and ``piapdf``."""

    start: str = "trained"
    relabel_fraction: float = 0.1
    disfa_fraction: float = 0.25
    student_learning_rate: float = 1e-3
    compile: str = dataclasses.field(default="auto", metadata=RUNTIME_ONLY)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSection:
    """The AU data set, the units to learn of it, the size at which records are read, reader processes.

    ``units`` are FACS numbers, () for all that the data set has labels of. ``workers`` is a number
    of processes, or ``auto``, see ``piapdf_jax.data.prefetch.auto_workers``.
    """

    dataset: str = "bp4d"
    units: tuple[int, ...] = ()
    image_size: int = 256
    workers: str = "auto"
    augment: AugmentConfig = AugmentConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalSection:
    """Evaluation: batch, a table of true labels where they are known (``truth.npz``), model choice.

    ``validation_subjects`` people of the training part are kept apart and scored every
    ``validate_every`` steps; the state that scores best is exported. With none it is the last one.
    """

    batch_size: int = 64
    truth: str = ""
    validation_subjects: int = 0
    validate_every: int = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSection:
    """What only says how a run goes: intervals of logging and saving, how many steps may be skipped."""

    log_every: int = 50
    checkpoint_every: int = 1000
    max_skipped: int = 20
