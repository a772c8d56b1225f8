"""Streams on records in memory: every oracle is the record itself."""

import dataclasses
import itertools
import os
import signal
import sys

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from memory_records import MemoryRecords, reading

from piapdf_jax.action_units import BP4D_AUS, record_columns
from piapdf_jax.batch import Batch, unpack_maps
from piapdf_jax.data import evaluation, prefetch, streams
from piapdf_jax.data.augment import AugmentConfig
from piapdf_jax.data.feedback_stream import FeedbackStream
from piapdf_jax.data.source import CorruptShard


def labels_of(row: int) -> np.ndarray:
    return MemoryRecords(99)[row]["labels"][record_columns(BP4D_AUS)].astype(np.float32)


def maps_of(batch) -> np.ndarray:
    return np.asarray(unpack_maps(jnp.asarray(batch.pi_maps), len(BP4D_AUS)))


def equal(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def test_epoch_visits_every_record_once():
    rows = [streams.epoch_rows(20, 4, 7, step) for step in range(5)]
    assert sorted(np.concatenate(rows)) == list(range(20))
    again = [streams.epoch_rows(20, 4, 7, step) for step in range(5, 10)]
    assert sorted(np.concatenate(again)) == list(range(20))
    assert not np.array_equal(np.concatenate(rows), np.concatenate(again))


@pytest.mark.parametrize("size", [8, 9, 21, 100])
def test_rows_ahead_are_disjoint(size):
    for step, offset in itertools.product(range(30), range(1, size // 4)):
        now = streams.epoch_rows(size, 4, 1, step)
        assert not set(now) & set(streams.epoch_rows(size, 4, 1, step, epoch_offset=offset))


def test_labels_belong_to_their_image():
    batch = streams.LabeledStream(MemoryRecords(20), reading())(3)
    for row, label in zip(batch.record_index, batch.labels, strict=True):
        np.testing.assert_array_equal(label, labels_of(row))


def test_image_and_maps_stay_in_register():
    augment = AugmentConfig(brightness=0.0, contrast=0.0, saturation=0.0)
    r = reading(image_size=256, augment=augment, batch_size=16)
    batch = streams.LabeledStream(MemoryRecords(40), r)(0)
    plain = streams.LabeledStream(MemoryRecords(40), dataclasses.replace(r, augment=None))(0)
    inside = np.asarray(batch.image)[..., 2] > 127
    maps = maps_of(batch)[..., 0] > 0
    iou = (inside & maps).sum((1, 2)) / (inside | maps).sum((1, 2))
    assert iou.min() > 0.93
    assert not np.array_equal(batch.image, plain.image)


def test_flip_mirrors_maps_and_swaps_no_label():
    still = dict(rotation=0.0, scale=0.0, shift=0.0, brightness=0.0, contrast=0.0, saturation=0.0)
    flipped = streams.LabeledStream(
        MemoryRecords(20), reading(image_size=256, augment=AugmentConfig(flip=1.0, **still))
    )(0)
    plain = streams.LabeledStream(MemoryRecords(20), reading(image_size=256))(0)
    np.testing.assert_array_equal(flipped.pi_maps, plain.pi_maps[:, :, ::-1])
    np.testing.assert_array_equal(flipped.image, plain.image[:, :, ::-1])
    np.testing.assert_array_equal(flipped.labels, plain.labels)


@pytest.mark.parametrize("size", [256, 128, 64])
def test_smaller_maps_lie_on_the_smaller_image(size):
    batch = streams.LabeledStream(MemoryRecords(40), reading(image_size=size, batch_size=16))(0)
    image, maps = np.asarray(batch.image)[..., 2] / 255.0, maps_of(batch)[..., 0]
    # The shares of a pixel that the region covers, against the pixels that the map calls its own.
    grid = np.arange(size)
    for axis in (1, 2):
        center = lambda mass, axis=axis: (mass.sum(3 - axis) @ grid) / mass.sum((1, 2))  # noqa: E731
        apart = center(image) - center(maps)
        assert np.abs(apart).max() < 0.51
        # A pixel of an even number of pixels has none in its middle: half of one is the best there is.
        assert np.abs(apart.mean()) < 0.2 + 0.2 * (size == 128)


def feedback_stream(**more) -> FeedbackStream:
    pools = ((MemoryRecords(30, seed=1), 0.25), (MemoryRecords(50, seed=2), 1.0))
    judges = MemoryRecords(20, seed=3)
    return FeedbackStream(MemoryRecords(40), pools, 0.25, reading(batch_size=8, **more), judges)


def test_feedback_frames_are_disjoint_and_withheld():
    stream = feedback_stream()
    for step in range(25):
        labeled, samples = stream.rows(step)
        withheld = [row for records, row, _ in samples if records is stream.coded]
        assert len(withheld) == 2
        assert not set(labeled) & set(withheld)
        counts = [sum(sample.records is pool for sample in samples) for pool, _ in stream.pools]
        assert counts == [2, 4]
    batch = stream(0)
    assert set(np.unique(batch.labeled.labels)) <= {0.0, 1.0}
    assert np.array_equal(batch.unlabeled.labels[:2], np.full((2, 12), -1))


def test_fine_tuning_reads_the_next_labeled_batches_alone():
    stream = feedback_stream(augment=AugmentConfig())
    ends = dataclasses.replace(stream, steps=3)
    assert equal(ends(2), stream(2)) and ends.frames(2) == stream.frames(2)
    for step in (3, 4, 7):
        assert isinstance(ends(step), Batch) and equal(ends(step), stream(step).labeled)
        assert ends.frames(step) == {"labeled": stream.frames(step)["labeled"]}


def test_the_clean_view_is_the_same_frames_as_the_record_holds_them():
    stream = dataclasses.replace(feedback_stream(augment=AugmentConfig()), clean=True)
    plain = feedback_stream()
    for step in (0, 6):
        batch = stream(step)
        np.testing.assert_array_equal(batch.clean, plain(step).unlabeled.image)
        assert batch.clean.dtype == np.uint8
        assert not np.array_equal(batch.clean, batch.unlabeled.image)
        # What learns is not changed by what labels.
        assert equal(batch._replace(clean=None), feedback_stream(augment=AugmentConfig())(step))


@pytest.mark.parametrize(("ratio", "relabel"), [(3, 0.25), (2, 1.0), (5, 0.5), (4, 1.0)])
def test_several_unlabeled_frames_a_labeled_one(ratio, relabel):
    plain = dataclasses.replace(feedback_stream(), relabel_fraction=relabel)
    stream = dataclasses.replace(plain, unlabeled_ratio=ratio)
    for step in range(12):
        labeled, samples = stream.rows(step)
        assert len(labeled) == 8 and len(samples) == 8 * ratio
        withheld = [row for records, row, _ in samples if records is stream.coded]
        assert len(set(withheld)) == len(withheld) == round(relabel * 8 * ratio)
        assert not set(labeled) & set(withheld)
        # DISFA's quarter of all, and the rest.
        counts = [sum(sample.records is pool for sample in samples) for pool, _ in stream.pools]
        left = 8 * ratio - len(withheld)
        assert counts == [min(left, 2 * ratio), left - min(left, 2 * ratio)]
        # The labeled frames, and the first of those withheld, are those of one a labeled frame.
        before = [row for records, row, _ in plain.rows(step)[1] if records is plain.coded]
        assert np.array_equal(labeled, plain.rows(step)[0]) and withheld[: len(before)] == before
    batch = dataclasses.replace(stream, clean=True)(3)
    assert len(batch.labeled.image) == 8
    assert len(batch.unlabeled.image) == len(batch.clean) == 8 * ratio


@pytest.mark.parametrize(("size", "enough"), [(23, False), (24, True)])
def test_frames_to_withhold_fill_batches_beside_the_labeled_one(size, enough):
    """A batch of 8 beside 16 withheld frames: three batches."""
    stream = FeedbackStream(MemoryRecords(size), (), 0.0, reading(batch_size=8), unlabeled_ratio=2)
    if enough:
        stream.check()
    else:
        with pytest.raises(ValueError, match="batch of 8 and 16 more .*size to 7 "):
            stream.check()


def test_frames_that_judge_come_in_an_order_of_their_own_with_labels():
    stream = feedback_stream(augment=AugmentConfig())
    without = dataclasses.replace(stream, judges=None)
    seen = []
    for step in range(5):
        batch, plain = stream(step), without(step)
        assert plain.judge is None and equal(batch[:2], plain[:2])
        for row, labels in zip(batch.judge.record_index, batch.judge.labels, strict=True):
            np.testing.assert_array_equal(labels, labels_of(row))
        seen.append(batch.judge.record_index.tolist())
        names = stream.frames(step)
        assert names.pop("judge") == [f"F003/T1/{row}" for row in seen[-1]]
        assert names == without.frames(step)
    # Two batches of eight an epoch, the remainder dropped.
    assert all(len({*seen[k], *seen[k + 1]}) == 16 for k in (0, 2))
    assert seen[:2] != seen[2:4]
    same = dataclasses.replace(stream, judges=MemoryRecords(40, seed=3))
    assert all(
        set(same(k).judge.record_index) != set(same(k).labeled.record_index) for k in range(3)
    )
    few = dataclasses.replace(stream, judges=MemoryRecords(3, seed=3))(0)
    assert np.bincount(few.judge.record_index).tolist() in ([3, 3, 2], [3, 2, 3], [2, 3, 3])


def test_each_part_of_a_batch_is_augmented_by_draws_of_its_own():
    one = MemoryRecords(1)
    stream = FeedbackStream(
        one, ((one, 1.0),), 0.0, reading(batch_size=1, augment=AugmentConfig()), one
    )
    images = [np.asarray(part.image, int) for part in stream(0)[:3]]
    for a, b in itertools.combinations(images, 2):
        assert np.abs(a - b).max() > 50


def test_too_few_frames_to_withhold_is_an_error():
    stream = FeedbackStream(MemoryRecords(8), (), 0.5, reading(batch_size=8))
    with pytest.raises(ValueError, match="relabel_fraction"):
        stream(0)


def take(stream, start, count, **more) -> list:
    steps = prefetch.prefetch(stream, start, **more)
    try:
        return [next(steps) for _ in range(count)]
    finally:
        steps.close()


def test_resuming_anywhere_equals_going_through():
    stream = feedback_stream(augment=AugmentConfig())
    straight = take(stream, 0, 7)
    for start in (1, 3, 6):  # inside an epoch, before its end, in the next
        for batch, again in zip(straight[start:], take(stream, start, 7 - start), strict=True):
            assert equal(batch, again)
    assert not equal(straight[0], straight[1])


@pytest.fixture(scope="module")
def read_here() -> list:
    return take(feedback_stream(augment=AugmentConfig()), 2, 4)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_give_the_same_batches(read_here, workers):
    there = take(feedback_stream(augment=AugmentConfig()), 2, 4, workers=workers)
    assert all(equal(a, b) for a, b in zip(read_here, there, strict=True))


@dataclasses.dataclass(frozen=True)
class Watched:
    """Batches with what their process has loaded: TensorFlow, a backend of JAX, its own platforms, OpenCV's threads."""

    stream: streams.LabeledStream

    def __call__(self, step: int) -> tuple:
        batch = self.stream(step)
        from jax._src import xla_bridge

        platforms = jax.config.jax_platforms == "cpu"
        loaded = "tensorflow" in sys.modules, xla_bridge.backends_are_initialized()
        return batch, np.array([*loaded, platforms, cv2.getNumThreads(), os.getpid()])


def test_workers_load_no_tensorflow_and_no_backend(monkeypatch):
    # What a machine with a GPU has: no word on platforms in the environment.
    monkeypatch.delenv("JAX_PLATFORMS")
    stream = Watched(streams.LabeledStream(MemoryRecords(20), reading(augment=AugmentConfig())))
    for _, (tensorflow, backend, cpu_only, threads, process) in take(stream, 0, 2, workers=1):
        assert process != os.getpid()
        assert (tensorflow, backend, cpu_only, threads) == (0, 0, 1, 1)


@dataclasses.dataclass(frozen=True)
class Dying:
    """A stream whose process is killed at a step, as for want of memory, or that raises there."""

    stream: streams.LabeledStream
    killed: bool

    def __call__(self, step: int):
        if step == 2 and self.killed:
            os.kill(os.getpid(), signal.SIGKILL)
        if step == 2:
            raise CorruptShard("shard a/b cannot be read")
        return self.stream(step)


@pytest.mark.parametrize(
    "killed, error, told",
    [
        (True, prefetch.ReaderDied, "exit code -9 .*lower data.workers"),
        (False, CorruptShard, "shard a/b"),
    ],
)
def test_failing_worker_is_an_error_with_its_cause(killed, error, told):
    stream = Dying(streams.LabeledStream(MemoryRecords(20), reading()), killed)
    with pytest.raises(error, match=told):
        take(stream, 0, 4, workers=1)


def test_frames_name_what_the_batch_holds():
    stream = feedback_stream(augment=AugmentConfig())
    batch, names = stream(5), stream.frames(5)
    for part, read in (("labeled", batch.labeled), ("unlabeled", batch.unlabeled)):
        assert len(names[part]) == len(read.record_index)
        assert [name.split("/")[1:] for name in names[part]] == [
            ["T1", str(row)] for row in read.record_index.tolist()
        ]
    share = feedback_stream(augment=AugmentConfig(), host=1, hosts=2)
    assert share.frames(5) == names


def test_hosts_share_the_global_batch():
    whole = feedback_stream(augment=AugmentConfig())(5)
    shares = [feedback_stream(augment=AugmentConfig(), host=h, hosts=2)(5) for h in range(2)]
    for field in ("image", "labels", "pi_maps", "record_index"):
        joined = [np.asarray(getattr(share.unlabeled, field)) for share in shares]
        np.testing.assert_array_equal(np.concatenate(joined), getattr(whole.unlabeled, field))


def test_evaluation_pads_and_marks_the_last_batch():
    batches = list(evaluation.evaluation_batches(MemoryRecords(10), reading()))
    assert [int(batch.mask.sum()) for batch in batches] == [4, 4, 2]
    rows = np.concatenate([b.record_index[np.asarray(b.mask) > 0] for b in batches])
    np.testing.assert_array_equal(rows, np.arange(10))


def test_scores_are_made_of_plain_frames_whatever_the_training_does_to_them():
    moved = reading(augment=AugmentConfig())
    for plain, found in zip(
        evaluation.evaluation_batches(MemoryRecords(10), reading()),
        evaluation.evaluation_batches(MemoryRecords(10), moved),
        strict=True,
    ):
        np.testing.assert_array_equal(found.image, plain.image)
        np.testing.assert_array_equal(found.pi_maps, plain.pi_maps)


def test_broken_picture_names_its_shard():
    class Broken(MemoryRecords):
        def __getitem__(self, row):
            return {**super().__getitem__(row), "image": b"no picture"}

    with pytest.raises(CorruptShard, match="memory"):
        streams.LabeledStream(Broken(8), reading())(0)
