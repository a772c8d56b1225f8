"""Makes the trainings of a configuration, each with its stage, its data and what it takes."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from data_builders.prepare import BUILDERS
from experiments.config import ConfigError, ExperimentConfig
from experiments.job import Job, Part
from experiments.methods import TRAININGS
from piapdf_jax import folds
from piapdf_jax.data import source, streams
from piapdf_jax.losses import LossWeights
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.pretrained import resolve
from piapdf_jax.stages.discrete_feedback import FeedbackOptions, FeedbackStage
from piapdf_jax.stages.identity import IdentityStage
from piapdf_jax.stages.pi1_generator import PI1Generator
from piapdf_jax.stages.pi2_refine import PI2Refine
from piapdf_jax.stages.piap import PIAPStage


class Jobs:
    """Makes the jobs of a configuration.

    Args:
        config: the experiment.
        data_dir: where data sets lie.
        prepare: called with the name of a data set that is missing and can be drawn here.
    """

    def __init__(
        self, config: ExperimentConfig, data_dir: str, prepare: Callable[[str], Any]
    ) -> None:
        self.config, self.data_dir, self._prepare = config, data_dir, prepare

    @functools.cached_property
    def model(self) -> ModelConfig:
        """Sizes of the networks, with the file of weights that encoders start from looked up and read.

        Raises:
            WeightsError: when that file is not there or not what it should be.
        """
        return resolve(self.config.model)

    def folder(self, dataset: str) -> pathlib.Path:
        """The folder of a data set; synthetic ones are drawn when they are missing."""
        try:
            return source.dataset_folder(self.data_dir, dataset)
        except source.MissingDataset as missing:
            if dataset.split("/")[0] not in BUILDERS:
                raise ConfigError(
                    f"data set {dataset!r} is not in {self.data_dir}, and there is no builder for it;"
                    f" there are {', '.join(BUILDERS)}. Let one stand in, such as --set"
                    " pi1.dataset=bp4d --set identity.dataset=synthetic_faces/webface"
                    " --set identity.pairs=synthetic_faces/lfw"
                ) from missing
            if not dataset.startswith("synthetic_faces/"):
                raise
            self._prepare(dataset)
            return source.dataset_folder(self.data_dir, dataset)

    def parts(self, dataset: str) -> tuple[Part, Part]:
        """What the fold trains and tests on: published parts, else the splits ``train`` and ``test``."""
        folder, fold = self.folder(dataset), self.config.fold
        splits = source.split_sizes(folder)
        if "part1" in splits:
            held_out = folds.part_split(folds.test_part(fold))
            return Part(dataset, folder, folds.train_splits(fold)), Part(dataset, folder, held_out)
        test = "test" if "test" in splits else "train"
        return Part(dataset, folder, "train"), Part(dataset, folder, test)

    def make(self, name: str) -> Job:
        """The job of a training.

        Raises:
            MissingDataset: when its data are not there.
        """
        kind = TRAININGS[name].kind
        make = {"pi1": self._pi1, "pi2": self._pi2, "identity": self._identity}
        if kind in make:
            return make[kind]()
        return self._au(name) if kind == "au" else self._feedback(name)

    def _settings(self, section: Any, **more: Any) -> dict[str, Any]:
        c = self.config
        told, model = dataclasses.asdict(section), dataclasses.asdict(self.model)
        for place in ("dataset", "pairs", "seed"):
            told.pop(place, None)
        # Its hash stays: where a file of weights lies decides nothing.
        del model["pretrained"]
        if c.eval.validation_subjects:
            more["validation"] = [c.eval.validation_subjects, c.eval.validate_every]
        return {
            "model": model,
            "image_size": c.data.image_size,
            "augment": dataclasses.asdict(c.data.augment),
            "section": told,
            "aus": c.aus,
            **more,
        }

    def _pi1(self) -> Job:
        c = self.config
        train, test = self.parts(c.pi1.dataset)
        if "uncoded" not in train.split and "part" in train.split:
            train = dataclasses.replace(train, split=self._all_frames(train))
        stage = PI1Generator(
            self.model,
            c.pi1.optimizer_config(),
            image_size=c.data.image_size,
            num_maps=len(c.aus),
            positive_weight=c.pi.positive_weight,
            dice=c.pi.dice,
        )
        settings = self._settings(c.pi1, pi=dataclasses.asdict(c.pi))
        del settings["model"]["pretrained_sha256"]  # there is no encoder in it
        return Job("pi1", stage, c.pi1.seed, c.pi1, train, test, (), settings)

    def _all_frames(self, train: Part) -> str:
        """Predefined maps need no labels, so uncoded frames serve PI stage 1 as well."""
        sizes = source.split_sizes(train.folder)
        extra = folds.train_splits(self.config.fold, coded=False).split("+")
        return "+".join([train.split, *(split for split in extra if sizes.get(split))])

    def _pi2(self) -> Job:
        c = self.config
        (train, test), inner = self._chosen(c.data.dataset)
        stage = PI2Refine(
            self.model,
            c.pi2.optimizer_config(),
            image_size=c.data.image_size,
            num_aus=len(c.aus),
            num_maps=len(c.aus),
        )
        settings = self._settings(c.pi2)
        return Job("pi2", stage, c.seed, c.pi2, train, test, ("pi1",), settings, inner=inner)

    def _identity(self) -> Job:
        c = self.config
        folder = self.folder(c.identity.dataset)
        train = Part(c.identity.dataset, folder, "train")
        pairs = Part(c.identity.pairs, self.folder(c.identity.pairs), "test")
        stage = IdentityStage(
            self.model,
            c.identity.optimizer_config(),
            image_size=c.data.image_size,
            num_identities=int(train.records().table()["identity"].max()) + 1,
            arcface=c.identity.arcface,
            margin=c.identity.margin,
            scale=c.identity.scale,
        )
        settings = self._settings(c.identity)
        return Job("identity", stage, c.identity.seed, c.identity, train, pairs, (), settings)

    def _au(self, name: str) -> Job:
        c, training = self.config, TRAININGS[name]
        section = getattr(c, training.section)
        weights = section.weights()
        dataset = c.disfa.dataset if name == "disfa" else c.data.dataset
        (train, test), inner = self._chosen(dataset)
        aus = c.disfa_aus if name == "disfa" else c.aus
        stage = PIAPStage(
            self.model,
            section.optimizer_config(),
            weights,
            image_size=c.data.image_size,
            num_aus=len(aus),
            num_maps=len(c.aus),
            binarise=c.pi.binarise,
            begin=training.begin,
        )
        takes = _needed(weights, training.begin)
        settings = self._settings(section, binarise=c.pi.binarise, columns=aus)
        return Job(name, stage, c.seed, section, train, test, takes, settings, inner=inner)

    def _feedback(self, name: str) -> Job:
        c, begin = self.config, TRAININGS[name].begin
        if c.df.start not in ("trained", "fresh"):
            raise ConfigError(f"df.start must be 'trained' or 'fresh', not {c.df.start!r}")
        begin = begin if c.df.start == "trained" else None
        weights = c.baseline.weights() if name == "df" else c.piap.weights()
        (train, test), inner = self._chosen(c.data.dataset)
        names = [field.name for field in dataclasses.fields(FeedbackOptions)]
        student = dataclasses.replace(
            c.df.optimizer_config(), learning_rate=c.df.student_learning_rate
        )
        stage = _checked(
            FeedbackStage,
            options=FeedbackOptions(**{name: getattr(c.df, name) for name in names}),
            model=self.model,
            teacher_optimizer=c.df.optimizer_config(),
            student_optimizer=student,
            weights=weights,
            image_size=c.data.image_size,
            num_aus=len(c.aus),
            num_maps=len(c.aus),
            binarise=c.pi.binarise,
            begin=begin,
        )
        takes = _needed(weights, begin)
        weighed = dataclasses.asdict(weights)
        settings = self._settings(c.df, binarise=c.pi.binarise, weights=weighed)
        pools = self._pools(train)
        return Job(name, stage, c.seed, c.df, train, test, takes, settings, pools, inner)

    def _chosen(self, dataset: str) -> tuple[tuple[Part, Part], Part | None]:
        """What the fold trains and tests on, and the people kept apart from training, if any."""
        (train, test), wanted = self.parts(dataset), self.config.eval.validation_subjects
        if not wanted:
            return (train, test), None
        people = sorted(set(train.records().table()["subject"].tolist()))
        if wanted >= len(people):
            raise ConfigError(
                f"eval.validation_subjects={wanted} leaves nobody of the {len(people)} people of"
                f" {train.dataset}[{train.split}] to train on"
            )
        order = np.random.default_rng([self.config.seed, wanted]).permutation(len(people))
        held = tuple(sorted(people[k] for k in order[:wanted]))
        inner = dataclasses.replace(train, only=held)
        return (dataclasses.replace(train, without=held), test), inner

    def _pools(self, train: Part) -> tuple[tuple[Part, float], ...]:
        """Unlabeled frames: uncoded ones of the training people, and DISFA where it lies beside."""
        c, pools = self.config, []
        sizes = source.split_sizes(train.folder)
        if c.df.disfa_fraction:
            try:
                folder = source.dataset_folder(self.data_dir, c.disfa.dataset)
            except source.MissingDataset:
                pass  # DISFA frames are asked for only where they are
            else:
                split = "+".join(s for s in source.split_sizes(folder) if "uncoded" not in s)
                pools.append((Part(c.disfa.dataset, folder, split), c.df.disfa_fraction))
        uncoded = folds.train_splits(c.fold, coded=False).split("+")
        present = "+".join(split for split in uncoded if sizes.get(split))
        if present:
            pools.append((dataclasses.replace(train, split=present), 1.0))
        return tuple(pools)

    def reading(self, job: Job, *, training: bool) -> streams.Reading:
        """How a job's records are read, for training or for evaluation."""
        c = self.config
        aus = c.disfa_aus if job.name == "disfa" else c.aus
        return streams.Reading(
            image_size=c.data.image_size,
            batch_size=job.section.batch_size if training else c.eval.batch_size,
            seed=job.seed,
            augment=c.data.augment if training else None,
            aus=aus,
            maps=c.aus
            if job.name in ("pi1", "pi2") and (job.name == "pi1" or not training)
            else (),
            workers=c.data.workers,
            host=jax.process_index(),
            hosts=jax.process_count(),
        )

    def batches(self, job: Job) -> streams.Stream:
        """Step -> training batch of this host, and the names of its frames."""
        reading, records = self.reading(job, training=True), job.train.records()
        if TRAININGS[job.name].kind == "identity":
            return streams.IdentityStream(records, reading)
        if TRAININGS[job.name].kind == "feedback":
            pools = tuple((part.records(), share) for part, share in job.pools)
            recycled = self.config.df.relabel_fraction
            return streams.FeedbackStream(records, pools, recycled, reading)
        return streams.LabeledStream(records, reading)


def _checked(make: Callable[..., Any], **settings: Any) -> Any:
    """Makes a stage; settings that mean nothing together are the user's mistake."""
    try:
        return make(**settings)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _needed(weights: LossWeights, begin: str | None) -> tuple[str, ...]:
    takes = (("pi2",) if weights.pi else ()) + (("identity",) if weights.ap else ())
    return takes + ((begin,) if begin else ())
