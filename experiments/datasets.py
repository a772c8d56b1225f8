"""Who may be read for what: the one way from a data set's name to its records.

A person is (builder, kind, subject): configs of one builder that share a kind show the same people
under other names. People that a fold tests, and those kept apart to choose a state, are in no
slice that a training reads, whatever data set stands in for which; of those who judge a student's
steps no training reads a label.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from data_builders.prepare import can_make
from experiments.config import ConfigError
from experiments.data_folders import DataFolders
from piapdf_jax.data import source


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
        alone = f" of {len(self.only)} people" if self.only else ""
        left_out = f" without {len(self.without)} people" if self.without else ""
        return f"{self.dataset}[{self.split}]{alone}{left_out}"


class Slices(NamedTuple):
    """What one training reads.

    Attributes:
        train: what it learns from.
        test: what its export is scored on; None where there is nothing, and then it has no scores.
        pools: unlabeled frames with their shares of a batch.
        validation: people kept apart, on whom the best state is chosen; None for the last state.
        judges: people kept apart, whose labeled frames stand for x_l where a student's step is judged; None for x_l.
    """

    train: DataSlice
    test: DataSlice | None
    pools: tuple[tuple[DataSlice, float], ...] = ()
    validation: DataSlice | None = None
    judges: DataSlice | None = None

    @property
    def read(self) -> tuple[DataSlice, ...]:
        """All that steps of the training read."""
        judges = (self.judges,) if self.judges else ()
        return (self.train, *judges, *(pool for pool, _ in self.pools))


class DataSets(DataFolders):
    """The data sets of one experiment, and who of them may be read for what."""

    def to_train(
        self, dataset: str, split: str, *, labels: bool = True, strangers_to: str = ""
    ) -> DataSlice:
        """Returns records that a training may read: nobody's who is tested or kept apart.

        Args:
            dataset: its name.
            split: split expression.
            labels: whether their labels may be read, which those of judges are nowhere.
            strangers_to: leave out everybody of this data set as well, where it is there.

        Raises:
            ConfigError: where nobody is left.
        """
        barred = self.tested | self.kept_apart | (self.judges if labels else frozenset())
        for name in self._there({strangers_to}) if strangers_to else ():
            barred |= set(self._people(name))
        known = f", or shown by {strangers_to}" if strangers_to else ""
        return self._without(dataset, split, barred, f"tested or kept apart{known}")

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
        return self._only(dataset, self._chosen(people, wanted))

    def to_judge(self, dataset: str, section: str) -> DataSlice | None:
        """Returns the records of people kept apart to judge a student's steps; None where nobody is to.

        Args:
            dataset: that the training learns from.
            section: of the configuration, whose ``judge_subjects`` says how many.

        Raises:
            ConfigError: where nobody would be left to train on.
        """
        wanted = self.config.section(section).judge_subjects
        if not wanted:
            return None
        everybody = self._candidates(dataset)
        people = [person for person in everybody if person not in self.kept_apart]
        if wanted >= len(people):
            apart = len(everybody) - len(people)
            also = f": eval.validation_subjects keeps {apart} of them apart" if apart else ""
            raise ConfigError(
                f"{section}.judge_subjects={wanted} leaves nobody of the {len(everybody)} people of"
                f" {dataset}[{self.split_to_train(dataset)}] to train on{also}"
            )
        return self._only(dataset, self._chosen(people, wanted))

    def to_test_fold(self, dataset: str) -> DataSlice | None:
        """Returns records of the fold's people that exports are scored on; None where there are none."""
        split = self.part(dataset, test=True).expression
        return self.to_test(dataset, split) if split else None

    def to_test(self, dataset: str, split: str) -> DataSlice:
        """Returns records that exports are scored on."""
        self.check_splits(dataset, split)
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
            people = self._candidates(name) if self.part(name, test=False).expression else []
            if (wanted := self.config.eval.validation_subjects) < len(people):
                found.update(self._chosen(people, wanted))
        return frozenset(found)

    @functools.cached_property
    def judges(self) -> frozenset[Person]:
        """Everybody who judges the steps of some student, and whose labels no training learns.

        Raises:
            ConfigError: where nobody would be left to train on.
        """
        from experiments.trainings import TRAININGS

        found: set[Person] = set()
        for section in dict.fromkeys(training.section for training in TRAININGS.values()):
            settings = self.config.section(section)
            dataset = getattr(settings, "dataset", self.config.data.dataset)
            for name in self._there({dataset}) if getattr(settings, "judge_subjects", 0) else ():
                if self.part(name, test=False).expression:
                    told, part = self.describe(name), self.to_judge(name, section)
                    chosen = part.only if part else ()
                    found |= {Person(told.builder, told.kind, subject) for subject in chosen}
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

    def _candidates(self, dataset: str) -> list[Person]:
        """Training people among whom some are kept apart."""
        people = self._people(dataset, self.split_to_train(dataset))
        return [person for person in people if person not in self.tested]

    def _chosen(self, people: list[Person], wanted: int) -> list[Person]:
        order = np.random.default_rng([self.config.seed, wanted]).permutation(len(people))
        return sorted(people[k] for k in order[:wanted])

    def _only(self, dataset: str, people: list[Person]) -> DataSlice:
        """Coded frames of some training people."""
        split, only = self.split_to_train(dataset), tuple(person.subject for person in people)
        return DataSlice(dataset, self.folder(dataset), split, only=only)

    def _without(self, dataset: str, split: str, barred: frozenset[Person], why: str) -> DataSlice:
        self.check_splits(dataset, split)
        people = self._people(dataset, split)
        left_out = tuple(person.subject for person in people if person in barred)
        if len(left_out) == len(people):
            raise ConfigError(
                f"{dataset}[{split}] has nobody left to train on: all of its {len(people)} people"
                f" are {why}"
            )
        return DataSlice(dataset, self.folder(dataset), split, without=left_out)
