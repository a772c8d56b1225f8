"""Reports before the first training which people, labels and pairs a fold lacks, and so which scores."""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from experiments import gaps, scoring
from experiments.config import ConfigError
from experiments.data_slices import DataSlice
from experiments.feeds import pairs_to_test, without_disfa
from experiments.fold_parts import listed
from experiments.job import Job
from experiments.landmark_scores import without_landmarks
from piapdf_jax.action_units import UNKNOWN, record_columns
from piapdf_jax.data import description, source

Table = dict[str, np.ndarray]


class Lacks:
    """Checks the data that trainings read; every part is read once.

    Args:
        truth: the table of true labels of a training's test part, where there is one.
    """

    def __init__(self, truth: Callable[[Job], pathlib.Path | None]) -> None:
        self._truth = truth
        self._tables: dict[DataSlice, Table] = {}
        self._labels: dict[tuple[DataSlice, tuple[int, ...]], np.ndarray] = {}

    def check(self, job: Job) -> None:
        """Refuses data that a training cannot learn from, and batches that cannot be made of them.

        Raises:
            ConfigError: naming data set, split and what is missing.
        """
        train, held = job.slices.train, job.slices.validation
        if not job.section.own_test:
            people = job.datasets.describe(train.dataset).people_of(train.split)
            left = sorted(people - set(train.exclude))
            if len(left) < 2:
                raise ConfigError(
                    f"{train} shows only {listed(left)}: {job.name} learns to tell people apart,"
                    " which needs at least two"
                )
        if job.training.feed.labels:
            uses = (train, "train on"), (held, "choose a state by"), (job.slices.judges, "judge by")
            for part, use in uses:
                if part is not None and (self._seen(part, job.units) == UNKNOWN).all():
                    raise ConfigError(
                        f"{job.name} has no known label of {gaps.units(job.units)} to {use}:"
                        f" {part} holds none"
                    )
        try:
            job.stream().frames(0)
        except (source.CorruptShard, source.NoRecords, ConfigError):
            raise
        except ValueError as error:
            raise ConfigError(f"{job.name} cannot form a batch from {train}: {error}") from error

    def lines(self, jobs: Sequence[Job]) -> list[str]:
        """Returns what the data of some trainings lack, one line each with the trainings' names."""
        found: dict[str, list[str]] = {}
        for look in (self._to_train, self._to_test):
            for job in jobs:
                for line in look(job):
                    found.setdefault(line, []).append(job.name)
        return [f"{line} [{', '.join(names)}]" for line, names in found.items()]

    def _to_train(self, job: Job) -> list[str]:
        if not job.section.own_test:
            return []
        part, train = job.datasets.part(job.dataset, test=False), job.slices.train
        found = [] if part.whole else [f"{train.dataset}: {part}"]
        found += without_disfa(job)
        if job.training.feed.labels:
            labels = self._seen(train, job.units)
            if nothing := gaps.never(labels, job.units, absent=True):
                found.append(f"{train}, to train on: {nothing}")
        return found

    def _to_test(self, job: Job) -> list[str]:
        test = job.slices.test
        if test is None:
            return [no_scores(job)]
        found = []
        if hasattr(job.section, "pairs"):
            pictures = pairs_to_test(job)
            pairs = description.metadata(pictures.folder)["pairs"]
            table, missing = self._table(pictures), {}
            if job.training.feed.landmarks:
                missing["pairs.landmarks"] = without_landmarks(job, table)
            found = _told(pictures, {"verification": gaps.pairs(pairs, table), **missing})
        if not job.section.own_test:
            return found
        part = job.datasets.part(job.dataset, test=True)
        found += [] if part.whole else [f"{test.dataset}: {part}"]
        return found + (_told(test, self._scores(job, test)) if job.training.feed.labels else [])

    def _scores(self, job: Job, test: DataSlice) -> dict[str, str]:
        """Reasons of the gaps that labels, people and tasks of the test part make, by score; "" for no gap."""
        table, aus, truth = self._table(test), job.units, self._truth(job)
        labels = {"published": table["labels"][:, record_columns(aus)]}
        if truth is not None:
            labels["true"] = _true(truth, table, aus)
        lost = {}
        for kind, known in labels.items():
            lost[f"{kind}.f1"] = gaps.never(known, aus)
            lost[f"{kind}.roc_auc"] = gaps.never(known, aus, absent=True)
        if gaps.has_tasks(table["task"]):
            lost["identity_probe"] = gaps.probe(table["subject"], table["task"])
        return lost

    def _seen(self, part: DataSlice, aus: tuple[int, ...]) -> np.ndarray:
        """Labels [2, len(aus)] that each unit has somewhere, 0 above 1, else -1; reads until all are seen."""
        if (part, aus) not in self._labels:
            records, columns = part.records(), record_columns(aus)
            seen = np.full((2, len(aus)), UNKNOWN)
            for row in range(len(records)):
                labels = np.asarray(records[row]["labels"])[columns]
                for value in (0, 1):
                    seen[value, labels == value] = value
                if (seen != UNKNOWN).all():
                    break
            self._labels[part, aus] = seen
        return self._labels[part, aus]

    def _table(self, test: DataSlice) -> Table:
        if test not in self._tables:
            self._tables[test] = test.records().table()
        return self._tables[test]


def no_scores(job: Job) -> str:
    """Returns why a training whose fold tests on nothing has no scores."""
    return f"{job.dataset}: {job.datasets.part(job.dataset, test=True)}: no score can be made"


def _told(test: DataSlice, lost: dict[str, str]) -> list[str]:
    """A line for each reason, with all the scores in which it leaves a gap."""
    reasons: dict[str, list[str]] = {}
    for score, reason in lost.items():
        if reason:
            reasons.setdefault(reason, []).append(score)
    return [
        f"{test}, to test on: a gap in {', '.join(scores)}: {reason}"
        for reason, scores in reasons.items()
    ]


def _true(path: pathlib.Path, table: Table, aus: tuple[int, ...]) -> np.ndarray:
    try:
        return scoring.true_labels(path, table, aus)
    except Exception as error:
        raise ConfigError(
            f"{path} cannot be read as a table of true labels ({type(error).__name__}: {error})"
        ) from error
