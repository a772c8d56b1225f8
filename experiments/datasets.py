"""Controls which people's records each purpose may read: the only way from a data set's name to its records.

A person is (builder, kind, subject): configs of one builder with the same kind show the same people under other names.
No slice that a training reads contains people that a fold tests or that are kept apart to choose a state, whichever
data set stands in for another, and no training reads labels of people who judge a student's steps. If
``data.labeled_frames`` limits the labeled frames, no slice with labels has any other frame of the AU data set's
training people.
"""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np

from data_builders.prepare import can_make
from experiments.config import ConfigError
from experiments.data_folders import DataFolders
from experiments.data_slices import DataSlice, Person
from piapdf_jax.data import source
from piapdf_jax.data.labeled import LabeledFrames


class DataSets(DataFolders):
    """The data sets of one experiment, and which of their people each purpose may read."""

    def to_train(
        self, dataset: str, split: str, *, labels: bool = True, strangers_to: str = ""
    ) -> DataSlice:
        """Returns records that a training may read: none of people who are tested or kept apart.

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
        part = self._without(dataset, split, barred, f"tested or kept apart{known}")
        return self._of_labeled_frames(part, "train on") if labels else part

    def to_leave_unlabeled(self, dataset: str) -> DataSlice | None:
        """Returns frames of the training people whose labels nobody reads; None where there are none.

        Uncoded ones, and where ``data.labeled_frames`` are fewer than there are, the other coded ones.
        """
        splits, labeled = self.uncoded_splits(dataset), self._labeled_frames(dataset)
        if labeled is not None:
            splits = [labeled.split, *splits]
        if not splits:
            return None
        part = self.to_train(dataset, "+".join(splits), labels=False)
        if labeled is not None:
            part = dataclasses.replace(part, labeled=labeled, hide_labels=True)
        return None if part.is_empty() else part

    def to_choose(self, dataset: str) -> DataSlice | None:
        """Returns the records of people kept apart to choose a state; None if there are none.

        Raises:
            ConfigError: where nobody would be left to train on.
        """
        if not (wanted := self.config.eval.validation_subjects):
            return None
        split = self.split_to_train(dataset)
        people = self._candidates(dataset)
        if wanted >= len(people):
            raise ConfigError(
                f"eval.validation_subjects={wanted} leaves none of the {len(people)} people of"
                f" {dataset}[{split}] to train on"
            )
        return self._only(dataset, self._sample_subjects(people, wanted))

    def to_judge(self, dataset: str, section: str) -> DataSlice | None:
        """Returns the records of people kept apart to judge a student's steps; None if there are none.

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
                f"{section}.judge_subjects={wanted} leaves none of the {len(everybody)} people of"
                f" {dataset}[{self.split_to_train(dataset)}] to train on{also}"
            )
        part = self._only(dataset, self._sample_subjects(people, wanted))
        return self._of_labeled_frames(part, "judge by")

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
                found.update(self._sample_subjects(people, wanted))
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
                    chosen = part.include if part else ()
                    found |= {Person(told.builder, told.kind, subject) for subject in chosen}
        return frozenset(found)

    def _labeled_frames(self, dataset: str) -> LabeledFrames | None:
        """The frames of an AU data set that keep their labels; None for all, and for data of other people.

        Judges' labels are among them, for they are labels that somebody has to give; those of people kept apart are
        not, for they stay as they are.

        Raises:
            ConfigError: where there are fewer.
        """
        count = self.config.data.labeled_frames
        if not count or not self._shows_au_people(dataset):
            return None
        split, barred = self.split_to_train(dataset), self.tested | self.kept_apart
        exclude = tuple(p.subject for p in self._people(dataset, split) if p in barred)
        found = LabeledFrames(self.folder(dataset), split, exclude, count)
        try:
            _ = found.names
        except ValueError as error:
            raise ConfigError(
                f"data.labeled_frames={count} is too many: {error} of the people of {dataset}[{split}] who"
                " are neither tested nor kept apart; 0 takes all"
            ) from error
        return found

    def _of_labeled_frames(self, part: DataSlice, use: str) -> DataSlice:
        """The same without frames that do not keep their labels."""
        if (labeled := self._labeled_frames(part.dataset)) is None:
            return part
        part = dataclasses.replace(part, labeled=labeled)
        if part.is_empty():
            raise ConfigError(
                f"data.labeled_frames={labeled.count} leaves no frame to {use}: {part}"
            )
        return part

    def _shows_au_people(self, dataset: str) -> bool:
        """Whether a data set is the AU data set, or shows its people under another name."""
        if dataset == (own := self.config.data.dataset):
            return True
        told = [self.describe(name) for name in self._there({dataset, own})]
        kinds = {(each.builder, each.kind) for each in told}
        return (len(told), len(kinds)) == (2, 1)

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

    def _sample_subjects(self, people: list[Person], wanted: int) -> list[Person]:
        order = np.random.default_rng([self.config.seed, wanted]).permutation(len(people))
        return sorted(people[k] for k in order[:wanted])

    def _only(self, dataset: str, people: list[Person]) -> DataSlice:
        """Coded frames of some training people."""
        split, include = self.split_to_train(dataset), tuple(person.subject for person in people)
        return DataSlice(dataset, self.folder(dataset), split, include=include)

    def _without(self, dataset: str, split: str, barred: frozenset[Person], why: str) -> DataSlice:
        self.check_splits(dataset, split)
        people = self._people(dataset, split)
        left_out = tuple(person.subject for person in people if person in barred)
        if len(left_out) == len(people):
            raise ConfigError(
                f"{dataset}[{split}] has no one left to train on: all of its {len(people)} people"
                f" are {why}"
            )
        return DataSlice(dataset, self.folder(dataset), split, exclude=left_out)
