"""Data sets on disk: their location, their records by row, their table of labels.

Data sets are read by directory through ``tfds.builder_from_directory``, never through a registry of names, and
only after ``piapdf_jax.tfds_files`` has looked at what TFDS would import and open.
"""

import functools
import importlib.util
import operator
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

from piapdf_jax import commands, paths
from piapdf_jax.records import AU_FEATURES, IDENTITY_FEATURES
from piapdf_jax.tfds_files import validate_tfds_dir

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


#: One record as its shard holds it, pictures encoded.
Record = dict[str, Any]


class MissingDataset(FileNotFoundError):
    """A data set is not where it should be; the message names the command that builds it."""


class CorruptShard(ValueError):
    """A shard cannot be read; the message names the file."""


class NoRecords(ValueError):
    """There is no record to read; the message names split and people."""


def dataset_folder(data_dir: str | pathlib.Path, name: str) -> pathlib.Path:
    """Finds the newest version of a data set under a data directory.

    Args:
        data_dir: directory of data sets, as TFDS lays them out.
        name: ``bp4d``, or ``synthetic_faces/lfw`` with the builder's config.

    Returns:
        The folder that holds ``dataset_info.json``.

    Raises:
        MissingDataset: with the command that builds it.
    """
    root = paths.local_folder(data_dir, "--data_dir") / name
    versions = [path.parent for path in root.glob("*.*.*/dataset_info.json")]
    if versions:
        return max(versions, key=lambda path: [int(number) for number in path.name.split(".")])
    raise missing_dataset(name, data_dir)


def missing_dataset(name: str, data_dir: str | pathlib.Path, *flags: str) -> MissingDataset:
    """Returns the error that names the command which builds a data set.

    Args:
        name: of the data set.
        data_dir: directory of data sets.
        flags: others that the command needs.
    """
    command = commands.prepare(name, data_dir, *flags)
    told = f"data set {name!r} is not in {pathlib.Path(data_dir, name)}: build it with `{command}`"
    builders = importlib.util.find_spec("data_builders")
    for folder in (builders and builders.submodule_search_locations) or ():
        page = pathlib.Path(folder, name.partition("/")[0], "README.md")
        if "--manual_dir" in command and page.is_file():
            told += f" (where the original files go: {page})"
    return MissingDataset(told)


def _builder(folder: pathlib.Path) -> "tfds.core.DatasetBuilder":
    try:
        # Of the folder too: a shard that is exchanged for a link is looked at again.
        files = (".", "dataset_info.json", "features.json")
        written = [(folder / name).stat() for name in files]
        stamp = tuple((file.st_mtime_ns, file.st_size, file.st_ino) for file in written)
        return _read_builder(folder, stamp)
    except ValueError as error:
        raise CorruptShard(str(error)) from error


@functools.lru_cache(maxsize=64)
def _read_builder(
    folder: pathlib.Path, stamp: tuple[tuple[int, ...], ...]
) -> "tfds.core.DatasetBuilder":
    """Reads a folder that ``stamp`` is of: it takes TFDS milliseconds, and a run asks hundreds of times."""
    del stamp
    import tensorflow_datasets as tfds

    return tfds.builder_from_directory(validate_tfds_dir(folder))


