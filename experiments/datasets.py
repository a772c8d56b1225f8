"""Who may be read for what: the one way from a data set's name to its records.

A person is (builder, kind, subject): configs of one builder that share a kind show the same people
under other names. People that a fold tests, and those kept apart to choose a state, are in no
slice that a training reads, whatever data set stands in for which.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from data_builders.prepare import BUILDERS, can_make
from experiments.config import ConfigError, ExperimentConfig
from experiments.fold_parts import FoldPart, part_of_fold
from piapdf_jax import folds
from piapdf_jax.data import description, source


class Person(NamedTuple):
    """One person, by whatever data set we meet them."""

    builder: str
    kind: str
    subject: str


@dataclasses.dataclass(frozen=True)
class DataSlice:
    """Some records of a data set: where it lies, a split expression of it, and of which people."""

    dataset: str
    folder: pathlib.Path
    split: str
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def records(self) -> Any:
        """Opens them."""
        records = source.Records(self.folder, self.split)
        if not self.only and not self.without:
            return records
        return source.SomePeople(records, only=self.only, without=self.without)

    def __str__(self) -> str:
        left_out = f" without {len(self.without)} people" if self.without else ""
        return f"{self.dataset}[{self.split}]{left_out}"


class Slices(NamedTuple):
    """What one training reads.

    Attributes:
        train: what it learns from.
        test: what its export is scored on; None where there is nothing, and then it has no scores.
        pools: unlabeled frames with their shares of a batch.
        validation: people kept apart, on whom the best state is chosen; None for the last state.
    """

    train: DataSlice
    test: DataSlice | None
    pools: tuple[tuple[DataSlice, float], ...] = ()
    validation: DataSlice | None = None


class DataSets:
    """The data sets of one experiment.

    Args:
        config: the experiment.
        data_dir: where data sets lie.
        prepare: called with the name of a data set that is missing and can be made here.
    """

    def __init__(
        self, config: ExperimentConfig, data_dir: str, prepare: Callable[[str], Any]
    ) -> None:
        self.config, self.data_dir, self._prepare = config, data_dir, prepare

    def folder(self, dataset: str) -> pathlib.Path:
        """Returns the folder of a data set; one that needs no original files is made where it is missing.

        Raises:
            ConfigError: for a missing data set that has no builder.
            MissingDataset: for one that only its owner's files make.
        """
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
            if not can_make(dataset):
                raise self._to_build(dataset, missing) from missing
            self._prepare(dataset)
            return source.dataset_folder(self.data_dir, dataset)

    def _to_build(self, dataset: str, missing: source.MissingDataset) -> source.MissingDataset:
        """Names the command that builds a data set from original files."""
        module = BUILDERS[dataset.split("/")[0]]
        if module.startswith("data_builders."):
            return missing
        return source.missing_dataset(dataset, self.data_dir, f"--plugin={module}")

    def describe(self, dataset: str) -> description.Description:
        """Returns what a data set says of itself."""
        return description.describe(self.folder(dataset))

    def units(self, dataset: str, wanted: tuple[int, ...], key: str) -> tuple[int, ...]:
        """Returns the action units to learn of a data set.

        Args:
            dataset: its name.
            wanted: FACS numbers that the configuration asks for; () for all that there are.
            key: that asks, for the message.

        Raises:
            ConfigError: for units that the data set has no labels of, naming both lists.
        """
        there = self.describe(dataset).action_units
        if set(wanted or [0]) <= set(there) or (there and not wanted):
            return wanted or there
        asked = f"{key}={','.join(map(str, wanted))}" if wanted else "a training of action units"
        has = f"labels of {', '.join(map(str, there))} alone" if there else "no labels of any"
        raise ConfigError(f"{asked} does not go with data set {dataset!r}, which has {has}")

    def part(self, dataset: str, *, test: bool) -> FoldPart:
        """Returns what of a data set the fold trains or tests on."""
        told, sizes = self.describe(dataset), self._sizes(dataset)
        return part_of_fold(told, sizes, self.config.fold, test=test)

    def _sizes(self, dataset: str) -> dict[str, int]:
        return source.split_sizes(self.folder(dataset))

    def split_to_train(self, dataset: str) -> str:
        """Returns the split expression of what there is to train on: published parts, or ``train``.

        Raises:
            ConfigError: where that is nothing.
        """
        part = self.part(dataset, test=False)
        if part.expression is None:
            has = ", ".join(sorted(name for name, count in self._sizes(dataset).items() if count))
            raise ConfigError(f"data set {dataset!r}: {part}; it has {has or 'no record'}")
        return part.expression

    def uncoded_splits(self, dataset: str) -> list[str]:
        """Returns the splits of the fold's training people that hold frames without labels."""
        sizes = self._sizes(dataset)
        names = folds.train_splits(self.config.fold, coded=False).split("+")
        return [name for name in names if sizes.get(name)]

    def to_train(self, dataset: str, split: str, *, strangers: bool = False) -> DataSlice:
        """Returns records that a training may read: nobody's who is tested or kept apart.

        Args:
            dataset: its name.
            split: split expression.
            strangers: leave out everybody of the AU data set as well, where it is there (Encoder P, section 3.2).

        Raises:
            ConfigError: where nobody is left.
        """
        barred = self.tested | self.kept_apart
        if strangers:
            for name in self._there({self.config.data.dataset}):
                barred |= set(self._people(name))
        return self._without(dataset, split, barred)

    def to_choose(self, dataset: str) -> DataSlice | None:
        """Returns the records of people kept apart to choose a state; None where nobody is to be.

        Raises:
            ConfigError: where nobody would be left to train on.
        """
        if not (wanted := self.config.eval.validation_subjects):
            return None
        split = self.split_to_train(dataset)
        people = self._candidates(dataset)
        if wanted >= len(people):
            raise ConfigError(
                f"eval.validation_subjects={wanted} leaves nobody of the {len(people)} people of"
                f" {dataset}[{split}] to train on"
            )
        return DataSlice(dataset, self.folder(dataset), split, only=self._chosen(people))

    def to_test_fold(self, dataset: str) -> DataSlice | None:
        """Returns records of the fold's people that exports are scored on; None where there are none."""
        split = self.part(dataset, test=True).expression
        return self.to_test(dataset, split) if split else None

    def to_test(self, dataset: str, split: str) -> DataSlice:
        """Returns records that exports are scored on."""
        self._check_splits(dataset, split)
        return DataSlice(dataset, self.folder(dataset), split)

    @functools.cached_property
    def tested(self) -> frozenset[Person]:
        """Everybody on whom an export of this experiment is scored, in data sets that are there."""
        pairs = {s.pairs for s in self.config.sections() if hasattr(s, "pairs")}
        found: set[Person] = set()
        for name in self._there(self._scored_sets() | pairs):
            # What has no split to test on is scored on nobody; a training that wants it says so.
            if split := self.part(name, test=True).expression:
                found.update(self._people(name, split))
        return frozenset(found)

    @functools.cached_property
    def kept_apart(self) -> frozenset[Person]:
        """Everybody of the AU data sets' training people who is kept apart to choose a state."""
        if not self.config.eval.validation_subjects:
            return frozenset()
        found: set[Person] = set()
        for name in self._there(self._sets_to_choose_by()):
            told, there = self.describe(name), self.part(name, test=False).expression
            people = self._candidates(name) if there else []
            if self.config.eval.validation_subjects < len(people):
                found |= {Person(told.builder, told.kind, one) for one in self._chosen(people)}
        return frozenset(found)

    def _scored_sets(self) -> set[str]:
        """Data sets of all sections; Encoder P is scored on pairs of other people and not on its own."""
        sections = [s for s in self.config.sections() if getattr(s, "own_test", True)]
        return {section.dataset for section in sections if hasattr(section, "dataset")}

    def _sets_to_choose_by(self) -> set[str]:
        """Data sets of trainings with labels: those that choose a state by people kept apart."""
        from experiments.trainings import TRAININGS

        labeled = [training for training in TRAININGS.values() if training.feed.labels]
        sections = [self.config.section(training.section) for training in labeled]
        return {getattr(section, "dataset", self.config.data.dataset) for section in sections}

    def _make_what_is_read(self) -> None:
        """Makes what the methods read and needs no original files: who is tested must not depend on when."""
        from experiments.job import Job
        from experiments.trainings import TRAININGS, ordered

        def job(name: str) -> Job:
            return Job(TRAININGS[name], self.config, self, lambda: self.config.model)

        names = {self.config.data.dataset}
        for training in ordered(self.config.methods, job):
            section = self.config.section(TRAININGS[training].section)
            names |= {
                getattr(section, key) for key in ("dataset", "pairs") if hasattr(section, key)
            }
        for name in sorted(names):
            if can_make(name):
                self.folder(name)

    def _there(self, names: set[str]) -> Iterator[str]:
        """Data sets that lie here."""
        self._make_what_is_read()
        for name in sorted(names):
            try:
                source.dataset_folder(self.data_dir, name)
            except source.MissingDataset:
                continue
            yield name

    def _people(self, dataset: str, split: str | None = None) -> list[Person]:
        told = self.describe(dataset)
        subjects = told.people_of(split or "+".join(told.people))
        return [Person(told.builder, told.kind, subject) for subject in sorted(subjects)]

    def _candidates(self, dataset: str) -> list[str]:
        """Training people among whom some are kept apart."""
        people = self._people(dataset, self.split_to_train(dataset))
        return [person.subject for person in people if person not in self.tested]

    def _chosen(self, people: list[str]) -> tuple[str, ...]:
        wanted = self.config.eval.validation_subjects
        order = np.random.default_rng([self.config.seed, wanted]).permutation(len(people))
        return tuple(sorted(people[k] for k in order[:wanted]))

    def _check_splits(self, dataset: str, split: str) -> None:
        there = self._sizes(dataset)
        for name in split.split("+"):
            if not there.get(name):
                has = ", ".join(sorted(there))
                raise ConfigError(f"data set {dataset!r} has no split {name!r}; it has {has}")

    def _without(self, dataset: str, split: str, barred: frozenset[Person]) -> DataSlice:
        self._check_splits(dataset, split)
        people = self._people(dataset, split)
        left_out = tuple(person.subject for person in people if person in barred)
        if len(left_out) == len(people):
            raise ConfigError(
                f"{dataset}[{split}] has nobody left to train on: all of its {len(people)} people"
                " are tested or kept apart"
            )
        return DataSlice(dataset, self.folder(dataset), split, without=left_out)
