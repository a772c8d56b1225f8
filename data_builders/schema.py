"""TFDS features of the records of ``piapdf_jax.records``, and helpers of builders that fill them.

Pictures are encoded here, because TFDS would need TensorFlow to encode an array.
"""

import collections
import concurrent.futures.process
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from piapdf_jax import records
from piapdf_jax.action_units import RECORD_AUS, UNKNOWN, record_columns
from piapdf_jax.pi_maps import predefined_pi_maps

JPEG_QUALITY = 95

#: Version of the data sets of face recognition, and what each version brought.
IDENTITY_VERSION = "1.1.0"
IDENTITY_RELEASES = {"1.1.0": "Records hold landmarks.", "1.0.0": "First version."}

_AHEAD = 4  # items in flight for each worker

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class OrderedSerializer(ExampleSerializer):
    """Writes the features of a record in one order.

    Protobuf's own order differs from process to process, and what was trained is known by the
    checksums of the shards.
    """

    def serialize_example(self, example: Any) -> bytes:
        """Returns the bytes of an example."""
        return self.get_tf_example(example).SerializeToString(deterministic=True)


def au_features() -> tfds.features.FeaturesDict:
    """Returns features of a record with action unit labels, as ``records.AU_FEATURES`` lists them."""
    side = records.IMAGE_SIZE
    labels = tfds.features.Tensor(shape=(len(RECORD_AUS),), dtype=np.int8)
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(side, side, 3), encoding_format="jpeg"),
            "pi_maps": tfds.features.Image(
                shape=(side, side, 1), dtype=np.uint16, encoding_format="png"
            ),
            "landmarks": tfds.features.Tensor(shape=(records.LANDMARKS, 2), dtype=np.float32),
            "labels": labels,
            "intensities": tfds.features.Tensor(shape=(len(RECORD_AUS),), dtype=np.int8),
            "subject": tfds.features.Text(),
            "task": tfds.features.Text(),
            "frame": tfds.features.Scalar(dtype=np.int64),
            "coded": tfds.features.Scalar(dtype=np.int64),
        }
    )


def identity_features() -> tfds.features.FeaturesDict:
    """Returns features of a face recognition record, as ``records.IDENTITY_FEATURES`` lists them."""
    side = records.IMAGE_SIZE
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(side, side, 3), encoding_format="jpeg"),
            "landmarks": tfds.features.Tensor(shape=(records.LANDMARKS, 2), dtype=np.float32),
            "name": tfds.features.Text(),
            "identity": tfds.features.Scalar(dtype=np.int64),
            "number": tfds.features.Scalar(dtype=np.int64),
        }
    )


def au_example(
    *,
    image: np.ndarray,
    landmarks: np.ndarray,
    labels: Mapping[int, int],
    intensities: Mapping[int, int] | None = None,
    subject: str,
    task: str,
    frame: int,
    coded: bool,
) -> dict[str, Any]:
    """Makes one AU record, its PI maps drawn from the landmarks.

    Args:
        image: [256, 256, 3] uint8 RGB, the crop.
        landmarks: [68, 2] float, (x, y) pixels of the crop.
        labels: {AU number: 0, 1 or -1}; AUs that are not named are unknown.
        intensities: {AU number: 0..5 or -1}, for data sets that code them.
        subject: participant id.
        task: task id, "" where a data set has none.
        frame: the data set's own frame number.
        coded: whether the data set has a label row for the frame.

    Returns:
        An example for ``au_features``.

    Raises:
        ValueError: for a picture of another shape, an unknown AU or a value out of range.
    """
    return {
        "image": encode_jpeg(image),
        "pi_maps": encode_png(records.pack_planes(predefined_pi_maps(landmarks))),
        "landmarks": np.asarray(landmarks, np.float32),
        "labels": _cells(labels, highest=1),
        "intensities": _cells(intensities or {}, highest=5),
        "subject": subject,
        "task": task,
        "frame": int(frame),
        "coded": int(coded),
    }


def identity_example(
    *, image: np.ndarray, landmarks: np.ndarray, name: str, identity: int, number: int
) -> dict[str, Any]:
    """Makes one record of a face recognition set.

    Args:
        image: [256, 256, 3] uint8 RGB, the crop.
        landmarks: [68, 2] float, (x, y) pixels of the crop.
        name: the person, as the data set spells it.
        identity: contiguous id from 0.
        number: which picture of that person, from 1.

    Returns:
        An example for ``identity_features``.

    Raises:
        ValueError: for a picture of another shape.
    """
    return {
        "image": encode_jpeg(image),
        "landmarks": np.asarray(landmarks, np.float32),
        "name": name,
        "identity": int(identity),
        "number": int(number),
    }


def encode_jpeg(image: np.ndarray) -> bytes:
    """Encodes RGB [256, 256, 3] uint8 as JPEG, quality 95, color at full resolution (4:4:4)."""
    import cv2

    side = records.IMAGE_SIZE
    if image.shape != (side, side, 3) or image.dtype != np.uint8:
        raise ValueError(
            f"expected a uint8 picture [{side}, {side}, 3], got {image.dtype} {image.shape}"
        )
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return _encode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)


def encode_png(image: np.ndarray) -> bytes:
    """Encodes a one-channel uint8 or uint16 picture as PNG, without loss."""
    import cv2

    # Of the ways that make few bytes of flat areas, the one that is read fastest.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 3, cv2.IMWRITE_PNG_STRATEGY]
    options += [cv2.IMWRITE_PNG_STRATEGY_DEFAULT]
    options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
    return _encode(".png", image, options)


def parallel(
    function: Callable[[_Item], _Result], items: Iterable[_Item], *, workers: int
) -> Iterator[_Result]:
    """Maps a function over items in processes, in order.

    Args:
        function: importable by name; it, what it gets and what it returns can be pickled.
        items: what to map over; read no further ahead than the processes need.
        workers: number of spawned processes; up to 1 runs in this process.

    Yields:
        The result of each item, in the order of the items, whatever the number of workers.

    Raises:
        ChildProcessError: when a process dies, for example for lack of memory.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    running: collections.deque[concurrent.futures.Future[_Result]] = collections.deque()
    try:
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) >= _AHEAD * workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process died, perhaps out of memory: try again with fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    import cv2

    # The parent process alone answers Ctrl-C, and each worker has one core to itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # Otherwise the workers of a killed process would wait for work for ever.
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _encode(suffix: str, image: np.ndarray, options: list[int]) -> bytes:
    import cv2

    done, data = cv2.imencode(suffix, image, options)
    if not done:
        raise ValueError(f"OpenCV could not encode a picture of shape {image.shape} as {suffix}")
    return data.tobytes()


def _cells(values: Mapping[int, int], *, highest: int) -> np.ndarray:
    cells = np.full(len(RECORD_AUS), UNKNOWN, np.int8)
    for au, value in values.items():
        if not UNKNOWN <= value <= highest:
            raise ValueError(f"AU {au} has the value {value}; expected -1..{highest}")
        cells[record_columns((au,))[0]] = value
    return cells