class Records:
    """Records of one split by row, pictures still encoded.

    Args:
        folder: what ``dataset_folder`` returned.
        split: TFDS split expression, such as ``part1+part2``.
    """

    def __init__(self, folder: pathlib.Path, split: str):
        self.folder, self.split = pathlib.Path(folder), split
        self._source: Any = None
        self._shards: list[tuple[int, str]] = []
        self._open()

    def __getstate__(self) -> dict[str, object]:
        # Readers hold open files, which no worker process can inherit by pickling.
        return {"folder": self.folder, "split": self.split, "_source": None, "_shards": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Before the threads of a worker process, of which several would open them at the same time.
        self.__dict__.update(state)
        self._open()

    def _open(self) -> Any:
        if self._source is None:
            import tensorflow_datasets as tfds

            builder: Any = _builder(self.folder)
            features = builder.info.features
            skip = {
                key: tfds.decode.SkipDecoding() for key in ("image", "pi_maps")
                if key in features
            }  # fmt: skip
            splits = [part.strip() for part in self.split.split("+")]
            unknown = [s for s in splits if s.split("[")[0] not in builder.info.splits]
            if unknown:
                raise ValueError(
                    f"{self.folder} has no split {unknown[0]!r}; it has {sorted(builder.info.splits)}"
                )
            self._shards = _shard_ends(builder, self.split)
            if not any(end for end, _ in self._shards):
                raise NoRecords(f"split {self.split!r} of {self.folder} holds no record")
            try:
                self._source = builder.as_data_source(self.split, decoders=skip)
            except Exception as error:
                self._name_broken_shard(error)
                raise
        return self._source

    def _name_broken_shard(self, error: Exception) -> None:
        from array_record.python import array_record_module

        for _, name in self._shards:
            try:
                reader: Any = array_record_module.ArrayRecordReader
                reader(str(self.folder / name)).close()
            except Exception:
                raise CorruptShard(_corrupt(self.folder / name, error)) from error

    def __len__(self) -> int:
        return len(self._open())

    def __getitem__(self, row: int) -> Record:
        row = range(len(self))[operator.index(row)]
        try:
            record = self._open()[row]
        except CorruptShard:
            raise
        except Exception as error:
            raise CorruptShard(_corrupt(self.folder / self._shard_of(row), error)) from error
        if record["image"] is None or not len(record["image"]):
            raise CorruptShard(_corrupt(self.folder / self._shard_of(row), "a record has no image"))
        return record

    def _shard_of(self, row: int) -> str:
        return next((name for end, name in self._shards if row < end), "?")

    def shard_of(self, row: int) -> pathlib.Path:
        """Returns the shard file that holds a row, for error messages."""
        return self.folder / self._shard_of(row)

    def table(self) -> dict[str, np.ndarray]:
        """Reads everything but pictures of every record, one array a feature."""
        keep = [k for k in (*AU_FEATURES, *IDENTITY_FEATURES) if k not in ("image", "pi_maps")]
        rows = [self[row] for row in range(len(self))]
        columns = {key: [row[key] for row in rows] for key in dict.fromkeys(keep) if key in rows[0]}
        return {key: _column(values) for key, values in columns.items()}


class SomeRows:
    """Some rows of a split's records, in the order given.

    Args:
        records: of one split.
        rows: [N] integers.
    """

    def __init__(self, records: "Records | SomeRows", rows: np.ndarray):
        self._records, self._rows = records, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Record:
        return self._records[self._rows[row]]

    def shard_of(self, row: int) -> pathlib.Path:
        """Returns the shard file that holds a row, for error messages."""
        return self._records.shard_of(self._rows[row])

    def table(self) -> dict[str, np.ndarray]:
        """Reads everything but pictures of every record, one array a feature."""
        return {key: column[self._rows] for key, column in self._records.table().items()}


class SubjectSubset(SomeRows):
    """Restricts records to some subjects, and keeps their order.

    Args:
        records: of one split.
        include: subjects (of a face recognition set: names) that stay; () for all.
        exclude: subjects that go.

    Raises:
        NoRecords: where nobody is left.
    """

    def __init__(self, records: Records, *, include: tuple[str, ...], exclude: tuple[str, ...]):
        subjects = _subjects(records.folder, records.split)
        stays = np.isin(subjects, include) if include else np.ones(len(subjects), bool)
        super().__init__(records, np.flatnonzero(stays & ~np.isin(subjects, exclude)))
        if not len(self):
            whom = f"of {', '.join(include)}" if include else f"but of {', '.join(exclude)}"
            raise NoRecords(f"split {records.split!r} of {records.folder} holds no record {whom}")


@functools.lru_cache(maxsize=16)
def _subjects(folder: pathlib.Path, split: str) -> np.ndarray:
    """Whose every record is; once a process, because it reads them all."""
    table = Records(folder, split).table()
    return table["subject" if "subject" in table else "name"]


def _column(values: list[Any]) -> np.ndarray:
    if isinstance(values[0], bytes):
        return np.array([value.decode() for value in values])
    return np.asarray(values)


def _shard_ends(builder: "tfds.core.DatasetBuilder", split: str) -> list[tuple[int, str]]:
    ends, total = [], 0
    for part in split.split("+"):
        for instruction in builder.info.splits[part.strip()].file_instructions:
            total += instruction.examples_in_shard
            ends.append((total, pathlib.Path(instruction.filename).name))
    return ends


def _corrupt(path: pathlib.Path, error: object) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"shard {path} cannot be read ({reason}): delete its data set folder and build it again"


def split_sizes(folder: pathlib.Path) -> dict[str, int]:
    """Returns the number of records by split."""
    splits = _builder(folder).info.splits
    return {name: split.num_examples for name, split in splits.items()}
