"""Folders of data sets and their metadata: splits, people and units, read before any record."""

import pathlib
from collections.abc import Callable
from typing import Any

from data_builders.prepare import BUILDERS, can_make
from experiments.config import ConfigError, ExperimentConfig
from experiments.fold_parts import FoldPart, part_of_fold
from piapdf_jax.data import description, source


class DataFolders:
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
                    f" there are {', '.join(BUILDERS)}. Use another in its place, such as --set"
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
        raise ConfigError(f"{asked} does not fit data set {dataset!r}, which has {has}")

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
        names = [f"{split}_uncoded" for split in self.part(dataset, test=False).splits]
        return [name for name in names if sizes.get(name)]

    def every_split_to_train(self, dataset: str) -> str:
        """Returns the split expression of coded and uncoded frames, for who reads no labels.

        Raises:
            ConfigError: where that is nothing.
        """
        uncoded = self.uncoded_splits(dataset)
        coded = self.part(dataset, test=False).there if uncoded else [self.split_to_train(dataset)]
        return "+".join([*coded, *uncoded])

    def check_splits(self, dataset: str, split: str) -> None:
        """Refuses a split expression of splits that are not there, or are empty.

        Raises:
            ConfigError: naming the first, and those there are.
        """
        there = self._sizes(dataset)
        for name in split.split("+"):
            if not there.get(name):
                has = ", ".join(sorted(there))
                raise ConfigError(f"data set {dataset!r} has no split {name!r}; it has {has}")
