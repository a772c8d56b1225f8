"""Sections of a configuration, as frozen dataclasses."""

import dataclasses
import math
from typing import Annotated, Any, ClassVar

from piapdf_jax.action_units import BP4D_AUS, DISFA_AUS
from piapdf_jax.data.augment import AugmentConfig
from piapdf_jax.losses import LossWeights
from piapdf_jax.ranges import Chance, Choice, Count, Range, Seed, Share
from piapdf_jax.stages.base import OPTIMIZERS, RUNTIME_ONLY, Decay, Norm, OptimizerConfig, Rate
from piapdf_jax.stages.feedback_options import COMPILE, FeedbackOptions

#: Metadata of a field whose value stands in the stage where it has an effect, and nowhere else in a digest.
IN_STAGE = {"in_stage": True}
#: Images that are read, and lie on the devices, at a time.
_Batch = Annotated[int, Range(1, 2**16)]
#: FACS numbers; which of them records hold, ``action_units`` knows.
_Units = tuple[Annotated[int, Range(1, 99)], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSection:
    """Length, batch and optimizer of one training; the paper gives none of them, these are ours.

    ``accumulate`` batches make one update.

    Attributes:
        own_test: whether exports are scored on people of the data set that they learned from.
    """

    own_test: ClassVar[bool] = True
    steps: Count
    batch_size: _Batch = 32
    accumulate: Count = 1
    learning_rate: Rate = 1e-3
    warmup: Share = 0.05
    weight_decay: Decay = 1e-4
    clip_norm: Norm = 1.0
    optimizer: Annotated[str, Choice(*OPTIMIZERS)] = "adamw"
    momentum: Chance = 0.9

    @property
    def total_steps(self) -> int:
        """Steps of the loop."""
        return self.steps

    def optimizer_config(self) -> OptimizerConfig:
        """Returns the optimizer settings as the stages take them."""
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
    seed: Seed = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class IdentitySection(TrainSection):
    """Encoder P, shared by all folds and seeds."""

    own_test: ClassVar[bool] = False
    dataset: str = "casia_webface"
    pairs: str = "lfw_pairs"
    seed: Seed = 0
    arcface: bool = True
    margin: Annotated[float, Range(0, math.pi / 2)] = 0.3
    scale: Annotated[float, Range(0, 1000, low_open=True)] = 16.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class LandmarksSection(TrainSection):
    """Landmark regression and the pairs that its vectors verify (section 3.2), shared by all folds and seeds."""

    dataset: str = "afew_va"
    pairs: str = "lfw_pairs"
    seed: Seed = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class AUSection(TrainSection):
    """A training under L_PIAP: the weights of L_AU, L_PI and L_AP, which sum to 1."""

    au: Share = 1.0
    pi: Share = 0.0
    ap: Share = 0.0

    def weights(self) -> LossWeights:
        """Returns the weights as the losses take them."""
        return LossWeights(au=self.au, pi=self.pi, ap=self.ap)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LPSection(AUSection):
    """AP with another person-specific vector: the landmarks themselves, or the vector of a network that finds them."""

    person: Annotated[str, Choice("landmarks", "landmark_network")] = "landmarks"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DISFASection(AUSection):
    """Fine-tuning to DISFA, and the action units that the new head tells."""

    dataset: str = "disfa"
    units: _Units = DISFA_AUS


@dataclasses.dataclass(frozen=True, kw_only=True)
class PISection:
    """PI maps: their action units; how they are compared: targets cut at 0.5, weight of their inside, Dice term."""

    units: _Units = BP4D_AUS
    binarize: bool = False
    positive_weight: Annotated[float, Range(0, 1000, low_open=True)] = 1.0
    dice: Annotated[float, Range(0, 1000)] = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeedbackSection(TrainSection, FeedbackOptions):
    """Discrete feedback (section 3.3); serves ``df`` and ``piapdf``.

    x_u holds a share ``relabel_fraction`` of coded frames whose labels are withheld, ``unlabeled_fraction`` of
    ``unlabeled_dataset`` (nothing where that is ""), ``disfa_fraction`` of DISFA where it lies, and for the rest
    frames of the training people whose labels nobody reads. The labels of ``judge_subjects`` people of the training
    part are learned by no training: they judge the student's steps in the place of x_l.

    ``start=fresh`` is a whole training, with ``fresh_*`` in place of length, rates and warm-up. ``finetune_steps`` more
    steps train the student on labels.
    """

    start: Annotated[str, Choice("trained", "fresh")] = "trained"
    relabel_fraction: Share = 0.1
    disfa_fraction: Share = 0.25
    # Frames of x_u a frame of x_l.
    unlabeled_ratio: Annotated[int, Range(1, 64)] = 1
    unlabeled_dataset: str = ""
    unlabeled_fraction: Share = 0.5
    judge_subjects: Annotated[int, Range(0, 2**31 - 1)] = 0
    student_learning_rate: Rate = dataclasses.field(default=1e-3, metadata=IN_STAGE)
    fresh_steps: Count = dataclasses.field(default=30_000, metadata=IN_STAGE)
    fresh_learning_rate: Rate = dataclasses.field(default=5e-4, metadata=IN_STAGE)
    fresh_student_learning_rate: Rate = dataclasses.field(default=5e-4, metadata=IN_STAGE)
    fresh_warmup: Share = dataclasses.field(default=0.05, metadata=IN_STAGE)
    finetune_steps: Annotated[int, Range(0, 2**31 - 1)] = dataclasses.field(
        default=0, metadata=IN_STAGE
    )
    finetune_learning_rate: Rate = dataclasses.field(default=1e-4, metadata=IN_STAGE)
    compile: Annotated[str, Choice(*COMPILE)] = dataclasses.field(
        default="auto", metadata=RUNTIME_ONLY
    )

    def check(self) -> None:
        """Raises ValueError for values that mean nothing, alone or together."""
        super().check()
        names = ["relabel_fraction", "disfa_fraction"]
        names += ["unlabeled_fraction"] if self.unlabeled_dataset else []
        shares = {f"df.{name}": getattr(self, name) for name in names}
        if sum(shares.values()) > 1 + 1e-9:
            told = ", ".join(f"{key}={share}" for key, share in shares.items())
            raise ValueError(
                f"{told} are shares of one batch of unlabeled frames, and more than the whole of it: they"
                f" add up to {sum(shares.values()):g}, and must to at most 1"
            )

    @property
    def total_steps(self) -> int:
        """Steps of the loop: of feedback, and of fine-tuning."""
        return self.optimizer_config().steps + self.finetune_steps

    def optimizer_config(self) -> OptimizerConfig:
        """Returns the settings of the teacher's optimizer."""
        trained = super().optimizer_config()
        if self.start == "trained":
            return trained
        return dataclasses.replace(
            trained,
            steps=self.fresh_steps,
            learning_rate=self.fresh_learning_rate,
            warmup=self.fresh_warmup,
        )

    def student_optimizer(self) -> OptimizerConfig:
        """Returns the settings of the student's optimizer."""
        fresh = self.start == "fresh"
        rate = self.fresh_student_learning_rate if fresh else self.student_learning_rate
        return dataclasses.replace(self.optimizer_config(), learning_rate=rate)

    def finetune_optimizer(self) -> OptimizerConfig | None:
        """Returns the optimizer settings of the student's last steps on labels, warmed up over ``warmup``; or None."""
        if not self.finetune_steps:
            return None
        return dataclasses.replace(
            super().optimizer_config(),
            steps=self.finetune_steps,
            learning_rate=self.finetune_learning_rate,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LongerSection(TrainSection):
    """Training of PIAP on labels for as long as feedback: the control that feedback must beat.

    No section of its own: ``of`` makes it of that of feedback.
    """

    start: Annotated[str, Choice("trained", "fresh")] = "trained"

    @classmethod
    def of(cls, df: FeedbackSection) -> "LongerSection":
        """Returns the section with length, batch and teacher's optimizer of feedback."""
        made: dict[str, Any] = {
            f.name: getattr(df, f.name) for f in dataclasses.fields(TrainSection)
        }
        teacher = df.optimizer_config()
        made |= {"learning_rate": teacher.learning_rate, "warmup": teacher.warmup}
        return cls(**made | {"steps": df.total_steps, "start": df.start})


@dataclasses.dataclass(frozen=True)
class Processes:
    """A number of processes, as text, or ``auto``.

    Attributes:
        most: at a time.
    """

    most: int

    def wrong(self, value: str) -> str:
        """Returns what is allowed for another text, "" for nothing wrong."""
        number = value.isascii() and value.isdecimal() and len(value) <= len(str(self.most))
        if value == "auto" or (number and int(value) <= self.most):
            return ""
        return f"must be auto or a number of processes, at least 0 and at most {self.most}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSection:
    """The AU data set, the units to learn of it, the size at which records are read, reader processes.

    ``units`` are FACS numbers, () for all that the data set has labels of. ``labeled_frames`` of the training people's
    keep their labels, 0 for all, see ``piapdf_jax.data.labeled``. ``workers`` is a number of processes, or ``auto``,
    see ``piapdf_jax.data.prefetch.auto_workers``.
    """

    dataset: str = "bp4d"
    units: _Units = ()
    labeled_frames: Annotated[int, Range(0, 2**31 - 1)] = 0
    # Records hold pictures of 256 px; PI maps of fewer than 16 show nothing of a face.
    image_size: Annotated[int, Range(16, 256)] = 256
    workers: Annotated[str, Processes(1024)] = "auto"
    augment: AugmentConfig = AugmentConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalSection:
    """Evaluation: batch, a table of true labels where they are known (``truth.npz``), model choice.

    ``validation_subjects`` people of the training part are kept apart and scored every
    ``validate_every`` steps; the state that scores best is exported. With none it is the last one.
    Where faces were drawn, maps are scored on ``pointing_frames`` frames, each drawn again without each of its units.
    """

    batch_size: _Batch = 64
    truth: str = ""
    validation_subjects: Annotated[int, Range(0, 2**31 - 1)] = 0
    validate_every: Count = 1000
    pointing_frames: Annotated[int, Range(1, 2**31 - 1)] = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSection:
    """Runtime options that do not affect results.

    Attributes:
        log_every: steps between two lines of metrics.
        checkpoint_every: steps between two checkpoints; 0 for one at the end alone.
        max_skipped: more steps than this without a finite loss and gradient end the training.
        audit: also report of each training, bitwise, which parameters moved and that frozen parts did not; for
            tests: it costs a host copy of the start parameters, and hashes of what every device holds.
    """

    log_every: Count = 50
    checkpoint_every: Annotated[int, Range(0, 2**31 - 1)] = 1000
    max_skipped: Annotated[int, Range(0, 2**31 - 1)] = 20
    audit: bool = False
