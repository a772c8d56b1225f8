"""Feeds of trainings: which records a training reads, and the stream that makes batches of them."""

import contextlib
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from data_builders.prepare import can_make
from experiments.config import ConfigError
from experiments.data_slices import DataSlice, Slices
from experiments.job import Job
from piapdf_jax.data import description, source
from piapdf_jax.data.feedback_stream import FeedbackStream
from piapdf_jax.data.frames import ReaderConfig
from piapdf_jax.data.streams import IdentityStream, LabeledStream, Stream


class Feed(NamedTuple):
    """One way from data sets to batches.

    Attributes:
        slices: which records, through ``Job.datasets``.
        stream: job, how records are read -> step -> batch.
        labels: whether batches carry labels of action units.
        maps: whether batches carry predefined PI maps.
        landmarks: whether batches carry landmarks, or how the training's settings tell.
    """

    slices: Callable[[Job], Slices]
    stream: Callable[[Job, ReaderConfig], Stream]
    labels: bool = True
    maps: bool = False
    landmarks: bool | Callable[[Job], bool] = False

    def reads_landmarks(self, job: Job) -> bool:
        """Returns whether the batches of a training carry landmarks."""
        return self.landmarks(job) if callable(self.landmarks) else self.landmarks


def _coded(job: Job) -> Slices:
    data, name = job.datasets, job.dataset
    train = data.to_train(name, data.split_to_train(name))
    return Slices(train, data.to_test_fold(name), validation=data.to_choose(name))


def _coded_and_uncoded(job: Job) -> Slices:
    """Predefined maps need no labels, so uncoded frames serve PI stage 1 as well."""
    data, name = job.datasets, job.dataset
    train = data.to_train(name, data.every_split_to_train(name), labels=False)
    return Slices(train, data.to_test_fold(name))


def _portraits(job: Job) -> Slices:
    """Nobody of the AU data set, where it is there (section 3.2)."""
    known = job.config.data.dataset
    train = job.datasets.to_train(job.dataset, "train", strangers_to=known)
    return Slices(train, pairs_to_test(job))


def _faces_with_pairs(job: Job) -> Slices:
    """All frames, for their landmarks; what verifies the pairs is scored on its own unseen people as well."""
    pairs_to_test(job)
    return _coded_and_uncoded(job)


def pairs_to_test(job: Job) -> DataSlice:
    """Returns the pictures of the pairs that a training's vectors verify.

    Raises:
        ConfigError: for a data set without pairs.
    """
    test = job.datasets.to_test(job.section.pairs, "test")
    if "pairs" not in description.metadata(test.folder):
        key = f"{job.training.section}.pairs={job.section.pairs}"
        raise ConfigError(f"{key} names a data set without pairs of pictures to tell apart")
    return test


def _with_pools(job: Job) -> Slices:
    """Unlabeled frames: of new people, DISFA's where it lies beside, and of the training people those without labels.

    Each takes its share of x_u, the last of those there are what the others leave.
    """
    data, name, slices = job.datasets, job.dataset, _coded(job)
    slices = slices._replace(judges=data.to_judge(name, job.training.section))
    other, share = job.config.disfa.dataset, job.section.disfa_fraction
    pools = [(_new_people(job), job.section.unlabeled_fraction)]
    if share and _lies_beside(job, other):
        splits = "+".join(data.part(other, test=False).there)
        to_train = functools.partial(data.to_train, other, splits, labels=False)
        pools.append((_if_anybody(to_train) if splits else None, share))
    pools.append((_if_anybody(lambda: data.to_leave_unlabeled(name)), 1.0))
    return slices._replace(pools=tuple((pool, part) for pool, part in pools if pool is not None))


def _new_people(job: Job) -> DataSlice | None:
    """All frames of ``unlabeled_dataset``, of nobody whom the AU data set shows; None where none are asked for.

    Raises:
        ConfigError: where it is not there and cannot be made, or shows nobody else.
    """
    data, other = job.datasets, job.section.unlabeled_dataset
    if not other or not job.section.unlabeled_fraction:
        return None
    with _asked_for(job):
        split = data.every_split_to_train(other)
        return data.to_train(other, split, labels=False, strangers_to=job.dataset)


