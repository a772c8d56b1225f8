"""One training of one configuration, ready to run: its stage, its data, and its dependencies."""

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax

from experiments.config import ExperimentConfig
from experiments.data_slices import Slices
from experiments.datasets import DataSets
from piapdf_jax.data.frames import ReaderConfig
from piapdf_jax.data.streams import Stream
from piapdf_jax.model_json import Model
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.runtime.checkpoints import Validation
from piapdf_jax.stages.base import Stage

if TYPE_CHECKING:
    from experiments.trainings import Training


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """One training, ready to run.

    Attributes:
        training: its row of the table.
        config: the experiment.
        datasets: its data sets, the only way to records.
        networks: gives the sizes of the networks, with the file of weights looked up.
        described: gives what the ``model.json`` of a training's export says; None where there is none.
    """

    training: "Training"
    config: ExperimentConfig
    datasets: DataSets
    networks: Callable[[], ModelConfig]
    described: Callable[[str], Model | None] = lambda name: None

    @property
    def model(self) -> ModelConfig:
        """Sizes of the networks."""
        return self.networks()

    @property
    def name(self) -> str:
        """Name of the training."""
        return self.training.name

    @property
    def section(self) -> Any:
        """Its section of the configuration."""
        return self.config.section(self.training.section)

    @property
    def seed(self) -> int:
        """Seed of its random streams and data order: its section's own, else the experiment's."""
        return getattr(self.section, "seed", self.config.seed)

    @property
    def dataset(self) -> str:
        """The data set that it learns from: its section's own, else the AU data set."""
        return getattr(self.section, "dataset", self.config.data.dataset)

    @functools.cached_property
    def units(self) -> tuple[int, ...]:
        """FACS numbers of its label columns."""
        own = hasattr(self.section, "units")
        wanted = self.section.units if own else self.config.data.units
        key = f"{self.training.section if own else 'data'}.units"
        return self.datasets.units(self.dataset, wanted, key)

    @property
    def maps(self) -> tuple[int, ...]:
        """FACS numbers of the PI maps."""
        return self.config.pi.units

    @functools.cached_property
    def slices(self) -> Slices:
        """What it reads."""
        return self.training.feed.slices(self)

    @functools.cached_property
    def stage(self) -> Stage:
        """What trains."""
        return self.training.stage(self)

    @functools.cached_property
    def depends_on(self) -> tuple[str, ...]:
        """Trainings whose exports it needs."""
        return self.training.depends_on(self)

    def reading(self, *, training: bool, devices: int = 1) -> ReaderConfig:
        """Returns how its records are read, for training or for scores.

        Args:
            training: augmented and in batches of the section, or plain and in those of ``eval``.
            devices: scores are made in batches that divide over so many.
        """
        config, feed = self.config, self.training.feed
        batch_size = self.section.batch_size if training else config.eval.batch_size
        return ReaderConfig(
            image_size=config.data.image_size,
            batch_size=batch_size if training else -(-batch_size // devices) * devices,
            seed=self.seed,
            augment=config.data.augment if training else None,
            aus=self.units if feed.labels else (),
            maps=self.maps if (feed.maps if training else self.training.scores_maps) else (),
            landmarks=training and feed.reads_landmarks(self),
            host=jax.process_index(),
            hosts=jax.process_count(),
        )

    def stream(self) -> Stream:
        """Returns step -> training batch of this host, and the names of its frames."""
        return self.training.feed.stream(self, self.reading(training=True))

    def validation(self, score: Any) -> Validation | None:
        """Returns how its states are compared by a score of exports; None for the last state."""
        if self.slices.validation is None:
            return None
        return Validation(self.config.eval.validate_every, score)