@contextlib.contextmanager
def _asked_for(job: Job) -> Iterator[None]:
    """Has errors name the key that asks for frames of new people."""
    try:
        yield
    except (ConfigError, source.MissingDataset) as error:
        key = f"{job.training.section}.unlabeled_dataset={job.section.unlabeled_dataset}"
        raise ConfigError(f"{key} must provide frames of new people: {error}") from error


def check_pools(job: Job) -> None:
    """Refuses unlabeled frames that are asked for, not there and not made here, before a data set is opened or made.

    Raises:
        ConfigError: naming the key.
    """
    if getattr(job.section, "disfa_fraction", 0):
        folder_to_pool(job, job.config.disfa.dataset)
    other = getattr(job.section, "unlabeled_dataset", "")
    if other and job.section.unlabeled_fraction and not can_make(other):
        with _asked_for(job):
            job.datasets.folder(other)


def without_disfa(job: Job) -> list[str]:
    """Returns a line where a share of x_u is to be DISFA's, whose folder is not there."""
    other, share = job.config.disfa.dataset, getattr(job.section, "disfa_fraction", 0)
    if not share or folder_to_pool(job, other) is not None:
        return []
    return [
        f"{job.training.section}.disfa_fraction={share} adds no frame of DISFA: data set {other!r} is"
        f" not in {job.datasets.data_dir}"
    ]


def _if_anybody(to_train: Callable[[], DataSlice | None]) -> DataSlice | None:
    """Records of unlabeled frames; None where there are none, or none of people who may be read."""
    try:
        return to_train()
    except ConfigError:
        return None


def folder_to_pool(job: Job, other: str) -> pathlib.Path | None:
    """Returns the folder of DISFA, whose frames a training takes where they lie; None where they do not.

    Args:
        job: the training.
        other: name of DISFA, or of what stands in for it.

    Raises:
        ConfigError: where ``--set`` asks for frames that are not there.
    """
    share, key = job.section.disfa_fraction, f"{job.training.section}.disfa_fraction"
    try:
        return source.dataset_folder(job.datasets.data_dir, other)
    except source.MissingDataset as missing:
        if job.config.given & {key, "disfa.dataset"}:
            raise ConfigError(
                f"{key}={share} asks for frames of DISFA, {key}=0 for none: {missing}"
            ) from missing
        return None


def _lies_beside(job: Job, other: str) -> bool:
    """Whether a data set is there and shows other people than the AU data set."""
    folder = folder_to_pool(job, other)
    if folder is None:
        return False
    told, own = description.describe(folder), job.datasets.describe(job.dataset)
    return (told.builder, told.kind) != (own.builder, own.kind)


def _labeled(job: Job, reading: ReaderConfig) -> Stream:
    return LabeledStream(job.slices.train.records(), reading)


def _identities(job: Job, reading: ReaderConfig) -> Stream:
    return IdentityStream(job.slices.train.records(), reading)


def _feedback(job: Job, reading: ReaderConfig) -> Stream:
    pools = tuple((part.records(), share) for part, share in job.slices.pools)
    section, train, judges = job.section, job.slices.train.records(), job.slices.judges
    stream = FeedbackStream(
        train,
        pools,
        section.relabel_fraction,
        reading,
        judges=judges.records() if judges else None,
        steps=section.optimizer_config().steps,
        clean=section.label_view == "clean",
        unlabeled_ratio=section.unlabeled_ratio,
    )
    try:
        stream.check()
    except ValueError as error:
        key = f"{job.training.section}.batch_size={section.batch_size}"
        raise ConfigError(f"{key}, {job.slices.train}: {error}") from error
    return stream


def _by_person(job: Job) -> bool:
    return bool(job.section.ap) and job.section.person == "landmarks"


#: Coded frames with labels.
LABELED = Feed(_coded, _labeled)
#: The same, with landmarks where they are the vector that L_AP compares with.
LANDMARKED = LABELED._replace(landmarks=_by_person)
#: All frames, with predefined PI maps.
FRAMES = Feed(_coded_and_uncoded, _labeled, labels=False, maps=True)
#: All frames, with landmarks.
LANDMARKS = Feed(_faces_with_pairs, _labeled, labels=False, landmarks=True)
#: Faces of known people.
PORTRAITS = Feed(_portraits, _identities, labels=False)
#: Coded frames x_l and unlabeled frames x_u.
FEEDBACK = Feed(_with_pools, _feedback)
